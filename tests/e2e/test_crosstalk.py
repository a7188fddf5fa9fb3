"""Two sessions on one server: nobody's sound, picture or motion reaches the other."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from benchmarks.peer import RATE, LoopbackPeer
from engine.media import Float32
from engine.motion.arkit import INDEX
from tests.e2e.conftest import serving, until
from tests.e2e.testcard import CardEngine

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SECONDS = 6


def tone(frequency: float, on: tuple[float, float]) -> Float32:
    """A tone in a part of each two seconds, silence in the rest."""
    t = np.arange(SECONDS * RATE) / RATE
    gate = (t % 2 >= on[0]) & (t % 2 < on[1])
    return (0.3 * np.sin(2 * np.pi * frequency * t) * gate).astype(np.float32)


def loudness(samples: Float32, frequency: float) -> float:
    """Of one frequency in a sound: the amplitude that a tone of it would have."""
    t = np.arange(len(samples)) / RATE
    return 2 * float(np.abs(np.mean(samples * np.exp(-2j * np.pi * frequency * t))))


def test_every_sound_and_mouth_belongs_to_its_own_voice() -> None:
    low, high = 400.0, 1700.0

    async def scenario() -> tuple[LoopbackPeer, LoopbackPeer]:
        async with serving(CardEngine(capacity=2)) as (base, http):
            first = LoopbackPeer(http, base, tone(low, (0.0, 0.8)))
            second = LoopbackPeer(http, base, tone(high, (1.0, 1.8)))
            await asyncio.gather(first.connect(), second.connect())
            await until(lambda: len(first.pictures) > 150 and len(second.pictures) > 150, 60)
            assert first.id != second.id
            await asyncio.gather(first.close(), second.close())
            return first, second

    for peer, own, foreign in zip(asyncio.run(scenario()), (low, high), (high, low), strict=True):
        _, heard = peer.heard()
        assert loudness(heard, own) > 0.03
        # Opus and a stretched gap smear a little; the other voice at full level would be 0.1.
        assert loudness(heard, foreign) < 0.1 * loudness(heard, own)
        opened = np.array([m["values"][INDEX["jawOpen"]] for m in peer.of_type("motion")])
        # Both voices speak 40 % of the time, never together: a mixed-up mouth would be open more.
        speaking = opened[: SECONDS * 25]
        assert 0.2 < np.mean(speaking > 0.3) < 0.6
        assert np.mean(speaking < 0.05) > 0.3
