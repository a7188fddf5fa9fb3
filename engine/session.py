"""One user: an inbox, one worker thread, a playout.

    event loop                              worker thread
    push_audio ──▶ Channel (tagged epoch) ──▶ motion stages ▶ renderer
         └───────▶ Playout ◀──────────────────────────────────┘
    say, tick ──▶ SpeechQueue ──▶ push_audio          slot_left ──▶ turns, ladder, metrics

The sound goes to the playout at once, so that it can go on when a picture is late. What is told
from outside (``push_audio`` or ``say`` and ``tick``, ``hear``, ``interrupt``, ``slot_left``) is
kept in order by one lock that nobody holds while computing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from secrets import token_urlsafe

import cv2
import numpy as np

from engine.audio.framer import Framer
from engine.channel import Channel
from engine.clock import Clock, SystemClock
from engine.errors import SessionClosed
from engine.events import Event
from engine.ladder import Ladder, Rung, left_out, rungs
from engine.logs import about_session
from engine.media import AudioChunk, Float32, MotionFrame, VideoFrame
from engine.metrics import Metrics
from engine.motion.settle import CLOSING, Settle, closing, is_open
from engine.pipeline import Pipeline
from engine.playout import RATE, Playout
from engine.slots import SLOT_SAMPLES, Slot
from engine.speech import Mark, SpeechQueue
from engine.turns import BargeIn, Markers, TurnState, Voice, finished, milliseconds

log = logging.getLogger(__name__)

_JOIN_SECONDS = 5.0
_STUCK_SECONDS = 5.0
_MAX_SKIPS = 3
"""Late frames left out in a row; then one is rendered all the same: the face keeps moving."""
_LEAD = 5 * SLOT_SAMPLES
"""Samples that speech runs ahead: hop and look-ahead of the ``talk`` profile, and one frame more
because neither is on the grid of the other."""
_LEAP = 3 * SLOT_SAMPLES
"""Silence the line runs ahead after an interrupt, so that new pictures follow the closing mouth."""
_DEAF_SLOTS = 12
"""Slots without any sound of the other speaker after which they count as gone."""
_AXIS_DRIFT = RATE // 5
"""How far the other speaker's time may be off the line's before it is set anew."""


@dataclass(frozen=True, slots=True)
class Played:
    """What had been heard when the avatar was interrupted.

    Args:
        utterance: what it was saying, if anything.
        played_ms: how much of that utterance was heard.
        position_ms: how much of the session's line of sound has left, silence included.
    """

    utterance: str | None
    played_ms: float
    position_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class _Overheard:
    """Sound of who speaks to the avatar."""

    chunk: AudioChunk


_Item = AudioChunk | _Overheard | None
"""What reaches the worker; None only wakes it, to shut the mouth after an interrupt."""


class Session:
    """A running avatar. Thread-safe.

    Args:
        name: unguessable id.
        pipeline: this session's stages; used by the worker alone.
        playout: where sound and pictures meet.
        metrics: the engine's counters.
        inbox_ms: sound that may wait for the worker.
        on_close: called once, from any thread, when the session has ended.
        clock: real time, that of who fetches the slots.
        start: motion the pipeline goes on from, float32 [58], shown first; None: the playout's
            idle picture is.
        steps: denoising steps configured.
    """

    def __init__(
        self,
        name: str,
        pipeline: Pipeline,
        playout: Playout,
        metrics: Metrics,
        inbox_ms: int,
        on_close: Callable[[Session], None] = lambda _: None,
        clock: Clock | None = None,
        start: Float32 | None = None,
        steps: int = 2,
    ) -> None:
        self.id = name
        self._log = about_session(log, name)
        self.playout = playout
        self.error: Exception | None = None
        self._pipeline = pipeline
        self._metrics = metrics
        self._on_close = on_close
        self._clock = clock or SystemClock()
        self._inbox: Channel[_Item] = Channel(inbox_ms, _milliseconds)
        self._told = threading.RLock()
        self._speaker = Framer(RATE, RATE)
        self._speech = SpeechQueue(_LEAD)
        self._markers = Markers()
        self._turn = TurnState()
        self._other, self._own, self._barge = Voice(), Voice(), BargeIn()
        self._agent = self._paused = self._barge_in = False
        self._unheard = 0
        self._axis: int | None = None
        self._heard_to = 0
        self._last_slot: int | None = None
        size = playout.shown.image.shape[0] if playout.shown is not None else 512
        self._ladder = Ladder(rungs(steps, size))
        self._rung = self._applied = self._ladder.rung
        self._awaited: float | None = self._clock.now()
        self._interrupted: float | None = None
        self._closing_mouth = False
        self._dropped_ms = 0.0
        self._skips = 0
        self._leapt = False
        self._joint = Settle(mouth=False)
        self._last = start
        self._start = start
        self._closing = threading.Lock()
        self._closed = False
        self._busy_since: float | None = None
        self._abandoned = False
        self._listeners: list[Callable[[VideoFrame], None]] = []
        self._followers: list[Callable[[Event], None]] = []
        self._worker = threading.Thread(target=self._work, name=f"session-{name[:6]}", daemon=True)
        self._worker.start()

    # What can be asked.

    @property
    def closed(self) -> bool:
        """Whether the session has ended; ``error`` says why if it failed."""
        return self._closed

    @property
    def waiting_ms(self) -> float:
        """Sound waiting for the worker."""
        return self._inbox.waiting_ms

    @property
    def dropped_ms(self) -> float:
        """Sound dropped because the worker was behind."""
        return self._inbox.dropped_ms

    @property
    def state(self) -> str:
        """``speaking``, ``listening`` or ``idle``."""
        return self._turn.state

    @property
    def rung(self) -> Rung:
        """How it runs now: less than configured when the machine cannot keep up."""
        return self._rung

    @property
    def last_motion(self) -> Float32 | None:
        """Motion last shown, float32 [58], to go on from in another session."""
        shown = self.playout.shown
        return self._last if shown is None else shown.motion.values

    def stuck(self, now: float) -> bool:
        """Whether sound waits and the worker has drawn nothing and not come back for 5 s."""
        since = self._busy_since
        return since is not None and now - since > _STUCK_SECONDS and self._inbox.waiting_ms > 0

    # Who wants to be told.

    def listen(self, listener: Callable[[VideoFrame], None]) -> None:
        """Call ``listener`` from the worker thread for every frame rendered from sound; it must
        not block."""
        self._listeners.append(listener)

    def on_event(self, follower: Callable[[Event], None]) -> None:
        """Call ``follower`` for every event, from any thread; it must not block."""
        self._followers.append(follower)

    # What comes in.

    def push_audio(self, chunk: AudioChunk) -> None:
        """Say this. Never blocks; when the worker is behind, the oldest waiting sound is dropped.

        Raises:
            SessionClosed: after ``close``.
            MediaError: when the rate changes or time steps back.
        """
        with self._told:
            self._must_be_open()
            if self._paused:
                return
            for part in self._speaker.push(chunk):
                self.playout.push_audio(part, self._inbox.epoch)
            self._inbox.send(chunk)
            dropped = self._inbox.dropped_ms - self._dropped_ms
            if dropped:
                self._dropped_ms += dropped
                self._metrics.audio_dropped.inc(dropped / 1000)

    def say(
        self, samples: Float32, rate: int, utterance: str | None = None, final: bool = True
    ) -> str:
        """Let the avatar say this after what it has been given before. ``tick`` must be called.

        Args:
            samples: float32 [N], mono; may be empty.
            rate: Hz; one per utterance.
            utterance: its name in the events; pieces of one name are one utterance. None makes one.
            final: nothing more of this utterance follows.

        Returns:
            The utterance's name.

        Raises:
            SessionClosed: after ``close``.
            MediaError: unusable samples, or more of an utterance that has ended.
            Overloaded: five minutes wait already.
        """
        name = utterance or token_urlsafe(6)
        with self._told:
            self._must_be_open()
            self._speech.say(samples, rate, name, final)
            if self._agent and not self._paused:
                self._advance()
        return name

    def tick(self) -> None:
        """The line of what ``say`` was given goes on: call it every 20 ms.

        Raises:
            SessionClosed: after ``close``.
        """
        with self._told:
            self._must_be_open()
            if self._paused:
                return
            if not self._agent:
                self._agent = True
                self._begin_line(_LEAD)
            self._advance()

    def hear(self, chunk: AudioChunk) -> None:
        """Somebody says this to the avatar, which listens: nods, looks, smiles. Never blocks.

        Args:
            chunk: on the time axis of ``push_audio``, which must go on meanwhile (with silence).
                Where ``tick`` makes the line, on any axis that keeps real time.

        Raises:
            SessionClosed: after ``close``.
        """
        with self._told:
            self._must_be_open()
            if self._paused:
                return
            self._inbox.send(_Overheard(self._on_axis(chunk)))

    def configure(
        self,
        emotion: str | None = None,
        style: str | None = None,
        barge_in: bool | None = None,
    ) -> None:
        """Change how it acts; None leaves it.

        Args:
            emotion: as ``motion.emotion`` in the configuration.
            style: as ``motion.style``.
            barge_in: a voice heard while it says something interrupts it.

        Raises:
            ConfigError: an emotion or style that does not exist; nothing is changed then.
        """
        if emotion is not None or style is not None:
            self._pipeline.configure(emotion, style)
        if barge_in is not None:
            self._barge_in = barge_in

    def interrupt(self, by: str = "client") -> Played:
        """Barge-in: forget what waits everywhere, let the sound fade and shut the mouth.

        Valid at any moment; where nothing is being said, it changes nothing.

        Args:
            by: told to those who follow: ``client`` or ``voice``.
        """
        with self._told:
            played, events = self._cut()
        fields = {
            "utterance": played.utterance,
            "played_ms": played.played_ms,
            "position_ms": played.position_ms,
            "by": by,
        }
        self._emit([Event("interrupted", fields), *events])
        return played

    def pause(self) -> None:
        """Nobody watches: forget what waits, compute nothing; the last motion is kept.

        What has been given to ``say`` and is not begun waits.
        """
        with self._told:
            if self._paused:
                return
            self._paused = True
            events = self._silence(forget=False)[1] if self._started else []
            self._speech.stop()
            self.playout.pause()
        self._emit(events)

    def resume(self) -> None:
        """Go on from the last motion. Slots not fetched meanwhile are not missed."""
        with self._told:
            if not self._paused:
                return
            self._paused = False
            self._last_slot = None
            self._awaited = self._clock.now()
            self._ladder.restart()
            self._other.restart()
            if self._agent:
                self._begin_line(_LEAD)

    def close(self) -> None:
        """End the session and wait for the worker. May be called more than once, from anywhere.

        A worker that is stuck is not waited for: it ends when whatever holds it lets go.
        """
        stuck = self._abandoned or self.stuck(self._clock.now())
        self._inbox.close(discard=True)
        if threading.current_thread() is not self._worker:
            self._worker.join(0 if stuck else _JOIN_SECONDS)
            if self._worker.is_alive():
                self._abandon()
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._metrics.degraded(self.id, 0)
        self._on_close(self)

    # What leaves.

    def slot_left(self, slot: Slot) -> None:
        """A slot leaves now: called by who sends it, once for each, in order."""
        now = self._clock.now()
        with self._told:
            events = self._markers.slot(slot.content) if slot.content is not None else []
            self._unheard += 1
            if self._unheard > _DEAF_SLOTS:
                self._other.restart()
            turn = self._turn.slot(self._speaking(slot), self._other.active)
            events += [turn] if turn is not None else []
            lost = 0 if self._last_slot is None else max(0, slot.pts - self._last_slot - 1)
            self._last_slot = slot.pts
            self._measure(slot, lost, now)
            if self._ladder.slot(lost + slot.missed):
                self._rung = self._ladder.rung
                events.append(self._degraded())
        self._emit(events)

    # Everything below, up to the worker's part, runs under the lock.

    @property
    def _started(self) -> bool:
        """Whether anything is on its way to be shown or heard."""
        return self._last_slot is not None or self._inbox.waiting_ms > 0

    def _must_be_open(self) -> None:
        if self._closed:
            raise SessionClosed(f"session {self.id[:6]} is closed")

    def _begin_line(self, ahead: int) -> None:
        self.playout.patient = True
        chunk, marks = self._speech.tick(self._clock.now(), 0, 0)
        self._speech.leap(ahead)
        self._lay(chunk, marks)

    def _advance(self) -> None:
        lead: int | None = None
        if self._speech.starting:
            # Only as far as silence that nobody has heard yet makes room: the delay must not grow.
            lead = SLOT_SAMPLES * self.playout.cut_quiet(self._speech.end // SLOT_SAMPLES)
        self._lay(*self._speech.tick(self._clock.now(), lead, self.playout.room))

    def _lay(self, chunk: AudioChunk | None, marks: list[Mark]) -> None:
        for mark in marks:
            self._markers.place(mark)
        if chunk is not None:
            self.push_audio(chunk)

    def _on_axis(self, chunk: AudioChunk) -> AudioChunk:
        """The chunk on the line's time axis."""
        if not self._agent:
            return chunk
        length = len(chunk.samples) * RATE // chunk.rate
        start = chunk.pts * RATE // chunk.rate
        wanted = self._speech.clock(self._clock.now()) - length
        if self._axis is None or abs(start + self._axis - wanted) > _AXIS_DRIFT:
            self._axis = max(wanted, self._heard_to) - start
        at = max(start + self._axis, self._heard_to)
        self._heard_to = at + length
        return replace(chunk, pts=-(-at * chunk.rate // RATE))

    def _speaking(self, slot: Slot) -> bool:
        if self._agent:
            return self._markers.playing is not None
        speech = 0.0 if slot.content is None or slot.frame is None else slot.frame.motion.speech
        return self._own.hear(speech)

    def _cut(self) -> tuple[Played, list[Event]]:
        busy = not self._agent or self._markers.waiting or self._speech.open
        if self._paused or not busy:
            self._speech.cut()
            position = self.playout.interrupt(self._inbox.epoch)
            return Played(None, 0.0, milliseconds(position)), []
        return self._silence(forget=True)

    def _silence(self, forget: bool) -> tuple[Played, list[Event]]:
        """A new epoch. What ``say`` was given and is not begun is forgotten too, or kept."""
        self._interrupted = self._clock.now()
        position = self.playout.interrupt(self._inbox.interrupt(_is_overheard))
        name, played, events = self._markers.cut(position)
        told = {event.fields["utterance"] for event in events}  # those that were on the line
        begun = self._speech.cut() if forget else self._speech.cut_begun()
        events += [finished(other, 0, interrupted=True) for other in begun if other not in told]
        self._speaker.reset()
        self._own.restart()
        if self._agent:
            self._speech.leap(_LEAP)
        if not self._paused:
            self._inbox.send(None)
        turn = self._turn.silence()
        events += [turn] if turn is not None else []
        return Played(name, milliseconds(played), milliseconds(position)), events

    def _measure(self, slot: Slot, lost: int, now: float) -> None:
        metrics = self._metrics
        metrics.slot_miss.inc(lost + slot.missed)
        metrics.frames_repeated.inc(slot.missed and slot.content is not None)
        metrics.audio_underrun.inc(slot.underrun)
        if slot.skew is not None:
            metrics.av_skew.observe(slot.skew)
        if self._awaited is not None and slot.content is not None:
            metrics.ttff.observe(now - self._awaited)
            self._awaited = None
        if self._interrupted is None:
            return
        if not self._closing_mouth:
            self._closing_mouth = True
            metrics.interrupt_seconds.labels("sound").observe(now - self._interrupted)
        if slot.frame is None or not is_open(slot.frame.motion.values):
            metrics.interrupt_seconds.labels("mouth").observe(now - self._interrupted)
            self._interrupted, self._closing_mouth = None, False

    def _degraded(self) -> Event:
        self._metrics.degraded(self.id, self._ladder.level)
        rung = self._rung
        self._log.info("level %d: %s", self._ladder.level, rung)
        return Event(
            "degraded",
            {
                "level": self._ladder.level,
                "steps": rung.steps,
                "fps": rung.fps,
                "size": rung.size,
            },
        )

    def _emit(self, events: list[Event]) -> None:
        for event in events:
            for follower in self._followers:
                follower(event)

    def _abandon(self) -> None:
        with self._closing:
            first, self._abandoned = not self._abandoned, True
        if first:
            self._metrics.workers_stuck.inc()
            self._log.error("its worker hangs and is left behind")

    # The worker.

    def _work(self) -> None:
        try:
            self._run()
        except Exception as error:
            name = self.id[:6]
            log.exception("session %s failed", name, extra={"session": name})
            self.error = error
            self._metrics.sessions_failed.inc()
        with self._closing:
            if self._abandoned:
                self._metrics.workers_stuck.dec()
        self.close()

    def _run(self) -> None:
        epoch = 0
        if self._start is not None:
            self._bridge(self._start, 0, epoch)
        while (received := self._receive()) is not None:
            sent, chunk = received
            if sent != epoch:
                epoch = sent
                self._restart(epoch)
            if chunk is None:
                continue
            if isinstance(chunk, _Overheard):
                for speech in self._pipeline.hear(chunk.chunk):
                    self._overheard(speech)
                continue
            self._follow_ladder()
            for motion in self._pipeline.motion.push(chunk):
                if self._inbox.epoch != epoch:
                    break  # interrupted meanwhile; the next item restarts the stages
                self._render(motion, epoch)

    def _receive(self) -> tuple[int, _Item] | None:
        self._busy_since = None
        received = self._inbox.receive()
        self._busy_since = self._clock.now()
        return None if self._closed else received

    def _restart(self, epoch: int) -> None:
        """Shut the mouth in the picture, then go on from there."""
        self._leapt = False
        self._joint.reset()
        shown = self.playout.shown
        if shown is None:
            self._pipeline.restart(self._last)
            return
        values = shown.motion.values
        if is_open(values):
            step = 0
            while step < CLOSING and self._inbox.epoch == epoch:
                # Where slots have gone by, it hurries: shut in time matters more than smoothly.
                step = min(CLOSING, max(step + 1, self.playout.since_interrupt + 1))
                self._bridge(closing(values, step / CLOSING), shown.pts + step, epoch)
            values = closing(values, step / CLOSING)
        self._pipeline.restart(values)

    def _bridge(self, values: Float32, pts: int, epoch: int) -> None:
        for frame in self._pipeline.renderer.push(MotionFrame(values, 0.0, pts)):
            self.playout.push_bridge(self._sized(frame), epoch)
            self._busy_since = self._clock.now()  # slow is not stuck

    def _overheard(self, speech: float) -> None:
        with self._told:
            self._unheard = 0
            self._other.hear(speech)
            speaking = self._barge_in and self._agent and self._markers.playing is not None
            interrupts = self._barge.hear(speech, speaking)
        if interrupts:
            self._metrics.barge_ins.inc()
            self.interrupt("voice")

    def _follow_ladder(self) -> None:
        rung = self._rung
        if rung.steps != self._applied.steps:
            self._pipeline.use_steps(rung.steps)
        self._applied = rung

    def _render(self, motion: MotionFrame, epoch: int) -> None:
        if not self.playout.wanted(motion.pts):
            self._leapt = True
            return  # its sound is silence that has been dropped
        if left_out(self._applied, motion.pts):
            self.playout.omit(motion.pts, epoch)
            return
        behind = motion.pts < self.playout.position and self._inbox.waiting_ms > 0
        if behind and self._skips < _MAX_SKIPS:
            self._skips += 1
            self._metrics.frames_skipped.inc()
            return
        self._skips = 0
        if self._leapt:
            self._leapt = False
            shown = self.playout.shown
            self._joint.reset()
            if shown is not None:
                self._joint.start(shown.motion.values)
        (motion,) = self._joint.push(motion)
        for frame in self._pipeline.renderer.push(motion):
            if self._inbox.epoch != epoch or self._closed:
                return
            self._last = motion.values
            self.playout.push_frame(self._sized(frame), epoch)
            self._busy_since = self._clock.now()  # slow is not stuck
            self._metrics.frames.inc()
            for listener in self._listeners:
                listener(frame)

    def _sized(self, frame: VideoFrame) -> VideoFrame:
        size = self._applied.size
        if frame.image.shape[0] <= size:
            return frame
        image = cv2.resize(frame.image, (size, size), interpolation=cv2.INTER_AREA)
        return replace(frame, image=np.asarray(image, np.uint8), planes=None)


def _is_overheard(item: _Item) -> bool:
    return isinstance(item, _Overheard)


def _milliseconds(item: _Item) -> float:
    # What is only listened to takes next to no work.
    return 1000 * len(item.samples) / item.rate if isinstance(item, AudioChunk) else 0.0
