"""Chunks of any size and rate in, whole video frames of sound at one rate out."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from engine.audio.resample import Resampler
from engine.errors import MediaError
from engine.media import FPS, SAMPLE_RATE, AudioChunk, Float32

MIN_RATE, MAX_RATE = 4_000, 384_000
"""Sample rates accepted, in Hz."""


class Framer:
    """Stage from any mono sound to whole frames.

    Lost sound (a step in ``pts``) is filled with silence, so that frame numbers stay on the media
    clock. The first item sets the origin; what lies before it inside its frame is silence.

    Args:
        rate: the expected input rate, which only decides the declared look-ahead; every rate works.
        target: the output rate; 16 kHz (640 samples a frame) is what the networks hear.

    Raises:
        ValueError: when a frame at the target rate is not a whole number of samples.
    """

    def __init__(self, rate: int = 48_000, target: int = SAMPLE_RATE) -> None:
        self._size, rest = divmod(target, FPS)
        if rest:
            raise ValueError(f"{target} Hz does not divide into {FPS} frames a second")
        self._target = target
        self._declared = Resampler(rate, target).delay
        self.reset()

    @property
    def lookahead(self) -> Fraction:
        """The resampler's delay."""
        return self._declared

    def reset(self) -> None:
        """Forget the sound held so far."""
        self._resampler: Resampler | None = None
        self._next = 0
        self._frame = 0
        self._held: Float32 = np.zeros(0, np.float32)

    def push(self, item: AudioChunk, /) -> Iterable[AudioChunk]:
        """Whole frames that have become certain.

        Raises:
            MediaError: when the rate is impossible or changes, time steps back, or the samples are
                not a mono float row.
        """
        if item.samples.ndim != 1:
            raise MediaError(f"expected mono samples [N], got shape {list(item.samples.shape)}")
        if self._resampler is None:
            self._start(item)
        resampler = self._resampler
        assert resampler is not None
        if item.rate != resampler.source:
            raise MediaError(
                f"the sample rate changed from {resampler.source} to {item.rate} Hz in mid-stream; "
                "start a new session"
            )
        if item.pts < self._next:
            raise MediaError(
                f"sound stepped back in time: sample {item.pts} after {self._next - 1}"
            )
        gap = np.zeros(item.pts - self._next, np.float32)
        self._next = item.end
        # A broken microphone driver must not poison the features for ever.
        clean = np.nan_to_num(item.samples.astype(np.float32, copy=False), posinf=0.0, neginf=0.0)
        return self._cut(resampler.push(np.concatenate([gap, clean])))

    def flush(self) -> Iterable[AudioChunk]:
        """The last frame, filled up with silence."""
        frames: list[AudioChunk] = []
        if self._resampler is not None:
            frames = self._cut(self._resampler.flush())
            if len(self._held):
                frames += self._cut(np.zeros(self._size - len(self._held), np.float32))
        self.reset()
        return frames

    def _start(self, item: AudioChunk) -> None:
        if not MIN_RATE <= item.rate <= MAX_RATE:
            raise MediaError(
                f"a sample rate of {item.rate} Hz is not usable; {MIN_RATE} to {MAX_RATE} Hz are"
            )
        self._resampler = Resampler(item.rate, self._target)
        self._frame = int(item.time * FPS)
        self._next = item.pts
        offset = item.time - Fraction(self._frame, FPS)
        self._held = np.zeros(int(offset * self._target), np.float32)

    def _cut(self, samples: Float32) -> list[AudioChunk]:
        held = np.concatenate([self._held, samples])
        count = len(held) // self._size
        self._held = held[count * self._size :]
        frames = [
            AudioChunk(part, (self._frame + i) * self._size, self._target)
            for i, part in enumerate(held[: count * self._size].reshape(count, self._size).copy())
        ]
        self._frame += count
        return frames
