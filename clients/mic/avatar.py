"""What the program needs of an avatar, wherever it is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from clients.mic.pace import Rate
from clients.mic.sinks import Sink
from engine.media import Float32, UInt8

REDUCED = "reduced to keep pace"
"""What the web page says too when fewer or smaller pictures are made than configured."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How it goes.

    Args:
        latency: seconds from a sound's arrival in this program to its picture's; None if unknown.
        lost_ms: sound that was dropped on the way because something was too slow.
        note: what the user may want to know in three words; empty if all is well.
    """

    latency: float | None
    lost_ms: float
    note: str = ""


class Avatar(Protocol):
    """Takes a voice and fills sinks. ``say`` may be called from any thread."""

    @property
    def error(self) -> Exception | None:
        """Why it has ended, if it has."""
        ...

    def start(self) -> None:
        """Begin to fill the sinks."""
        ...

    def say(self, samples: Float32, start: int, at: float) -> None:
        """Float32 [N] at 48 kHz from sample ``start`` on, heard at ``at`` seconds."""
        ...

    def figures(self) -> Figures:
        """How it goes."""
        ...

    def close(self) -> None:
        """End; afterwards the sinks get nothing more."""
        ...


class Audience:
    """All sinks, and how many pictures they were given.

    Args:
        sinks: who watches.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self.shown = Rate()
        """New pictures."""

    def picture(self, image: UInt8, slot: int, *, fresh: bool = True) -> None:
        """Show one; ``fresh`` unless it is the one before."""
        if fresh:
            self.shown.add()
        for sink in self._sinks:
            sink.picture(image, slot)

    def sound(self, samples: Float32, start: int) -> None:
        """Let it be heard."""
        for sink in self._sinks:
            sink.sound(samples, start)

    def close(self) -> None:
        """Nothing more comes."""
        for sink in self._sinks:
            sink.close()
