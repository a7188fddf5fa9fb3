"""Figures of motion, without any downloaded weights. Motion is float32 [T,58], raw, 25 fps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.face.rig import Rig
from engine.face.topology import MOUTH_CENTRE
from engine.media import FPS, Float32
from engine.motion.arkit import EXPRESSION, INDEX, LIPS, POSE

Float64 = NDArray[np.float64]

CLOSED = 0.02
"""Lips nearer than this (inter-ocular units, about 1.2 mm) count as closed."""
_WINDOW = 16
_COMPONENTS = 24
_LARGEST_LAG = 6
_SHUT_EYE = 0.5
GROUPS = {"lips": LIPS, "expression": EXPRESSION, "head": POSE}


def opening(motion: Float32) -> Float32:
    """Gap between the inner lips [T] in inter-ocular units, on the average head."""
    rig = Rig.load()
    upper, lower = MOUTH_CENTRE
    neutral = rig.neutral[upper, 1] - rig.neutral[lower, 1]
    row = rig.deltas[:, upper, 1] - rig.deltas[:, lower, 1]
    gap: Float32 = np.maximum(neutral + rig.effective(motion) @ row, 0.0)
    return gap


def lip_error(motion: Float32, truth: Float32) -> float:
    """Mean distance of the lips' landmarks (the mouth's 28 shapes alone), inter-ocular units."""
    rig = Rig.load()
    lips = np.flatnonzero(np.abs(rig.deltas[INDEX["mouthClose"]]).sum(-1) > 1e-3)
    shapes = np.zeros((len(motion), 52), np.float32)
    shapes[:, LIPS] = (rig.effective(motion) - rig.effective(truth))[:, LIPS]
    moved = np.tensordot(shapes, rig.deltas[:, lips], 1)
    return float(np.linalg.norm(moved, axis=-1).mean())


def correlation(first: Float32, second: Float32) -> tuple[float, int]:
    """Best Pearson correlation over lags, and the lag: positive if ``first`` comes later."""
    best, best_lag = -1.0, 0
    for lag in range(-_LARGEST_LAG, _LARGEST_LAG + 1):
        a, b = first[max(lag, 0) :], second[max(-lag, 0) :]
        count = min(len(a), len(b))
        a, b = a[:count], b[:count]
        if a.std() < 1e-6 or b.std() < 1e-6:
            continue
        r = float(np.corrcoef(a, b)[0, 1])
        if r > best:
            best, best_lag = r, lag
    return best, best_lag


def closures_met(gap: Float32, closure: NDArray[np.uint8]) -> tuple[int, int]:
    """How many runs of p/b/m frames have closed lips in at least one frame, and how many are."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], closure, [0]])))
    runs = edges.reshape(-1, 2)
    met = sum(int(gap[a:b].min() < CLOSED) for a, b in runs)
    return met, len(runs)


def dynamics(motion: Float32, truth: Float32) -> dict[str, float]:
    """Deviation of velocity and jerk by group, as a ratio to the truth's."""
    ratios = {}
    for name, group in GROUPS.items():
        for order, what in ((1, "velocity"), (3, "jerk")):
            made = np.diff(motion[:, group], order, axis=0).std(0)
            real = np.diff(truth[:, group], order, axis=0).std(0)
            ratios[f"{name}_{what}_ratio"] = float(made.sum() / max(real.sum(), 1e-9))
    return ratios


def blinks_per_minute(motion: Float32) -> float:
    """Times the lids fall shut."""
    shut = motion[:, [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]].mean(1) > _SHUT_EYE
    return float((np.diff(shut.astype(int)) > 0).sum() / (len(motion) / FPS / 60))


def seam_ratio(motion: Float32, hop: int) -> float:
    """Mean change of speed at the borders of hops over that inside them; 1 is invisible."""
    scale = motion.std(0) + 1e-3
    jumps = np.abs(np.diff(motion, 2, axis=0) / scale).mean(1)
    # jumps[i] bends at frame i + 1; the border lies between frames k * hop - 1 and k * hop.
    frame = np.arange(1, len(motion) - 1) % hop
    border = (frame == 0) | (frame == hop - 1)
    if border.all():
        border = frame == 0
    return float(jumps[border].mean() / jumps[~border].mean())


def motion_windows(clips: list[Float32], stride: int = 4) -> Float64:
    """Windows of 16 frames as rows [N, 16 * 58]."""
    rows = [
        clip[first : first + _WINDOW].ravel()
        for clip in clips
        for first in range(0, len(clip) - _WINDOW + 1, stride)
    ]
    return np.asarray(rows, np.float64)


def frechet(made: list[Float32], real: list[Float32], scale: Float32) -> float:
    """Frechet distance of 16-frame windows in the 24 main components of the real ones.

    Args:
        scale: [58] deviations that make the numbers comparable.
    """
    reference = motion_windows([clip / scale for clip in real])
    mean = reference.mean(0)
    _, axes = np.linalg.eigh(np.cov(reference[:: max(1, len(reference) // 4000)].T))
    basis = axes[:, -_COMPONENTS:]
    a, b = (reference - mean) @ basis, (motion_windows([c / scale for c in made]) - mean) @ basis
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    values = np.linalg.eigvals(cov_a @ cov_b)
    cross = np.sqrt(np.maximum(values.real, 0)).sum()
    distance = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    return float(distance / _COMPONENTS)
