"""Camera, lights, backdrop and render settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from training.avatars.anatomy import Floats, vec
from training.avatars.blender import Shader, add_mesh, area_light, to_blender
from training.avatars.skin import linear


def new_scene(size: int, samples: int, threads: int) -> Any:
    """Empty Cycles scene with a square picture of ``size`` pixels."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.samples, cycles.use_denoising = samples, True
    cycles.adaptive_threshold = 0.015
    cycles.max_bounces, cycles.transparent_max_bounces = 10, 24
    cycles.sample_clamp_indirect = 4.0
    scene.render.threads_mode, scene.render.threads = "FIXED", threads
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.film_transparent = False
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - Medium High Contrast"
    world = bpy.data.worlds.new("world")
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs[0].default_value = (0.42, 0.45, 0.5, 1.0)
    world.node_tree.nodes["Background"].inputs[1].default_value = 0.35
    scene.world = world
    return scene


def camera(scene: Any, aim: Floats, eye_level: float, distance: float, height: float) -> None:
    """Level camera ``distance`` dm before ``aim`` at ``eye_level``, shifted so that ``aim`` is
    the picture's centre, which is ``height`` dm tall there."""
    data = bpy.data.cameras.new("camera")
    data.sensor_width = 36.0
    data.lens = 36.0 * distance / height
    data.shift_y = float((aim[1] - eye_level) / height)
    thing = bpy.data.objects.new("camera", data)
    bpy.context.collection.objects.link(thing)
    thing.location = to_blender(np.array([aim[0], eye_level, aim[2] + distance]))
    thing.rotation_euler = (np.pi / 2, 0.0, 0.0)
    scene.camera = thing


@dataclass(frozen=True)
class Light:
    """How a portrait is lit: ``side`` -1 has the key at the picture's left, 1 at its right.

    ``strength`` scales all, ``fill`` and ``rim`` theirs; ``warm`` shifts the key's colour.
    """

    strength: float = 1.0
    side: float = -1.0
    fill: float = 1.0
    rim: float = 1.0
    warm: float = 0.0


def lights(target: Floats, light: Light) -> None:
    """Large key from one side, fill from the other, two rims from behind."""
    t, s = np.asarray(target), -light.side
    key = (1.0, 0.955 - 0.10 * light.warm, 0.90 - 0.22 * light.warm)
    fill, rim = light.strength * light.fill, light.strength * light.rim
    area_light(t + vec(-5.5 * s, 4.6, 8.5), t, 5.0, 1000 * light.strength, key)
    area_light(t + vec(7.5 * s, 1.0, 7.5), t, 7.0, 270 * fill, (0.90, 0.95, 1.0))
    area_light(t + vec(0.0, -5.0, 7.0), t, 4.0, 70 * fill, (1.0, 0.95, 0.92))
    area_light(t + vec(5.5 * s, 5.0, -6.0), t, 2.8, 380 * rim, (0.93, 0.96, 1.0))
    area_light(t + vec(-6.0 * s, 4.0, -6.0), t, 2.8, 240 * rim, (1.0, 0.95, 0.9))


def backdrop(
    target: Floats, centre: tuple[float, float, float], edge: tuple[float, float, float]
) -> None:
    """Self-lit plane with a soft round gradient between two sRGB colours."""
    s = Shader("backdrop")
    where = s.node("TexCoord").outputs["Object"]
    spread = s.node("Mapping", {"Vector": where, "Scale": (0.15, 0.0, 0.15)})
    radius = s.node("VectorMath", {0: spread}, operation="LENGTH").outputs["Value"]
    smooth = s.node("MapRange", {0: radius, 1: 0.0, 2: 1.25}, interpolation_type="SMOOTHSTEP")
    tint = s.mix(smooth.outputs[0], tuple(linear(centre)), tuple(linear(edge)))
    light = s.node("Emission", {"Color": tint, "Strength": 1.0})
    material = s.finish(light.outputs[0])
    corners = np.array([[-30, -30, 0], [30, -30, 0], [30, 30, 0], [-30, 30, 0.0]])
    thing = add_mesh("backdrop", corners, [[0, 1, 2, 3]], material)
    thing.location = to_blender(np.asarray(target) + vec(-0.6, 0.8, -14.0))
    thing.visible_diffuse = thing.visible_glossy = False


def render(scene: Any, path: Path) -> None:
    """Write an 8-bit PNG, or a JPEG of quality 95 for the suffix ``.jpg``."""
    settings = scene.render.image_settings
    settings.file_format = "JPEG" if path.suffix == ".jpg" else "PNG"
    settings.color_mode, settings.quality = "RGB", 95
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
