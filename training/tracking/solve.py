"""Which motion brings a fitted head onto the landmarks that were seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from engine.face.fit import HeadFit
from engine.face.topology import INNER_LOWER_LIP, INNER_UPPER_LIP, OUTER_LOWER_LIP, OUTER_UPPER_LIP
from engine.media import Float32, UInt8
from engine.motion.arkit import TRANSLATION

LIPS = sorted({*INNER_LOWER_LIP, *INNER_UPPER_LIP, *OUTER_LOWER_LIP, *OUTER_UPPER_LIP})
LIP_WEIGHT = 4.0
RIDGE = 0.04
"""Cost of a blendshape's square against that of an error of a hundredth of the eyes' distance."""
ROUNDS = 4
_STEP = 0.05
_BOUND_ROUNDS = 6


def frames(path: Path) -> Iterator[UInt8]:
    """Pictures of a video file, uint8 [H,W,3] RGB."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def project(fit: HeadFit, values: Float32, camera: float | None = None) -> Float32:
    """Landmarks [478,2] in pixels for a motion vector [58].

    Args:
        fit: the head.
        values: the motion.
        camera: distance of the camera in inter-ocular units. With it a head that comes nearer (z)
            grows; None is the renderer's weak perspective, which does not show z.
    """
    points = fit.project(values)
    if camera is None:
        return points
    growth = camera / (camera - float(values[TRANSLATION.stop - 1]))
    return np.asarray(fit.translation + growth * (points - fit.translation), np.float32)


def solve_motion(
    fit: HeadFit,
    seen: Float32,
    start: Float32,
    *,
    iris: float = 0.0,
    camera: float | None = None,
    rounds: int = ROUNDS,
) -> tuple[Float32, float]:
    """Motion [58] whose landmarks are nearest to those seen, and the lips' RMS error in pixels.

    Gauss-Newton on the squared distances with a ridge on the blendshapes, which are kept within
    [0, 1].

    Args:
        fit: of the person.
        seen: [478,2] pixels in the picture of the fit.
        start: [58], first guess: the frame before.
        iris: weight of the iris' landmarks, which tell the gaze.
        camera: see ``project``.
        rounds: of Gauss-Newton.
    """
    values = start.astype(np.float64)
    weights = np.ones(478)
    weights[LIPS] = LIP_WEIGHT
    weights[468:] = iris
    root = np.sqrt(np.repeat(weights, 2))
    for _ in range(rounds):
        base = project(fit, values.astype(np.float32), camera).astype(np.float64)
        jacobian = np.empty((478, 2, 58))
        for k in range(58):
            moved = values.copy()
            moved[k] += _STEP
            jacobian[..., k] = (project(fit, moved.astype(np.float32), camera) - base) / _STEP
        scale = 100 / fit.scale
        a = jacobian.reshape(-1, 58) * root[:, None] * scale
        b = (seen - base).ravel() * root * scale
        ridge = np.full(58, RIDGE * 478)
        ridge[52:] = 1e-3
        # In terms of the values themselves: |a (x - values) - b|^2 + ridge x^2 over the shapes.
        system = a.T @ a + np.diag(ridge)
        right = a.T @ (b + a @ values) + np.where(np.arange(58) < 52, 0, ridge * values)
        values = _bounded(system, right)
    final = project(fit, values.astype(np.float32), camera)
    error = float(np.sqrt(((final - seen)[LIPS] ** 2).sum(1).mean()))
    return values.astype(np.float32), error


def _bounded(system: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve ``system @ x = right`` with the first 52 values within [0, 1].

    Values beyond are set to the bound and the rest is solved again: clipping alone would leave
    the others at what only made sense together with them.
    """
    free = np.ones(len(right), bool)
    value = np.zeros(len(right))
    for _ in range(_BOUND_ROUNDS):
        rest = right[free] - system[np.ix_(free, ~free)] @ value[~free]
        value[free] = np.linalg.solve(system[np.ix_(free, free)], rest)
        beyond = (value < 0) | (value > 1)
        beyond[52:] = False
        value[beyond] = np.clip(value[beyond], 0, 1)
        if not (beyond & free).any():
            break
        free &= ~beyond
    value[:52] = np.clip(value[:52], 0, 1)
    return value
