"""First words, of sounds and pictures whose times are known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.analysis import Heard
from benchmarks.peer import PACKET, RATE
from benchmarks.speaking import first_audible, first_words

SLOT = 1920
COUNT = 200


def received(*begins: int) -> Heard:
    """Four seconds, packets every 20 ms from second 10 on; a tone of 0.3 s at each sample given."""
    line = np.zeros(COUNT * PACKET, np.float32)
    tone = 0.2 * np.sin(2 * np.pi * 300 * np.arange(int(0.3 * RATE)) / RATE)
    for begin in begins:
        line[begin : begin + len(tone)] = tone[: len(line) - begin]
    return Heard(line, 10 + 0.02 * np.arange(COUNT))


def test_the_first_sound_counts_from_its_packet_and_its_place_inside() -> None:
    sample = 30 * PACKET + 480
    heard = received(sample)
    assert first_audible(heard, 10.1, 11.5, 0.02) == sample
    came = {slot: 10 + 0.04 * slot + 0.005 for slot in range(COUNT // 2)}
    sounds, pictures = first_words(heard, came, [(10.5, 11.5)], 0.02)
    assert sounds == pytest.approx([10.6 + 0.01 - 10.5], abs=1e-6)
    assert pictures == pytest.approx([10 + 0.04 * (sample // SLOT) + 0.005 - 10.5])


def test_every_utterance_is_found_in_its_own_time() -> None:
    heard = received(20 * PACKET, 100 * PACKET)
    came = {slot: 10 + 0.04 * slot for slot in range(COUNT // 2)}
    sounds, _ = first_words(heard, came, [(10.3, 11.5), (11.9, 13.0)], 0.02)
    assert sounds == pytest.approx([0.1, 0.1], abs=1e-6)


def test_what_was_not_heard_or_not_seen_is_no_number() -> None:
    heard = received(20 * PACKET)
    sounds, pictures = first_words(heard, {}, [(10.3, 11.5), (12.0, 13.0)], 0.02)
    assert np.isfinite(sounds).tolist() == [True, False]
    assert np.isnan(pictures).all()
    assert first_audible(received(), 10.0, 13.0, 0.02) is None
