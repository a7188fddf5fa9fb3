"""How near drawn pictures come to filmed ones, and by how much one avatar beats another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from engine.face.analysis import FaceAnalyser, FaceObservation
from engine.media import FPS, Float32, MotionFrame, UInt8
from engine.render.avatar import Avatar
from engine.render.renderer import Renderer
from engine.runtime.base import Backend
from training.evaluation.statistics import paired_difference
from training.tracking.solve import LIPS

BOX = (1.3, 1.0)
"""Width and height of the box around the mouth, inter-ocular units."""
BETTER = {"psnr": 1, "ssim": 1, "mouth_psnr": 1, "mouth_ssim": 1, "lips": -1}
"""Measures, and the sign of what is better: PSNR in dB and SSIM (of grey) of the whole picture and
of the box around the mouth; RMS distance of the lips' landmarks in pixels, found anew in both."""
BLOCK_SECONDS = 0.4
"""Neighbouring frames err together: this much of a video is one independent value."""


@dataclass(frozen=True, eq=False)
class Filmed:
    """One frame that shall be drawn.

    Args:
        number: of the frame in the video.
        picture: uint8 [512,512,3], in the portrait's picture.
        face: as found in it.
        unit: pixels between the portrait's pupils.
    """

    number: int
    picture: UInt8
    face: FaceObservation
    unit: float

    @classmethod
    def of(
        cls, number: int, picture: UInt8, seen: Float32, unit: float, analyser: FaceAnalyser
    ) -> Filmed:
        """Find the face anew near landmarks [478,2] that were seen.

        Drawn pictures are looked at in the same way, so the network's bias is no difference.
        """
        near = np.concatenate([seen, np.zeros((478, 1), np.float32)], 1)
        guess = FaceObservation(near, np.zeros(52, np.float32), 1.0)
        return cls(number, picture, analyser.observe(picture, guess), unit)

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns around the mouth."""
        lips = self.face.landmarks[LIPS, :2]
        x, y = (lips.min(0) + lips.max(0)) / 2
        half_x, half_y = BOX[0] * self.unit / 2, BOX[1] * self.unit / 2
        rows = slice(max(round(y - half_y), 0), round(y + half_y))
        return rows, slice(max(round(x - half_x), 0), round(x + half_x))


@dataclass(frozen=True, eq=False)
class Scores:
    """Measures of T frames.

    Args:
        numbers: of the frames in the video.
        values: measure (``BETTER``) to float32 [T].
    """

    numbers: list[int]
    values: dict[str, Float32]

    def means(self) -> dict[str, float]:
        """Mean of every measure."""
        return {name: float(np.nanmean(value)) for name, value in self.values.items()}


def draw(backend: Backend, avatar: Avatar, motion: Float32) -> list[UInt8]:
    """Pictures of an avatar for motion [T,58], without any mark."""
    renderer = Renderer(backend, avatar)
    frames = (MotionFrame(values, 0.0, k) for k, values in enumerate(motion))
    return [picture.image for frame in frames for picture in renderer.push(frame)]


def judge(filmed: Sequence[Filmed], drawn: Sequence[UInt8], analyser: FaceAnalyser) -> Scores:
    """Compare drawn pictures with the filmed ones."""
    rows = [_compare(real, picture, analyser) for real, picture in zip(filmed, drawn, strict=True)]
    values = {name: np.array([row[name] for row in rows], np.float32) for name in BETTER}
    return Scores([real.number for real in filmed], values)


def _compare(real: Filmed, drawn: UInt8, analyser: FaceAnalyser) -> dict[str, float]:
    rows, columns = real.box
    part, filmed = drawn[rows, columns], real.picture[rows, columns]
    seen = analyser.observe(drawn, real.face).landmarks[LIPS, :2]
    missed = seen - real.face.landmarks[LIPS, :2]
    return {
        "psnr": _psnr(drawn, real.picture),
        "ssim": _ssim(drawn, real.picture),
        "mouth_psnr": _psnr(part, filmed),
        "mouth_ssim": _ssim(part, filmed),
        "lips": float(np.sqrt((missed**2).sum(1).mean())),
    }


def _psnr(first: UInt8, second: UInt8) -> float:
    error = np.square(first.astype(np.float32) - second).mean()
    return float(10 * np.log10(255**2 / max(float(error), 1e-6)))


def _ssim(first: UInt8, second: UInt8) -> float:
    grey = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (first, second))
    return float(structural_similarity(*grey, data_range=255))


def gain(before: Scores, after: Scores) -> dict[str, tuple[float, float, float]]:
    """By how much each measure is better, with its 95 % interval: mean, low, high.

    Args:
        before: of one avatar.
        after: of another in the same frames.
    """
    out = {}
    blocks = (np.array(before.numbers) / (BLOCK_SECONDS * FPS)).astype(int)
    for name, sign in BETTER.items():
        means = [
            [float(value[blocks == block].mean()) for block in np.unique(blocks)]
            for value in (sign * after.values[name], sign * before.values[name])
        ]
        mean, (low, high) = paired_difference(*means)
        out[name] = (mean, low, high)
    return out
