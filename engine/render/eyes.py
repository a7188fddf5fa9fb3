"""Eyes as cards: a white without iris, and an iris whole enough to look elsewhere."""

from __future__ import annotations

import cv2
import numpy as np

from engine.media import Float32
from engine.render.layers import fill

REACH = 1.22
"""Radius, in iris radii, out to which the eye's colours belong to the iris card."""
UNDER_LID = 0.8
"""Light on what only a wider eye uncovers."""


def eye_cards(photo: Float32, opening: Float32, centre: Float32, radius: float) -> Float32:
    """Cut an eye into white and iris.

    Composed at rest they are the photo wherever the eye is open.

    Args:
        photo: float32 [H,W,3] around the eye, 0..255.
        opening: float32 [H,W], share of each pixel between the lids.
        centre: [2] px, of the iris in ``photo``.
        radius: px, of the iris.

    Returns:
        float32 [2,4,H,W]: white, then iris; premultiplied colour and share.
    """
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]].astype(np.float32)
    distance = np.hypot(x - centre[0], y - centre[1]) / radius
    seen = (opening > 0.5).astype(np.float32)
    white_seen = seen * (distance > REACH)
    white = _continued(photo, opening, white_seen)
    # In the open eye the photo itself shows, up to the iris card's own edge. What only wider
    # eyes uncover goes on as the rim is, dark with lashes: white would be a second eye.
    white = np.where((white_seen > 0)[..., None], photo, white)
    beyond = UNDER_LID * fill(photo, white_seen)
    white = np.where((opening > 0.5)[..., None], white, beyond)
    share = 1 - _smooth(0.94, REACH, distance)
    whole = _complete(photo, seen, distance, white)
    colour = whole - (1 - share[..., None]) * white
    colour = np.where((share > 0)[..., None], colour, 0)
    front = np.concatenate([colour, share[..., None]], -1)
    back = np.concatenate([white, np.ones_like(share)[..., None]], -1)
    return np.stack([back, front]).transpose(0, 3, 1, 2).astype(np.float32)


def _continued(photo: Float32, opening: Float32, seen: Float32) -> Float32:
    """The white of the eye carried on under the iris, [H,W,3].

    Only its brighter part is carried on: the darker one is lashes, their shade and the iris' rim.
    """
    light = photo.mean(-1)
    inner = cv2.erode(opening, np.ones((3, 3), np.uint8)) * seen
    good = inner > 0.9
    if good.sum() < 12:
        return np.full_like(photo, 0.75 * float(np.percentile(photo, 90)))
    good &= light >= np.percentile(light[good], 45)
    return fill(photo, good.astype(np.float32))


def _complete(photo: Float32, seen: Float32, distance: Float32, white: Float32) -> Float32:
    """The eye with what the lids hide of the iris, by its mean colour at each radius."""
    bins = np.clip((distance * 12).astype(int), 0, int(REACH * 12))
    inside = (distance <= REACH) & (seen > 0)
    count = np.bincount(bins[inside], minlength=bins.max() + 1)
    profile = np.empty((bins.max() + 1, 3), np.float32)
    for channel in range(3):
        total = np.bincount(bins[inside], photo[..., channel][inside], minlength=len(count))
        known = count > 0
        where = np.arange(len(count))
        if not known.any():
            profile[:, channel] = float(photo[..., channel].mean()) * 0.5
            continue
        means = total[known] / count[known]
        profile[:, channel] = np.interp(where, where[known], means)
    guess = cv2.GaussianBlur(profile[bins], (0, 0), 0.7)
    guess = np.where((distance > REACH)[..., None], white, guess)
    soft = cv2.GaussianBlur(seen, (0, 0), 1.0)[..., None] * seen[..., None]
    soft = np.where(seen[..., None] > 0, np.maximum(soft, 0.999), soft)
    return np.asarray(photo * soft + guess * (1 - soft), np.float32)


def _smooth(low: float, high: float, value: Float32) -> Float32:
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def white_light(photo: Float32, opening: Float32) -> Float32:
    """Colour of white things in the photo as a share of full white [3], from its eyes.

    Args:
        photo: float32 [...,3] in 0..255.
        opening: float32 [...], share of each pixel between the lids.
    """
    pixels = photo[opening > 0.9]
    if len(pixels) < 8:
        return np.full(3, 0.8, np.float32)
    brightness = pixels.mean(1)
    bright = pixels[brightness >= np.percentile(brightness, 70)].mean(0) / 215
    grey = bright.mean()
    # Half the cast: bloodshot eyes are not a red lamp.
    return np.asarray(np.clip((bright + grey) / 2, 0.35, 1.08), np.float32)
