"""Turns what a peer sends into one unbroken line of audio that keeps step with the clock.

Whatever arrives or does not arrive (a muted or missing microphone, lost packets, a sender whose
clock is off, a network that delivers a second of sound at once), the session's media time follows
real time: never more than ``_SLACK`` behind it, because silence is filled in, and never more than
``_AHEAD`` ahead, because sound is dropped. Both are counted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from engine.clock import Clock
from engine.media import AudioChunk, Float32

RATE = 48_000
"""Rate of received Opus in Hz."""
_SLACK = RATE * 80 // 1000
_AHEAD = RATE * 200 // 1000
_TARGET = RATE * 80 // 1000
"""How far ahead quiet sound may run before it is dropped to get back in step."""
_CONCEAL = RATE * 200 // 1000
"""Longest hole between two received frames that is filled with as much silence."""
_QUIET_RMS = 0.003


@dataclass(slots=True)
class IngestStats:
    """Milliseconds since the session began."""

    received_ms: float = 0.0
    """Sound taken."""
    lost_ms: float = 0.0
    """Holes between received frames, filled with silence."""
    filled_ms: float = 0.0
    """Silence made because nothing arrived in time."""
    dropped_ms: float = 0.0
    """Sound thrown away because media time ran ahead of the clock."""

    def as_dict(self) -> dict[str, float]:
        """Name to value."""
        return asdict(self)


def mono(samples: NDArray[np.int16]) -> Float32:
    """Mix down.

    Args:
        samples: int16 [N, channels].

    Returns:
        float32 [N] in [-1, 1].
    """
    mixed: Float32 = samples.mean(axis=1, dtype=np.float32) / np.float32(32768)
    return mixed


class AudioIngest:
    """One session's input line. Not thread-safe: lives on the event loop.

    Args:
        clock: real time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start = clock.now()
        self._end = 0
        self._offset: int | None = None
        self._sending = False
        self.stats = IngestStats()

    @property
    def end(self) -> int:
        """Samples handed out so far."""
        return self._end

    def receive(self, samples: Float32, pts: int) -> list[AudioChunk]:
        """Take received sound.

        Args:
            samples: float32 [N], 48 kHz mono.
            pts: the sender's time of the first sample, any origin.

        Returns:
            Chunks that continue the line without gap; none if the sound had to be dropped.
        """
        self._sending = True
        chunks: list[AudioChunk] = []
        hole = 0 if self._offset is None else pts + self._offset - self._end
        if 0 < hole <= min(_CONCEAL, self._room()):
            self.stats.lost_ms += hole * 1000 / RATE
            chunks.append(self._chunk(np.zeros(hole, np.float32)))
        ahead = self._end + len(samples) - self._now()
        quiet = float(np.sqrt(np.mean(np.square(samples)))) < _QUIET_RMS if len(samples) else True
        if ahead > _AHEAD or (quiet and ahead > _TARGET):
            self.stats.dropped_ms += len(samples) * 1000 / RATE
        else:
            self.stats.received_ms += len(samples) * 1000 / RATE
            chunks.append(self._chunk(samples))
        # From here on the sender's next sample belongs at the end of the line.
        self._offset = self._end - (pts + len(samples))
        return chunks

    def tick(self) -> list[AudioChunk]:
        """Fill in silence for what should have come by now. Call every 10 to 20 ms."""
        missing = self._now() - self._end
        # A peer that sends is given some slack; one that does not is replaced by silence at once.
        if missing <= (_SLACK if self._sending else 0):
            return []
        self._sending = False
        self.stats.filled_ms += missing * 1000 / RATE
        return [self._chunk(np.zeros(missing, np.float32))]

    def _now(self) -> int:
        return int((self._clock.now() - self._start) * RATE)

    def _room(self) -> int:
        return self._now() + _AHEAD - self._end

    def _chunk(self, samples: Float32) -> AudioChunk:
        chunk = AudioChunk(samples, self._end, RATE)
        self._end += len(samples)
        return chunk
