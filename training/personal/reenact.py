"""Frames of a video in the picture of a portrait, and the motion that brings the portrait there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from engine.face.fit import HeadFit
from engine.face.portrait import SIZE, Portrait
from engine.media import Float32, UInt8
from engine.motion.arkit import MOTION_SIZE, TRANSLATION
from training.personal.footage import Footage
from training.tracking.solve import solve_motion

CAMERA = 10.0
"""Distance of the camera in inter-ocular units that the renderer assumes
(engine.render.warp.CAMERA_DISTANCE)."""


@dataclass(frozen=True, eq=False)
class Still:
    """A frame of the video as a portrait.

    Args:
        number: of the sampled frame.
        portrait: made of it.
        matrix: float32 [2,3], from pixels of the frame at ``footage.SIDE`` to the portrait's.
    """

    number: int
    portrait: Portrait
    matrix: Float32

    @classmethod
    def of(cls, footage: Footage, number: int, portrait: Portrait) -> Still:
        """Find the matrix by the face, which both show."""
        pair = (footage.landmarks[number, :, :2], portrait.observation.landmarks[:, :2])
        matrix, _ = cv2.estimateAffinePartial2D(*(p.copy() for p in pair), method=cv2.LMEDS)
        return cls(number, portrait, matrix.astype(np.float32))

    def landmarks(self, footage: Footage, number: int) -> Float32:
        """Landmarks [478,2] of a sampled frame in the portrait's pixels."""
        seen = footage.landmarks[number, :, :2]
        return np.asarray(seen @ self.matrix[:, :2].T + self.matrix[:, 2], np.float32)

    def picture(self, frame: UInt8) -> UInt8:
        """A frame [H,W,3] in the portrait's picture [512,512,3]."""
        how = cv2.INTER_CUBIC if np.linalg.det(self.matrix[:, :2]) > 1 else cv2.INTER_AREA
        edge = cv2.BORDER_REPLICATE
        moved = cv2.warpAffine(frame, self.matrix, (SIZE, SIZE), flags=how, borderMode=edge)
        return np.asarray(moved, np.uint8)


def follow(
    still: Still,
    fit: HeadFit,
    footage: Footage,
    numbers: Iterable[int],
    progress: Callable[[Iterable[int]], Iterator[int]] = iter,
) -> tuple[Float32, Float32]:
    """Motion that brings a head onto the landmarks of sampled frames.

    Args:
        still: in whose picture.
        fit: the still's, or one adapted to the person.
        footage: the video.
        numbers: of the frames, in order.
        progress: passes on the numbers.

    Returns:
        motion [T,58] as ``solve_motion`` means it, and the lips' RMS error [T] in pixels.
    """
    before, rows, errors = fit.rest, [], []
    for number in progress(numbers):
        seen = still.landmarks(footage, number)
        before, error = solve_motion(
            fit, seen, before, iris=1.0, camera=CAMERA, rounds=2 if rows else 4
        )
        rows.append(before)
        errors.append(error)
    return np.stack(rows), np.array(errors, np.float32)


def commanded(still: Still, footage: Footage, numbers: Iterable[int]) -> Float32:
    """Blendshapes [T,52] that the network sees in frames, as the renderer takes them.

    What it sees in the still counts as the still's own expression, as a capture is calibrated:
    every face has its bias in the network's answer. Of eyes, brows and cheeks that is zero.
    """
    own = footage.blendshapes[still.number] - still.portrait.fit.resting
    return np.asarray(np.clip(footage.blendshapes[list(numbers)] - own, 0, 1), np.float32)


def for_renderer(fit: HeadFit, motion: Float32) -> Float32:
    """Motion [T,58] of ``solve_motion`` as the renderer takes it.

    There a nearer head grows about the point between the pupils, here about the neck's pivot.
    """
    assert motion.shape[1:] == (MOTION_SIZE,)
    out = motion.copy()
    growth = CAMERA / (CAMERA - motion[:, TRANSLATION.stop - 1])
    pivot = (fit.rotation @ fit.pivot)[:2]
    across = slice(TRANSLATION.start, TRANSLATION.start + 2)
    out[:, across] = growth[:, None] * (pivot + motion[:, across]) - pivot
    out[:, TRANSLATION.stop - 1] = CAMERA * (growth - 1)
    return out
