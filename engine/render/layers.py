"""The photo cut into what moves: person over background, skin above and below each hole."""

from __future__ import annotations

import cv2
import numpy as np

from engine.media import Float32

SPREAD = 0.02
"""Share of the picture's side by which the matte is widened, for hair that it misses."""


def fill(colours: Float32, known: Float32) -> Float32:
    """Continue a picture into where it is not known: push-pull over a pyramid.

    Args:
        colours: float32 [H,W,C].
        known: float32 [H,W] in [0, 1].

    Returns:
        float32 [H,W,C], equal to ``colours`` where ``known`` is 1.
    """
    height, width = known.shape
    if min(height, width) <= 2 or known.min() >= 1:
        mean = (colours * known[..., None]).sum((0, 1)) / max(float(known.sum()), 1e-6)
        flat = colours * known[..., None] + mean * (1 - known[..., None])
        return np.asarray(flat, np.float32)
    size = ((width + 1) // 2, (height + 1) // 2)
    weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    summed = cv2.resize(colours * known[..., None], size, interpolation=cv2.INTER_AREA)
    mean = summed.reshape(*weight.shape, -1) / np.maximum(weight, 1e-6)[..., None]
    below = fill(mean.astype(np.float32), np.minimum(weight * 4, 1))
    smooth = cv2.resize(below, (width, height), interpolation=cv2.INTER_LINEAR)
    smooth = smooth.reshape(colours.shape)
    whole = colours * known[..., None] + smooth * (1 - known[..., None])
    return np.asarray(whole, np.float32)


def split(photo: Float32, matte: Float32) -> tuple[Float32, Float32]:
    """Person and background whose composition is the photo, whatever the matte's errors.

    Args:
        photo: float32 [H,W,3] in 0..255.
        matte: float32 [H,W] in [0, 1].

    Returns:
        person float32 [H,W,4] (premultiplied colour, share) and background float32 [H,W,3]:
        ``person[..., :3] + (1 - person[..., 3:]) * background`` equals the photo.
    """
    radius = max(1, round(SPREAD * len(photo)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    wide = cv2.dilate(matte, kernel)
    share = cv2.GaussianBlur(wide, (0, 0), radius / 2.5)
    unseen = cv2.dilate((share > 0.02).astype(np.float32), np.ones((3, 3), np.uint8))
    background = fill(photo, np.asarray(1 - unseen, np.float32))
    colour = photo - (1 - share[..., None]) * background
    return np.concatenate([colour, share[..., None]], -1).astype(np.float32), background


def seam(points: Float32, reach: float) -> Float32:
    """A hole's rim continued beyond its corners along their line: [N+2,2] px, x increasing.

    Args:
        points: [N,2] px from corner to corner.
        reach: px to go on at each end.
    """
    rim = points[np.argsort(points[:, 0])]
    axis = rim[-1] - rim[0]
    axis = axis / max(float(np.linalg.norm(axis)), 1e-6) * reach
    return np.concatenate([rim[:1] - axis, rim, rim[-1:] + axis]).astype(np.float32)


def share_above(line: Float32, origin: Float32, size: tuple[int, int], ramp: float) -> Float32:
    """Share of each pixel that lies above a line, [H,W] in [0, 1].

    Args:
        line: [N,2] px, x increasing.
        origin: [2] px of the first pixel.
        size: H, W.
        ramp: px over which the share falls from 1 to 0.
    """
    y = np.arange(size[0], dtype=np.float32)[:, None] + origin[1]
    x = np.arange(size[1], dtype=np.float32) + origin[0]
    height = np.interp(x, line[:, 0], line[:, 1])[None]
    return np.asarray(np.clip(0.5 + (height - y) / ramp, 0, 1), np.float32)


def crop(picture: Float32, origin: Float32, size: tuple[int, int]) -> Float32:
    """Cut [H,W,C] out of a picture; outside, the edge's colour goes on."""
    matrix = np.array([[1, 0, -origin[0]], [0, 1, -origin[1]]], np.float64)
    border = cv2.BORDER_REPLICATE
    out = cv2.warpAffine(picture, matrix, (size[1], size[0]), borderMode=border)
    return np.asarray(out, np.float32).reshape(*size, -1)
