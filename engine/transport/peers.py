"""All peers of one server, and what they add to the metrics."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.clock import Clock
from engine.transport.webrtc import Peer

log = logging.getLogger(__name__)

_PLAYOUT_COUNTERS = {
    "slots": "40 ms slots sent",
    "silence": "Slots of filled-in silence",
    "held": "Slots of silence because a frame was not ready",
    "repeated": "Slots that repeated the last picture",
    "late": "Pictures shown after their sound",
    "skipped": "Pictures never shown",
    "jumped": "Slots of content dropped to catch up",
    "missed": "Slots lost because the event loop was late",
}
_LOOP_PROBE_SECONDS = 0.05


class Peers(Collector):
    """Peers by session id. Lives on the event loop.

    Args:
        clock: real time.
        registry: where the transport's metrics are registered.
    """

    def __init__(self, clock: Clock, registry: CollectorRegistry) -> None:
        self._clock = clock
        self._peers: dict[str, Peer] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended: Counter[str] = Counter()
        self._past: Counter[str] = Counter()
        self._loop_lag = 0.0
        registry.register(self)

    def __len__(self) -> int:
        return len(self._peers)

    def add(self, peer: Peer) -> None:
        """Serve a peer until it is gone."""
        name = peer.session.id
        self._peers[name] = peer
        self._tasks[name] = asyncio.ensure_future(self._serve(name, peer))

    async def remove(self, name: str, reason: str) -> bool:
        """End a peer and wait until all of it is freed; False if there is none of this name."""
        peer, task = self._peers.get(name), self._tasks.get(name)
        if peer is None or task is None:
            return False
        peer.leave(reason)
        await asyncio.shield(task)
        return True

    async def close(self) -> None:
        """End all peers."""
        for peer in list(self._peers.values()):
            peer.leave("server stops")
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
        depth = encode = late = 0.0
        for peer in self._peers.values():
            stats = peer.session.playout.stats()
            totals.update(_counts(peer))
            depth = max(depth, stats.depth_ms)
            late = max(late, stats.late_ms)
            encode = max(encode, peer.sent.encode_ms)
        for name, text in _PLAYOUT_COUNTERS.items():
            yield CounterMetricFamily(f"avatar_playout_{name}", text, totals[name])
        yield CounterMetricFamily("avatar_sent_bytes", "Encoded video bytes", totals["bytes"])
        yield CounterMetricFamily("avatar_key_frames", "Key frames encoded", totals["key_frames"])
        yield _gauge("avatar_peers", "Connected or connecting peers", len(self._peers))
        yield _gauge("avatar_playout_delay_seconds", "Longest playout delay", depth / 1000)
        yield _gauge("avatar_slot_late_seconds", "p95 slot lateness of the worst peer", late / 1000)
        yield _gauge("avatar_encode_seconds", "Slowest peer's mean encoding time", encode / 1000)
        yield _gauge("avatar_loop_lag_seconds", "Recent peak of event loop lag", self._loop_lag)
        ended = CounterMetricFamily("avatar_peers_ended", "Peers gone", labels=["reason"])
        for reason, count in self._ended.items():
            ended.add_metric([reason], count)
        yield ended

    async def _serve(self, name: str, peer: Peer) -> None:
        try:
            reason = await peer.run()
            self._ended[reason] += 1
        finally:
            self._past.update(_counts(peer))
            del self._peers[name], self._tasks[name]


def _counts(peer: Peer) -> dict[str, int]:
    stats = peer.session.playout.stats().as_dict()
    counts = {name: int(stats[name]) for name in _PLAYOUT_COUNTERS}
    return counts | {"bytes": peer.sent.bytes, "key_frames": peer.sent.key_frames}


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)
