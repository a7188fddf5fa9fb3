"""What a frame shows of the inside of the mouth, and which frames show the most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.face.topology import INNER_LOWER_LIP, INNER_UPPER_LIP, IRIS_CENTRES, MOUTH_CENTRE
from engine.media import Float32, UInt8
from engine.render.layout import MOUTH, SIZE
from engine.render.network import RenderNetwork
from engine.render.warp import effective
from training.personal.footage import Footage

MIN_OPEN = 40.0
"""Pixels of the inside that both pictures must show; a frame with less teaches nothing."""
_TOP, _LEFT, _HEIGHT, _WIDTH = MOUTH.inner
_POINTS = [*INNER_UPPER_LIP, *INNER_LOWER_LIP[-2:0:-1]]


@dataclass(frozen=True, eq=False)
class Glimpse:
    """One frame's mouth as far as no card changes it; pixels are those of the window's inner part.

    Args:
        weights: [1,52] relative to the photo.
        motion: [1,58].
        at: [1,2] px, where the window is in the picture.
        hole: [1,1,h,w] share of each pixel that is inside.
        shade: [1,1,h,w] light inside.
        real: [1,3,h,w] as filmed, 0..255.
        sure: [1,1,h,w], where both pictures show the inside.
    """

    weights: Tensor
    motion: Tensor
    at: Tensor
    hole: Tensor
    shade: Tensor
    real: Tensor
    sure: Tensor


def glimpse(
    network: RenderNetwork,
    constants: Mapping[str, Tensor],
    motion: Float32,
    real: UInt8,
    landmarks: Float32,
) -> Glimpse | None:
    """Draw a frame's mouth without cards; None where the filmed and the drawn one share too little.

    Args:
        network: without a refiner.
        constants: an avatar's arrays.
        motion: [58], as the renderer takes it.
        real: uint8 [512,512,3], the frame in the portrait's picture.
        landmarks: [478,2] of it.
    """
    given = torch.from_numpy(motion[None].copy())
    bare = {**constants, "motion": given, "mouth_cards": torch.zeros_like(constants["mouth_cards"])}
    with torch.no_grad():
        _, _, inside, index = network.draw_mouth(bare)
        hole = inside[..., _TOP : _TOP + _HEIGHT, _LEFT : _LEFT + _WIDTH]
        shade = network.mouth.light(hole)
        shapes = torch.maximum(given[:, :52], constants["floor"])
        weights = effective(shapes, constants["lids"]) - constants["resting"]
    first = int(index[0, 0])
    x, y = first % SIZE, first // SIZE
    lips = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(lips, [np.round(landmarks[_POINTS] * 16).astype(np.int32)], 255, shift=4)
    lips = np.asarray(cv2.erode(lips, np.ones((3, 3), np.uint8)), np.uint8)
    rows, columns = slice(y + _TOP, y + _TOP + _HEIGHT), slice(x + _LEFT, x + _LEFT + _WIDTH)
    filmed = torch.from_numpy(real[rows, columns].transpose(2, 0, 1)[None].astype(np.float32))
    both = hole * torch.from_numpy(lips[rows, columns].astype(np.float32) / 255)
    if float(both.sum()) < MIN_OPEN:
        return None
    at = torch.tensor([[float(x), float(y)]])
    return Glimpse(weights, given, at, hole, shade, filmed, both)


def opening(footage: Footage, numbers: Sequence[int]) -> Float32:
    """Gap of the inner lips [T] in frames, as a share of the distance of the pupils."""
    points = footage.landmarks[list(numbers), :, :2]
    gap = np.linalg.norm(points[:, MOUTH_CENTRE[0]] - points[:, MOUTH_CENTRE[1]], axis=1)
    eyes = np.linalg.norm(points[:, IRIS_CENTRES[0]] - points[:, IRIS_CENTRES[1]], axis=1)
    return np.asarray(gap / eyes, np.float32)


def open_frames(footage: Footage, numbers: NDArray[np.int64], most: int) -> list[int]:
    """Frames that show the most of a mouth's inside, the blurred ones left out, in order."""
    sharp = footage.sharpness[numbers]
    clear = numbers[sharp >= np.percentile(sharp, 20)]
    widest = clear[np.argsort(opening(footage, list(clear)))[-most:]]
    return sorted(int(k) for k in widest)


def from_shut_to_open(footage: Footage, numbers: Sequence[int], count: int = 6) -> list[int]:
    """Frames in which the mouth is open in steps from least to most, in order of time."""
    order = np.argsort(opening(footage, numbers))
    chosen = order[np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)]
    return sorted(numbers[k] for k in chosen)
