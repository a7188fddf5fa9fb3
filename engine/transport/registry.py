"""All live sessions of one server, and what they add to the metrics."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.clock import Clock
from engine.errors import Overloaded
from engine.heap import give_back
from engine.logs import about_session
from engine.transport.live import PLAYOUT_COUNTERS, LiveOptions, LiveSession, Settings

if TYPE_CHECKING:
    from engine.app import Engine

log = logging.getLogger(__name__)

_LOOP_PROBE_SECONDS = 0.05
_SENT_COUNTERS = {
    "key_frames": "Key frames encoded",
    "skipped": "Pictures an encoder left out to keep its bitrate",
    "nack": "Video packets that receivers asked for again",
    "unrepeated": "Video packets of these not sent again: too soon, or too much for the bitrate",
    "pli": "Key frames that receivers asked for",
}
_MAX_PARKED = 64
"""Parked sessions kept; then the oldest is over."""
_STOPPING_RETRY_SECONDS = 5
_GIVE_BACK_SECONDS = 1.0


class LiveSessions(Collector):
    """Live sessions by name. Lives on the event loop.

    Args:
        engine: opens sessions.
        clock: real time.
        options: how long they may last.
        registry: where the transport's metrics are registered.
    """

    def __init__(
        self, engine: Engine, clock: Clock, options: LiveOptions, registry: CollectorRegistry
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._options = options
        self._lives: dict[str, LiveSession] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended: Counter[str] = Counter()
        self._past: Counter[str] = Counter()
        self._loop_lag = 0.0
        self.draining = False
        registry.register(self)

    async def create(self, settings: Settings, ttl: float | None = None) -> LiveSession:
        """Open a session that nobody is connected to yet.

        Args:
            settings: what the client chose.
            ttl: seconds it may last, at most what the server allows; None: that.

        Raises:
            Overloaded: no place, the engine is starting, or the server is about to stop.
            KeyError: unknown avatar.
            ConfigError: an emotion or style that does not exist.
        """
        self._refuse_while_draining()
        session = await asyncio.to_thread(self._engine.create_session, settings.avatar)
        limits = [seconds for seconds in (ttl, self._options.ttl) if seconds]
        options = replace(self._options, ttl=min(limits, default=0.0))
        try:
            live = LiveSession(session, settings, self._engine, self._clock, options)
        except BaseException:
            await asyncio.to_thread(session.close)
            raise
        self._lives[live.id] = live
        self._tasks[live.id] = asyncio.ensure_future(self._serve(live))
        self._limit_parked()
        about_session(log, live.id).info("begins")
        return live

    def get(self, name: str) -> LiveSession:
        """By name.

        Raises:
            KeyError: there is none (any more).
        """
        return self._lives[name]

    def by_resume_token(self, token: str) -> LiveSession:
        """The session whose client was given this token.

        Raises:
            KeyError: there is none (any more).
            Overloaded: the server is about to stop.
        """
        self._refuse_while_draining()
        given = token.encode()
        for live in self._lives.values():
            if hmac.compare_digest(live.resume_token.encode(), given):
                return live
        raise KeyError("no session has this token")

    async def remove(self, name: str, reason: str) -> bool:
        """End a session and wait until all of it is freed; False if there is none of this name."""
        live, task = self._lives.get(name), self._tasks.get(name)
        if live is None or task is None:
            return False
        live.end(reason)
        await asyncio.shield(task)
        return True

    async def drain(self, seconds: float) -> None:
        """Take nobody new, tell everybody, and wait until all have left or time is up."""
        self.draining = True
        for live in self._lives.values():
            if live.connections:
                live.announce_end(seconds, "the server stops")
            else:
                live.end("the server stops")
        if self._tasks:
            log.info("%d session(s) have %.0f s to end", len(self._tasks), seconds)
            await asyncio.wait(list(self._tasks.values()), timeout=seconds)

    async def close(self) -> None:
        """End all sessions."""
        self.draining = True
        for live in self._lives.values():
            live.end("the server stops")
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def probe_loop(self) -> None:
        """Measure how late the event loop is; run as a task."""
        while True:
            before = self._clock.now()
            await asyncio.sleep(_LOOP_PROBE_SECONDS)
            late = self._clock.now() - before - _LOOP_PROBE_SECONDS
            # A peak that fades over about ten seconds: a scrape must not miss a stall.
            self._loop_lag = max(late, self._loop_lag * 0.995)

    def collect(self) -> Iterator[Metric]:
        """Prometheus asks for the numbers."""
        totals = Counter(self._past)
        depth = late = encode = 0.0
        connections = parked = 0
        for live in self._lives.values():
            totals.update(live.counts())
            connections += len(live.connections)
            parked += live.parked
            encode = max([encode, *(each.encode_ms for each in live.connections.values())])
            if not live.parked:
                stats = live.session.playout.stats()
                depth, late = max(depth, stats.depth_ms), max(late, stats.late_ms)
        for name, text in PLAYOUT_COUNTERS.items():
            yield CounterMetricFamily(f"avatar_playout_{name}", text, totals[name])
        yield CounterMetricFamily("avatar_sent_bytes", "Encoded video bytes", totals["bytes"])
        for name, text in _SENT_COUNTERS.items():
            yield CounterMetricFamily(f"avatar_{name}", text, totals[name])
        yield _gauge("avatar_peers", "Connections, also those still being made", connections)
        yield _gauge("avatar_parked", "Sessions whose client may come back", parked)
        yield _gauge("avatar_playout_delay_seconds", "Longest playout delay", depth / 1000)
        yield _gauge("avatar_slot_late_seconds", "p95 slot lateness of the worst", late / 1000)
        yield _gauge("avatar_encode_seconds", "Slowest mean of encoding a picture", encode / 1000)
        yield _gauge("avatar_loop_lag_seconds", "Recent peak of event loop lag", self._loop_lag)
        ended = CounterMetricFamily("avatar_sessions_ended", "Sessions over", labels=["reason"])
        for reason, count in self._ended.items():
            ended.add_metric([reason], count)
        yield ended

    async def _serve(self, live: LiveSession) -> None:
        reason = "failed"
        try:
            reason = await live.run()
        finally:
            about_session(log, live.id).info("ends: %s", reason)
            self._ended[reason] += 1
            self._past.update(live.counts())
            del self._lives[live.id], self._tasks[live.id]
            # Not at once: others still hold what the session had.
            asyncio.get_running_loop().call_later(_GIVE_BACK_SECONDS, give_back)

    def _refuse_while_draining(self) -> None:
        if self.draining:
            raise Overloaded("The server is about to stop.", _STOPPING_RETRY_SECONDS)

    def _limit_parked(self) -> None:
        parked = [live for live in self._lives.values() if live.parked]
        for live in parked[: max(0, len(parked) - _MAX_PARKED)]:
            live.end("too many are parked")


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)
