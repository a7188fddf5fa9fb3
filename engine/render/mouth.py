"""What is inside a mouth: rendered cards of cavity, tongue, lower and upper teeth, placed to fit.

``engine/weights/mouth.npz`` is made by ``training/avatars/mouth.py``: straight-alpha pictures, each
with the box it covers in inter-ocular units from the midpoint of the mouth's corners, the lower
ones seen at a stated ``jawOpen``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from engine.errors import ArtifactError
from engine.face.fit import HeadFit
from engine.face.rig import Rig
from engine.face.topology import CHIN, LIP_PAIRS, MOUTH_CENTRE
from engine.media import Float32
from engine.motion.arkit import INDEX
from engine.render.layout import CARD
from engine.runtime.artifact import WEIGHTS

LAYERS = ("cavity", "tongue", "lower", "upper")
"""Back to front."""
BEHIND_LIPS = 0.13
"""Inter-ocular units from the lips' front back to the incisors'."""
WIDTH_LIMITS = (0.85, 1.15)
"""Of a dental arch against the average, by the mouth's width."""
WHITE = 225.0
"""Brightness of teeth in full light."""
DROP = {"upper": 0.025, "tongue": 0.06}
"""Inter-ocular units by which a layer lies lower than rendered: clips of speech show more of the
upper teeth, and a tongue that rests on the floor."""
TONGUE_SHADE = (0.3, 0.95)
"""Light on the tongue at the throat and at its tip."""
GIVES_WAY = np.array([0, 0.8, 0], np.float32)
CAVITY_REACH = 1.25
"""The cavity is drawn larger than rendered: lips of another shape must not uncover its edge."""


@dataclass(frozen=True, eq=False)
class MouthCards:
    """Cards in the head's frame at rest, back to front.

    Args:
        textures: float32 [4,4,h,w], premultiplied colour in 0..255 and share.
        centres: float32 [4,3], inter-ocular units.
        halves: float32 [4,2]: half width and half height, inter-ocular units.
        deltas: float32 [4,52,3]: how a card moves with each blendshape.
    """

    textures: Float32
    centres: Float32
    halves: Float32
    deltas: Float32


UPPER = LAYERS.index("upper")


@cache
def _prior(path: Path) -> dict[str, Float32]:
    try:
        with np.load(path) as file:
            return {name: np.asarray(file[name], np.float32) for name in file.files}
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path.name} cannot be read ({error}); reinstall") from error


def mouth_cards(
    fit: HeadFit, light: Float32, rig: Rig | None = None, path: Path = WEIGHTS / "mouth.npz"
) -> MouthCards:
    """Fit the rendered mouth to a person.

    Args:
        fit: the person's head.
        light: float32 [3]: colour of white things in the photo, as a share of full white.
        rig: the average head.
        path: the rendered mouth.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    rig = rig or Rig.load()
    prior = _prior(path)
    width = float(np.clip(_mouth_width(fit.neutral) / _mouth_width(rig.neutral), *WIDTH_LIMITS))
    lips = fit.neutral[list(MOUTH_CENTRE)].mean(0)
    line = float(prior["upper_lip"] + prior["lower_lip"]) / 2
    drop = float(fit.deltas[INDEX["jawOpen"], CHIN, 1] / rig.deltas[INDEX["jawOpen"], CHIN, 1])
    light = np.clip(light * (WHITE / _brightness(prior["upper"])), 0.4, 1.6).astype(np.float32)
    textures, centres, halves, deltas = [], [], [], []
    for name in LAYERS:
        left, low, right, high = prior[f"{name}_box"]
        per_jaw = prior.get(f"{name}_per_jaw_open", np.zeros(2, np.float32))
        centre = np.array([(left + right) / 2, (low + high) / 2 - line])
        centre -= per_jaw * float(prior["jaw_open"])
        half = np.array([right - left, high - low]) / 2 * width
        if name == "cavity":
            half *= CAVITY_REACH
        moved = _part_deltas(fit, name)
        moved[INDEX["jawOpen"], :2] = per_jaw * drop
        centre[1] -= DROP.get(name, 0.0)
        textures.append(_texture(prior[name] * _depth(name, len(prior[name])), light))
        centres.append(lips + np.array([*(centre * width), -BEHIND_LIPS]))
        halves.append(half)
        deltas.append(moved)
    stacked = (np.stack(x).astype(np.float32) for x in (textures, centres, halves, deltas))
    return MouthCards(*stacked)


def _brightness(layer: Float32) -> float:
    """Of the teeth of a rendered layer [H,W,4]."""
    solid = layer[layer[..., 3] > 250][:, :3]
    return float(np.percentile(solid.mean(1), 90))


def _mouth_width(landmarks: Float32) -> float:
    first, last = LIP_PAIRS[0][0], LIP_PAIRS[-1][0]
    return float(landmarks[last, 0] - landmarks[first, 0])


def _part_deltas(fit: HeadFit, name: str) -> Float32:
    """Movement of a layer's rig part: mean over its points; the cavity moves half with the jaw."""
    if name == "cavity":
        return np.asarray(fit.parts["lower_teeth"].deltas.mean(1) * 0.5, np.float32)
    part = {"upper": "upper_teeth", "lower": "lower_teeth", "tongue": "tongue"}[name]
    deltas = np.array(fit.parts[part].deltas.mean(1), np.float32)
    if name == "lower":
        # Lips that are pushed forward curl over the lower teeth; a flat card has to give way.
        for shape in ("mouthFunnel", "mouthPucker"):
            deltas[INDEX[shape]] += GIVES_WAY * fit.deltas[INDEX[shape], MOUTH_CENTRE[1]]
    return deltas


def _depth(name: str, rows: int) -> Float32:
    """Factors [rows,1,4] that darken a tongue towards the throat."""
    factors = np.ones((rows, 1, 4), np.float32)
    if name == "tongue":
        factors[:, 0, :3] = np.linspace(*TONGUE_SHADE, rows, dtype=np.float32)[:, None]
    return factors


def _texture(layer: Float32, light: Float32) -> Float32:
    """Straight-alpha layer [H,W,4] in 0..255 to a lit, premultiplied card [4,h,w]."""
    share = layer[..., 3:] / 255
    whole = np.concatenate([layer[..., :3] * light * share, share], -1)
    small = cv2.resize(whole, (CARD[1], CARD[0]), interpolation=cv2.INTER_AREA)
    # A clear rim, so that a card ends softly where it is cut.
    small[[0, -1]] = small[:, [0, -1]] = 0
    return np.ascontiguousarray(small.transpose(2, 0, 1), np.float32)
