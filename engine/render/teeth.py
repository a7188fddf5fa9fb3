"""The photo's own teeth, where a smile shows them, put onto the card of the upper teeth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.media import Float32
from engine.render.layers import fill
from engine.render.layout import LIGHT_FLOOR, LIGHT_REACH

MIN_AREA = 0.012
"""Square inter-ocular units of visible teeth from which they are used."""
MIN_COLUMNS = 8
"""Columns of pixels with teeth from which an arch can be fitted."""
FRONT = 0.16
"""Inter-ocular units to either side of the middle in which the incisors' edge is measured."""
UNDER_LIP = 3.0
"""Pixels by which the photo's teeth go on under the lips, so that no rim of the card shows."""
MAX_SHIFT = 0.09
"""Inter-ocular units by which the card may follow the photo's incisal edge."""


@dataclass(frozen=True, eq=False)
class UpperRow:
    """What an open mouth shows of the upper row.

    Args:
        colours: float32 [H,W,3], the photo, continued under the lips.
        sure: float32 [H,W], how surely each pixel is a tooth.
        patch: float32 [H,W], share of each pixel in which the photo replaces the card.
        empty: float32 [H,W], share of each pixel that lies below the row.
    """

    colours: Float32
    sure: Float32
    patch: Float32
    empty: Float32


def upper_row(photo: Float32, opening: Float32) -> UpperRow | None:
    """Find the upper row in an open mouth; None where the mouth is closed or shows no teeth.

    Args:
        photo: float32 [H,W,3] in 0..255.
        opening: float32 [H,W], share of each pixel between the lips.
    """
    inside = cv2.erode(opening, np.ones((3, 3), np.uint8)) > 0.9
    columns = np.flatnonzero(inside.any(0))
    if len(columns) < MIN_COLUMNS:
        return None
    light = photo.mean(-1)
    bright = float(np.percentile(light[inside], 85))
    redness = (photo[..., 0] - photo[..., 1]) / np.maximum(light, 1)
    sure = _smooth(0.42, 0.62, light / max(bright, 70)) * (1 - _smooth(0.16, 0.3, redness)) * inside
    # Only the first run from the top of each column: the lower row belongs to the jaw.
    started = np.maximum.accumulate(sure > 0.5, axis=0)
    ended = np.maximum.accumulate(started & (sure < 0.2), axis=0)
    sure = sure * ~ended
    rows = np.arange(len(photo))[:, None]
    lip = np.where(inside, rows, -1).max(0)
    last = np.where(sure > 0.5, rows, -1).max(0)
    if (last >= 0).sum() < MIN_COLUMNS:
        return None
    bottom = _edge_line(last, lip, columns)
    top = np.where(inside, rows, len(photo)).min(0)
    top = np.interp(np.arange(len(top)), columns, top[columns])
    across = _smooth(
        -3, 0, np.minimum(np.arange(len(top)) - columns[0], columns[-1] - np.arange(len(top)))
    )
    above = np.clip(bottom - rows + 0.5, 0, 1)
    patch = above * np.clip(rows - (top - UNDER_LIP) + 0.5, 0, 1) * across
    colours = fill(photo, (inside & ~ended).astype(np.float32))
    found = (colours, sure, patch, (1 - above) * across)
    return UpperRow(*(np.asarray(x, np.float32) for x in found))


def _edge_line(
    last: NDArray[np.int64], lip: NDArray[np.int64], columns: NDArray[np.int64]
) -> Float32:
    """Lower end of the row in each column: the teeth's, without the gaps between them.

    Where the lower lip hides the edge, the row goes on a little under it.
    """
    known = np.flatnonzero(last >= 0)
    middle, reach = float(known.mean()), max(float(np.ptp(known)) / 2, 1.0)
    across = (np.arange(len(last)) - middle) / reach
    kept = np.ones(len(known), bool)
    curve = np.zeros(3)
    for _ in range(4):
        # An arch: what strays from it is a gap or a shadow (above, the more frequent), or a tooth
        # of the lower row (below).
        curve = np.polyfit(across[known[kept]], last[known[kept]], 2)
        stray = last[known] - np.polyval(curve, across[known])
        kept = (stray > -1.0) & (stray < 2.5)
        if kept.sum() < MIN_COLUMNS:
            break
    line = np.polyval(curve, np.clip(across, -1.1, 1.1))[None].astype(np.float32)
    hidden = np.interp(np.arange(len(last)), columns, lip[columns]) - line[0] < 3.5
    line = line + UNDER_LIP * cv2.GaussianBlur(hidden[None].astype(np.float32), (0, 0), 2)
    return np.asarray(cv2.GaussianBlur(line, (0, 0), 1.5)[0] + 0.5, np.float32)


def _smooth(low: float, high: float, value: Float32) -> Float32:
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def lit(photo: Float32, opening: Float32) -> Float32:
    """The photo without the shade that the network will lay over the mouth's inside again.

    See ``network.Window.light``.
    """
    share = opening
    for size in (4, 12, 12):
        share = np.asarray(cv2.blur(share, (size, size)), np.float32)
    light = LIGHT_FLOOR + (1 - LIGHT_FLOOR) * np.clip(share * LIGHT_REACH, 0, 1)
    return np.asarray(photo / light[..., None], np.float32)


def edge(sure: Float32, x: Float32, y: Float32) -> float | None:
    """Height of the incisors' edge, or None where too few teeth show.

    Args:
        sure: [H,W] toothness, of texels of the card.
        x: [H,W] position to the picture's right, inter-ocular units.
        y: [H,W] position up, inter-ocular units.
    """
    area = abs(float((x[0, 1] - x[0, 0]) * (y[1, 0] - y[0, 0])))
    if float(sure.sum()) * area < MIN_AREA:
        return None
    lowest = np.where(sure > 0.5, y, np.inf).min(0)
    front = lowest[(np.abs(x[0]) < FRONT) & np.isfinite(lowest)]
    return float(np.median(front)) if len(front) > 3 else None


def colour_ratio(card: Float32, photo: Float32, sure: Float32) -> Float32:
    """By what the card's teeth must be multiplied [3] to look like the photo's.

    Args:
        card: [4,h,w] premultiplied colour and share.
        photo: [h,w,3], the photo at the card's texels.
        sure: [h,w], how surely each is a tooth.
    """
    solid = card[:3, card[3] > 0.95]
    pale = solid[:, solid[0] - solid[1] < 0.15 * solid.mean(0)]
    if not (sure > 0.8).any() or pale.shape[1] < 10:
        return np.ones(3, np.float32)
    front = pale[:, pale.mean(0) > np.percentile(pale.mean(0), 60)].mean(1)
    ratio = np.median(photo[sure > 0.8], 0) / np.maximum(front, 1)
    return np.asarray(np.clip(ratio, 0.5, 1.2), np.float32)


def paint(card: Float32, photo: Float32, patch: Float32, empty: Float32) -> Float32:
    """Lay the photo's teeth over a card [4,h,w] of premultiplied colour and share.

    Args:
        card: the card.
        photo: [h,w,3], the photo at the card's texels.
        patch: [h,w], where the photo replaces the card.
        empty: [h,w], where the photo shows that no tooth is.
    """
    keep = (1 - patch) * (1 - empty)
    colour = photo.transpose(2, 0, 1) * patch + card[:3] * keep
    return np.concatenate([colour, (patch + card[3] * keep)[None]]).astype(np.float32)
