"""A video clip as motion of its own first frame: the driver of self-reenactment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from engine.face.analysis import FaceAnalyser, FaceObservation
from engine.face.portrait import Portrait, PortraitLimits, prepare_portrait
from engine.media import Float32, UInt8
from training.tracking.solve import frames, solve_motion

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
