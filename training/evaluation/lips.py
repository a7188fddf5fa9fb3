"""Closures of p, b and m, counted against where they must be. Inter-ocular units, 25 fps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.media import Float32
from training.motion.metrics import CLOSED

Spans = Sequence[tuple[int, int]]
"""Frames [first, end)."""


def closed_spans(gap: Float32, threshold: float = CLOSED) -> list[tuple[int, int]]:
    """Runs of frames whose lips are nearer than the threshold."""
    shut = np.concatenate([[0], (gap < threshold).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(shut)).reshape(-1, 2)
    return [(int(a), int(b)) for a, b in edges]


@dataclass(frozen=True, slots=True)
class Closures:
    """Counts, which add up over clips.

    Args:
        met: p, b, m during which the lips touched.
        wanted: p, b, m in all.
        right: times the lips touched within speech where they should.
        seen: times the lips touched within speech.
    """

    met: int = 0
    wanted: int = 0
    right: int = 0
    seen: int = 0

    def __add__(self, other: Closures) -> Closures:
        return Closures(
            self.met + other.met, self.wanted + other.wanted,
            self.right + other.right, self.seen + other.seen,
        )  # fmt: skip

    def figures(self) -> dict[str, float]:
        """Recall and precision, NaN where there is nothing to count."""
        nothing = float("nan")
        return {
            "closure_recall": self.met / self.wanted if self.wanted else nothing,
            "closure_precision": self.right / self.seen if self.seen else nothing,
            "closures_wanted": float(self.wanted),
        }


def closures(
    gap: Float32,
    wanted: Spans,
    speaking: NDArray[np.bool_],
    tolerance: int,
    threshold: float = CLOSED,
) -> Closures:
    """Count closures.

    Args:
        gap: [T] lip opening.
        wanted: where lips must touch.
        speaking: [T]; what closes for a pause is neither right nor wrong.
        tolerance: frames by which a closure may miss its span (0 for exact times, 1 for aligned
            recordings).
        threshold: lips nearer than this touch.
    """
    wanted = [(a, b) for a, b in wanted if a < len(gap)]
    met = sum(
        bool((gap[max(a - tolerance, 0) : b + tolerance] < threshold).any()) for a, b in wanted
    )
    allowed = np.zeros(len(gap), bool)
    for a, b in wanted:
        allowed[max(a - tolerance - 1, 0) : b + tolerance + 1] = True
    inside = [
        (a, b) for a, b in closed_spans(gap, threshold) if speaking[max(a - 1, 0) : b + 1].all()
    ]
    right = sum(bool(allowed[a:b].any()) for a, b in inside)
    return Closures(met, len(wanted), right, len(inside))
