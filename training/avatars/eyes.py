"""Eyeballs: an opaque ball with a recessed iris, and a clear glossy cornea in front."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.avatars.anatomy import Floats, vec
from training.avatars.blender import Shader, add_mesh
from training.avatars.skin import linear

Colour = tuple[float, float, float]
_RINGS, _SPOKES = 72, 96


def add_eyes(centres: Floats, radius: float, target: Floats, colour: Colour, white: Colour) -> None:
    """Two eyes at ``centres`` (2, 3) looking at ``target`` (3,); sRGB of the iris and the white."""
    ball, cornea = _ball_material(colour, white), _cornea_material()
    for centre in centres:
        forward = np.asarray(target) - centre
        frame = _frame(forward / np.linalg.norm(forward))
        for name, profile, material in (
            ("ball", _ball_profile(), ball),
            ("cornea", _cornea_profile(), cornea),
        ):
            points, faces = _revolve(profile * radius)
            radial = np.hypot(points[:, 0], points[:, 1]) / radius
            angle = np.arctan2(points[:, 1], points[:, 0])
            add_mesh(
                name,
                centre + points @ frame,
                faces,
                material,
                radial=radial,
                front=(points[:, 2] > 0).astype(float),
                spoke=np.stack([np.cos(angle), np.sin(angle), radial], 1),
            )


_IRIS, _PUPIL = 0.415, 0.165
"""Radii in units of the eyeball's; the pupil is that of a lit room."""


def _ball_profile() -> Floats:
    """(n, 2): distance from the optical axis and height along it, front to back."""
    edge = np.arcsin(_IRIS)
    deep = np.cos(edge) - 0.045
    inner = np.linspace(0, 0.985 * _IRIS, 26)
    iris = np.stack([inner, deep - 0.05 * (1 - inner / _IRIS)], 1)
    ball = np.linspace(edge, np.pi, _RINGS)
    return np.concatenate([iris, np.stack([np.sin(ball), np.cos(ball)], 1)])


def _cornea_profile() -> Floats:
    angle = np.linspace(0, np.pi * 0.62, _RINGS)
    bulge = 0.085 * np.exp(-((angle / (np.arcsin(_IRIS) * 0.82)) ** 4))
    return np.stack([np.sin(angle), np.cos(angle)], 1) * (1.004 + bulge)[:, None]


def _revolve(profile: Floats) -> tuple[Floats, Any]:
    turn = np.linspace(0, 2 * np.pi, _SPOKES, endpoint=False)
    ring = np.stack([np.cos(turn), np.sin(turn)], 1)
    points = np.concatenate(
        [profile[:, None, :1] * ring[None], np.repeat(profile[:, None, 1:], _SPOKES, 1)], 2
    )
    i = np.arange(len(profile) - 1)[:, None] * _SPOKES
    j = np.arange(_SPOKES)[None]
    k = (j + 1) % _SPOKES
    faces = np.stack([i + j, i + _SPOKES + j, i + _SPOKES + k, i + k], -1).reshape(-1, 4)
    return points.reshape(-1, 3), faces


def _frame(forward: Floats) -> Floats:
    right = np.cross((0.0, 1.0, 0.0), forward)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


def _ball_material(colour: Colour, sclera: Colour) -> Any:
    s = Shader("eyeball")
    radial = s.attribute("radial").outputs["Fac"]
    front = s.attribute("front").outputs["Fac"]
    spoke = s.attribute("spoke").outputs["Color"]
    stretched = s.node("Mapping", {"Vector": spoke, "Scale": (16.0, 16.0, 5.0)})
    fibre = s.node(
        "TexNoise", {"Vector": stretched, "Scale": 1.0, "Detail": 5.0, "Roughness": 0.65}
    )
    iris = s.node("ValToRGB", {"Fac": s.math("DIVIDE", radial, _IRIS)})
    dark, mid = linear(np.array(colour) * 0.34), linear(colour)
    light = linear(np.clip(np.array(colour) * 1.35 + vec(0.05, 0.03, 0.0), 0, 1))
    _ramp(
        iris,
        [
            (_PUPIL / _IRIS, mid * 0.55),
            (_PUPIL / _IRIS + 0.12, light),
            (0.72, mid),
            (0.90, dark),
            (1.0, dark * 0.25),
        ],
    )
    streaks = s.node("ValToRGB", {"Fac": fibre})
    _ramp(streaks, [(0.32, np.full(3, 0.42)), (0.68, np.full(3, 1.55))])
    lit = s.mix(0.85, iris.outputs[0], s.mix(1.0, iris.outputs[0], streaks.outputs[0], "MULTIPLY"))
    pupil = s.node("MapRange", {0: radial, 1: _PUPIL - 0.008, 2: _PUPIL + 0.012}).outputs[0]
    lit = s.mix(pupil, (0.004, 0.003, 0.003), lit)
    veins = s.node("TexNoise", {"Vector": spoke, "Scale": 7.0, "Detail": 6.0, "Roughness": 0.7})
    rosy = s.node("MapRange", {0: radial, 1: 0.55, 2: 1.0, 3: 0.0, 4: 0.55}).outputs[0]
    rosy = s.math("MULTIPLY", rosy, veins)
    white = s.mix(rosy, tuple(linear(sclera)), tuple(linear((0.82, 0.56, 0.50))))
    limbus = s.node("MapRange", {0: radial, 1: _IRIS - 0.03, 2: _IRIS + 0.035}).outputs[0]
    limbus = s.math("MAXIMUM", limbus, s.math("SUBTRACT", 1.0, front))
    colour_socket = s.mix(limbus, lit, white)
    surface = s.node(
        "BsdfPrincipled",
        {
            "Base Color": colour_socket,
            "Roughness": 0.5,
            "Specular IOR Level": 0.1,
            "Subsurface Weight": s.math("MULTIPLY", limbus, 0.6),
            "Subsurface Radius": (1.0, 0.5, 0.4),
            "Subsurface Scale": 0.02,
        },
    )
    return s.finish(surface.outputs[0])


def _ramp(node: Any, stops: list[tuple[float, Floats]]) -> None:
    elements = node.color_ramp.elements
    for index, (place, colour) in enumerate(stops):
        element = elements[index] if index < 2 else elements.new(place)
        element.position, element.color = place, (*np.clip(colour, 0, 1), 1.0)


def _cornea_material() -> Any:
    s = Shader("cornea")
    gloss = s.node("BsdfAnisotropic", {"Color": (1.0, 1.0, 1.0), "Roughness": 0.035})
    fresnel = s.node("Fresnel", {"IOR": 1.42})
    ray = s.node("LightPath")
    visible = s.math("MULTIPLY", fresnel, s.math("SUBTRACT", 1.0, ray.outputs["Is Shadow Ray"]))
    clear = s.node("BsdfTransparent")
    mixed = s.node("MixShader", {0: visible, 1: clear.outputs[0], 2: gloss.outputs[0]})
    return s.finish(mixed.outputs[0])
