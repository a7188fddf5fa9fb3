"""Measures of pictures: nearness to a real one, sharpness, flicker, what stays still."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Unavailable
from engine.face.topology import FACE_OVAL, OUTER_LOWER_LIP, OUTER_UPPER_LIP
from engine.media import Float32, UInt8

Mask = NDArray[np.bool_]
MEASURES = {"psnr": "PSNR, dB", "ssim": "SSIM", "gmsd": "GMSD"}
"""Full-reference measures by name; of GMSD less is better."""
_LEAST_BOX = 48
"""Side in pixels below which SSIM's window does not fit twice."""


@cache
def functions() -> dict[str, Callable[..., Any]]:
    """piq's functions by the names in ``MEASURES``, from its own modules alone.

    The package's ``__init__`` imports everything, also what wants torchvision; that one's build
    for PyPI does not load beside a CPU build of torch, and nothing used here needs it.

    Raises:
        Unavailable: piq is not installed.
    """
    spec = importlib.util.find_spec("piq")
    if spec is None:
        raise Unavailable("piq is not installed: pip install --no-deps piq==0.8.0")
    sys.modules.setdefault("piq", importlib.util.module_from_spec(spec))
    return {name: getattr(import_module(f"piq.{name}"), name) for name in MEASURES}


def nearness(made: UInt8, real: UInt8) -> dict[str, float]:
    """Of a picture [H,W,3] to the real one, by the names in ``MEASURES``."""
    import torch

    pair = np.stack([made, real]).transpose(0, 3, 1, 2)
    first, second = torch.from_numpy(np.ascontiguousarray(pair)).float().div(255)[:, None]
    with torch.no_grad():
        return {
            name: float(how(first, second, data_range=1.0)) for name, how in functions().items()
        }


def mouth_box(landmarks: Float32) -> tuple[slice, slice]:
    """Rows and columns around the lips of landmarks [478,2]: half as much again as they take."""
    points = landmarks[[*OUTER_UPPER_LIP, *OUTER_LOWER_LIP]]
    low, high = points.min(0), points.max(0)
    half = np.maximum(0.75 * (high - low), _LEAST_BOX / 2)
    left, top = np.maximum(np.round((low + high) / 2 - half), 0).astype(int)
    right, bottom = np.round((low + high) / 2 + half).astype(int)
    return slice(top, bottom), slice(left, right)


def face_mask(landmarks: Float32, shape: tuple[int, int]) -> Mask:
    """Pixels within the outline of the face; landmarks [478,2], ``shape`` (H, W)."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.round(landmarks[list(FACE_OVAL)]).astype(np.int32)], 1)
    return mask.astype(bool)


def sharpness(picture: UInt8, where: Mask) -> float:
    """Variance of the Laplacian of luma (Pech-Pacheco et al. 2000) within a mask, levels²."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F)[where].var())


def warping_error(first: UInt8, second: UInt8, where: Mask) -> float:
    """What changes between successive pictures beyond motion, mean absolute levels of luma.

    The first picture is moved onto the second by their optical flow (DIS, Kroeger et al. 2016), as
    in Lai et al. 2018, "Learning Blind Video Temporal Consistency".
    """
    a, b = (np.asarray(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), np.uint8) for p in (first, second))
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(b, a, None)
    y, x = np.mgrid[: a.shape[0], : a.shape[1]].astype(np.float32)
    moved = cv2.remap(a, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)
    return change(moved, b, where)


def change(first: UInt8, second: UInt8, where: Mask) -> float:
    """Mean absolute difference within a mask, levels."""
    return float(np.abs(first.astype(np.float32) - second)[where].mean())


def outside(matte: Float32, margin: int = 24) -> Mask:
    """Pixels that neither show the person nor are within ``margin`` pixels of them."""
    person = (matte > 0.05).astype(np.uint8)
    wide = cv2.dilate(person, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    return np.asarray(wide == 0)
