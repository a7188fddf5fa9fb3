"""What a renderer has to beat: a photo whose mesh is bent, with a dark mouth."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import Delaunay

from engine.face.portrait import SIZE, Portrait
from engine.face.topology import INNER_LOWER_LIP, INNER_UPPER_LIP
from engine.media import Float32, UInt8
from engine.render.fields import SKIN_COUNT, frame_points

DARK = (38, 18, 16)
"""Colour of the mouth's inside: dark red brown."""
_OPEN = 1.5
"""Pixels between the lips from which the mouth is painted."""
_FRACTION = 4
"""Bits of a pixel's fraction in OpenCV's drawing."""
INNER_LIPS = [*INNER_UPPER_LIP, *INNER_LOWER_LIP[-2:0:-1]]
"""Outline of the mouth's inside."""


def piecewise_affine(portrait: Portrait, motion: Float32) -> UInt8:
    """Bend the photo over a mesh of its landmarks, uint8 [512,512,3].

    The landmarks move as the fitted head does, the picture's edge stays; between them every
    triangle of a Delaunay mesh is an affine map. What the lips uncover is painted dark.

    Args:
        portrait: the photo.
        motion: [58].
    """
    edge = frame_points(SIZE)
    seen = np.concatenate([portrait.observation.landmarks[:SKIN_COUNT, :2], edge])
    moved = np.concatenate([portrait.fit.project(motion)[:SKIN_COUNT], edge])
    source = LinearNDInterpolator(Delaunay(moved), seen)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float64)
    places = source(np.stack([x, y], -1)).astype(np.float32)
    picture = cv2.remap(
        portrait.image, places[..., 0], places[..., 1], cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    upper, lower = moved[list(INNER_UPPER_LIP)], moved[list(INNER_LOWER_LIP)]
    if float((lower - upper)[:, 1].max()) > _OPEN:
        outline = np.round(moved[INNER_LIPS] * 2**_FRACTION).astype(np.int32)
        cv2.fillPoly(picture, [outline], DARK, cv2.LINE_AA, _FRACTION)
    return np.asarray(picture, np.uint8)
