"""A session that clients come to and leave: who is connected, what they send, how long it lasts.

    Connection ──sound──▶ AudioIngest ──▶ Session (mirror: speaks it; agent: hears it)
    Connection ◀──slots── SlotPump ◀───── Playout
    SSE, data channels ◀── Hub ◀───────── events

Without a connection nothing is computed. A client that vanished may come back within ``grace``
seconds, by its resume token or by the session's name; meanwhile the session is *parked*: its place
on the machine is free for others, and only what is needed to go on is kept (who is shown, the last
motion, the settings).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from engine.clock import Clock
from engine.errors import ConfigError, EngineError, SessionClosed
from engine.events import Event
from engine.logs import about_session
from engine.media import AudioChunk, Float32
from engine.slots import Slot
from engine.transport.base import Connection
from engine.transport.hub import Hub
from engine.transport.ingest import AudioIngest
from engine.transport.tracks import SlotPump

if TYPE_CHECKING:
    from engine.app import Engine
    from engine.session import Session
    from engine.transport.webrtc import WebRtcConnection

log = logging.getLogger(__name__)

MODES = ("mirror", "agent")
PLAYOUT_COUNTERS = {
    "slots": "40 ms slots sent",
    "silence": "Slots of filled-in silence",
    "held": "Slots of silence because a frame was not ready",
    "repeated": "Slots that repeated the last picture",
    "late": "Pictures shown after their sound",
    "skipped": "Pictures never shown",
    "jumped": "Slots of content dropped to catch up",
    "missed": "Slots lost because the event loop was late",
}
_TICK_SECONDS = 0.02
_WATCH_SECONDS = 0.5
_REPORT_EVERY = 2
_GOODBYE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client may choose.

    Args:
        avatar: id; None is the default one.
        mode: ``mirror``: the client's sound is what the avatar says. ``agent``: the avatar says
            what ``say`` is given, and listens to the client's sound.
        barge_in: in agent mode, the client's voice interrupts.
        emotion: as ``motion.emotion`` in the configuration; None leaves it.
        style: as ``motion.style``; None leaves it.
    """

    avatar: str | None = None
    mode: str = "mirror"
    barge_in: bool = False
    emotion: str | None = None
    style: str | None = None


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How long things may last, in seconds.

    Args:
        claim: a session nobody has connected to yet.
        grace: a parked session.
        ttl: any session; 0 for no limit.
        warning: how long before its end a client is told.
    """

    claim: float = 60.0
    grace: float = 30.0
    ttl: float = 0.0
    warning: float = 30.0


def read_changes(message: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a message that may be changed while a session runs.

    Raises:
        ConfigError: of the wrong type.
    """
    wanted = {"emotion": str, "style": str, "barge_in": bool}
    changes = {name: message[name] for name in wanted if message.get(name) is not None}
    for name, value in changes.items():
        if type(value) is not wanted[name]:
            raise ConfigError(f"'{name}' must be {wanted[name].__name__}, not {value!r}")
    return changes


def session_counts(session: Session) -> dict[str, int]:
    """Counters of a session's playout."""
    stats = session.playout.stats().as_dict()
    return {name: int(stats[name]) for name in PLAYOUT_COUNTERS}


