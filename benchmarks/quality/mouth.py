"""Does the inside of a mouth look like a real one? Statistics of colour and texture, compared.

What is looked at is where the *real* mouth is open, in the real picture and in a made one alike.
Twelve numbers describe it, colours relative to the talker's own cheeks, so that light and skin
cancel; the Fréchet distance between two sets of them says how far apart they are, in standard
deviations of the real ones, squared, per number. Not an FID: no network is involved.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.baselines import INNER_LIPS
from engine.face.topology import INNER_LOWER_LIP, INNER_UPPER_LIP
from engine.media import Float32, UInt8
from training.evaluation.spread import gaussian_distance

Features = NDArray[np.float64]
OPEN = 5.0
"""Pixels between the lips from which the mouth is looked into."""
_CHEEKS = (50, 280, 117, 346)
_RADIUS = 6
NAMES = (
    "light", "redness", "yellowness", "contrast", "dark end", "light end", "teeth", "hole",
    "texture", "top", "middle", "bottom",
)  # fmt: skip


def describe(picture: UInt8, landmarks: Float32) -> Features | None:
    """Twelve numbers of the mouth's inside; None where the lips hardly part.

    Args:
        picture: uint8 [H,W,3].
        landmarks: [478,2] pixels, of the real picture.

    Returns:
        Lightness relative to the cheeks'; a* and b* minus theirs, over 100; spread, 10 % and 90 %
        of the lightness; share of pixels like teeth (light, less red than skin) and like a hole
        (dark); mean step from pixel to pixel; lightness of the upper, middle and lower third.
    """
    gap = landmarks[list(INNER_LOWER_LIP)] - landmarks[list(INNER_UPPER_LIP)]
    if float(gap[:, 1].max()) < OPEN:
        return None
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    skin = _cheeks(lab, landmarks)
    inside = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.round(landmarks[INNER_LIPS]).astype(np.int32)], 1)
    rows, columns = np.nonzero(inside)
    pixels = lab[rows, columns]
    light = pixels[:, 0] / skin[0]
    steps = np.hypot(
        cv2.Sobel(lab[..., 0], cv2.CV_32F, 1, 0), cv2.Sobel(lab[..., 0], cv2.CV_32F, 0, 1)
    )
    place = (rows - rows.min()) / max(1, int(np.ptp(rows)))
    thirds = [light[(place >= low) & (place <= low + 1 / 3)] for low in (0, 1 / 3, 2 / 3)]
    colour = (pixels[:, 1:].mean(0) - skin[1:]) / 100
    return np.array([
        light.mean(), *colour, light.std(), *np.percentile(light, (10, 90)),
        ((light > 0.8) & (pixels[:, 1] < skin[1])).mean(), (light < 0.35).mean(),
        (steps[rows, columns] / 8 / skin[0]).mean(),
        *(float(third.mean()) if len(third) else float(light.mean()) for third in thirds),
    ], np.float64)  # fmt: skip


def _cheeks(lab: Float32, landmarks: Float32) -> Float32:
    """Median colour [3] of four spots of skin."""
    spots = np.zeros(lab.shape[:2], np.uint8)
    for point in _CHEEKS:
        x, y = np.round(landmarks[point]).astype(int)
        cv2.circle(spots, (int(x), int(y)), _RADIUS, 1, -1)
    return np.asarray(np.median(lab[spots > 0], 0), np.float32)


def distance(made: Sequence[Features], real: Sequence[Features]) -> float:
    """Fréchet distance of two sets of mouths in the real ones' deviations, per number.

    NaN for fewer mouths than numbers: their covariance says nothing.
    """
    if min(len(made), len(real)) <= len(NAMES):
        return float("nan")
    truth = np.stack(real)
    scale = truth.std(0) + 1e-3
    moments = [(rows.mean(0), np.cov(rows.T)) for rows in (np.stack(made) / scale, truth / scale)]
    return gaussian_distance(moments[0], moments[1])


def floor(real: Sequence[Features], groups: Sequence[int]) -> float:
    """Distance between real mouths: those of even and of odd groups (talkers)."""
    halves = [[f for f, g in zip(real, groups, strict=True) if g % 2 == k] for k in (0, 1)]
    return distance(halves[0], halves[1])
