"""One user: an inbox, one worker thread, a playout.

    event loop                              worker thread
    push_audio ──▶ Channel (tagged epoch) ──▶ motion stages ▶ renderer
         └───────▶ Playout ◀──────────────────────────────────┘

The sound goes to the playout at once, so that it can go on when a picture is late.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from engine.audio.framer import Framer
from engine.channel import Channel
from engine.errors import SessionClosed
from engine.media import AudioChunk, Float32, MotionFrame, VideoFrame
from engine.metrics import Metrics
from engine.pipeline import Pipeline
from engine.playout import RATE, Playout

log = logging.getLogger(__name__)

_JOIN_SECONDS = 5.0
_MAX_SKIPS = 3
"""Late frames left out in a row; then one is rendered all the same: the face keeps moving."""


@dataclass(frozen=True, slots=True, eq=False)
class _Overheard:
    """Sound of who speaks to the avatar."""

    chunk: AudioChunk


class Session:
    """A running avatar. Thread-safe.

    Args:
        name: unguessable id.
        pipeline: this session's stages; used by the worker alone.
        playout: where sound and pictures meet.
        metrics: the engine's counters.
        inbox_ms: sound that may wait for the worker.
        on_close: called once, from any thread, when the session has ended.
    """

    def __init__(
        self,
        name: str,
        pipeline: Pipeline,
        playout: Playout,
        metrics: Metrics,
        inbox_ms: int,
        on_close: Callable[[Session], None] = lambda _: None,
    ) -> None:
        self.id = name
        self.playout = playout
        self.error: Exception | None = None
        self._pipeline = pipeline
        self._metrics = metrics
        self._on_close = on_close
        self._inbox: Channel[AudioChunk | _Overheard] = Channel(inbox_ms, _milliseconds)
        self._speaker = Framer(RATE, RATE)
        self._dropped_ms = 0.0
        self._skips = 0
        self._last: Float32 | None = None
        self._closing = threading.Lock()
        self._closed = False
        self._listeners: list[Callable[[VideoFrame], None]] = []
        self._worker = threading.Thread(target=self._work, name=f"session-{name[:6]}", daemon=True)
        self._worker.start()

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

    def listen(self, listener: Callable[[VideoFrame], None]) -> None:
        """Call ``listener`` from the worker thread for every rendered frame; it must not block."""
        self._listeners.append(listener)

    def push_audio(self, chunk: AudioChunk) -> None:
        """Say this. Never blocks; when the worker is behind, the oldest waiting sound is dropped.

        Raises:
            SessionClosed: after ``close``.
            MediaError: when the rate changes or time steps back.
        """
        if self._closed:
            raise SessionClosed(f"session {self.id[:6]} is closed")
        for part in self._speaker.push(chunk):
            self.playout.push_audio(part, self._inbox.epoch)
        self._inbox.send(chunk)
        dropped = self._inbox.dropped_ms - self._dropped_ms
        if dropped:
            self._dropped_ms += dropped
            self._metrics.audio_dropped.inc(dropped / 1000)

    def hear(self, chunk: AudioChunk) -> None:
        """Somebody says this to the avatar, which listens: nods, looks, smiles. Never blocks.

        Args:
            chunk: on the time axis of ``push_audio``, which must go on meanwhile (with silence).

        Raises:
            SessionClosed: after ``close``.
        """
        if self._closed:
            raise SessionClosed(f"session {self.id[:6]} is closed")
        self._inbox.send(_Overheard(chunk))

    def interrupt(self) -> None:
        """Barge-in: forget what waits everywhere; the face goes on from where it is."""
        self.playout.interrupt(self._inbox.interrupt())

    def close(self) -> None:
        """End the session and wait for the worker. May be called more than once, from anywhere."""
        self._inbox.close(discard=True)
        if threading.current_thread() is not self._worker:
            self._worker.join(_JOIN_SECONDS)
            if self._worker.is_alive():
                log.error(
                    "session %s: its worker did not return in %d s", self.id[:6], _JOIN_SECONDS
                )
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._on_close(self)

    def _work(self) -> None:
        try:
            self._run()
        except Exception as error:
            log.exception("session %s failed", self.id[:6])
            self.error = error
            self._metrics.sessions_failed.inc()
        self.close()

    def _run(self) -> None:
        epoch = 0
        while (received := self._inbox.receive()) is not None:
            sent, chunk = received
            if sent != epoch:
                epoch = sent
                self._pipeline.restart(self._last)
            if isinstance(chunk, _Overheard):
                self._pipeline.hear(chunk.chunk)
                continue
            for motion in self._pipeline.motion.push(chunk):
                if self._inbox.epoch != epoch:
                    break  # interrupted meanwhile; the next item restarts the stages
                self._render(motion, epoch)

    def _render(self, motion: MotionFrame, epoch: int) -> None:
        behind = motion.pts < self.playout.position and self._inbox.waiting_ms > 0
        if behind and self._skips < _MAX_SKIPS:
            self._skips += 1
            self._metrics.frames_skipped.inc()
            return
        self._skips = 0
        for frame in self._pipeline.renderer.push(motion):
            if self._inbox.epoch != epoch:
                return
            self._last = motion.values
            self.playout.push_frame(frame, epoch)
            self._metrics.frames.inc()
            for listener in self._listeners:
                listener(frame)


def _milliseconds(chunk: AudioChunk | _Overheard) -> float:
    # What is only listened to takes next to no work.
    return 0.0 if isinstance(chunk, _Overheard) else 1000 * len(chunk.samples) / chunk.rate
