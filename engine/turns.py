"""Whose turn it is: who speaks, where utterances begin and end, and when a voice interrupts.

Everything here steps once per 40 ms, of what leaves or of what is heard, and knows no clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from engine.events import Event
from engine.media import FPS
from engine.slots import RATE, SLOT_SAMPLES
from engine.speech import Mark

SPEAKING, LISTENING, IDLE = "speaking", "listening", "idle"

_HANG = round(0.28 * FPS)
"""Frames of quiet after which a turn is over (200 to 300 ms: shorter ones flicker)."""
VOICE_ON, VOICE_OFF = 0.6, 0.35
"""Speech probability that begins a turn, and one that lets it end."""
_VOICE_FRAMES = 2
"""Frames of voice that begin a turn."""
_BARGE_FRAMES = 5
"""Frames of voice that interrupt: 200 ms (docs/decisions/0007 has what was measured)."""


class Voice:
    """Hysteresis over speech probabilities, a frame each.

    Args:
        begin: frames in a row at or above ``VOICE_ON`` that count as speaking.
    """

    def __init__(self, begin: int = _VOICE_FRAMES) -> None:
        self._begin = begin
        self.restart()

    def restart(self) -> None:
        """Forget what was heard."""
        self.active = False
        self._run = self._quiet = 0

    def hear(self, speech: float) -> bool:
        """Take a frame; whether somebody speaks."""
        self._run = self._run + 1 if speech >= VOICE_ON else 0
        self._quiet = self._quiet + 1 if speech < VOICE_OFF else 0
        if self._run >= self._begin:
            self.active = True
        elif self._quiet >= _HANG:
            self.active = False
        return self.active


class BargeIn:
    """Says when a voice interrupts: once it has been heard long enough while the avatar speaks."""

    def __init__(self) -> None:
        self._run = 0

    def hear(self, speech: float, speaking: bool) -> bool:
        """Take a frame of what is said to the avatar; True when it should fall silent."""
        self._run = self._run + 1 if speaking and speech >= VOICE_ON else 0
        if self._run < _BARGE_FRAMES:
            return False
        self._run = 0
        return True


class TurnState:
    """``speaking``, ``listening`` or ``idle``. Begins at once, ends after a while of quiet."""

    def __init__(self) -> None:
        self.state = IDLE
        self._hang = 0

    def slot(self, speaking: bool, other: bool) -> Event | None:
        """A slot leaves.

        Args:
            speaking: the avatar says something in it.
            other: somebody speaks to the avatar.
        """
        self._hang = _HANG if speaking else max(0, self._hang - 1)
        if speaking or (self._hang and self.state == SPEAKING and not other):
            state = SPEAKING
        else:
            state = LISTENING if other else IDLE
        return self._become(state)

    def silence(self) -> Event | None:
        """The avatar has been silenced."""
        self._hang = 0
        return self._become(IDLE) if self.state == SPEAKING else None

    def _become(self, state: str) -> Event | None:
        if state == self.state:
            return None
        self.state = state
        return Event("state", {"state": state})


@dataclass(slots=True, eq=False)
class _Track:
    name: str
    segments: deque[tuple[int, int]] = field(default_factory=deque)
    end: int | None = None
    played: int = 0
    last: int = 0
    """Samples of it in the last slot that left."""
    started: bool = False


def milliseconds(samples: int) -> float:
    """Of samples at 48 kHz."""
    return round(1000 * samples / RATE, 3)


class Markers:
    """Follows utterances from the line to the slots that leave."""

    def __init__(self) -> None:
        self._tracks: deque[_Track] = deque()
        self._left = 0

    @property
    def playing(self) -> str | None:
        """The utterance that is heard now: begun and not over."""
        return next((track.name for track in self._tracks if track.started), None)

    @property
    def waiting(self) -> bool:
        """Whether any utterance is not over."""
        return bool(self._tracks)

    def place(self, mark: Mark) -> None:
        """A piece of an utterance lies on the line now."""
        if not self._tracks or self._tracks[-1].name != mark.utterance or self._tracks[-1].end:
            self._tracks.append(_Track(mark.utterance))
        track = self._tracks[-1]
        if mark.end > mark.start:
            if track.segments and track.segments[-1][1] == mark.start:
                track.segments[-1] = (track.segments[-1][0], mark.end)
            else:
                track.segments.append((mark.start, mark.end))
        if mark.complete:
            track.end = max(1, mark.end)

    def slot(self, content: int) -> list[Event]:
        """A slot leaves that carries the line's samples of media frame ``content``."""
        first, self._left = content * SLOT_SAMPLES, (content + 1) * SLOT_SAMPLES
        events: list[Event] = []
        for track in list(self._tracks):
            track.last = 0
            while track.segments and track.segments[0][0] < self._left:
                start, end = track.segments[0]
                track.last += max(0, min(end, self._left) - max(start, first))
                if end > self._left:
                    break
                track.segments.popleft()
            track.played += track.last
            over = track.end is not None and track.end <= self._left
            if not track.started and (track.last or over):
                track.started = True
                events.append(Event("utterance_started", {"utterance": track.name}))
            if over:
                self._tracks.remove(track)
                events.append(finished(track.name, track.played, interrupted=False))
        return events

    def cut(self, heard: int) -> tuple[str | None, int, list[Event]]:
        """Interrupt.

        Args:
            heard: the line's sample up to which it was really heard: at most one slot back, or
                ahead if the last slot has left and ``slot`` was not told yet.

        Returns:
            The utterance that was playing, samples of it that were heard, and an
            ``utterance_finished`` for each that was not over.
        """
        name, played, events = None, 0, []
        for track in self._tracks:
            # What was handed out last and is not heard lies at the slot's end.
            track.played -= min(track.last, max(0, self._left - heard))
            untold = sum(
                max(0, min(end, heard) - max(start, self._left)) for start, end in track.segments
            )
            if untold and not track.started:
                track.started = True
                events.append(Event("utterance_started", {"utterance": track.name}))
            track.played += untold
            if track.started and name is None:
                name, played = track.name, track.played
            events.append(finished(track.name, track.played, interrupted=True))
        self._tracks.clear()
        return name, played, events


def finished(name: str, played: int, *, interrupted: bool) -> Event:
    """``utterance_finished``: ``played`` samples at 48 kHz of it were heard."""
    fields = {"utterance": name, "played_ms": milliseconds(played), "interrupted": interrupted}
    return Event("utterance_finished", fields)
