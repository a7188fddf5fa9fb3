"""Landmarks as points on a mesh, the lips' and lids' on the edge loops they belong to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.face import topology as top
from training.anny import Anny, Float64, Int

COLUMNS_UPPER = (
    (61, 76, 62, 78), (185, 184, 183, 191), (40, 74, 42, 80), (39, 73, 41, 81), (37, 72, 38, 82),
    (0, 11, 12, 13), (267, 302, 268, 312), (269, 303, 271, 311), (270, 304, 272, 310),
    (409, 408, 407, 415), (291, 306, 292, 308),
)  # fmt: skip
COLUMNS_LOWER = (
    (146, 77, 96, 95), (91, 90, 89, 88), (181, 180, 179, 178), (84, 85, 86, 87), (17, 16, 15, 14),
    (314, 315, 316, 317), (405, 404, 403, 402), (321, 320, 319, 318), (375, 307, 325, 324),
)  # fmt: skip
"""Landmarks of the lips from the outer edge to the inner one, column by column."""


@dataclass
class Anchors:
    """Points on a mesh: weights [N,3] over vertices [N,3]."""

    vertices: Int
    weights: Float64

    def at(self, points: Float64) -> Float64:
        """Positions (or displacements) [N,3]."""
        return np.asarray(np.einsum("nk,nkd->nd", self.weights, points[self.vertices]))

    def put(self, where: int, vertices: list[int], weights: list[float]) -> None:
        """Move one anchor onto a combination of up to three vertices."""
        fill = 3 - len(vertices)
        self.vertices[where] = vertices + vertices[:1] * fill
        self.weights[where] = weights + [0.0] * fill


def cast(flat: Float64, points: Float64, faces: Int) -> tuple[Anchors, Float64]:
    """Where rays from the front first meet a mesh.

    Returns:
        anchors, and how far [N] (decimetres, in the picture) each ray passed by the mesh.
    """
    a, b, c = points[faces].transpose(1, 0, 2)
    area = _cross(b - a, c - a)
    front = area > 1e-9
    faces, a, b, c, area = faces[front], a[front], b[front], c[front], area[front]
    anchors = Anchors(np.zeros((len(flat), 3), np.int64), np.zeros((len(flat), 3)))
    missed = np.zeros(len(flat))
    for index, point in enumerate(flat):
        p = np.append(point, 0.0)
        raw = np.stack([_cross(c - b, p - b), _cross(a - c, p - c), _cross(b - a, p - a)], 1)
        raw /= area[:, None]
        inside = np.clip(raw, 0, None)
        inside /= inside.sum(1, keepdims=True)
        hit = np.einsum("mk,mkd->md", inside, points[faces])
        off = np.linalg.norm(hit[:, :2] - point, axis=1)
        near = off <= off.min() + 1e-6
        best = int(np.argmax(np.where(near, hit[:, 2], -np.inf)))
        anchors.vertices[index], anchors.weights[index] = faces[best], inside[best]
        missed[index] = off[best]
    return anchors, missed


def _cross(first: Float64, second: Float64) -> Float64:
    return np.asarray(first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0])


def arc(ring: list[int], points: Float64, first: int, last: int) -> list[int]:
    """The part of a ring from one vertex to another, in the ring's direction."""
    start = ring.index(first)
    turned = ring[start:] + ring[:start]
    return turned[: turned.index(last) + 1]


def along(path: list[int], points: Float64, x: float) -> tuple[list[int], list[float]]:
    """The point of a path of vertices at a given x, as a combination of two neighbours."""
    xs = points[path, 0]
    for k in range(len(path) - 1):
        low, high = sorted((xs[k], xs[k + 1]))
        if low <= x <= high and high > low:
            share = float((x - xs[k]) / (xs[k + 1] - xs[k]))
            return [path[k], path[k + 1]], [1 - share, share]
    end = int(np.argmin(np.abs(xs - x)))
    return [path[end]], [1.0]


def split_ring(ring: list[int], points: Float64) -> tuple[list[int], list[int]]:
    """The upper and the lower half of a ring, both from its least x to its greatest."""
    low, high = ring[int(points[ring, 0].argmin())], ring[int(points[ring, 0].argmax())]
    one = arc(ring, points, low, high)
    other = arc(ring, points, high, low)[::-1]
    if points[one, 1].mean() < points[other, 1].mean():
        one, other = other, one
    return one, other


def place_margin(
    anchors: Anchors,
    halves: tuple[list[int], list[int]],
    lists: tuple[tuple[int, ...], tuple[int, ...]],
    points: Float64,
    flat: Float64,
) -> None:
    """Put two rows of landmarks, which share their ends, onto the two halves of an edge loop."""
    ends = points[[halves[0][0], halves[0][-1]], 0]
    for half, row in zip(halves, lists, strict=True):
        seen = flat[list(row), 0]
        wanted = np.interp(seen, np.sort(seen[[0, -1]]), ends)
        for landmark, x in zip(row, wanted, strict=True):
            anchors.put(landmark, *along(half, points, float(x)))


def place_lips(anchors: Anchors, points: Float64, jaw: Float64, body: Int, flat: Float64) -> None:
    """Spread the landmarks between the outer and the inner edge over the right lip's surface."""
    lower = np.linalg.norm(jaw, axis=1)[body] > 0.12
    front = (points[body, 2].min(1) > 1.25) & (np.abs(points[body, 1] - 6.7).max(1) < 0.3)
    corners = (COLUMNS_UPPER[0], COLUMNS_UPPER[-1])
    for columns, faces in (
        (COLUMNS_UPPER[1:-1], body[front & ~lower.any(1)]),
        (COLUMNS_LOWER, body[front & lower.all(1)]),
        (corners, body[front]),
    ):
        for outer, second, third, inner in columns:
            start, end = flat[outer], anchors.at(points)[inner, :2]
            if columns is corners:
                # The mesh's corner lies a little outside of the one that was seen.
                start = end + flat[outer] - flat[inner]
            wanted = np.array([start, start + (end - start) / 3, start + (end - start) * 0.7])
            found, _ = cast(wanted, points, faces)
            for k, landmark in enumerate((outer, second, third)):
                anchors.put(landmark, list(found.vertices[k]), list(found.weights[k]))


def mirror_lids(anny: Anny, anchors: Anchors, points: Float64, mirror: Int) -> None:
    """The right eye's margins are the left one's, mirrored vertex by vertex."""
    body = anny.vertices("body")
    for landmark in (*top.LEFT_UPPER_LID, *top.LEFT_LOWER_LID):
        wanted = points[anchors.vertices[landmark]] * [-1, 1, 1]
        gap = np.linalg.norm(points[body][:, None] - wanted[None], axis=2)
        anchors.vertices[mirror[landmark]] = body[gap.argmin(0)]
        anchors.weights[mirror[landmark]] = anchors.weights[landmark]
