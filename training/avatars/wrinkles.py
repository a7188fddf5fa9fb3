"""Lines of age and expression, pressed into the dense body surface.

The data's age targets let flesh sink but know no single line: its mesh is too coarse for one. So
the lines are drawn here as curves on the face seen from the front, measured from its landmarks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from training.avatars.anatomy import Floats
from training.avatars.blender import Dense
from training.avatars.skin import Landmarks


@dataclass(frozen=True)
class Line:
    """A crease through ``points`` (k, 2) in x and y, decimetres; it fades out at both ends."""

    points: Floats
    depth: float
    width: float = 0.014


def press(body: Dense, face: Landmarks, amount: float, lips: Floats) -> Floats:
    """Move ``body``'s vertices in place; returns how deep in a crease each lies, (n,) in 0..1.

    ``amount`` 1 is a face of about 75 years, 0.3 one of 45. ``lips`` (n,) stay smooth.
    """
    p, crease = body.vertices, np.zeros(len(body.vertices))
    front = np.clip((body.normals[:, 2] - 0.05) / 0.3, 0, 1) * (1 - np.clip(lips * 3, 0, 1))
    front[p[:, 2] < face.eyes[0, 2] - 0.5] = 0
    shift = np.zeros(len(p))
    for line in _lines(face):
        reach = 7 * line.width
        low, high = line.points.min(0) - reach, line.points.max(0) + reach
        near = np.flatnonzero(((p[:, :2] > low) & (p[:, :2] < high)).all(1) & (front > 0))
        gap, along = _distance(p[near, :2], line.points)
        deep = np.exp(-((gap / line.width) ** 2))
        groove = deep - 0.4 * np.exp(-((gap / (2.8 * line.width)) ** 2))
        fade = amount * np.sqrt(np.sin(np.pi * np.clip(along, 0, 1))) * front[near]
        shift[near] -= line.depth * fade * groove
        crease[near] = np.maximum(crease[near], fade * deep * min(1.0, line.depth / 0.012))
    body.vertices += shift[:, None] * body.normals
    return np.clip(crease, 0, 1)


def _lines(face: Landmarks) -> Iterator[Line]:
    eye, nose, mouth = face.eyes[0, 1], face.nose[1], face.mouth[1]
    for k, height in enumerate((0.33, 0.42, 0.515)):
        x = np.linspace(-0.43, 0.40, 28) + 0.02 * k
        wave = 0.022 * np.cos(7.5 * x + 0.7 * k) + 0.008 * np.sin(19 * x + 2.0 * k)
        yield Line(np.stack([x, eye + height + wave], 1), (0.011, 0.010, 0.006)[k], 0.016)
    for centre, corner in zip(face.eyes, face.corners, strict=True):
        side, x = np.sign(centre[0]), abs(centre[0])

        def curve(depth: float, width: float, *spots: tuple[float, float], s: float = side) -> Line:
            return Line(_smooth(np.array(spots) * (s, 1.0)), depth, width)

        yield curve(0.010, 0.013, (0.050, eye + 0.09), (0.056, eye + 0.17), (0.066, eye + 0.25))
        for tilt, reach in ((-0.75, 0.13), (-0.30, 0.16), (0.12, 0.17), (0.50, 0.13)):
            start = np.array([x + 0.20, eye + 0.10 * tilt])
            end = start + reach * np.array([np.cos(tilt), np.sin(tilt)])
            bent = (start + end) / 2 + (0.0, -0.008)
            yield curve(0.006, 0.010, tuple(start), tuple(bent), tuple(end))
        yield curve(0.012, 0.018, (x - 0.17, eye - 0.06), (x - 0.07, eye - 0.155),
                    (x + 0.06, eye - 0.165), (x + 0.17, eye - 0.10))  # fmt: skip
        yield curve(0.006, 0.012, (x - 0.10, eye - 0.09), (x, eye - 0.118), (x + 0.12, eye - 0.08))
        edge = abs(corner[0])
        yield curve(0.021, 0.026, (0.155, nose + 0.07), (0.215, nose - 0.02),
                    (edge + 0.035, mouth + 0.07), (edge + 0.075, mouth - 0.06))  # fmt: skip
        yield curve(0.011, 0.018, (edge + 0.012, mouth - 0.02), (edge + 0.03, mouth - 0.11),
                    (edge + 0.02, mouth - 0.20))  # fmt: skip
        yield curve(0.006, 0.012, (x + 0.10, nose + 0.10), (x + 0.17, nose - 0.06),
                    (x + 0.16, nose - 0.24))  # fmt: skip


def _smooth(spots: Floats, count: int = 24) -> Floats:
    """``count`` points (count, 2) on a quadratic or cubic through ``spots`` (3 or 4, 2)."""
    t, fine = np.linspace(0, 1, len(spots)), np.linspace(0, 1, count)
    return np.stack(
        [np.polyval(np.polyfit(t, spots[:, a], len(spots) - 1), fine) for a in (0, 1)], 1
    )


def _distance(points: Floats, line: Floats) -> tuple[Floats, Floats]:
    """Distance (n,) of ``points`` (n, 2) to a polyline, and the place along it in 0..1."""
    best, along = np.full(len(points), np.inf), np.zeros(len(points))
    for i, (start, end) in enumerate(pairwise(line)):
        way = end - start
        t = np.clip((points - start) @ way / (way @ way), 0, 1)
        gap = np.linalg.norm(points - start - t[:, None] * way, axis=1)
        nearer = gap < best
        best[nearer], along[nearer] = gap[nearer], (i + t[nearer]) / (len(line) - 1)
    return best, along
