"""The invisible watermark: a constant pattern of about one grey level, added to every picture.

The pattern stands still. A codec keeps what stands still, at the price of one key frame; a pattern
that changed would be flicker, and would be dropped as noise. The detector tells it from the
picture by its signs and not by its movement (``detect``).

Strength follows texture, which hides it: ``FLAT`` levels on plain surfaces, up to ``TEXTURED``
where the picture is busy. Cells have soft edges, and what they do to wide areas is taken out: the
eye would see blotches, and the detector does not look there. Fractions of a level are dithered in
a fixed 8 x 8 order.
"""

from __future__ import annotations

import cv2
import numpy as np

from engine.media import Float32, UInt8
from engine.provenance.code import GRID, Int8, Payload, default_code

FLAT, TEXTURED = 0.65, 3.0
"""Change in grey levels of a cell among opposite ones."""
_GAIN = 0.3
"""Strength per level of mean deviation from the surroundings."""
_SOFT, _WIDE, _FLATTEN = 1.2, 10.0, 0.8
"""Blur of the edges and width of an area, pixels of 512; share of the area's change taken out."""
_AROUND = 17
"""Pixels of 512 that have to be busy for the middle to count as such."""
_LUMA_RANGE = 219 / 255
"""A grey level of RGB in steps of limited-range luma."""


class Watermark:
    """Adds one payload's pattern to pictures of one size.

    Args:
        payload: what it says.
        picture: uint8 [H, W, 3] RGB: where textures are; also the size.
    """

    def __init__(self, payload: Payload, picture: UInt8) -> None:
        change = pattern(default_code().signs(payload), picture)
        self._plus, self._minus = _halves(np.repeat(_dither(change)[..., None], 3, axis=2))
        self._luma_plus, self._luma_minus = _halves(_dither(change * _LUMA_RANGE))

    def apply(self, image: UInt8) -> UInt8:
        """A marked copy of uint8 [H, W, 3]. Black and white saturate."""
        return _add(image, self._plus, self._minus)

    def apply_luma(self, luma: UInt8) -> None:
        """Mark a limited-range luma plane uint8 [H, W] in place."""
        luma[:] = _add(luma, self._luma_plus, self._luma_minus)


def pattern(signs: Int8, picture: UInt8) -> Float32:
    """float32 [H, W]: the change in grey levels, before dithering."""
    height, width = picture.shape[:2]
    step = GRID / max(height, width)
    rows = ((np.arange(height) + 0.5) * step).astype(int)
    columns = ((np.arange(width) + 0.5) * step).astype(int)
    unit = max(height, width) / 512
    cells = _blurred(signs[np.ix_(rows, columns)].astype(np.float32), _SOFT * unit)
    change = cells - _FLATTEN * _blurred(cells, _WIDE * unit)
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.float32)
    busy = _blurred(np.abs(grey - _blurred(grey, 3 * unit)), 4 * unit)
    # Plain skin beside hair is plain: what is busy has to be so all around.
    around = np.ones((round(_AROUND * unit),) * 2, np.uint8)
    busy = _blurred(np.asarray(cv2.erode(busy, around), np.float32), 3 * unit)
    return np.asarray(change * np.clip(FLAT + _GAIN * busy, FLAT, TEXTURED), np.float32)


def _blurred(array: Float32, sigma: float) -> Float32:
    return np.asarray(cv2.GaussianBlur(array, (0, 0), sigma), np.float32)


def _bayer(size: int) -> Float32:
    """Bayer's ordered-dither thresholds in (0, 1), ``size`` a power of two."""
    order = np.zeros((1, 1))
    while len(order) < size:
        order = np.block([[4 * order, 4 * order + 2], [4 * order + 3, 4 * order + 1]])
    return ((order + 0.5) / order.size).astype(np.float32)


def _dither(change: Float32) -> Int8:
    height, width = change.shape
    threshold = np.tile(_bayer(8), (height // 8 + 1, width // 8 + 1))[:height, :width]
    return np.asarray(np.floor(change + threshold), np.int8)


def _halves(change: Int8) -> tuple[UInt8, UInt8]:
    """What to add and what to take away: OpenCV's saturating operations want no signs."""
    return np.maximum(change, 0).astype(np.uint8), np.maximum(-change, 0).astype(np.uint8)


def _add(image: UInt8, plus: UInt8, minus: UInt8) -> UInt8:
    marked = cv2.add(image, plus)
    return np.asarray(cv2.subtract(marked, minus, dst=marked), np.uint8)
