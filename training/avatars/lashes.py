"""Eyelashes and eyebrows as hair curves."""

from __future__ import annotations

from typing import Any

import numpy as np
from mathutils.bvhtree import BVHTree

from training.avatars.anatomy import Floats, vec
from training.avatars.blender import Shader
from training.avatars.skin import Landmarks

_WHITE = (0.66, 0.66, 0.67)
"""Linear reflectance of hair without pigment."""


def lid_line(face: Landmarks, side: int, surface: BVHTree, upper: bool) -> Floats:
    """Points (k, 3) on the edge of a lid, inner to outer corner, where skin meets the eyeball."""
    eye, radius, sign = face.eyes[side], face.eye_radius, np.sign(face.eyes[side][0])
    found = []
    for x in eye[0] + sign * radius * np.linspace(-0.98, 1.05, 64):
        for dy in np.arange(0.0, 1.0, 0.02) * radius * (1 if upper else -1):
            hit = surface.ray_cast((x, eye[1] + dy, 5.0), (0, 0, -1))[0]
            left = radius**2 - (x - eye[0]) ** 2 - dy**2
            if hit is not None and (left < 0 or hit[2] > eye[2] + np.sqrt(max(left, 0)) - 0.002):
                if dy != 0.0:
                    found.append(hit)
                break
    return np.array(found)


def lashes(
    edge: Floats, count: int, length: float, upper: bool, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Curves (count, 8, 3) and radii (count, 8) along a lid ``edge`` (k, 3); ``length`` in dm."""
    sign = np.sign(edge[-1, 0] - edge[0, 0])
    t = np.clip((np.arange(count) + rng.uniform(-0.4, 0.4, count)) / count, 0.02, 1)
    smooth = np.stack([np.polyval(np.polyfit(_arc(edge), edge[:, a], 5), t) for a in range(3)], 1)
    fan = sign * (t - 0.40) * 1.15 + rng.normal(0, 0.10, count)
    reach = length * rng.uniform(0.7, 1.1, count)
    reach *= np.interp(t, [0, 0.25, 0.75, 1], [0.45, 0.85, 1, 0.85])
    s = np.linspace(0, 1, 8)[None]
    curl = (0.05 * s + 0.72 * s**2) if upper else -(0.35 * s + 0.18 * s**2)
    every = np.ones((count, 1))
    shape = np.stack([fan[:, None] * s, curl * every, (0.85 * s - 0.25 * s**2) * every], -1)
    start = smooth + vec(0, 0.004 if upper else -0.004, 0.004)
    curve = start[:, None] + reach[:, None, None] * shape
    return curve, (0.0019 if upper else 0.0013) * (1 - 0.9 * s**1.3) * every


def _arc(line: Floats) -> Floats:
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    return np.asarray(length / length[-1])


def brow(
    face: Landmarks, side: int, surface: BVHTree, shape: dict[str, float], rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Curves (k, 6, 3) and radii of one brow; ``side`` 0 is the person's left.

    ``shape``: ``height`` above the eye centre, ``arch``, ``thick``, ``count``, ``length`` (dm); its
    ``melanin`` is the material's.
    """
    count = int(shape["count"])
    eye, sign = face.eyes[side], np.sign(face.eyes[side][0])
    t = rng.beta(1.25, 1.05, count)
    across = np.clip(rng.normal(0, 0.5, count), -1.3, 1.3)
    thick = shape["thick"] * np.interp(t, [0, 0.12, 0.5, 0.8, 1], [1.15, 1.05, 0.85, 0.5, 0.12])
    x = sign * (abs(eye[0]) + np.interp(t, [0, 1], [-0.20, 0.235]))
    rise = np.interp(t, [0, 0.35, 0.66, 1], [-0.02, 0.55, 1.0, 0.22])
    y = eye[1] + shape["height"] + shape["arch"] * rise + thick * across
    out = np.interp(t, [0, 0.2, 0.55, 1], [35, 22, 4, -18]) * np.pi / 180
    out += -across * 0.30 + rng.normal(0, 0.13, count)
    out += np.interp(t, [0, 0.12], [0.5, 0.0])
    ragged = np.interp(t, [0, 0.15], [0.022, 0.0]) * rng.uniform(-1, 1, count)
    x, y = x + sign * ragged, y + rng.normal(0, 0.004, count)
    length = shape["length"] * rng.uniform(0.7, 1.15, count)
    length *= np.interp(t, [0, 0.15, 1], [0.7, 1, 0.8])
    curve = np.zeros((count, 6, 3))
    s = np.linspace(0, 1, 6)
    bend = out[:, None] - 0.45 * s[None] * np.sign(across + 0.15)[:, None] * 0.5
    px = x[:, None] + sign * length[:, None] * s * np.cos(bend)
    py = y[:, None] + length[:, None] * s * np.sin(bend)
    for i in range(count):
        for j in range(6):
            hit, normal, _, _ = surface.ray_cast((px[i, j], py[i, j], 5.0), (0, 0, -1))
            raised = 0.004 + 0.016 * np.sin(np.pi * s[j] * 0.7) * (0.6 + 0.4 * (i % 7) / 6)
            curve[i, j] = np.array(hit) + raised * np.array(normal)
    radius = 0.0018 * (1 - 0.88 * s**1.5)[None] * np.ones((count, 1))
    return curve, radius


def hair_material(name: str, melanin: float, redness: float, grey: float = 0.0) -> Any:
    """Physically based hair: ``melanin`` 0 blond to 1 black; ``grey`` is the share without any."""
    s = Shader(name)
    node = s.node(
        "BsdfHairPrincipled",
        {"Melanin": melanin, "Melanin Redness": redness, "Roughness": 0.28,
         "Radial Roughness": 0.34, "Coat": 0.05, "Random Color": 0.12, "Random Roughness": 0.12},
        parametrization="MELANIN",
    )  # fmt: skip
    if not grey:
        return s.finish(node.outputs[0])
    white = s.node(
        "BsdfHairPrincipled",
        {"Color": _WHITE, "Roughness": 0.32, "Radial Roughness": 0.40, "Coat": 0.0},
        parametrization="COLOR",
    )
    lost = s.math("LESS_THAN", s.node("HairInfo").outputs["Random"], grey)
    return s.finish(
        s.node("MixShader", {0: lost, 1: node.outputs[0], 2: white.outputs[0]}).outputs[0]
    )
