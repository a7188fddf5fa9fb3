"""What the avatar is given to say, laid out on one unbroken line of sound in step with the clock.

An utterance may come in pieces, faster or slower than it is spoken. The line never has a gap: where
nothing is to be said there is silence. Silence runs exactly with the clock; what is to be said may
run ahead of it by a *lead*, so that the first speaking frame waits for nothing but its computing.

The clock here is that of the line: real time plus the leads used so far. When an utterance has been
laid out completely, the line does not wait for real time to catch up (the face would stand still
meanwhile); whoever plays it drops as much of the silence that comes before an utterance as the line
ran ahead (``Playout.cut_quiet``), so the delay from line to viewer does not grow.

Synchronous, not thread-safe; ``now`` is handed in.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from engine.audio.framer import MAX_RATE, MIN_RATE
from engine.audio.resample import Resampler
from engine.errors import MediaError, Overloaded
from engine.media import AudioChunk, Float32
from engine.slots import RATE

_MAX_SECONDS = 300.0
"""Sound that may wait to be said."""
_MAX_WAITING = 256
"""Utterances that may wait."""
_MAX_STEP = RATE // 5
"""Longest step of silence; beyond it the caller has stalled, and the line does not make up."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a piece of an utterance lies on the line.

    Args:
        utterance: its name.
        start: first sample.
        end: one past the last.
        complete: nothing of this utterance follows.
    """

    utterance: str
    start: int
    end: int
    complete: bool


@dataclass(slots=True, eq=False)
class _Utterance:
    name: str
    resampler: Resampler
    raw: deque[Float32] = field(default_factory=deque)
    """As given, at its own rate."""
    pieces: deque[Float32] = field(default_factory=deque)
    """Ready for the line."""
    final: bool = False
    flushed: bool = False
    begun: bool = False


class SpeechQueue:
    """Utterances in, the line out.

    Args:
        lead: samples at 48 kHz that speech may run ahead of the clock.
    """

    def __init__(self, lead: int) -> None:
        self._lead = lead
        self._queue: deque[_Utterance] = deque()
        self._raw = 0.0  # seconds as given
        self._ready = 0  # samples at 48 kHz
        self._end = 0
        self._said_to = 0
        self._allowed = 0
        self._zero: float | None = None

    @property
    def end(self) -> int:
        """One past the line's last sample."""
        return self._end

    @property
    def quiet(self) -> int:
        """Samples of silence at the end of the line."""
        return self._end - self._said_to

    @property
    def waiting(self) -> int:
        """Samples at 48 kHz not on the line yet."""
        return round(self._raw * RATE) + self._ready

    @property
    def open(self) -> bool:
        """Whether an utterance is not complete on the line yet."""
        return bool(self._queue)

    @property
    def starting(self) -> bool:
        """Whether the next ``tick`` goes from silence to sound."""
        return self.waiting > 0 and (self.quiet > 0 or self._end == 0)

    def clock(self, now: float) -> int:
        """The line's clock, in samples; 0 before the first ``tick``."""
        return 0 if self._zero is None else round((now - self._zero) * RATE)

    def say(self, samples: Float32, rate: int, name: str, final: bool) -> None:
        """Take a piece of an utterance.

        A new name ends the utterance before it: what is said is one sequence.

        Args:
            samples: float32 [N], mono; may be empty.
            rate: Hz; the same for all pieces of one utterance.
            name: of the utterance.
            final: nothing of it follows.

        Raises:
            MediaError: not one row of samples, an impossible rate or a changed one, or more of an
                utterance that has ended and still waits.
            Overloaded: too much waits already.
        """
        if samples.ndim != 1:
            raise MediaError(f"expected mono samples [N], got shape {list(samples.shape)}")
        if not MIN_RATE <= rate <= MAX_RATE:
            raise MediaError(f"a sample rate of {rate} Hz is not usable")
        if self.waiting / RATE + len(samples) / rate > _MAX_SECONDS:
            raise Overloaded(
                f"more than {_MAX_SECONDS:.0f} s would wait to be said; send the rest later",
                max(1, round(self.waiting / RATE - _MAX_SECONDS / 2)),
            )
        utterance = self._utterance(name, rate)
        if len(samples):
            utterance.raw.append(samples)
            self._raw += len(samples) / rate
        utterance.final = utterance.final or final

    def tick(
        self, now: float, lead: int | None = None, room: int | None = None
    ) -> tuple[AudioChunk | None, list[Mark]]:
        """The line since the last tick, and where utterances lie in it.

        Args:
            now: seconds; goes on from one call to the next.
            lead: samples that what begins now may run ahead, at most the constructor's.
            room: most samples that may come out; the line's clock waits for more room.
        """
        if self._zero is None:
            self._zero = now - self._end / RATE
        if self.starting:
            self._allowed = self._lead if lead is None else min(lead, self._lead)
        clock, start = self.clock(now), self._end
        latest = start + (_MAX_STEP if room is None else min(room, _MAX_STEP))
        if clock > latest:
            self._shift(clock - latest)
            clock = latest
        limit = clock + self._allowed
        if room is not None:
            limit = min(limit, start + room)
        parts: list[Float32] = []
        marks: list[Mark] = []
        while self._queue and limit >= self._end:
            if not self._place(self._queue[0], limit - self._end, parts, marks):
                break
        if self._queue:
            silence = clock - self._end if not self._queue[0].pieces else 0
        else:
            if self._end > clock:
                self._shift(clock - self._end)
                clock = self._end
            silence = clock - self._end
        if silence > 0:
            parts.append(np.zeros(silence, np.float32))
            self._end += silence
        if self._end == start:
            return None, marks
        return AudioChunk(np.concatenate(parts), start, RATE), marks

    def leap(self, samples: int) -> None:
        """Let the line run ``samples`` further ahead, with silence if need be."""
        if self._zero is not None:
            self._shift(-samples)

    def stop(self) -> None:
        """Real time does not count until the next ``tick``."""
        self._zero = None
        self._allowed = 0

    def cut(self) -> list[str]:
        """Forget all that waits; names of the utterances that were not complete on the line."""
        names = [utterance.name for utterance in self._queue]
        self._queue.clear()
        self._raw, self._ready, self._allowed = 0.0, 0, 0
        return names

    def cut_begun(self) -> list[str]:
        """Forget the rest of an utterance that lies partly on the line; its name, if there is one.

        What has not begun goes on waiting.
        """
        if not self._queue or not self._queue[0].begun:
            return []
        begun = self._queue.popleft()
        self._ready -= sum(len(piece) for piece in begun.pieces)
        self._raw -= sum(len(piece) for piece in begun.raw) / begun.resampler.source
        return [begun.name]

    def _shift(self, samples: int) -> None:
        """Set the line's clock back by ``samples``."""
        assert self._zero is not None
        self._zero += samples / RATE

    def _utterance(self, name: str, rate: int) -> _Utterance:
        for known in self._queue:
            if known.name == name:
                if known.final:
                    raise MediaError(f"the utterance '{name}' has ended; choose another name")
                if known.resampler.source != rate:
                    raise MediaError(
                        f"the rate of '{name}' changed from {known.resampler.source} to {rate} Hz"
                    )
                return known
        if len(self._queue) >= _MAX_WAITING:
            raise Overloaded(f"{_MAX_WAITING} utterances wait already; send the rest later", 5)
        if self._queue:
            self._queue[-1].final = True
        utterance = _Utterance(name, Resampler(rate, RATE))
        self._queue.append(utterance)
        return utterance

    def _convert(self, utterance: _Utterance) -> bool:
        """Make a little more ready for the line: minutes at once would keep everybody waiting."""
        rate = utterance.resampler.source
        if utterance.raw:
            piece, most = utterance.raw.popleft(), rate // 2
            if len(piece) > most:
                utterance.raw.appendleft(piece[most:])
                piece = piece[:most]
            self._raw = max(0.0, self._raw - len(piece) / rate)
            clean = np.nan_to_num(piece.astype(np.float32, copy=False), posinf=0.0, neginf=0.0)
            ready = utterance.resampler.push(clean)
        elif utterance.final and not utterance.flushed:
            utterance.flushed = True
            ready = utterance.resampler.flush()
        else:
            return False
        if len(ready):
            utterance.pieces.append(ready)
            self._ready += len(ready)
        return True

    def _place(
        self, utterance: _Utterance, room: int, parts: list[Float32], marks: list[Mark]
    ) -> bool:
        """Lay out at most ``room`` samples; whether the utterance is complete."""
        start = self._end
        while utterance.pieces or self._convert(utterance):
            if not utterance.pieces:
                continue
            if not room:
                break
            piece = utterance.pieces.popleft()
            if len(piece) > room:
                utterance.pieces.appendleft(piece[room:])
                piece = piece[:room]
            parts.append(piece)
            room -= len(piece)
            self._ready -= len(piece)
            self._end += len(piece)
            self._said_to = self._end
            utterance.begun = True
        complete = utterance.flushed and not utterance.pieces
        if complete:
            self._queue.popleft()
        if complete or self._end > start:
            marks.append(Mark(utterance.name, start, self._end, complete))
        return complete
