"""Figures of motion, without any downloaded weights. Motion is float32 [T,58], raw, 25 fps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.face.rig import Rig
from engine.face.topology import MOUTH_CENTRE, MOUTH_CORNERS
from engine.media import Float32
from engine.motion.arkit import INDEX, LIPS

Float64 = NDArray[np.float64]

CLOSED = 0.02
"""Lips nearer than this (inter-ocular units, about 1.2 mm) count as closed."""
_WINDOW = 16
_COMPONENTS = 24


def opening(motion: Float32) -> Float32:
    """Gap between the inner lips [T] in inter-ocular units, on the average head."""
    rig = Rig.load()
    upper, lower = MOUTH_CENTRE
    neutral = rig.neutral[upper, 1] - rig.neutral[lower, 1]
    row = rig.deltas[:, upper, 1] - rig.deltas[:, lower, 1]
    gap: Float32 = np.maximum(neutral + rig.effective(motion) @ row, 0.0)
    return gap


def width(motion: Float32) -> Float32:
    """Distance of the mouth's corners [T] on the average head."""
    rig = Rig.load()
    one, two = MOUTH_CORNERS
    rest = rig.neutral[two, 0] - rig.neutral[one, 0]
    row = rig.deltas[:, two, 0] - rig.deltas[:, one, 0]
    found: Float32 = np.abs(rest + rig.effective(motion) @ row).astype(np.float32)
    return found


def lip_error(motion: Float32, truth: Float32) -> float:
    """Mean distance of the lips' landmarks (the mouth's 28 shapes alone), inter-ocular units."""
    rig = Rig.load()
    lips = np.flatnonzero(np.abs(rig.deltas[INDEX["mouthClose"]]).sum(-1) > 1e-3)
    shapes = np.zeros((len(motion), 52), np.float32)
    shapes[:, LIPS] = (rig.effective(motion) - rig.effective(truth))[:, LIPS]
    moved = np.tensordot(shapes, rig.deltas[:, lips], 1)
    return float(np.linalg.norm(moved, axis=-1).mean())


def at_lag(made: Float32, truth: Float32, lag: int) -> float:
    """Pearson correlation [-1, 1] with ``made`` taken ``lag`` frames later; NaN if one is flat."""
    one, two = made[max(lag, 0) :], truth[max(-lag, 0) :]
    count = min(len(one), len(two))
    one, two = one[:count], two[:count]
    if count < 3 or one.std() < 1e-6 or two.std() < 1e-6:
        return float("nan")
    return float(np.corrcoef(one, two)[0, 1])


def best_lag(made: Float32, truth: Float32, reach: int, middle: int = 0) -> tuple[float, int]:
    """Best correlation over lags within ``reach`` frames of ``middle``, and the lag.

    A positive lag means that ``made`` is late. A motionless mouth correlates 0.
    """
    found = {lag: at_lag(made, truth, lag) for lag in range(middle - reach, middle + reach + 1)}
    known = {lag: r for lag, r in found.items() if np.isfinite(r)}
    if not known:
        return 0.0, middle
    lag = max(known, key=lambda x: (known[x], -abs(x - middle)))
    return known[lag], lag


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
