"""What to leave out when the machine cannot keep up, and when to take it back.

Misses are slots whose picture was not there in time. A few within two seconds lead one rung down;
ten calm seconds lead one up again, and longer each time that going up was a mistake. Steps once per
slot and knows no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from engine.media import FPS


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to run.

    Args:
        steps: denoising steps of the motion network.
        fps: pictures a second; slots stay at 25.
        size: side of the picture sent, in pixels.
    """

    steps: int
    fps: int
    size: int


THINNED = 20
"""Pictures a second where one of five is left out."""
_EVERY = FPS // (FPS - THINNED)
SMALL = 384


def rungs(steps: int, size: int) -> tuple[Rung, ...]:
    """From the configured way to the cheapest.

    Fewer steps first: hardly anybody sees it. The renderer knows one size only, so a smaller
    picture saves encoding and sending, not rendering; it comes last.
    """
    ways = [
        Rung(steps, FPS, size),
        Rung(1, FPS, size),
        Rung(1, THINNED, size),
        Rung(1, THINNED, min(size, SMALL)),
    ]
    return tuple(way for i, way in enumerate(ways) if i == 0 or way != ways[i - 1])


def left_out(rung: Rung, pts: int) -> bool:
    """Whether the picture of media frame ``pts`` is not rendered."""
    return rung.fps < FPS and pts % _EVERY == _EVERY - 1


class Ladder:
    """Hysteresis over misses.

    Args:
        rungs: from best to cheapest.
    """

    WINDOW = 2 * FPS
    """Slots over which misses count."""
    MISSES = 4
    """Misses in the window that lead down (8 %)."""
    SETTLE = FPS
    """Slots after a change in which nothing counts: what was late already is still to come."""
    CALM = 10 * FPS
    """Slots with at most ``STRAY`` misses that lead up."""
    STRAY = 1
    MOST_CALM = 8 * CALM

    def __init__(self, rungs: Sequence[Rung]) -> None:
        if not rungs:
            raise ValueError("a ladder needs a rung")
        self._rungs = tuple(rungs)
        self.level = 0
        self._recent: deque[int] = deque(maxlen=self.WINDOW)
        self._since = self.SETTLE
        self._calm = self._stray = 0
        self._needed = self.CALM
        self._rose = False

    @property
    def rung(self) -> Rung:
        """The way to run now."""
        return self._rungs[self.level]

    def slot(self, misses: int) -> bool:
        """A slot leaves; True if ``rung`` has changed.

        Args:
            misses: pictures that were missed with it, 0 or more.
        """
        self._since += 1
        if self._since <= self.SETTLE:
            return False
        self._recent.append(misses)
        self._calm += 1
        self._stray += misses
        if self._stray > self.STRAY:
            self._calm = self._stray = 0
        if sum(self._recent) >= self.MISSES and self.level + 1 < len(self._rungs):
            if self._rose and self._since < 2 * self.CALM:
                self._needed = min(2 * self._needed, self.MOST_CALM)
            self._move(1)
            return True
        if self._calm >= self._needed and self.level:
            self._move(-1)
            return True
        if self._calm >= self.MOST_CALM:
            self._needed = self.CALM
        return False

    def restart(self) -> None:
        """Nothing has run for a while: what was seen does not count; the rung stays."""
        self._recent.clear()
        self._since = self._calm = self._stray = 0

    def _move(self, step: int) -> None:
        self.level += step
        self._rose = step < 0
        self.restart()
