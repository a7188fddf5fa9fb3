"""Person matte: MediaPipe's selfie segmenter, its edge moved to the picture's edges."""

from __future__ import annotations

import cv2
import numpy as np

from engine.face.networks import FaceNetworks
from engine.media import Float32, UInt8

SIZE = 256
VEIL = 0.08
EPSILON = 1e-4
"""Variance of colour, in [0, 1] squared, below which the filter only smooths."""


def person_matte(networks: FaceNetworks, image: UInt8) -> Float32:
    """How much of each pixel of an RGB picture [H,W,3] is the person: float32 [H,W] in [0, 1]."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    coarse = networks.selfie(small.astype(np.float32) / np.float32(255))
    mask = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    radius = max(2, round(max(height, width) / 64))
    refined = guided_filter(image.astype(np.float32) / np.float32(255), mask, radius, EPSILON)
    # The filter leaves a faint veil far from the edge; stretch it away.
    return np.asarray(np.clip((refined - VEIL) / (1 - 2 * VEIL), 0, 1), np.float32)


def guided_filter(guide: Float32, values: Float32, radius: int, epsilon: float) -> Float32:
    """Smooth values so that their edges follow a colour guide.

    Formula: He, Sun, Tang, *Guided Image Filtering*, 2010, equations 19 to 21: in every window the
    output is a linear function of colour; windows overlap and their answers are averaged.

    Args:
        guide: float32 [H,W,3] in [0, 1].
        values: float32 [H,W].
        radius: half the window in pixels.
        epsilon: ridge added to the colour covariance.
    """
    window = (2 * radius + 1, 2 * radius + 1)

    def mean(array: Float32) -> Float32:
        return np.asarray(cv2.blur(array, window, borderType=cv2.BORDER_REFLECT), np.float32)

    colour, average = mean(guide), mean(values)
    covariance = np.empty((*values.shape, 3, 3), np.float32)
    for row in range(3):
        products = mean(guide * guide[..., row : row + 1])
        covariance[..., row, :] = products - colour * colour[..., row : row + 1]
    covariance += epsilon * np.eye(3, dtype=np.float32)
    cross = mean(guide * values[..., None]) - colour * average[..., None]
    slope = np.linalg.solve(covariance, cross[..., None])[..., 0].astype(np.float32)
    offset = average - (slope * colour).sum(-1)
    refined: Float32 = (mean(slope) * guide).sum(-1) + mean(offset)
    return refined
