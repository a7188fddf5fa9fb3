"""A person's blendshapes: what their landmarks do when the blendshape network sees a shape.

Ridge regression. The change of every landmark against the average movement is linear in the
shapes that are seen; what the video does not show stays as it was.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from engine.face.fit import HeadFit
from engine.face.personal import close_over_jaw
from engine.face.rig import effective, rotation_matrix
from engine.media import Float32
from engine.motion.arkit import INDEX, LIPS, ROTATION
from training.personal.reenact import CAMERA
from training.tracking.solve import LIPS as LIP_POINTS
from training.tracking.solve import project

RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Tried: weight of a change of one inter-ocular unit against one frame's error of the same size."""
SKIN = 468
SHAPES = [shape for shape in LIPS if shape != INDEX["tongueOut"]]
"""Which are adapted: lids have to go on meeting, and the photo's eyes and brows are kept."""


def residuals(fit: HeadFit, seen: Float32, shapes: Float32, motion: Float32) -> Float32:
    """What the head misses with commanded shapes, [T,468,2], along its own x and y axes.

    Args:
        fit: the head.
        seen: [T,478,2] pixels of the fit's picture.
        shapes: [T,52] commanded.
        motion: [T,58], whose pose counts.

    Returns:
        inter-ocular units.
    """
    out = np.empty((len(seen), SKIN, 2), np.float32)
    for k, (points, weights, values) in enumerate(zip(seen, shapes, motion, strict=True)):
        whole = np.concatenate([weights, values[52:]]).astype(np.float32)
        missed = (points - project(fit, whole, CAMERA))[:SKIN] * np.array([1, -1], np.float32)
        turn = rotation_matrix(*(float(v) for v in values[ROTATION])) @ fit.rotation
        growth = CAMERA / (CAMERA - float(values[-1]))
        out[k] = missed @ np.linalg.inv(turn[:2, :2]).T / (fit.scale * growth)
    return out


def regress(shapes: Float32, missed: Float32, ridge: float) -> Float32:
    """Changes [52,468,2] of the blendshapes that explain residuals best.

    There is no constant: in the photo nothing is missed, and it is where all movements start.

    Args:
        shapes: [T,52] effective weights relative to the photo.
        missed: [T,468,2], see ``residuals``.
        ridge: see ``RIDGES``.
    """
    used = shapes[:, SHAPES].astype(np.float64)
    flat = missed.reshape(len(missed), -1).astype(np.float64)
    system = used.T @ used + ridge * np.eye(len(SHAPES))
    out = np.zeros((52, SKIN, 2), np.float32)
    solved = np.linalg.solve(system, used.T @ flat)
    out[SHAPES] = solved.reshape(len(SHAPES), SKIN, 2)
    return out


def choose_ridge(shapes: Float32, missed: Float32, parts: int = 4) -> tuple[float, float]:
    """The ridge with the least error at the lips in parts of the video that were left out.

    Returns:
        the ridge, and the error with it as a share of that without any change.
    """
    bounds = np.linspace(0, len(shapes), parts + 1).astype(int)
    scores = dict.fromkeys(RIDGES, 0.0)
    alone = 0.0
    for low, high in itertools.pairwise(bounds):
        out = np.zeros(len(shapes), bool)
        out[low:high] = True
        rest = missed[out][:, LIP_POINTS]
        alone += float((rest**2).sum())
        for ridge in RIDGES:
            change = regress(shapes[~out], missed[~out], ridge)[:, LIP_POINTS]
            scores[ridge] += float(((rest - np.tensordot(shapes[out], change, 1)) ** 2).sum())
    best = min(scores, key=lambda ridge: scores[ridge])
    return best, float(np.sqrt(scores[best] / max(alone, 1e-12)))


def adapt(fit: HeadFit, change: Float32) -> HeadFit:
    """A head with changed blendshapes [52,468,2] that shows its photo as before.

    Lips still meet where ``mouthClose`` closes them over an open jaw.
    """
    deltas = fit.deltas.copy()
    deltas[:, :SKIN, :2] += change
    close_over_jaw(deltas)
    shapes = effective(fit.resting, fit.lids)
    observed = fit.neutral + np.tensordot(shapes, fit.deltas, 1)
    neutral = observed - np.tensordot(shapes, deltas, 1)
    return replace(fit, deltas=deltas, neutral=neutral.astype(np.float32))


def learn(
    fit: HeadFit, seen: Float32, shapes: Float32, motion: Float32
) -> tuple[HeadFit, dict[str, float]]:
    """Adapt a head's blendshapes to a video; arguments as for ``residuals``.

    Returns:
        the head, and the facts: ``ridge``, and ``error_left``, the error at the lips in parts left
        out as a share of what it was.
    """
    missed = residuals(fit, seen, shapes, motion)
    weights = effective(shapes, fit.lids) - effective(fit.resting, fit.lids)
    ridge, left = choose_ridge(weights, missed)
    facts = {"ridge": ridge, "error_left": left}
    return adapt(fit, regress(weights, missed, ridge)), facts
