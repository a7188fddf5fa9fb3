"""A knitted sweater: the body's shell, smoothed and pushed out, with a ribbed round collar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from mathutils.bvhtree import BVHTree

from training.avatars.anatomy import Floats
from training.avatars.blender import Dense, Shader, add_mesh
from training.avatars.skin import Landmarks, linear

_SLOPE = 0.50
"""Fall of the neckline per unit of depth: lower in front than at the nape."""


@dataclass(frozen=True)
class Garment:
    """What is worn: ``colour`` and the collar's ``trim`` in sRGB, lengths in decimetres.

    ``drop`` is how far below the chin the neckline lies, ``tall`` half the height of its collar,
    ``thick`` half its thickness. ``knit`` is coarse wool, otherwise smooth jersey.
    """

    colour: tuple[float, float, float] = (0.20, 0.30, 0.38)
    trim: tuple[float, float, float] | None = None
    drop: float = 0.58
    tall: float = 0.125
    thick: float = 0.042
    knit: bool = True


def add_garment(body: Dense, face: Landmarks, surface: BVHTree, worn: Garment) -> None:
    """Dress ``body``."""
    neck = _neck_centre(body, face, worn.drop)
    below = neck[1] - _SLOPE * (body.vertices[:, 2] - neck[2]) - body.vertices[:, 1]
    keep = (below[body.faces] > -0.10).all(1)
    shell = _smooth(body, keep, 60)
    normals = _smooth_normals(body, keep)
    ease = 0.055 + 0.045 * np.clip(below / 0.8, 0, 1)
    folds = _folds(shell) * np.clip(below / 0.6, 0, 1)
    cloth = shell + normals * (ease + folds)[:, None]
    add_mesh("sweater", cloth, body.faces[keep], _material("cloth", worn.colour, worn.knit))
    points, faces, around = _collar(neck, surface, worn)
    trim = worn.trim or worn.colour
    rib = _knit_material("rib", trim, True) if worn.knit else _jersey_material("rib", trim)
    add_mesh("collar", points, faces, rib, around=around)


def _neck_centre(body: Dense, face: Landmarks, drop: float) -> Floats:
    """Where the neckline's plane crosses the neck's axis."""
    height = face.chin[1] - drop
    p = body.vertices
    ring = p[(np.abs(p[:, 1] - height - 0.15) < 0.05) & (np.abs(p[:, 0]) < 0.75)]
    return np.array([0.0, height, (ring[:, 2].min() + ring[:, 2].max()) / 2])


def _smooth(body: Dense, keep: Any, rounds: int) -> Floats:
    """Laplacian smoothing of the kept part: cloth bridges what the skin follows."""
    edges = np.concatenate([body.faces[keep][:, [i, (i + 1) % 4]] for i in range(4)])
    a, b = np.concatenate([edges, edges[:, ::-1]]).T
    degree = np.bincount(a, minlength=len(body.vertices)).clip(1)[:, None]
    points = body.vertices.copy()
    inner = np.bincount(a, minlength=len(points)) > 0
    for _ in range(rounds):
        mean = np.stack([np.bincount(a, points[b, k], len(points)) for k in range(3)], 1) / degree
        points[inner] += 0.5 * (mean - points)[inner]
    return points


def _smooth_normals(body: Dense, keep: Any) -> Floats:
    turned = Dense.__new__(Dense)
    turned.vertices, turned.faces = body.normals, body.faces
    normals = _smooth(turned, keep, 25)
    return np.asarray(normals / np.linalg.norm(normals, axis=1, keepdims=True))


def _folds(points: Floats) -> Floats:
    x, y = np.abs(points[:, 0]), points[:, 1]
    drape = np.sin(5.0 * x - 3.2 * y + 1.4 * np.sin(2.1 * x + y) + 0.6 * np.sign(points[:, 0]))
    return np.asarray(0.014 * drape + 0.008 * np.sin(9 * y + 4 * x + points[:, 2] * 6))


def _collar(neck: Floats, surface: BVHTree, worn: Garment) -> tuple[Floats, Any, Floats]:
    """Tube around the neckline: points, faces and the rib phase per point."""
    turn = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    reach = np.zeros(len(turn))
    for i, angle in enumerate(turn):
        out = np.array([np.sin(angle), -_SLOPE * np.cos(angle), np.cos(angle)])
        hit = surface.ray_cast(neck, out / np.linalg.norm(out))[0]
        reach[i] = np.linalg.norm(np.array(hit) - neck) / np.linalg.norm(out)
    waves = np.fft.rfft(reach)
    waves[7:] = 0
    reach = np.fft.irfft(waves, len(turn)) + 0.075
    line = neck + reach[:, None] * np.stack([np.sin(turn), -_SLOPE * np.cos(turn), np.cos(turn)], 1)
    outward = (line - neck) / np.linalg.norm(line - neck, axis=1, keepdims=True)
    up = np.array([0.0, 1.0, 0.25])
    up = up - (outward @ up)[:, None] * outward
    section = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    across, along = worn.thick * np.cos(section), worn.tall * np.sin(section)
    points = (
        line[:, None]
        + outward[:, None] * (across + 0.45 * np.maximum(-along, 0))[None, :, None]
        + up[:, None] * along[None, :, None]
    )
    i, j = np.arange(len(turn))[:, None], np.arange(len(section))[None]
    k, m = (i + 1) % len(turn), (j + 1) % len(section)
    n = len(section)
    faces = np.stack([i * n + j, i * n + m, k * n + m, k * n + j], -1).reshape(-1, 4)
    around = np.repeat(turn, n) / (2 * np.pi)
    return points.reshape(-1, 3), faces, around


def _material(name: str, colour: tuple[float, float, float], knit: bool) -> Any:
    return _knit_material(name, colour, False) if knit else _jersey_material(name, colour)


def _jersey_material(name: str, colour: tuple[float, float, float]) -> Any:
    """Cotton: threads too fine to be seen, soft creases."""
    s = Shader(name)
    where = s.node("TexCoord").outputs["Object"]
    weave = s.node("TexNoise", {"Vector": where, "Scale": 90.0, "Detail": 2.0})
    crease = s.node("TexNoise", {"Vector": where, "Scale": 1.6, "Detail": 2.0, "Distortion": 0.6})
    height = s.math("MULTIPLY_ADD", crease, 9.0, weave)
    bump = s.node("Bump", {"Height": height, "Strength": 0.5, "Distance": 0.012})
    surface = s.node(
        "BsdfPrincipled",
        {"Base Color": tuple(linear(colour)), "Roughness": 0.85, "Specular IOR Level": 0.2,
         "Sheen Weight": 0.2, "Sheen Roughness": 0.5, "Normal": bump},
    )  # fmt: skip
    return s.finish(surface.outputs[0])


def _knit_material(name: str, colour: tuple[float, float, float], ribbed: bool) -> Any:
    s = Shader(name)
    where = s.node("TexCoord").outputs["Object"]
    xyz = s.node("SeparateXYZ", {0: where}).outputs
    if ribbed:
        phase = s.math("MULTIPLY", s.attribute("around").outputs["Fac"], 2 * np.pi * 120)
        height = s.math("SINE", phase)
        deep = 0.020
    else:
        column = s.math("DIVIDE", xyz["X"], 0.036)
        tilt = s.math("ABSOLUTE", s.math("SUBTRACT", s.math("FRACT", column), 0.5))
        row = s.math("SUBTRACT", s.math("DIVIDE", xyz["Z"], 0.028), tilt)
        loops = s.math("SINE", s.math("MULTIPLY", row, 2 * np.pi))
        groove = s.math("SINE", s.math("MULTIPLY", tilt, 2 * np.pi))
        height = s.math("ADD", loops, groove)
        deep = 0.012
    fuzz = s.node("TexNoise", {"Vector": where, "Scale": 60.0, "Detail": 3.0})
    height = s.math("ADD", height, s.math("MULTIPLY", fuzz, 0.9))
    bump = s.node("Bump", {"Height": height, "Strength": 0.55, "Distance": deep})
    shade = s.node("MapRange", {0: height, 1: -1.5, 2: 2.2, 3: 0.55, 4: 1.1}).outputs[0]
    base = tuple(linear(colour))
    dyed = s.mix(1.0, base, s.node("CombineColor", {0: shade, 1: shade, 2: shade}), "MULTIPLY")
    surface = s.node(
        "BsdfPrincipled",
        {"Base Color": dyed, "Roughness": 0.9, "Specular IOR Level": 0.15, "Sheen Weight": 0.35,
         "Sheen Roughness": 0.5, "Normal": bump},
    )  # fmt: skip
    return s.finish(surface.outputs[0])
