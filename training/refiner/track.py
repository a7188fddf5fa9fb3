"""A video clip as motion of its own first frame: the driver of self-reenactment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
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
        index: number of the frame in the clip.
        picture: uint8 [512,512,3].
        motion: float32 [58] that brings the portrait there.
        error: RMS of the lips' landmarks, pixels.
        landmarks: float32 [478,2] seen in the picture, pixels.
    """

    index: int
    picture: UInt8
    motion: Float32
    error: float
    landmarks: Float32


def reenact(
    path: Path, analyser: FaceAnalyser, first: int, every: int, burst: int = 1
) -> Iterator[Portrait | Step]:
    """The portrait made of one frame, then steps.

    Args:
        path: of a video with one person.
        analyser: the face networks.
        first: index of the frame that is the photo.
        every: use every so many frames,
        burst: and of these so many in a row.

    Raises:
        PortraitError: the frame cannot become a portrait.
    """
    photo = next(islice(frames(path), first, None))
    if photo is None:
        return
    portrait = prepare_portrait(photo, analyser, LIMITS)
    seen = analyser.follow(photo, None)
    if seen is None:
        return
    yield portrait
    pairs = (x.landmarks[:, :2].copy() for x in (seen, portrait.observation))
    matrix, _ = cv2.estimateAffinePartial2D(*pairs, method=cv2.LMEDS)
    before = portrait.fit.rest
    for index, picture in enumerate(frames(path)):
        if index % every >= burst:
            continue
        observed = analyser.follow(picture, seen)
        if observed is None:
            continue
        step = _step(portrait, index, picture, observed, matrix, before)
        seen, before = observed, step.motion
        yield step


def _step(
    portrait: Portrait,
    index: int,
    picture: UInt8,
    observed: FaceObservation,
    matrix: Float32,
    before: Float32,
) -> Step:
    seen = observed.landmarks[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    motion, error = solve_motion(portrait.fit, seen, before)
    how = cv2.INTER_CUBIC if abs(np.linalg.det(matrix[:, :2])) > 1 else cv2.INTER_AREA
    whole = cv2.warpAffine(picture, matrix, (512, 512), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return Step(index, np.asarray(whole, np.uint8), motion, error, seen.astype(np.float32))
