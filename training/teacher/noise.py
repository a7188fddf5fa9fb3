"""Smooth random curves for everything that is never quite still."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from training.teacher.prosody import RATE

Float32 = NDArray[np.float32]


def drift(rng: np.random.Generator, count: int, seconds: float) -> Float32:
    """Return Gaussian noise [count] at 100 Hz with unit deviation that changes over ``seconds``."""
    # Drawn at about 12 points per period and interpolated: filtering at 100 Hz would cost more.
    step = max(1, round(seconds * RATE / 12))
    margin = 40
    coarse = gaussian_filter1d(rng.standard_normal(count // step + 2 * margin), 4.0)
    coarse /= np.sqrt(1 / (2 * 4.0 * np.sqrt(np.pi)))
    positions = np.arange(count) / step + margin / 2
    return np.interp(positions, np.arange(len(coarse)), coarse).astype(np.float32)


def bump(times: Float32, peak: float, rise: float, fall: float) -> Float32:
    """Return a smooth pulse [T] that reaches 1 at ``peak`` (seconds), with its own two slopes."""
    offset = times - peak
    width = np.where(offset < 0, np.float32(rise), np.float32(fall))
    inside = np.clip(np.abs(offset) / width, 0, 1)
    return (0.5 + 0.5 * np.cos(np.pi * inside)).astype(np.float32)


def step_to(times: Float32, start: float, duration: float) -> Float32:
    """Return a minimum-jerk step [T] from 0 to 1 (Flash and Hogan 1985)."""
    x = np.clip((times - start) / duration, 0, 1)
    return (x**3 * (10 - 15 * x + 6 * x**2)).astype(np.float32)
