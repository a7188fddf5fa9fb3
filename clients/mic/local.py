"""An avatar computed in this process: an engine's session, and a thread that fetches its slots."""

from __future__ import annotations

import threading

from clients.mic.avatar import REDUCED, Audience, Figures
from clients.mic.pace import Latency
from engine.app import Engine
from engine.clock import Clock
from engine.events import Event
from engine.media import AudioChunk, Float32
from engine.slots import RATE, SLOT_SAMPLES
from engine.transport.ingest import AudioIngest


class LocalAvatar:
    """Runs a session of an engine that has started.

    Args:
        engine: made for this one session, or shared.
        audience: who watches.
        clock: real time.

    Raises:
        Overloaded: when the engine has no place.
    """

    def __init__(self, engine: Engine, audience: Audience, clock: Clock) -> None:
        self._audience = audience
        self._clock = clock
        self._session = engine.create_session()
        self._session.on_event(self._follow)
        self._note = ""
        self._latency = Latency(RATE)
        # The microphone's clock is not the machine's: this keeps the line in step, as on a server.
        self._line = AudioIngest(clock)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._pump, name="playout", daemon=True)

    @property
    def error(self) -> Exception | None:
        """What went wrong in the session or while its slots were handed on."""
        return self._failure or self._session.error

    def start(self) -> None:
        """Begin to fill the audience's sinks."""
        self._thread.start()

    def say(self, samples: Float32, start: int, at: float) -> None:
        """See ``Avatar``."""
        with self._lock:
            self._push(self._line.receive(samples, start))
            self._latency.heard(self._line.end, at)

    def figures(self) -> Figures:
        """How it goes."""
        with self._lock:
            lost = self._line.stats.dropped_ms + self._session.dropped_ms
            return Figures(self._latency.seconds, lost, self._note)

    def close(self) -> None:
        """End the session."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._session.close()

    def _follow(self, event: Event) -> None:
        if event.kind == "degraded":
            self._note = REDUCED if event.fields["level"] else ""

    def _push(self, chunks: list[AudioChunk]) -> None:
        for chunk in chunks:
            if not self._session.closed:
                self._session.push_audio(chunk)

    def _pump(self) -> None:
        try:
            while not self._stop.wait(self._until_due()):
                self._slot()
        except Exception as error:  # noqa: BLE001 - the program's main thread reports it
            self._failure = error

    def _until_due(self) -> float:
        due = self._session.playout.due
        return 0.0 if due is None else max(0.0, due - self._clock.now())

    def _slot(self) -> None:
        with self._lock:
            self._push(self._line.tick())
        now = self._clock.now()
        slot = self._session.playout.next_slot(now)
        self._session.slot_left(slot)
        if slot.content is not None and not slot.repeated:
            with self._lock:
                self._latency.shown(slot.content * SLOT_SAMPLES, now)
        if slot.frame is not None:
            self._audience.picture(slot.frame.image, slot.pts, fresh=not slot.repeated)
        self._audience.sound(slot.audio, slot.pts * SLOT_SAMPLES)
