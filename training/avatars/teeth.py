"""Two dental arches with gums, modelled from tables of crown sizes, in decimetres.

The data's own teeth are a ten-sided band without single teeth; it gives the arch and its place.
Crown sizes are typical of adults, rounded; widths are then scaled to fill the arch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.avatars.anatomy import Floats

Faces = NDArray[np.int64]


@dataclass(frozen=True)
class Jaw:
    """Sizes of one quadrant from the middle outwards; ``up`` is +1 where necks point up."""

    up: float
    width: tuple[float, ...]
    height: tuple[float, ...]
    depth: tuple[float, ...]
    point: tuple[float, ...]
    step: tuple[float, ...]


UPPER = Jaw(
    up=1.0,
    width=(0.085, 0.066, 0.076, 0.070, 0.068, 0.100, 0.092),
    height=(0.105, 0.092, 0.102, 0.087, 0.080, 0.075, 0.070),
    depth=(0.062, 0.056, 0.072, 0.085, 0.085, 0.100, 0.100),
    point=(0.03, 0.06, 0.24, 0.18, 0.16, 0.08, 0.08),
    step=(0.0, 0.008, 0.000, 0.006, 0.009, 0.012, 0.014),
)
LOWER = Jaw(
    up=-1.0,
    width=(0.053, 0.058, 0.068, 0.070, 0.071, 0.105, 0.100),
    height=(0.088, 0.092, 0.105, 0.088, 0.080, 0.075, 0.070),
    depth=(0.056, 0.058, 0.072, 0.078, 0.080, 0.100, 0.100),
    point=(0.02, 0.03, 0.22, 0.18, 0.14, 0.08, 0.08),
    step=(0.0, 0.0, -0.004, 0.006, 0.010, 0.013, 0.015),
)


@dataclass(frozen=True)
class Part:
    """A mesh: ``points`` (n, 3), ``faces`` (f, 4), ``height`` (n,): 0 biting edge, 1 neck."""

    points: Floats
    faces: Faces
    height: Floats


class Arch:
    """Front surface of a row of teeth, seen from above: half a superellipse."""

    def __init__(self, half_width: float, front: float, back: float, power: float = 2.15) -> None:
        turn = np.linspace(0, np.pi / 2, 400)
        x = half_width * np.sin(turn) ** (2 / power)
        z = back + (front - back) * np.cos(turn) ** (2 / power)
        self._line = np.stack([x, z], 1)
        gaps = np.linalg.norm(np.diff(self._line, axis=0), axis=1)
        self._arc = np.r_[0, np.cumsum(gaps)]
        self.length = float(self._arc[-1])

    def at(self, arc: Floats) -> tuple[Floats, Floats]:
        """Places (n, 2) as x and z, and unit outward normals (n, 2), at signed arc lengths."""
        side, s = np.sign(arc + 1e-12), np.abs(arc)
        place = np.stack([np.interp(s, self._arc, self._line[:, k]) for k in (0, 1)], 1)
        ahead = np.stack([np.interp(s + 0.004, self._arc, self._line[:, k]) for k in (0, 1)], 1)
        behind = np.stack(
            [np.interp(np.maximum(s - 0.004, 0), self._arc, self._line[:, k]) for k in (0, 1)], 1
        )
        along = ahead - behind
        normal = np.stack([-along[:, 1], along[:, 0]], 1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        flip = np.stack([side, np.ones_like(side)], 1)
        return place * flip, normal * flip


def teeth(jaw: Jaw, arch: Arch, edge: float, rng: np.random.Generator) -> list[Part]:
    """Fourteen crowns; ``edge`` is the height of the central biting edge."""
    fit = arch.length / sum(jaw.width)
    parts = []
    for side in (-1.0, 1.0):
        start = 0.0
        for i, width in enumerate(jaw.width):
            centre = side * (start + fit * width / 2)
            start += fit * width
            level = edge + jaw.up * (jaw.step[i] + rng.normal(0, 0.0012))
            parts.append(_crown(jaw, i, arch, centre, fit * width * 0.985, level, rng))
    return parts


def _crown(
    jaw: Jaw, i: int, arch: Arch, centre: float, width: float, level: float,
    rng: np.random.Generator,
) -> Part:  # fmt: skip
    rings, spokes = 22, 36
    v = np.linspace(0, 1, rings) ** 1.3
    turn = np.linspace(0, 2 * np.pi, spokes, endpoint=False)
    cap = np.sqrt(np.clip(1 - (1 - np.clip(v / 0.10, 0, 1)) ** 2, 0, 1))
    closed = np.where(v > 0, 1.0, 0.0)
    half = width / 2 * np.interp(v, [0, 0.25, 0.6, 1], [0.95, 1.0, 0.96, 0.84])
    half *= closed * (0.45 + 0.55 * cap)
    thick = jaw.depth[i] / 2 * np.interp(v, [0, 0.4, 1], [0.30 if i < 3 else 0.75, 0.8, 1.0])
    thick *= closed * (0.2 + 0.8 * cap)
    across = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** 0.72
    deep = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** 0.85
    place, normal = arch.at(np.array([centre]))
    yaw = rng.normal(0, 0.035)
    c, s = np.cos(yaw), np.sin(yaw)
    out = np.array([[c, -s], [s, c]]) @ normal[0]
    tangent = np.array([out[1], -out[0]])
    u = half[:, None] * across[None]
    bulge = 0.010 * np.sin(np.pi * np.clip(v * 0.9 + 0.05, 0, 1)) - 0.012 * (1 - v)
    w = thick[:, None] * deep[None] + (bulge - jaw.depth[i] / 2 * 0.9)[:, None]
    flat = place[0] + u[..., None] * tangent + w[..., None] * out
    tip = jaw.point[i] * np.abs(u / (width / 2)) ** 1.5
    height = v[:, None] + (1 - v)[:, None] ** 2 * tip
    y = level + jaw.up * jaw.height[i] * 1.12 * height
    points = np.stack([flat[..., 0], y, flat[..., 1]], -1).reshape(-1, 3)
    return Part(points, _sheet(rings, spokes, True), np.repeat(v, spokes))


def gum(jaw: Jaw, arch: Arch, edge: float, tall: float = 0.16) -> Part:
    """Scalloped ridge over the necks, ``tall`` dm high."""
    fit = arch.length / sum(jaw.width)
    bounds = np.r_[0, np.cumsum(jaw.width)] * fit
    arc = np.linspace(-arch.length * 0.995, arch.length * 0.995, 560)
    tooth = np.clip(np.searchsorted(bounds, np.abs(arc), side="right") - 1, 0, 6)
    within = (np.abs(arc) - bounds[tooth]) / (bounds[tooth + 1] - bounds[tooth])
    middle = (bounds[:-1] + bounds[1:]) / 2
    neck = np.interp(np.abs(arc), middle, np.array(jaw.height) + np.array(jaw.step))
    scallop = np.abs(2 * within - 1) ** 1.7
    margin = neck - 0.042 * scallop
    rows = np.array(
        [[-0.050, 0.000], [-0.014, -0.001], [-0.001, 0.000], [0.006, 0.007], [0.010, 0.022],
         [0.011, 0.045], [0.006, 0.080], [0.000, 0.115], [-0.012, tall]]
    )  # fmt: skip
    place, normal = arch.at(arc)
    ripple = 1 - scallop
    fade = np.clip(1 - rows[:, 1] / 0.08, 0, 1)
    cuff = (rows[:, 1] > 0.001) * (0.006 + (0.006 - 0.008 * ripple[:, None]) * fade)
    outward = rows[None, :, 0] + cuff
    flat = place[:, None] + outward[..., None] * normal[:, None]
    y = edge + jaw.up * (neck[:, None] + (margin - neck)[:, None] * fade + rows[None, :, 1])
    points = np.stack([flat[..., 0], y, flat[..., 1]], -1).reshape(-1, 3)
    height = np.tile(rows[:, 1] / tall, len(arc))
    return Part(points, _sheet(len(arc), len(rows), False), height)


def _sheet(rows: int, columns: int, closed: bool) -> Faces:
    i = np.arange(rows - 1)[:, None] * columns
    j = np.arange(columns if closed else columns - 1)[None]
    k = (j + 1) % columns
    return np.stack([i + j, i + k, i + columns + k, i + columns + j], -1).reshape(-1, 4)
