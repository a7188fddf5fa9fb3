"""What is counted about one connection's outgoing media."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.media import FPS

_RECENT = 10 * FPS


class RecentTimes:
    """The last ten seconds' encode times. One thread writes, any may read."""

    def __init__(self) -> None:
        self._seconds: NDArray[np.float64] = np.zeros(_RECENT)
        self._count = 0

    def add(self, seconds: float) -> None:
        """Note one more, and forget the oldest."""
        self._seconds[self._count % _RECENT] = seconds
        self._count += 1

    def percentile(self, percent: float) -> float:
        """In milliseconds; 0 before the first one."""
        known = self._seconds[: min(self._count, _RECENT)]
        return float(np.percentile(known, percent)) * 1000 if len(known) else 0.0


@dataclass(slots=True)
class SendStats:
    """What one connection's encoders did, and what its receiver said of it.

    Args:
        on_encode: told the seconds of every picture's encoding, from an encoder's thread.
    """

    frames: int = 0
    skipped: int = 0
    """Pictures of these that the encoder left out to keep its rate."""
    key_frames: int = 0
    bytes: int = 0
    bitrate: int = 0
    """Bits per second the encoder is set to."""
    encode_ms: float = 0.0
    """Mean over about the last second."""
    restarts: int = 0
    width: int = 0
    """Of the picture sent: narrower at low rates."""
    height: int = 0
    wait_ms: float = 0.0
    """Waiting for an encoder's thread: mean over about the last second."""
    waited_ms: float = 0.0
    """The same, in all."""
    nack: int = 0
    """Packets the receiver asked for again."""
    unrepeated: int = 0
    """Of these, not sent again: too soon, or too much for the rate."""
    pli: int = 0
    """Key frames it asked for (PLI, FIR)."""
    remb: int = 0
    """Its last estimate in bits per second; 0 before the first one."""
    loss: float = 0.0
    """Share of video packets lost, as last reported."""
    rtt_ms: float = 0.0
    """Smoothed round trip."""
    on_encode: Callable[[float], None] | None = None
    times: RecentTimes = field(default_factory=RecentTimes)

    def encoded(self, size: int, key: bool, seconds: float) -> None:
        """Count one picture."""
        self.frames += 1
        self.skipped += not size
        self.key_frames += key
        self.bytes += size
        self.encode_ms += (seconds * 1000 - self.encode_ms) / min(self.frames, FPS)
        self.times.add(seconds)
        if self.on_encode is not None:
            self.on_encode(seconds)

    def waited(self, seconds: float) -> None:
        """Count the wait of a picture or packet for a thread."""
        self.waited_ms += seconds * 1000
        self.wait_ms += (seconds * 1000 - self.wait_ms) / FPS

    def report(self) -> dict[str, float]:
        """What a client or operator may want to see."""
        return {
            "encode_ms": round(self.encode_ms, 2),
            "encode_p50_ms": round(self.times.percentile(50), 2),
            "encode_p95_ms": round(self.times.percentile(95), 2),
            "wait_ms": round(self.wait_ms, 2),
            "bitrate": self.bitrate,
            "remb": self.remb,
            "loss": round(self.loss, 3),
            "rtt_ms": round(self.rtt_ms, 1),
            "frames": self.frames,
            "width": self.width,
            "height": self.height,
        }

    def counts(self) -> dict[str, int]:
        """Counters since it began."""
        return {
            "bytes": self.bytes,
            "key_frames": self.key_frames,
            "skipped": self.skipped,
            "nack": self.nack,
            "unrepeated": self.unrepeated,
            "pli": self.pli,
        }


SEND_STATS: ContextVar[SendStats | None] = ContextVar("send_stats", default=None)
"""Set while a peer connection is made: aiortc creates encoders in tasks that inherit it."""
