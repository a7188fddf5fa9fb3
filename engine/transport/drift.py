"""A sender's clock against ours: how far they part, and sound stretched a little to keep step.

A crystal is off by up to 100 ppm, a bad sound card by more: 0.36 s an hour for each 100 ppm. What
arrives tells the sender's time (``pts``) and ours, but late by the network's delay, which only ever
adds: so of every second only the packet that came earliest counts, and the drift is the slope of a
least-squares line through these (the lower envelope, as in Moon, Skelly and Towsley, "Estimation
and removal of clock skew from network delay measurements", INFOCOM 1999).

Synchronous; knows no clock.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from engine.media import Float32

_BLOCK_SECONDS = 1.0
_BLOCKS = 60
_LEAST_BLOCKS = 10
_JUMP_SECONDS = 0.5
"""A change of the sender's time against ours that is no drift: it has started anew."""


class Drift:
    """Estimates a sender's drift.

    Args:
        rate: of ``pts``, in Hz.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._blocks: deque[tuple[float, float]] = deque(maxlen=_BLOCKS)
        self._block: tuple[float, float, float] | None = None
        self._origin = 0
        self.ppm = 0.0
        """How much faster than ours the sender's clock runs, in parts per million."""

    def observe(self, now: float, pts: int) -> None:
        """Sound up to ``pts`` has arrived at ``now`` seconds."""
        if self._block is None:
            self._origin = pts
        ahead = (pts - self._origin) / self._rate - now
        if self._block is not None and abs(ahead - self._block[2]) > _JUMP_SECONDS:
            self.restart()
            self._origin, ahead = pts, -now
        if self._block is None:
            self._block = (now, now, ahead)
            return
        begun, at, best = self._block
        if now - begun < _BLOCK_SECONDS:
            self._block = (begun, now, ahead) if ahead > best else (begun, at, best)
            return
        self._blocks.append((at, best))
        self._block = (now, now, ahead)
        if len(self._blocks) >= _LEAST_BLOCKS:
            times, leads = np.array(self._blocks).T
            self.ppm = float(np.polyfit(times - times[0], leads, 1)[0]) * 1e6

    def restart(self) -> None:
        """Another sender, or the same one started anew."""
        self._blocks.clear()
        self._block = None
        self.ppm = 0.0


def stretch(samples: Float32, length: int) -> Float32:
    """Another number of samples for the same sound, by cubic (Catmull-Rom) interpolation.

    Meant for a few samples in a thousand: the pitch shifts by as much, which nobody hears. Linear
    interpolation would dull what lies half-way between two samples (-1.2 dB at 8 kHz; so -0.1).

    Args:
        samples: float32 [N], N at least 2.
        length: wanted number of samples, at least 2.
    """
    if length == len(samples):
        return samples
    places = np.linspace(0, len(samples) - 1, length)
    left = np.minimum(places.astype(np.intp), len(samples) - 2)
    t = places - left
    edged = np.concatenate(
        [[2 * samples[0] - samples[1]], samples, [2 * samples[-1] - samples[-2]]]
    )
    before, here, there, after = (edged[left + offset] for offset in range(4))
    cubic = (3 * (here - there) + after - before) * t + 2 * before - 5 * here + 4 * there - after
    out: Float32 = (here + 0.5 * t * (there - before + t * cubic)).astype(np.float32)
    return out
