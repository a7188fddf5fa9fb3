"""A photo that smiles with teeth can close its mouth, in the picture and not only by landmarks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from engine.face.analysis import FaceAnalyser
from engine.face.personal import close_over_jaw, part_lips
from engine.face.portrait import Portrait, prepare_portrait
from engine.face.rig import Rig
from engine.face.topology import INNER_UPPER_LIP, LIP_PAIRS
from engine.media import Float32
from engine.motion.arkit import INDEX, MOTION_SIZE
from engine.render.avatar import Avatar
from engine.render.network import RenderNetwork

SMILES = ("mouthSmileLeft", "mouthSmileRight")


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return prepare_portrait(np.asarray(astronaut(), np.uint8), FaceAnalyser())


@pytest.fixture(scope="module")
def constants(portrait: Portrait) -> dict[str, torch.Tensor]:
    avatar = Avatar.from_portrait(portrait)
    return {name: torch.from_numpy(np.array(array)) for name, array in avatar.arrays.items()}


def hole(constants: dict[str, torch.Tensor], values: Float32) -> float:
    """Greatest height in pixels, over the mouth's columns, of what is neither lip nor skin."""
    inputs = constants | {"motion": torch.from_numpy(values)[None]}
    with torch.no_grad():
        _, _, inside, _ = RenderNetwork().eval().draw_mouth(inputs)
    return float(inside[0, 0].sum(0).max())


def motion(**shapes: float) -> Float32:
    values = np.zeros(MOTION_SIZE, np.float32)
    for name, weight in shapes.items():
        values[INDEX[name]] = weight
    return values


def test_closed_lips_leave_a_line(portrait: Portrait, constants: dict[str, torch.Tensor]) -> None:
    assert hole(constants, portrait.fit.rest) > 10
    assert hole(constants, motion()) < 1.5
    assert hole(constants, motion(jawOpen=0.3, mouthClose=0.3)) < 1.5
    assert hole(constants, motion(**dict.fromkeys(SMILES, 0.6))) < 1.5
    turned = motion()
    turned[52] = 0.2
    assert hole(constants, turned) < 1.5


def test_lips_part_as_far_as_the_jaw_says(
    portrait: Portrait, constants: dict[str, torch.Tensor]
) -> None:
    seen = [hole(constants, motion(jawOpen=jaw)) for jaw in (0.2, 0.4)]
    told = [
        portrait.fit.lip_opening(motion(jawOpen=jaw)) * portrait.fit.scale for jaw in (0.2, 0.4)
    ]
    assert seen[1] - seen[0] == pytest.approx(told[1] - told[0], rel=0.2)


def test_only_shapes_that_part_lips_are_made_to_part_them_more() -> None:
    rig = Rig.load()
    deltas = np.array(rig.deltas, np.float64)
    shapes = motion(mouthSmileLeft=0.8, mouthSmileRight=0.8, jawOpen=0.2, mouthUpperUpLeft=0.4)[:52]
    before = np.tensordot(shapes, deltas, 1)
    gap = np.tile([0.0, 0.05, 0.0], (len(LIP_PAIRS), 1))
    part_lips(deltas, shapes, gap)
    more = np.tensordot(shapes, deltas, 1) - before
    upper, lower = (list(side) for side in zip(*LIP_PAIRS, strict=True))
    assert (more[upper] - more[lower])[:, 1] == pytest.approx(0.05, rel=0.15)
    smile = INDEX["mouthSmileLeft"]
    changed = np.abs(deltas - rig.deltas).max((1, 2))
    assert changed[INDEX["jawOpen"]] > 10 * changed[smile]
    close_over_jaw(deltas)
    both = deltas[INDEX["jawOpen"]] + deltas[INDEX["mouthClose"]]
    assert both[upper] == pytest.approx(both[lower])
    assert set(upper) < set(INNER_UPPER_LIP)
