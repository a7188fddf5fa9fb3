"""What is counted, in Prometheus' terms, and the wrapper that times a stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.runtime.batcher import Batcher
from engine.runtime.load import Choice
from engine.stage import Stage

if TYPE_CHECKING:
    from engine.store import AvatarStore

A = TypeVar("A")
B = TypeVar("B")

_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 0.5)
_SKEWS = (-0.2, -0.12, -0.08, -0.04, 0.0, 0.04, 0.08, 0.12, 0.2)
_WAITS = (0.02, 0.04, 0.06, 0.08, 0.12, 0.16, 0.2, 0.3, 0.4, 0.6, 1.0, 2.0, 5.0)


class Metrics:
    """One registry for one engine; nothing global, so that two engines never mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.stage_seconds = Histogram(
            "avatar_stage_seconds",
            "Time one stage takes for one input item",
            ["stage"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.sessions = Gauge("avatar_sessions", "Sessions open now", registry=self.registry)
        self.sessions_started = Counter(
            "avatar_sessions_started", "Sessions opened", registry=self.registry
        )
        self.sessions_failed = Counter(
            "avatar_sessions_failed", "Sessions ended by an error", registry=self.registry
        )
        self.frames = Counter("avatar_frames", "Frames rendered", registry=self.registry)
        self.frames_skipped = Counter(
            "avatar_frames_skipped", "Frames not rendered because they were late already",
            registry=self.registry,
        )  # fmt: skip
        self.audio_dropped = Counter(
            "avatar_audio_dropped_seconds", "Sound dropped before the worker",
            registry=self.registry,
        )  # fmt: skip

        self.slot_miss = Counter(
            "avatar_slot_miss", "Slots without their picture, or not sent at all",
            registry=self.registry,
        )  # fmt: skip
        self.frames_repeated = Counter(
            "avatar_frames_repeated", "Slots that repeated a picture because the next was late",
            registry=self.registry,
        )  # fmt: skip
        self.audio_underrun = Counter(
            "avatar_audio_underrun", "Slots of silence because the sound was late",
            registry=self.registry,
        )  # fmt: skip
        self.av_skew = Histogram(
            "avatar_av_skew_seconds", "Picture minus sound of a slot, in media time",
            buckets=_SKEWS, registry=self.registry,
        )  # fmt: skip
        self.ttff = Histogram(
            "avatar_ttff_seconds", "From creating or resuming a session to its first frame out",
            buckets=_WAITS, registry=self.registry,
        )  # fmt: skip
        self.interrupt_seconds = Histogram(
            "avatar_interrupt_seconds", "From an interrupt to silence sent, and to a shut mouth",
            ["what"], buckets=_WAITS, registry=self.registry,
        )  # fmt: skip
        self.barge_ins = Counter(
            "avatar_barge_ins", "Utterances interrupted by a voice", registry=self.registry
        )
        self.degrade_level = Gauge(
            "avatar_degrade_level", "Rung of the session that runs worst; 0 is as configured",
            registry=self.registry,
        )  # fmt: skip
        self.workers_stuck = Gauge(
            "avatar_workers_stuck", "Workers that hang and were left behind",
            registry=self.registry,
        )  # fmt: skip
        self._levels: dict[str, int] = {}
        self._levels_lock = threading.Lock()

        self.backend_info = Gauge(
            "avatar_backend_info", "The runtime each network got", ["network", "backend"],
            registry=self.registry,
        )  # fmt: skip
        self.backend_fallback = Counter(
            "avatar_backend_fallback", "Runtimes that a network had to do without",
            ["from", "reason"], registry=self.registry,
        )  # fmt: skip

    def degraded(self, session: str, level: int) -> None:
        """A session runs at this rung now; 0 also when it has ended."""
        with self._levels_lock:
            self._levels[session] = level
            if not level:
                del self._levels[session]
            self.degrade_level.set(max(self._levels.values(), default=0))

    def chose(self, choice: Choice) -> None:
        """A network has its runtime."""
        self.backend_info.labels(choice.network, choice.backend).set(1)
        for refusal in choice.refused:
            self.backend_fallback.labels(refusal.backend, refusal.reason).inc()

    def observe(self, batcher: Batcher) -> None:
        """Show a batcher's counters."""
        self.registry.register(_Batches(batcher))

    def observe_avatars(self, store: AvatarStore) -> None:
        """Show what a store of avatars holds and has let go."""
        self.registry.register(_Stored(store))

    def exposition(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)


class _Batches(Collector):
    """Counters of a batcher, read when somebody asks."""

    _WHAT: ClassVar = {
        "batches": "Calls of a network",
        "items": "Items in them",
        "padding": "Rows computed for nobody",
        "expired": "Items too late to be computed",
        "failed": "Items whose batch failed",
        "busy_s": "Seconds the device was busy",
    }

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher

    def collect(self) -> Iterable[Metric]:
        """One family per counter, a lane each."""
        for field, what in self._WHAT.items():
            name = "avatar_batch_" + ("busy_seconds" if field == "busy_s" else field)
            family = CounterMetricFamily(name, what, labels=["lane"])
            for lane, stats in self._batcher.stats.items():
                family.add_metric([lane], getattr(stats, field))
            yield family


class _Stored(Collector):
    """Figures of a store of avatars, read when somebody asks."""

    def __init__(self, store: AvatarStore) -> None:
        self._store = store

    def collect(self) -> Iterable[Metric]:
        """What is there, and what was removed."""
        yield GaugeMetricFamily(
            "avatar_stored", "Uploaded avatars on disk", value=len(self._store.records)
        )
        yield GaugeMetricFamily("avatar_stored_bytes", "Their size", value=self._store.size)
        removed = CounterMetricFamily(
            "avatar_stored_removed", "Stored avatars removed without being asked", labels=["reason"]
        )
        removed.add_metric(["evicted"], self._store.evicted)
        removed.add_metric(["damaged"], self._store.damaged)
        yield removed


class Measured(Generic[A, B]):
    """A stage that reports how long each push of the stage inside takes.

    Args:
        stage: the stage to time.
        name: its label.
        metrics: where to report.
    """

    def __init__(self, stage: Stage[A, B], name: str, metrics: Metrics) -> None:
        self._stage = stage
        self._seconds = metrics.stage_seconds.labels(name)

    @property
    def lookahead(self) -> Fraction:
        """The inner stage's."""
        return self._stage.lookahead

    def push(self, item: A, /) -> Iterable[B]:
        """Push and time; the output is complete when this returns."""
        start = time.perf_counter()
        result = list(self._stage.push(item))
        self._seconds.observe(time.perf_counter() - start)
        return result

    def flush(self) -> Iterable[B]:
        """The inner stage's tail."""
        return self._stage.flush()

    def reset(self) -> None:
        """Reset the inner stage."""
        self._stage.reset()
