"""When things are due, how long they took, how long to wait before trying again. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from engine.media import FPS

RETRIES = (1.0, 2.0, 4.0, 8.0, 8.0)
"""Seconds before each attempt to reach a server again; clients/web/client.js has the same."""
_KEPT = 2 * FPS
_MARKS = 500


class Backoff:
    """Waiting times between attempts.

    Args:
        waits: seconds before each one.
        last: whether it ends after the last of them; else that one is repeated for ever.
    """

    def __init__(self, waits: Sequence[float] = RETRIES, *, last: bool = True) -> None:
        self._waits = waits
        self._last = last
        self.attempts = 0

    def reset(self) -> None:
        """It worked."""
        self.attempts = 0

    def next(self, asked: float = 0.0) -> float | None:
        """Seconds to wait now; None to give up.

        Args:
            asked: what the server asked for (``Retry-After``); 0 if it did not.
        """
        if self._last and self.attempts >= len(self._waits):
            return None
        wait = self._waits[min(self.attempts, len(self._waits) - 1)]
        self.attempts += 1
        return asked or wait


class Pacer:
    """Every picture of a steady rate once; those that are overdue are left out, never sent at once.

    Args:
        fps: pictures per second.
        start: when the first one is due, in seconds.
    """

    def __init__(self, fps: float, start: float) -> None:
        self._start = start
        self._period = 1 / fps
        self._next = 0
        self.missed = 0
        """Pictures left out."""

    @property
    def due(self) -> float:
        """When the next picture is due."""
        return self._start + self._next * self._period

    def take(self, now: float) -> None:
        """A picture leaves at ``now``."""
        late = max(0, int((now - self.due) / self._period + 1e-6))
        self.missed += late
        self._next += 1 + late


@dataclass(frozen=True, slots=True)
class _Mark:
    end: int
    at: float


class Latency:
    """Sound that comes in at known times, and when its picture leaves.

    Args:
        rate: samples per second of the line both are counted on.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._marks: deque[_Mark] = deque(maxlen=_MARKS)
        self._recent: deque[float] = deque(maxlen=_KEPT)

    def heard(self, end: int, at: float) -> None:
        """Sound up to sample ``end`` was there at ``at`` seconds."""
        self._marks.append(_Mark(end, at))

    def shown(self, sample: int, at: float) -> None:
        """The picture that belongs to ``sample`` leaves at ``at`` seconds."""
        while self._marks and self._marks[0].end <= sample:
            self._marks.popleft()
        if self._marks:
            mark = self._marks[0]
            # The sample was recorded a little before the end of its block.
            self._recent.append(at - mark.at + (mark.end - sample) / self._rate)

    @property
    def seconds(self) -> float | None:
        """Median of the last two seconds; None without any."""
        return median(self._recent) if self._recent else None


class Rate:
    """Events per second between two readings."""

    def __init__(self) -> None:
        self.total = 0
        self._seen = 0
        self._at: float | None = None

    def add(self) -> None:
        """One more."""
        self.total += 1

    def read(self, now: float) -> float:
        """Events per second since the last call."""
        at, count = self._at, self.total - self._seen
        self._at, self._seen = now, self.total
        return 0.0 if at is None or now <= at else count / (now - at)
