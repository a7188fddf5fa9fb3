"""The visible mark: a small translucent label in a corner, drawn once and blended per picture."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

from engine.errors import ConfigError
from engine.media import Float32, UInt8

_HEIGHT, _TEXT, _MARGIN, _PADDING = 22 / 512, 13.5 / 512, 10 / 512, 8 / 512
"""Shares of the picture's shorter side: label, letters, distance to the edges, room beside text."""
_LONGEST = 0.5
"""Share of the picture's width that a label may take."""
_OVERSAMPLING = 4
_FILL, _RIM, _LETTERS = (16, 18, 22, 168), (255, 255, 255, 64), (255, 255, 255, 242)
"""RGBA: dark glass carries white letters on any picture; a light rim shows it on dark ones."""
_SYSTEM_FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc",
    "NotoSansArabic-Regular.ttf", "NotoSansDevanagari-Regular.ttf", "arial.ttf", "arialuni.ttf",
    "Arial Unicode.ttf", "msyh.ttc", "PingFang.ttc",
)  # fmt: skip


class Disclosure:
    """Draws one label into pictures of one size.

    Args:
        text: what it says.
        corner: ``top-left``, ``top-right``, ``bottom-left`` or ``bottom-right``.
        opacity: of the whole label, above 0 to 1.
        shape: height and width of the pictures.
        font: path of a font file; empty: the built-in one, or a system's if that lacks letters.

    Raises:
        ConfigError: the font cannot be read, no font has all the letters, or the text is too long.
    """

    def __init__(
        self, text: str, corner: str, opacity: float, shape: tuple[int, int], font: str = ""
    ) -> None:
        label = _label(text, min(shape), font)
        height, width = label.shape[:2]
        if width > _LONGEST * shape[1]:
            raise ConfigError(f"provenance.text '{text}' is too long for the picture; shorten it")
        margin = round(_MARGIN * min(shape)) // 2 * 2
        vertical, horizontal = corner.split("-")
        top = margin if vertical == "top" else (shape[0] - margin - height) // 2 * 2
        left = margin if horizontal == "left" else (shape[1] - margin - width) // 2 * 2
        self._rows = slice(top, top + height)
        self._columns = slice(left, left + width)
        self._colour = _Blend(label[..., :3], (opacity * label[..., 3:] / 255).astype(np.float32))
        self._planes = _plane_blends(label, opacity)

    def draw(self, image: UInt8) -> None:
        """Blend the label into uint8 [H, W, 3], in place."""
        self._colour.into(image[self._rows, self._columns])

    def draw_planes(self, planes: UInt8) -> None:
        """Blend the label into I420 planes uint8 [3H/2, W], in place."""
        rows, width = planes.shape
        height = rows * 2 // 3
        half = (slice(self._rows.start // 2, self._rows.stop // 2),
                slice(self._columns.start // 2, self._columns.stop // 2))  # fmt: skip
        luma, blue, red = self._planes
        luma.into(planes[:height][self._rows, self._columns])
        colour = planes[height:].reshape(2, height // 2, width // 2)
        blue.into(colour[0][half])
        red.into(colour[1][half])


class _Blend:
    """What replaces a region in part: ``old * (1 - alpha) + new * alpha`` in 8-bit fractions."""

    def __init__(self, new: UInt8, alpha: Float32) -> None:
        share = np.rint(np.broadcast_to(alpha, new.shape) * 256).astype(np.uint16)
        self._keep = 256 - share
        self._add = new.astype(np.uint16) * share + 128

    def into(self, region: UInt8) -> None:
        region[:] = (region * self._keep + self._add) >> 8


def _plane_blends(label: UInt8, opacity: float) -> tuple[_Blend, _Blend, _Blend]:
    height, width = label.shape[:2]
    planes = np.asarray(cv2.cvtColor(label[..., :3], cv2.COLOR_RGB2YUV_I420), np.uint8)
    alpha = (opacity * label[..., 3] / 255).astype(np.float32)
    colour = planes[height:].reshape(2, height // 2, width // 2)
    size = (width // 2, height // 2)
    half = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32)
    return _Blend(planes[:height], alpha), _Blend(colour[0], half), _Blend(colour[1], half)


@cache
def _label(text: str, side: int, path: str) -> UInt8:
    """uint8 [h, w, 4], even sides, straight alpha; drawn larger and reduced, for smooth edges."""
    unit = side * _OVERSAMPLING
    font = _font(text, round(_TEXT * unit), path)
    left, _, right, _ = font.getbbox(text)
    even = 2 * _OVERSAMPLING
    height = round(_HEIGHT * unit / even) * even
    # Not narrower than two thirds of a circle's worth: a single letter should not look squeezed.
    width = round(max(right - left + 2 * _PADDING * unit, 1.4 * height) / even) * even
    canvas = Image.new("RGBA", (width, height), (*_FILL[:3], 0))
    draw = ImageDraw.Draw(canvas)
    draw.rounded_rectangle((0, 0, width - 1, height - 1), height / 2.6, _FILL, _RIM, _OVERSAMPLING)
    # Centred by the height of capitals, so that labels with and without descenders sit alike.
    _, top, _, bottom = font.getbbox("H") if text.isascii() else font.getbbox(text)
    layer = Image.new("RGBA", canvas.size, (*_LETTERS[:3], 0))
    place = ((width - right - left) / 2, (height - top - bottom) / 2)
    ImageDraw.Draw(layer).text(place, text, _LETTERS, font)
    canvas = Image.alpha_composite(canvas, layer)
    small = canvas.resize((width // _OVERSAMPLING, height // _OVERSAMPLING), Image.Resampling.BOX)
    return np.asarray(small, np.uint8)


def _font(text: str, size: int, path: str) -> FreeTypeFont:
    if path:
        try:
            font = ImageFont.truetype(path, size)
        except OSError as error:
            raise ConfigError(f"provenance.font: cannot read {path}: {error}") from error
        if not _covers(font, text):
            raise ConfigError(f"provenance.font: {path} lacks letters of '{text}'")
        return font
    built_in = ImageFont.load_default(size)
    if isinstance(built_in, FreeTypeFont) and _covers(built_in, text):
        return built_in
    for name in _SYSTEM_FONTS:
        try:
            font = ImageFont.truetype(name, size)
        except OSError:
            continue
        if _covers(font, text):
            return font
    raise ConfigError(f"no font here has the letters of '{text}'; set provenance.font to one")


def _covers(font: FreeTypeFont, text: str) -> bool:
    """Whether every letter differs from the box drawn for what a font lacks."""
    missing = bytes(font.getmask("\uffff"))
    return all(bytes(font.getmask(letter)) != missing for letter in text if not letter.isspace())