class LiveSession:
    """See the module's docstring. Lives on the event loop; is the ``Host`` of its connections.

    Args:
        session: open and unused.
        settings: what the client chose.
        engine: to open another session when a client comes back.
        clock: real time.
        options: see ``LiveOptions``.
    """

    def __init__(
        self,
        session: Session,
        settings: Settings,
        engine: Engine,
        clock: Clock,
        options: LiveOptions,
    ) -> None:
        self.id = session.id
        self._log = about_session(log, self.id)
        self.settings = settings
        self.resume_token = secrets.token_urlsafe(24)
        self.hub = Hub()
        self.past: Counter[str] = Counter()
        """Counters of connections and sessions that are closed."""
        self.connections: dict[str, Connection] = {}
        self._engine = engine
        self._clock = clock
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[str] = self._loop.create_future()
        self._changing = asyncio.Lock()
        self._serving: dict[str, asyncio.Task[None]] = {}
        self._work: list[asyncio.Task[None]] = []
        self._last: Float32 | None = None
        self._deadline = clock.now() + options.claim
        self._ends = clock.now() + options.ttl if options.ttl else None
        self._warned = False
        self._open(session)

    def _open(self, session: Session) -> None:
        self._session: Session | None = session
        session.pause()
        session.on_event(self._from_worker)
        chosen = self.settings
        session.configure(emotion=chosen.emotion, style=chosen.style, barge_in=chosen.barge_in)
        self._pump = SlotPump(session.playout, self._clock, self._slot_left)
        self._ingest = AudioIngest(self._clock)

    @property
    def session(self) -> Session:
        """The engine's session.

        Raises:
            SessionClosed: while it is parked.
        """
        if self._session is None:
            raise SessionClosed(f"session {self.id[:6]} is parked: connect to it first")
        return self._session

    @property
    def parked(self) -> bool:
        """Whether it holds no place on the machine."""
        return self._session is None

    @property
    def expires_in(self) -> float | None:
        """Seconds until it ends if nobody connects or its time is up; None: no limit."""
        ends = [] if self.connections else [self._deadline]
        ends += [self._ends] if self._ends is not None else []
        return max(0.0, min(ends) - self._clock.now()) if ends else None

    def configure(self, **changes: Any) -> None:
        """Change settings while it runs.

        Raises:
            ConfigError: an emotion or style that does not exist; nothing is changed then.
        """
        if self._session is not None:
            self._session.configure(**changes)
        self.settings = replace(self.settings, **changes)

    def counts(self) -> Counter[str]:
        """Counters since it began, of everybody who was or is connected."""
        total = Counter(self.past)
        if self._session is not None:
            total.update(session_counts(self._session))
        for connection in self.connections.values():
            total.update(connection.counts())
        return total

    async def connect(self, connection: WebRtcConnection, offer: str) -> str:
        """Take in a client; returns the answer to its offer.

        Raises:
            OfferError: the offer cannot be answered.
            Overloaded: it was parked and there is no place for it now.
            KeyError: it was parked and its avatar has been deleted meanwhile.
            SessionClosed: it is over.
        """
        async with self._changing:
            await self._revive()
            if connection.publishes:
                # Whoever comes back before its loss was noticed takes over from itself.
                for other in self.connections.values():
                    if other.publishes:
                        other.leave("replaced")
                self._ingest.restart()
            self.connections[connection.id] = connection
            self._serving[connection.id] = asyncio.ensure_future(self._serve(connection))
        try:
            return await connection.answer(offer)
        except BaseException:
            # Whatever happened, a request that ends here leaves nothing behind.
            connection.leave("bad offer")
            raise

    async def disconnect(self, name: str) -> bool:
        """End one connection and wait until it is freed; False if there is none of this name."""
        connection, task = self.connections.get(name), self._serving.get(name)
        if connection is None or task is None:
            return False
        connection.leave("left")
        await asyncio.shield(task)
        return True

    def end(self, reason: str) -> None:
        """Let ``run`` end; only the first reason counts."""
        if not self._over.done():
            self._over.set_result(reason)

    def announce_end(self, seconds: float, reason: str) -> None:
        """Tell everybody that it will end."""
        self._publish(Event("session_ending", {"in_s": round(seconds, 1), "reason": reason}))

    async def run(self) -> str:
        """Until it is over; then free everything. Returns the reason."""
        watch = asyncio.ensure_future(self._watch())
        try:
            return await self._over
        finally:
            watch.cancel()
            await self._free()

    # What connections tell.

    def connected(self, connection: Connection) -> None:
        """Media can flow: see ``Host``."""
        if connection.output is not None:
            self._pump.outputs.add(connection.output)
        if not self._work:
            self.session.resume()
            self._ingest = AudioIngest(self._clock)
            self._work = [self._start(self._pump.run), self._start(self._pace)]
        connection.send("connected", {"session": self.id, "state": self.session.state})

    def sound(self, connection: Connection, samples: Float32, pts: int) -> None:
        """Sound of a client: see ``Host``."""
        if connection.id in self.connections and self._work:
            self._take(self._ingest.receive(samples, pts))

    def command(self, connection: Connection, message: Mapping[str, Any]) -> bool:
        """A client wants something: see ``Host``."""
        if message["type"] == "interrupt" and self._session is not None:
            self._session.interrupt()
            return True
        if message["type"] == "configure":
            try:
                self.configure(**read_changes(message))
            except EngineError as error:
                connection.send("error", {"message": str(error)})
            return True
        return False

    # What happens by itself.

    def _slot_left(self, slot: Slot) -> None:
        if self._session is not None:
            self._session.slot_left(slot)
        for connection in self.connections.values():
            connection.slot_left(slot)

    async def _pace(self) -> None:
        """Keep the session's line of sound going, whether or not anything arrives."""
        while True:
            agent = self.settings.mode == "agent"
            if not agent or any(c.publishes for c in self.connections.values()):
                self._take(self._ingest.tick())
            if agent:
                self.session.tick()
            await asyncio.sleep(_TICK_SECONDS)

    def _take(self, chunks: list[AudioChunk]) -> None:
        session = self.session
        use = session.hear if self.settings.mode == "agent" else session.push_audio
        try:
            for chunk in chunks:
                use(chunk)
        except SessionClosed:
            self._stopped(session)

    async def _serve(self, connection: Connection) -> None:
        reason = "cancelled"
        try:
            reason = await connection.run()
        finally:
            del self.connections[connection.id], self._serving[connection.id]
            self.past.update(connection.counts())
            if connection.output is not None:
                self._pump.outputs.discard(connection.output)
        self._log.info("a connection ends: %s", reason)
        if not self.connections and not self._over.done():
            await self._park(reason)

    async def _park(self, reason: str) -> None:
        async with self._changing:
            if self.connections or self._session is None:
                return
            self._last = self._session.last_motion
            await self._close_session()
            self._deadline = self._clock.now() + self._options.grace
        if self._options.grace <= 0:
            self.end(reason)
        else:
            self.announce_end(self._options.grace, reason)

    async def _revive(self) -> None:
        if self._over.done():
            raise SessionClosed(f"session {self.id[:6]} is over")
        if self._session is None:
            self._open(
                await asyncio.to_thread(
                    self._engine.create_session, self.settings.avatar, self.id, self._last
                )
            )

    async def _watch(self) -> None:
        count = 0
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            now, session = self._clock.now(), self._session
            if session is not None and session.stuck(now):
                self._publish(Event("error", {"message": "The avatar hangs; connect again."}))
                self.end("stuck")
            elif session is not None and session.closed:
                self._stopped(session)
            elif not self.connections and now > self._deadline:
                self.end("not connected in time")
            self._check_ttl(now)
            count += 1
            if count % _REPORT_EVERY == 0:
                self._report()

    def _stopped(self, session: Session) -> None:
        """The session has ended by itself."""
        if session.error is not None and not self._over.done():
            text = "The avatar stopped because of an internal error."
            self._publish(Event("error", {"message": text}))
        self.end("error" if session.error is not None else "session closed")

    def _check_ttl(self, now: float) -> None:
        if self._ends is None:
            return
        left = self._ends - now
        if left <= 0:
            self.end("time is up")
        elif left <= self._options.warning and not self._warned:
            self._warned = True
            self.announce_end(left, "time is up")

    def _report(self) -> None:
        session = self._session
        if session is None or not self._work:
            return
        playout, ingest = session.playout.stats(), self._ingest.stats.as_dict()
        common: dict[str, Any] = {
            "delay_ms": round(playout.depth_ms, 1),
            "playout": {name: round(value, 2) for name, value in playout.as_dict().items()},
            "ingest": {name: round(value, 1) for name, value in ingest.items()},
            "dropped_ms": round(session.dropped_ms, 1),
            "state": session.state,
        }
        for connection in self.connections.values():
            connection.send("stats", {**common, **connection.report()})

    def _publish(self, event: Event) -> None:
        self.hub.publish(event)
        for connection in self.connections.values():
            connection.send(event.kind, event.fields)

    def _from_worker(self, event: Event) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(self._publish, event)

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        return asyncio.ensure_future(self._guard(work))

    async def _guard(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A task that fails ends the session instead of being forgotten."""
        try:
            await work()
        except Exception:
            name = self.id[:6]
            log.exception("session %s: transport failed", name, extra={"session": name})
            self.end("error")

    async def _close_session(self) -> None:
        """Stop computing and give the place back."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        self._work = []
        session, self._session = self._session, None
        if session is not None:
            self.past.update(session_counts(session))
            # Joining the worker may take a moment.
            await asyncio.to_thread(session.close)

    async def _free(self) -> None:
        if self.connections:
            await asyncio.sleep(_GOODBYE_SECONDS)  # the last words are on their way
        for connection in self.connections.values():
            connection.leave("session over")
        await asyncio.gather(*self._serving.values(), return_exceptions=True)
        async with self._changing:
            await self._close_session()
        self.hub.close()
