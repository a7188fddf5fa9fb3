"""Signals for tests."""

from __future__ import annotations

import numpy as np

from engine.media import Float32


def speechlike(seconds: float, rate: int, seed: int = 0) -> Float32:
    """Bursts of a buzzing, formant-filtered tone with pauses: enough to move every stage."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    pitch = 110 + 20 * np.sin(2 * np.pi * 0.7 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    buzz = sum(np.sin(k * phase) / k for k in range(1, 12))
    gate = np.clip(np.sin(2 * np.pi * 1.5 * t) * 3, 0, 1) * (np.sin(2 * np.pi * 0.4 * t) > -0.6)
    return (0.1 * buzz * gate + 1e-4 * rng.standard_normal(len(t))).astype(np.float32)
