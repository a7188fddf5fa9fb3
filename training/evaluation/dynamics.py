"""How things move: ratios of deviation, blinks, stillness, beats. Motion is [T,58] at 25 fps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import argrelmax, argrelmin
from scipy.stats import ks_2samp

from engine.media import FPS, SAMPLES_PER_FRAME, Float32
from engine.motion.arkit import EXPRESSION, INDEX, LIPS, POSE, ROTATION, TRANSLATION

GROUPS = {"lips": LIPS, "expression": EXPRESSION, "head": POSE}
ORDERS = {"velocity": 1, "acceleration": 2, "jerk": 3}
_BLINKS = [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]
_SHUT, _HALF = 0.5, 0.4
_BEAT_SMOOTH = 5.0
_BEAT_WIDTH = 3.0
_STILL = np.array([np.radians(0.1)] * 3 + [0.002] * 3)
"""A head that stays within these bounds (rad, inter-ocular units) moves less than 0.2 pixels of a
512 x 512 picture."""


def spread(signals: Sequence[NDArray[np.float32]], order: int) -> float:
    """Pooled deviation of the ``order``-th difference of signals [T] or [T,C], summed over C."""
    parts = [np.diff(x.reshape(len(x), -1), order, axis=0) for x in signals if len(x) > order]
    joined = np.concatenate(parts)
    return float(joined.std(0).sum())


def ratio(
    made: Sequence[NDArray[np.float32]], truth: Sequence[NDArray[np.float32]], order: int
) -> float:
    """Deviation of the ``order``-th difference, made over true."""
    return spread(made, order) / max(spread(truth, order), 1e-9)


def ratios(made: Sequence[Float32], truth: Sequence[Float32]) -> dict[str, float]:
    """Velocity, acceleration and jerk of lips, expression and head, made over true."""
    return {
        f"{group}_{what}_ratio": ratio(
            [x[:, list(index)] for x in made], [x[:, list(index)] for x in truth], order
        )
        for group, index in GROUPS.items()
        for what, order in ORDERS.items()
    }


def blinks(motion: Float32) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Frames at which blinks begin, and how many frames each is more than 40 % shut."""
    return blinks_of(motion[:, _BLINKS].mean(1))


def blinks_of(lids: Float32) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As ``blinks``, of lids [T] with 0 open and 1 shut; what stays under one half is none."""
    low = np.concatenate([[0], (lids > _HALF).astype(np.int8), [0]])
    runs = np.flatnonzero(np.diff(low)).reshape(-1, 2)
    true = [(a, b) for a, b in runs if lids[a:b].max() > _SHUT]
    starts = np.array([a for a, _ in true], np.int64)
    return starts, np.array([b - a for a, b in true], np.int64)


def blink_figures(made: Sequence[Float32]) -> dict[str, float]:
    """Rate per minute and median duration in milliseconds over several clips."""
    found = [blinks(motion) for motion in made]
    minutes = sum(len(motion) for motion in made) / FPS / 60
    lengths = np.concatenate([length for _, length in found])
    return {
        "blinks_per_minute": sum(len(start) for start, _ in found) / max(minutes, 1e-9),
        "blink_ms": float(np.median(lengths)) * 1000 / FPS if len(lengths) else float("nan"),
    }


def blink_gaps(made: Sequence[Float32]) -> NDArray[np.float64]:
    """Seconds between neighbouring blinks of the same clip."""
    gaps = [np.diff(blinks(motion)[0]) / FPS for motion in made]
    return np.concatenate([np.zeros(0), *gaps])


def gap_distance(made: Sequence[Float32], truth: Sequence[Float32]) -> float:
    """Kolmogorov-Smirnov distance of the times between blinks; NaN with fewer than 5 of a kind."""
    one, two = blink_gaps(made), blink_gaps(truth)
    return float(ks_2samp(one, two).statistic) if min(len(one), len(two)) >= 5 else float("nan")


def longest_freeze(motion: Float32) -> float:
    """Longest time in seconds that the head stays within 0.1 degrees and 0.002 units."""
    pose = motion[:, ROTATION.start : TRANSLATION.stop].astype(np.float64)
    longest, first = 0, 0
    for last in range(len(pose)):
        while (np.ptp(pose[first : last + 1], axis=0) > _STILL).any():
            first += 1
        longest = max(longest, last + 1 - first)
    return longest / FPS


def beat_alignment(motion: Float32, audio: Float32) -> float:
    """How near the head's beats are to the sound's: 1 on the spot, 0 nowhere near.

    Sound: peaks of the onset strength (rise of loudness). Head: minima of its smoothed angular
    speed. Mean of ``exp(-d^2 / (2 * 3^2))`` over the head's beats, d in frames (Li et al.,
    AIST++, arXiv 2101.08779). NaN without beats.
    """
    power = np.square(audio).reshape(-1, SAMPLES_PER_FRAME).mean(1)
    rise = np.maximum(np.diff(10 * np.log10(power + 1e-6), prepend=-60.0), 0.0)
    sound = argrelmax(gaussian_filter1d(rise, 1.0))[0]
    sound = sound[gaussian_filter1d(rise, 1.0)[sound] > 1.0]
    speed = np.linalg.norm(np.diff(motion[:, ROTATION], axis=0), axis=1)
    head = argrelmin(gaussian_filter1d(speed, _BEAT_SMOOTH))[0]
    if not len(sound) or not len(head):
        return float("nan")
    away = np.abs(head[:, None] - sound[None]).min(1)
    return float(np.exp(-(away**2) / (2 * _BEAT_WIDTH**2)).mean())
