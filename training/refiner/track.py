"""A video clip as motion of its own first frame: the driver of self-reenactment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from engine.face.analysis import FaceAnalyser, FaceObservation
from engine.face.fit import HeadFit
from engine.face.portrait import Portrait, PortraitLimits, prepare_portrait
from engine.face.topology import INNER_LOWER_LIP, INNER_UPPER_LIP, OUTER_LOWER_LIP, OUTER_UPPER_LIP
from engine.media import Float32, UInt8

LIPS = sorted({*INNER_LOWER_LIP, *INNER_UPPER_LIP, *OUTER_LOWER_LIP, *OUTER_UPPER_LIP})
LIP_WEIGHT = 4.0
RIDGE = 0.04
"""Cost of a blendshape's square against that of an error of a hundredth of the eyes' distance."""
ROUNDS = 4
LIMITS = PortraitLimits(face_width=60)


@dataclass(frozen=True, eq=False)
class Step:
    """One frame of a clip, in the portrait's frame.

    Args:
        picture: uint8 [512,512,3].
        motion: float32 [58] that brings the portrait there.
        error: RMS of the lips' landmarks, pixels.
    """

    picture: UInt8
    motion: Float32
    error: float


def frames(path: Path) -> Iterator[UInt8]:
    """Pictures of a video file, uint8 [H,W,3] RGB."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def solve_motion(fit: HeadFit, seen: Float32, start: Float32) -> tuple[Float32, float]:
    """Motion [58] whose landmarks are nearest to those seen, and the lips' RMS error in pixels.

    Args:
        fit: of the portrait.
        seen: [478,2] pixels in the portrait's frame.
        start: [58], first guess: the frame before.
    """
    values = start.astype(np.float64)
    weights = np.ones(478)
    weights[LIPS] = LIP_WEIGHT
    weights[468:] = 0
    root = np.sqrt(np.repeat(weights, 2))
    for _ in range(ROUNDS):
        base = fit.project(values.astype(np.float32)).astype(np.float64)
        jacobian = np.empty((478, 2, 58))
        for k in range(58):
            moved = values.copy()
            moved[k] += 0.05
            jacobian[..., k] = (fit.project(moved.astype(np.float32)) - base) / 0.05
        scale = 100 / fit.scale
        a = jacobian.reshape(-1, 58) * root[:, None] * scale
        b = (seen - base).ravel() * root * scale
        ridge = np.full(58, RIDGE * 478)
        ridge[52:] = 1e-3
        system = a.T @ a + np.diag(ridge)
        right = a.T @ b - ridge * values * (np.arange(58) < 52)
        values = values + np.linalg.solve(system, right)
        values[:52] = np.clip(values[:52], 0, 1)
    final = fit.project(values.astype(np.float32))
    error = float(np.sqrt(((final - seen)[LIPS] ** 2).sum(1).mean()))
    return values.astype(np.float32), error


def reenact(
    path: Path, analyser: FaceAnalyser, first: int, every: int
) -> Iterator[Portrait | Step]:
    """The portrait made of one frame, then steps.

    Args:
        path: of a video with one person.
        analyser: the face networks.
        first: index of the frame that is the photo.
        every: use every so many frames.

    Raises:
        PortraitError: the frame cannot become a portrait.
    """
    pictures = list(frames(path))
    portrait = prepare_portrait(pictures[first], analyser, LIMITS)
    seen = analyser.follow(pictures[first], None)
    if seen is None:
        return
    yield portrait
    pairs = (x.landmarks[:, :2].copy() for x in (seen, portrait.observation))
    matrix, _ = cv2.estimateAffinePartial2D(*pairs, method=cv2.LMEDS)
    before = portrait.fit.rest
    for picture in pictures[::every]:
        observed = analyser.follow(picture, seen)
        if observed is None:
            continue
        step = _step(portrait, picture, observed, matrix, before)
        seen, before = observed, step.motion
        yield step


def _step(
    portrait: Portrait, picture: UInt8, observed: FaceObservation, matrix: Float32, before: Float32
) -> Step:
    seen = observed.landmarks[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    motion, error = solve_motion(portrait.fit, seen, before)
    how = cv2.INTER_CUBIC if abs(np.linalg.det(matrix[:, :2])) > 1 else cv2.INTER_AREA
    whole = cv2.warpAffine(picture, matrix, (512, 512), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return Step(np.asarray(whole, np.uint8), motion, error)
