"""Turns: markers of utterances, states that do not flicker, voices that interrupt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.audio.vad import SileroVad
from engine.config import RuntimeConfig
from engine.media import SAMPLE_RATE, SAMPLES_PER_FRAME, Float32
from engine.runtime.load import load_network
from engine.slots import SLOT_SAMPLES
from engine.speech import Mark
from engine.transport.files import decode_audio
from engine.turns import IDLE, LISTENING, SPEAKING, BargeIn, Markers, TurnState, Voice
from tests.conftest import ROOT

HALF = SLOT_SAMPLES // 2


def kinds(events: list) -> list[str]:
    return [event.kind for event in events]


def test_an_utterance_begins_and_ends_with_the_slots_that_carry_it() -> None:
    markers = Markers()
    markers.place(Mark("a", 3 * SLOT_SAMPLES + 100, 5 * SLOT_SAMPLES + 1, True))
    heard = {content: markers.slot(content) for content in range(8)}
    assert kinds(heard[3]) == ["utterance_started"]
    assert heard[3][0].fields == {"utterance": "a"}
    assert kinds(heard[5]) == ["utterance_finished"]
    assert heard[5][0].fields == {
        "utterance": "a",
        "played_ms": round((2 * SLOT_SAMPLES - 99) / 48, 3),
        "interrupted": False,
    }
    assert [content for content, events in heard.items() if events] == [3, 5]
    assert markers.playing is None
    assert not markers.waiting


def test_the_end_may_be_known_only_after_everything_has_left() -> None:
    markers = Markers()
    markers.place(Mark("a", 0, SLOT_SAMPLES, False))
    assert kinds(markers.slot(0)) == ["utterance_started"]
    assert markers.slot(1) == []
    assert markers.playing == "a"
    markers.place(Mark("a", 2 * SLOT_SAMPLES, 2 * SLOT_SAMPLES, True))
    (end,) = markers.slot(2)
    assert end.fields["played_ms"] == 40


def test_an_empty_utterance_begins_and_ends() -> None:
    markers = Markers()
    markers.place(Mark("a", 0, 0, True))
    assert kinds(markers.slot(0)) == ["utterance_started", "utterance_finished"]


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 3 * SLOT_SAMPLES), min_size=1, max_size=6),
    pauses=st.lists(st.integers(0, 2 * SLOT_SAMPLES), min_size=6, max_size=6),
    left=st.integers(0, 20),
    half=st.booleans(),
    untold=st.booleans(),
)
def test_what_was_heard_is_counted_to_the_sample(
    lengths: list[int], pauses: list[int], left: int, half: bool, untold: bool
) -> None:
    """Brute force: a line of names, sample by sample."""
    markers, line = Markers(), []
    for number, (length, pause) in enumerate(zip(lengths, pauses, strict=False)):
        line += [-1] * pause
        markers.place(Mark(str(number), len(line), len(line) + length, True))
        line += [number] * length
    told = left - 1 if untold else left
    events = [event for content in range(told) for event in markers.slot(content)]
    heard = max(0, left * SLOT_SAMPLES - (HALF if half and left else 0))
    name, played, cut = markers.cut(heard)
    counts = {i: line[:heard].count(i) for i in range(len(lengths))}
    finished = {e.fields["utterance"]: e for e in [*events, *cut] if "played_ms" in e.fields}
    assert set(finished) == {str(i) for i in range(len(lengths))}
    started = [e.fields["utterance"] for e in [*events, *cut] if e.kind == "utterance_started"]
    assert started == [str(number) for number, count in counts.items() if count]
    for number, event in ((int(n), e) for n, e in finished.items() if e in cut):
        assert event.fields["played_ms"] == round(counts[number] / 48, 3)
        assert event.fields["interrupted"]
    for event in events:
        if event.kind == "utterance_finished":
            number = int(event.fields["utterance"])
            assert event.fields["played_ms"] == round(lengths[number] / 48, 3)
    if name is not None:
        assert played == counts[int(name)]
    assert markers.cut(heard) == (None, 0, [])


def test_sound_that_was_jumped_over_was_not_heard() -> None:
    markers = Markers()
    markers.place(Mark("a", 0, 10 * SLOT_SAMPLES, True))
    markers.slot(0)
    (end,) = markers.slot(9)
    assert end.fields["played_ms"] == 80


def states(steps: list[tuple[bool, bool]]) -> list[str]:
    turn = TurnState()
    out = []
    for speaking, other in steps:
        event = turn.slot(speaking, other)
        out.append(turn.state)
        assert event is None or event.fields == {"state": turn.state}
    return out


def test_a_turn_begins_at_once_and_ends_after_quiet() -> None:
    seen = states([(True, False)] * 3 + [(False, False)] * 20)
    assert seen[:3] == [SPEAKING] * 3
    assert 5 <= seen[3:].index(IDLE) <= 8, "200 to 300 ms"
    assert set(seen[3 + seen[3:].index(IDLE) :]) == {IDLE}


def test_short_pauses_do_not_flicker() -> None:
    assert set(states(([(True, False)] * 5 + [(False, False)] * 4) * 20)) == {SPEAKING}


def test_who_is_spoken_to_listens_unless_it_speaks() -> None:
    seen = states([(False, True)] * 2 + [(True, True)] * 2 + [(False, True)] * 2)
    assert seen == [LISTENING] * 2 + [SPEAKING] * 2 + [LISTENING] * 2


def test_being_silenced_ends_the_turn_at_once() -> None:
    turn = TurnState()
    assert turn.silence() is None
    turn.slot(True, False)
    event = turn.silence()
    assert event is not None and event.fields == {"state": IDLE}
    turn.slot(False, False)
    assert turn.state == IDLE


@given(st.lists(st.floats(0, 1), max_size=300))
def test_a_voice_never_flickers(speech: list[float]) -> None:
    voice = Voice()
    active = [voice.hear(value) for value in speech]
    changes = [i for i in range(1, len(active)) if active[i] != active[i - 1]]
    falls = [i for i in changes if not active[i]]
    for fall in falls:
        assert all(value < 0.35 for value in speech[fall - 6 : fall + 1]), "280 ms of quiet"


def test_a_voice_interrupts_once_and_only_while_the_avatar_speaks() -> None:
    barge = BargeIn()
    assert not any(barge.hear(1.0, speaking=False) for _ in range(50))
    heard = [barge.hear(1.0, speaking=True) for _ in range(5)]
    assert heard == [False] * 4 + [True]
    assert not any(barge.hear(value, True) for value in (1.0, 1.0, 1.0, 1.0, 0.5) * 10)


# With the real detector.


@pytest.fixture(scope="module")
def detector() -> SileroVad:
    return SileroVad(load_network("silero_vad", RuntimeConfig(threads=1), None, cpu=True))


def interrupted_at(detector: SileroVad, sound: Float32) -> list[float]:
    """Seconds at which ``sound`` interrupts an avatar that speaks."""
    detector.reset()
    barge = BargeIn()
    starts = range(0, len(sound) - SAMPLES_PER_FRAME + 1, SAMPLES_PER_FRAME)
    return [
        start / SAMPLE_RATE
        for start in starts
        if barge.hear(detector.push(sound[start : start + SAMPLES_PER_FRAME]), True)
    ]


def coloured(power: float, seed: int) -> Float32:
    """Ten seconds of noise whose power falls with frequency to this power, RMS 0.1."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(10 * SAMPLE_RATE))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** (-power / 2)
    sound = np.fft.irfft(spectrum)
    return (0.1 * sound / sound.std()).astype(np.float32)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_noise_does_not_interrupt(detector: SileroVad, power: float) -> None:
    assert interrupted_at(detector, coloured(power, 1)) == []


