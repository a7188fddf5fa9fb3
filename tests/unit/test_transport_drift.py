"""Stretched sound is the same sound."""

from __future__ import annotations

import numpy as np
import pytest

from engine.transport.drift import Drift, stretch

RATE = 48_000


@pytest.mark.parametrize("hertz", [100, 1000, 4000, 8000])
@pytest.mark.parametrize("length", [957, 959, 960, 961, 963])
def test_a_stretched_tone_is_a_tone(hertz: int, length: int) -> None:
    samples = np.sin(2 * np.pi * hertz * np.arange(960) / RATE).astype(np.float32)
    places = np.linspace(0, 959, length)
    wanted = np.sin(2 * np.pi * hertz * places / RATE)
    error = stretch(samples, length) - wanted
    assert len(error) == length
    assert np.sqrt(np.mean(np.square(error))) < 0.03
    assert stretch(samples, length)[-1] == pytest.approx(samples[-1], abs=1e-5)


def test_drift_is_found_under_jitter_and_forgotten_after_a_jump() -> None:
    rng = np.random.default_rng(0)
    drift = Drift(RATE)
    for packet in range(3000):
        spoken = packet * 0.02
        drift.observe(spoken + float(rng.exponential(0.01)), round(spoken * RATE * 1.0002))
    assert drift.ppm == pytest.approx(200, abs=25)
    drift.observe(3000 * 0.02, 10**7)
    assert drift.ppm == 0
