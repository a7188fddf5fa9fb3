"""Distributions: Fréchet distance with its floor, diversity over seeds, lip vertex error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from engine.face.rig import Rig
from engine.media import Float32
from engine.motion.arkit import EXPRESSION, INDEX, LIPS, POSE
from training.motion.metrics import motion_windows

_SCALE_FLOOR = 0.02
_LIP_MOVES = 1e-3
Floats = NDArray[np.float64]
_ROWS = 4000
_COMPONENTS = 24
GROUPS = {"lips": LIPS, "expression": EXPRESSION, "head": POSE}


def scale_of(truth: Sequence[Float32]) -> Float32:
    """Deviation of every number [58], with a floor for what hardly moves."""
    found: Float32 = np.concatenate(truth).std(0) + np.float32(_SCALE_FLOOR)
    return found


class Ruler:
    """Fréchet distance of 16-frame windows in the main components of the true ones.

    What depends on the truth alone is computed once.

    Args:
        truth: float32 [T,58] each.
        group: one of ``GROUPS``, or all numbers.
        scale: deviations [58] to measure in; those of the truth by default.
    """

    def __init__(
        self, truth: Sequence[Float32], group: str = "", scale: Float32 | None = None
    ) -> None:
        scale = scale_of(truth) if scale is None else scale
        self._index = list(GROUPS[group]) if group else list(range(len(scale)))
        self._scale = scale[self._index]
        self._truth = [self._part(t) for t in truth]
        rows = motion_windows(self._truth)
        self._mean = rows.mean(0)
        covariance = np.cov(rows[:: max(1, len(rows) // _ROWS)].T)
        size = len(covariance)
        wanted = (max(size - _COMPONENTS, 0), size - 1)
        self._basis = eigh(covariance, subset_by_index=wanted)[1]
        self._reference = self._moments(rows)

    def distance(self, made: Sequence[Float32]) -> float:
        """Of motion [T,58] from the truth, per component."""
        return gaussian_distance(self._moments(motion_windows([self._part(m) for m in made])),
                        self._reference)  # fmt: skip

    def floor(self) -> float:
        """Of the truth's two halves from each other: what sampling alone makes of it."""
        if len(self._truth) < 2:
            return float("nan")
        halves = (motion_windows(self._truth[k::2]) for k in (0, 1))
        one, two = (self._moments(rows) for rows in halves)
        return gaussian_distance(one, two)

    def _part(self, motion: Float32) -> Float32:
        part: Float32 = motion[:, self._index] / self._scale
        return part

    def _moments(self, rows: NDArray[np.float64]) -> tuple[Floats, Floats]:
        seen = (rows - self._mean) @ self._basis
        return seen.mean(0), np.cov(seen.T)


def gaussian_distance(one: tuple[Floats, Floats], two: tuple[Floats, Floats]) -> float:
    """Distance of two normal distributions (Dowson and Landau 1982), per dimension."""
    values = np.linalg.eigvals(one[1] @ two[1])
    cross = np.sqrt(np.maximum(values.real, 0)).sum()
    gap = np.square(one[0] - two[0]).sum()
    return float((gap + np.trace(one[1]) + np.trace(two[1]) - 2 * cross) / len(one[0]))


def lip_vertex_error(motion: Float32, truth: Float32) -> float:
    """Mean over frames of the largest error among the lips' landmarks, inter-ocular units.

    The usual definition (MeshTalk) squares it; not squared it reads as a length.
    """
    rig = Rig.load()
    lips = np.flatnonzero(np.abs(rig.deltas[INDEX["mouthClose"]]).sum(-1) > _LIP_MOVES)
    shapes = np.zeros((len(motion), 52), np.float32)
    shapes[:, LIPS] = (rig.effective(motion) - rig.effective(truth))[:, LIPS]
    moved = np.tensordot(shapes, rig.deltas[:, lips], 1)
    return float(np.linalg.norm(moved, axis=-1).max(1).mean())


def diversity(samples: Sequence[Float32], truth: Float32) -> dict[str, float]:
    """How much motions to the same sound differ, by group.

    Root mean square difference over pairs, relative to what two independent draws of the truth's
    spread would differ by (its deviation times the square root of 2): 0 is always the same, 1
    unrelated.
    """
    stack = np.stack(samples)
    pairs = [(a, b) for a in range(len(stack)) for b in range(a)]
    out = {}
    for name, group in GROUPS.items():
        index = list(group)
        gaps = [(stack[a] - stack[b])[:, index] for a, b in pairs]
        spread = float(truth[:, index].var(0).mean())
        out[name] = float(np.sqrt(np.mean(np.square(gaps)) / (2 * max(spread, 1e-9))))
    return out