def test_keys_and_a_cough_do_not_interrupt(detector: SileroVad) -> None:
    """Clicks of 20 ms; coughs as bursts of breath: 50 ms of explosion and 200 ms of decay."""
    rng = np.random.default_rng(2)
    sound = 1e-3 * rng.standard_normal(10 * SAMPLE_RATE)
    for start in rng.uniform(0, 9.5, 40):
        place = int(start * SAMPLE_RATE)
        sound[place : place + 320] += 0.4 * rng.standard_normal(320) * np.exp(-np.arange(320) / 60)
    time = np.arange(int(0.35 * SAMPLE_RATE)) / SAMPLE_RATE
    envelope = np.exp(-time / 0.03) + 0.35 * np.exp(-(((time - 0.12) / 0.07) ** 2))
    for start in (1.0, 1.5, 4.0, 7.0):
        spectrum = np.fft.rfft(rng.standard_normal(len(time)))
        hertz = np.fft.rfftfreq(len(time), 1 / SAMPLE_RATE)
        breath = np.fft.irfft(spectrum * np.exp(-(((hertz - 1500) / 1500) ** 2)), len(time))
        place = int(start * SAMPLE_RATE)
        sound[place : place + len(time)] += 0.2 * envelope * breath / breath.std()
    assert interrupted_at(detector, sound.astype(np.float32)) == []


def test_a_voice_interrupts_within_half_a_second(detector: SileroVad) -> None:
    with Path(ROOT / "clients" / "web" / "sample.wav").open("rb") as file:
        voice = decode_audio(file, "the sample", 60.0)
    assert voice.rate == SAMPLE_RATE
    onset = int(np.flatnonzero(np.abs(voice.samples) > 0.02)[0])
    before = np.zeros(SAMPLE_RATE, np.float32)
    times = interrupted_at(detector, np.concatenate([before, voice.samples]))
    late = times[0] - 1.0 - onset / SAMPLE_RATE
    assert 0.0 < late < 0.5
