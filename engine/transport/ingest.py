"""Turns what a peer sends into one unbroken line of audio that keeps step with the clock.

Whatever arrives or does not arrive (a muted or missing microphone, lost packets, a sender whose
clock is off, a network that delivers a second of sound at once), the session's media time follows
real time: never more than the slack behind it, because silence is filled in, and never more than
``_AHEAD`` ahead, because sound is dropped. All of it is counted.

* A sender's drift is estimated and undone by stretching its sound by a few samples in a thousand,
  and so is what a burst has left the line ahead: speech is neither cut nor broken for it.
* Holes of up to 60 ms are concealed, longer ones are silence.
* The slack adapts to the network's jitter (RFC 3550), 40 to 100 ms.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from engine.clock import Clock
from engine.media import AudioChunk, Float32
from engine.transport.conceal import HISTORY_MS, LIMIT_MS, blend, conceal
from engine.transport.drift import Drift, stretch

RATE = 48_000
"""Rate of received Opus in Hz."""
_MS = RATE // 1000
_SLACK = (40 * _MS, 100 * _MS)
"""Beyond the 20 ms that a packet takes anyway: 60 to 120 ms from mouth to line."""
_JITTERS = 4
"""Slack in units of the mean deviation of arrivals: all but the rarest packets come in time."""
_AHEAD = 200 * _MS
_TARGET = 80 * _MS
"""How far ahead quiet sound may run before it is dropped to get back in step."""
_HOLE = 200 * _MS
"""Longest hole between two received frames that is filled with as much sound."""
_QUIET_RMS = 0.003
_CALM_AHEAD = 25 * _MS
"""How far ahead the line may stay: a packet and a little. Beyond, sound is shortened."""
_CATCH_UP = 0.004
_MOST_DRIFT = 0.005
"""Shares by which sound is stretched at most: to catch up, and in all."""
_HISTORY = round(HISTORY_MS * _MS)


@dataclass(slots=True)
class IngestStats:
    """Milliseconds since the session began, and what is estimated now."""

    received_ms: float = 0.0
    """Sound taken."""
    lost_ms: float = 0.0
    """Holes between received frames."""
    concealed_ms: float = 0.0
    """Part of what follows and of ``lost_ms`` that was filled with sound; the rest is silence."""
    filled_ms: float = 0.0
    """Made because nothing arrived in time."""
    dropped_ms: float = 0.0
    """Sound thrown away because media time ran ahead of the clock."""
    stretched_ms: float = 0.0
    """By how much sound was made longer (or, below 0, shorter) to keep step."""
    drift_ppm: float = 0.0
    """How much faster than ours the sender's clock runs."""
    jitter_ms: float = 0.0
    """Mean deviation of arrivals (RFC 3550, 6.4.1)."""
    slack_ms: float = 0.0
    """How long what is late is waited for."""

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
        self._drift = Drift(RATE)
        self._owed = 0.0
        self._transit: float | None = None
        self._jitter = 0.0
        self._past: Float32 = np.zeros(_HISTORY, np.float32)
        self._gap = 0
        self.stats = IngestStats()

    @property
    def end(self) -> int:
        """Samples handed out so far."""
        return self._end

    @property
    def slack(self) -> int:
        """Samples the line may fall behind before silence is filled in."""
        return round(min(max(_SLACK[0] + _JITTERS * self._jitter, _SLACK[0]), _SLACK[1]))

    def restart(self) -> None:
        """From now on somebody else sends."""
        self._offset = None
        self._transit = None
        self._drift.restart()

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
        self._observe(pts + len(samples))
        following = pts + len(samples)
        hole = 0 if self._offset is None else pts + self._offset - self._end
        if 0 < hole <= min(_HOLE, self._room()):
            self.stats.lost_ms += hole / _MS
            chunks.append(self._chunk(self._go_on(hole)))
        if self._gap:
            samples = blend(self._going_on(len(samples)), samples, RATE)
        ahead = self._end + len(samples) - self._now()
        quiet = float(np.sqrt(np.mean(np.square(samples)))) < _QUIET_RMS if len(samples) else True
        if ahead > _AHEAD or (quiet and ahead > _TARGET):
            self.stats.dropped_ms += len(samples) / _MS
        else:
            self.stats.received_ms += len(samples) / _MS
            chunks.append(self._chunk(self._in_step(samples, ahead)))
            self._past = np.concatenate([self._past, samples[-_HISTORY:]])[-_HISTORY:]
            self._gap = 0
        # From here on the sender's next sample belongs at the end of the line.
        self._offset = self._end - following
        return chunks

    def tick(self) -> list[AudioChunk]:
        """Fill in silence for what should have come by now. Call every 10 to 20 ms."""
        missing = self._now() - self._end
        # A peer that sends is given some slack; one that does not is replaced by silence at once.
        if missing <= (self.slack if self._sending else 0):
            return []
        self._sending = False
        self.stats.filled_ms += missing / _MS
        return [self._chunk(self._go_on(missing))]

    def _observe(self, end: int) -> None:
        """Sound up to the sender's time ``end`` is here: what does that say of its clock?"""
        now = self._clock.now()
        self._drift.observe(now, end)
        transit = now * RATE - end
        # More than a second is a sender that has started anew, not the network.
        if self._transit is not None and abs(transit - self._transit) < RATE:
            self._jitter += (abs(transit - self._transit) - self._jitter) / 16
        self._transit = transit
        self.stats.drift_ppm = self._drift.ppm
        self.stats.jitter_ms = self._jitter / _MS
        self.stats.slack_ms = self.slack / _MS

    def _in_step(self, samples: Float32, ahead: int) -> Float32:
        """The samples, a few more or less of them: against drift, and back to the clock."""
        if len(samples) < 2:
            return samples
        share = -self._drift.ppm * 1e-6
        if ahead > _CALM_AHEAD + self.slack - _SLACK[0]:
            share -= _CATCH_UP
        self._owed += min(max(share, -_MOST_DRIFT), _MOST_DRIFT) * len(samples)
        extra = int(self._owed)
        self._owed -= extra
        self.stats.stretched_ms += extra / _MS
        return stretch(samples, max(2, len(samples) + extra))

    def _going_on(self, count: int) -> Float32:
        """What the last sound received would go on with, after the gap so far."""
        return conceal(self._past, self._gap + count, RATE)[self._gap :]

    def _go_on(self, count: int) -> Float32:
        """Fill ``count`` samples for which there is no sound."""
        filling = self._going_on(count)
        if self._past.any():
            left = max(0.0, LIMIT_MS - self._gap / _MS)
            self.stats.concealed_ms += min(count / _MS, left)
        # Beyond what can be concealed all is silence: no need to count on for ever.
        self._gap = min(self._gap + count, RATE)
        return filling

    def _now(self) -> int:
        return int((self._clock.now() - self._start) * RATE)

    def _room(self) -> int:
        return self._now() + _AHEAD - self._end

    def _chunk(self, samples: Float32) -> AudioChunk:
        chunk = AudioChunk(samples, self._end, RATE)
        self._end += len(samples)
        return chunk
