"""Follows a receiver's bitrate estimate in steps, as every change costs a new encoder."""

from __future__ import annotations

from engine.clock import Clock

LADDER = (300_000, 420_000, 590_000, 820_000, 1_150_000, 1_600_000)
"""Bits per second. Steps of 1.4: a receiver's estimate grows to 1.5 times what it gets, no more."""
_START = 820_000
_CALM_SECONDS = 5.0
_TOLERANCE = 0.85


class BitrateLadder:
    """Follows a receiver's estimate in steps.

    Args:
        clock: real time.
        start: first rate in bits per second.
    """

    def __init__(self, clock: Clock, start: int = _START) -> None:
        self._clock = clock
        self._rung = LADDER.index(start)
        self._calm_since: float | None = None
        self._calm_rung = 0

    @property
    def rate(self) -> int:
        """Bits per second to encode at now."""
        return LADDER[self._rung]

    def estimate(self, bits_per_second: int) -> None:
        """Take a new estimate of what the receiver can take."""
        fits = sum(rung <= bits_per_second for rung in LADDER[1:])
        if bits_per_second < self.rate * _TOLERANCE:
            self._rung = min(fits, self._rung)
            self._calm_since = None
        elif fits <= self._rung:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since, self._calm_rung = self._clock.now(), fits
        else:
            self._calm_rung = min(self._calm_rung, fits)
            if self._clock.now() - self._calm_since >= _CALM_SECONDS:
                self._rung = self._calm_rung
                self._calm_since = None
