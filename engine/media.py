"""What flows between stages. Time is an exact integer that rides on the item, never the wall clock.

Every item carries ``pts`` (ticks since the session's first sample) and ``rate`` (ticks per second).
Arrays inside an item are read-only by convention: whoever receives an item owns it and may keep it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

FPS = 25
"""Video and motion frames per second."""
SAMPLE_RATE = 16_000
"""Sample rate of everything the networks hear, in Hz."""
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
"""16 kHz samples under one video frame (640)."""
assert SAMPLES_PER_FRAME * FPS == SAMPLE_RATE

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class AudioChunk:
    """Mono audio of any length.

    Args:
        samples: float32 [N], nominally within [-1, 1].
        pts: index of the first sample, in samples at ``rate``.
        rate: sample rate in Hz.
    """

    samples: Float32
    pts: int
    rate: int

    @property
    def time(self) -> Fraction:
        """Start, in seconds."""
        return Fraction(self.pts, self.rate)

    @property
    def end(self) -> int:
        """Index one past the last sample."""
        return self.pts + len(self.samples)


@dataclass(frozen=True, slots=True, eq=False)
class FeatureFrame:
    """What the motion network hears of one video frame.

    Args:
        values: float32 [320]: log-mel, 4 sub-frames x 80 bands, oldest first.
        speech: probability in [0, 1] that someone speaks during this frame.
        pts: video frame index.
        rate: frames per second.
    """

    values: Float32
    speech: float
    pts: int
    rate: int = FPS

    @property
    def time(self) -> Fraction:
        """Start, in seconds."""
        return Fraction(self.pts, self.rate)


@dataclass(frozen=True, slots=True, eq=False)
class MotionFrame:
    """One frame of 3D face motion (see ``engine.motion.arkit`` for the layout and the signs).

    Args:
        values: float32 [58]: ARKit-52 in Apple's order, then yaw, pitch, roll (rad), then
            translation x, y, z (inter-ocular units), all relative to the resting photo.
        speech: probability in [0, 1] that someone speaks, carried along from the audio.
        pts: video frame index.
        rate: frames per second.
    """

    values: Float32
    speech: float
    pts: int
    rate: int = FPS

    @property
    def time(self) -> Fraction:
        """Start, in seconds."""
        return Fraction(self.pts, self.rate)


@dataclass(frozen=True, slots=True, eq=False)
class VideoFrame:
    """One picture.

    Args:
        image: uint8 [H, W, 3], RGB.
        motion: the motion it was rendered from (for captions, data channels and tests).
        pts: video frame index.
        rate: frames per second.
        planes: the same picture as I420, uint8 [3H/2, W], where the renderer makes it on its
            device; who changes ``image`` leaves it out.
    """

    image: UInt8
    motion: MotionFrame
    pts: int
    rate: int = FPS
    planes: UInt8 | None = None

    @property
    def time(self) -> Fraction:
        """Start, in seconds."""
        return Fraction(self.pts, self.rate)
