"""Which bitrate to send at: as much as the receiver's estimate and the loss it reports allow.

Two voices, the lower one counts (draft-ietf-rmcat-gcc-02, sections 5 and 6):

* The receiver's own estimate (REMB), which sees queues grow before anything is lost.
* Loss, from receiver reports (RFC 3550, 6.4.1). Above 10 % the rate falls by half the loss, below
  2 % it may grow by 5 % per report, in between it stays: losses that do not come from us.

It moves on a ladder, as every change costs a new encoder and a key frame: down at once, up after
a calm while, and after a while twice as long if the last step up had to be taken back.
"""

from __future__ import annotations

from engine.clock import Clock
from engine.media import FPS

LADDER = (150_000, 210_000, 300_000, 420_000, 590_000, 820_000, 1_150_000, 1_600_000)
"""Bits per second. Steps of 1.4: a receiver's estimate grows to 1.5 times what it gets, no more.
The second one leaves room for 48 kbit/s of sound, and for headers, on a link of 300 kbit/s."""
START = 590_000
"""Where an unknown network begins. Receivers' estimates start at about 500 kbit/s."""
_SMALL_BELOW = 210_000
SIZES = ((1, 1), (3, 4), (1, 2), (3, 8))
"""Sides of the picture sent, as fractions of those drawn."""
_PICTURES = FPS
"""Pictures judged at once."""
_MOST_SKIPPED = 10
_CALM_PICTURES, _LONGEST_CALM_PICTURES = 10 * FPS, 160 * FPS
_CALM_SECONDS = 5.0
_LONGEST_CALM_SECONDS = 40.0
_TAKEN_BACK_SECONDS = 10.0
_TOLERANCE = 0.85
_MUCH_LOSS = 0.10
_LITTLE_LOSS = 0.02
_GROWTH = 1.05


def picture_scale(bits_per_second: int, smaller: int = 0) -> tuple[int, int]:
    """Size of the picture, as a fraction of its sides, that looks best at a rate.

    A moving face in VP8, PSNR against 512×512: at 150 kbit/s 39.6 dB from 384×384 and 39.2 from
    512×512, at 210 kbit/s 40.5 and 40.8, at 300 kbit/s 41.4 and 41.8.

    Args:
        bits_per_second: the rate.
        smaller: by how many sizes it must be smaller than for a face: ``SizeLadder``.
    """
    size = (bits_per_second < _SMALL_BELOW) + smaller
    return SIZES[min(size, len(SIZES) - 1)]


class SizeLadder:
    """By how many sizes a picture must be smaller, told by what the encoder leaves out of it.

    A face never makes it leave anything out. A hard texture that moves does: there, a coarse
    picture that moves is better than a sharp one three times a second, whose bytes moreover come
    in bursts that a narrow link's queue does not hold. Down when fewer than 15 of 25 pictures were
    sent, up after ten seconds in which all were, and twice as long each time that was too early.
    """

    def __init__(self) -> None:
        self.smaller = 0
        self._judged = self._skipped = 0
        self._calm, self._calm_needed = 0, _CALM_PICTURES
        self._grew = False

    def coded(self, skipped: bool) -> None:
        """Take whether the encoder left the newest picture out."""
        self._judged += 1
        self._skipped += skipped
        self._calm = 0 if skipped else self._calm + 1
        if self._skipped > _MOST_SKIPPED:
            if self._grew:
                self._calm_needed = min(2 * self._calm_needed, _LONGEST_CALM_PICTURES)
            self._step(min(self.smaller + 1, len(SIZES) - 1), grew=False)
        elif self._judged == _PICTURES:
            self._judged = self._skipped = 0
        if self.smaller and self._calm >= self._calm_needed:
            self._step(self.smaller - 1, grew=True)

    def _step(self, smaller: int, *, grew: bool) -> None:
        self.smaller, self._grew = smaller, grew
        self._judged = self._skipped = self._calm = 0


class BitrateLadder:
    """See the module's docstring. Not thread-safe, but ``rate`` may be read from anywhere.

    Args:
        clock: real time.
        start: first rate in bits per second.
    """

    def __init__(self, clock: Clock, start: int = START) -> None:
        self._clock = clock
        self._rung = LADDER.index(start)
        self._estimate = float("inf")
        self._by_loss = float(LADDER[-1])
        self._calm_since: float | None = None
        self._calm_rung = 0
        self._calm_seconds = _CALM_SECONDS
        self._rose_at = float("-inf")

    @property
    def rate(self) -> int:
        """Bits per second to encode at now."""
        return LADDER[self._rung]

    def estimate(self, bits_per_second: int) -> None:
        """Take a new estimate of what the receiver can take."""
        self._estimate = bits_per_second
        self._move()

    def loss(self, share: float) -> None:
        """Take the share of packets, 0 to 1, lost since the receiver's last report."""
        if share > _MUCH_LOSS:
            self._by_loss = min(self._by_loss, self.rate) * (1 - 0.5 * share)
        elif share < _LITTLE_LOSS:
            self._by_loss *= _GROWTH
        self._by_loss = min(max(self._by_loss, LADDER[0]), LADDER[-1])
        self._move()

    def _move(self) -> None:
        allowed = min(self._estimate, self._by_loss)
        fits = sum(rung <= allowed for rung in LADDER[1:])
        now = self._clock.now()
        if allowed < self.rate * _TOLERANCE:
            if fits < self._rung:
                self._fell(now)
            self._rung = min(fits, self._rung)
            self._calm_since = None
        elif fits <= self._rung:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since, self._calm_rung = now, fits
        else:
            self._calm_rung = min(self._calm_rung, fits)
            if now - self._calm_since >= self._calm_seconds:
                self._rung = self._calm_rung
                self._calm_since = None
                self._rose_at = now

    def _fell(self, now: float) -> None:
        """A rise that did not last makes the next one wait."""
        if now - self._rose_at < _TAKEN_BACK_SECONDS:
            self._calm_seconds = min(2 * self._calm_seconds, _LONGEST_CALM_SECONDS)
        else:
            self._calm_seconds = _CALM_SECONDS
