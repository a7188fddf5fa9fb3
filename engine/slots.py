"""One 40 ms slot of output, the counters, audio cut into slots, and how early frames are."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields

import numpy as np

from engine.media import FPS, AudioChunk, Float32, VideoFrame

RATE = 48_000
"""Sample rate of everything that leaves, in Hz."""
SLOT_SAMPLES = RATE // FPS
"""Samples in one slot (1920)."""
SLOT_SECONDS = 1 / FPS
"""Length of one slot in seconds."""

_PATIENCE = 5 * FPS
"""Slots over which slack is observed before the delay shrinks."""
_MAX_MARGIN = 5
_CALM = 30 * FPS
"""Slots without a miss after which the safety margin shrinks by one."""


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """What leaves together.

    Args:
        pts: slot number on the output clock; rises by more than one where slots were missed.
        audio: float32 [1920], 40 ms at 48 kHz.
        frame: the picture to show, or None before the first one.
        content: media frame index of the audio; None if the audio is filled-in silence.
        repeated: the picture is the previous slot's.
        silence: the audio is filled in, not the user's.
        missed: a picture should have been there by now and was not.
        underrun: the sound should have been there by now and was not.
    """

    pts: int
    audio: Float32
    frame: VideoFrame | None
    content: int | None
    repeated: bool
    silence: bool
    missed: bool = False
    underrun: bool = False

    @property
    def skew(self) -> float | None:
        """Seconds that the picture is ahead of the sound it leaves with; None without either."""
        if self.content is None or self.frame is None:
            return None
        return (self.frame.pts - self.content) * SLOT_SECONDS


@dataclass(slots=True)
class PlayoutStats:
    """Counters since the start, in slots or frames, and gauges in milliseconds."""

    slots: int = 0
    """Slots handed out."""
    silence: int = 0
    """Slots of filled-in silence."""
    held: int = 0
    """Silent slots because a frame was not ready (part of ``silence``)."""
    repeated: int = 0
    """Slots with audio that had to show an old picture."""
    underrun: int = 0
    """Silent slots because the sound was late (part of ``silence``)."""
    late: int = 0
    """Frames shown after their own slot."""
    skipped: int = 0
    """Frames never shown."""
    trimmed: int = 0
    """Quiet slots dropped to shorten the delay."""
    jumped: int = 0
    """Content slots dropped because the delay was too long or the caller too late."""
    missed: int = 0
    """Output slots lost because the caller came late."""
    stale: int = 0
    """Items of an older epoch."""
    depth_ms: float = 0.0
    """Audio waiting: how far the stream runs behind what has arrived."""
    late_ms: float = 0.0
    """95th percentile of how late slots were fetched."""

    def as_dict(self) -> dict[str, float]:
        """Name to value."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class AudioLine:
    """Audio of one epoch, cut into slots. Gaps are silence; nothing is taken twice."""

    def __init__(self) -> None:
        self.slots: dict[int, Float32] = {}
        self.empty = True
        self.end = 0

    def push(self, chunk: AudioChunk) -> None:
        """Take a 48 kHz chunk; what lies before ``end`` is left out."""
        if self.empty:
            self.empty = False
            self.end = chunk.pts // SLOT_SAMPLES * SLOT_SAMPLES
        start = max(chunk.pts, self.end)
        samples = chunk.samples[start - chunk.pts :]
        while len(samples):
            index, offset = divmod(start, SLOT_SAMPLES)
            part = samples[: SLOT_SAMPLES - offset]
            self._slot(index)[offset : offset + len(part)] = part
            start += len(part)
            samples = samples[len(part) :]
        self.end = max(self.end, start)

    def _slot(self, index: int) -> Float32:
        return self.slots.setdefault(index, np.zeros(SLOT_SAMPLES, np.float32))

    def ready(self, index: int) -> bool:
        """Whether a slot is complete."""
        return not self.empty and (index + 1) * SLOT_SAMPLES <= self.end

    def take(self, index: int) -> Float32:
        """A slot's audio; it and everything before it is forgotten."""
        samples = self._slot(index)
        self.forget(index + 1)
        return samples

    def forget(self, index: int) -> None:
        """Drop what lies before a slot."""
        for old in [i for i in self.slots if i < index]:
            del self.slots[old]

    def peek(self, index: int) -> Float32:
        """A slot's audio so far; zeros where nothing has arrived."""
        return self.slots.get(index, np.zeros(SLOT_SAMPLES, np.float32))


class Slack:
    """How many slots frames are ready before they are due, and how many they should be."""

    def __init__(self) -> None:
        self.margin = 1
        """Slots to keep in hand; grows with every miss, shrinks when all is calm."""
        self._seen: deque[int] = deque(maxlen=_PATIENCE)
        self._calm = 0

    def restart(self) -> None:
        """Observe afresh."""
        self._seen.clear()

    def missed(self) -> None:
        """A frame was not ready."""
        self.restart()
        self._calm = 0
        self.margin = min(self.margin + 1, _MAX_MARGIN)

    def observe(self, slack: int) -> bool:
        """Note a slot's slack; True if for long there was more than the margin."""
        self._seen.append(slack)
        self._calm += 1
        if self._calm >= _CALM:
            self._calm = 0
            self.margin = max(1, self.margin - 1)
        return len(self._seen) == _PATIENCE and min(self._seen) > self.margin
