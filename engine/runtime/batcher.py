"""Sessions share a device: earliest deadline first, batches across sessions, never across time.

``Schedule`` decides and knows no clock, thread or network. ``Batcher`` is one worker thread around
it. When the device is free, what waits is taken, up to the largest batch there is; nobody waits for
a batch to fill. The rules, in the order in which they count:

* One item of a session is in flight at most; its next one waits behind it, in order.
* An item's deadline is one period after it became its session's next, or after the session's
  previous deadline if that is later (as in constant bandwidth servers): who asks faster than real
  time moves to the back. That debt is capped, so everybody's wait is bounded: by the cap, and one
  item of each other session.
* The earliest deadline names the network to run; items of the same network join it by deadline;
  equal deadlines go to the session that was served longest ago.
* A lane may let items expire that are hopelessly late, never more than a few in a row.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from engine.errors import ArtifactError, BackendError
from engine.runtime.base import Array, TensorSpec
from engine.runtime.rows import Placed, Row, RowBackend, RowNetwork, check_rows
from engine.slots import SLOT_SECONDS

T = TypeVar("T")

_JOIN_SECONDS = 10.0
_FORGET_SECONDS = 60.0


class Expired(BackendError):
    """An item was too late to be worth running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """How items of one network are scheduled.

    Args:
        sizes: batch sizes there are, ascending.
        period: seconds between two items of a session in real time.
        expires: seconds past its deadline after which an item is not run any more; None: never.
            A lane whose items carry state (motion) must not let them expire.
    """

    sizes: tuple[int, ...] = (1,)
    period: float = SLOT_SECONDS
    expires: float | None = None

    def __post_init__(self) -> None:
        if not self.sizes or list(self.sizes) != sorted(set(self.sizes)) or self.sizes[0] < 1:
            raise ValueError(f"sizes {self.sizes} are not ascending positive numbers")

    def size_for(self, count: int) -> int:
        """The smallest size that holds ``count`` items, or the largest there is."""
        return next((size for size in self.sizes if size >= count), self.sizes[-1])


@dataclass(slots=True, eq=False)
class Item(Generic[T]):
    """One row that waits. ``deadline`` is set when it becomes its session's next."""

    session: Hashable
    lane: str
    variant: Hashable
    payload: T
    deadline: float = 0.0


@dataclass(slots=True, eq=False)
class _Queue(Generic[T]):
    items: deque[Item[T]] = field(default_factory=deque)
    running: bool = False
    deadline: float = float("-inf")
    served: int = 0
    misses: int = 0


@dataclass(frozen=True, slots=True)
class Taken(Generic[T]):
    """What to do now.

    Args:
        batch: items of one lane and variant, one per session, earliest deadline first.
        size: batch size to run them at; 0 when there is nothing to run.
        expired: items that are answered without being run.
    """

    batch: tuple[Item[T], ...]
    size: int
    expired: tuple[Item[T], ...]


class Schedule(Generic[T]):
    """The policy of the module's docstring. Not thread-safe; time is an argument, in seconds.

    Args:
        lanes: by network name.
        debt: furthest ahead of now that a deadline may lie beyond one period, seconds.
        patience: items of a session that may expire in a row.
    """

    def __init__(
        self, lanes: Mapping[str, Lane], debt: float = 10 * SLOT_SECONDS, patience: int = 3
    ) -> None:
        self._lanes = dict(lanes)
        self._debt = debt
        self._patience = patience
        self._queues: dict[Hashable, _Queue[T]] = {}
        self._turn = itertools.count(1)
        self.waiting = 0

    def add(
        self, session: Hashable, lane: str, payload: T, now: float, variant: Hashable = None
    ) -> Item[T]:
        """Queue an item.

        Args:
            session: whose; its items run in order, one at a time.
            lane: which network.
            payload: whatever.
            now: the time.
            variant: only items of equal variant share a batch.
        """
        item = Item(session, lane, variant, payload)
        if session not in self._queues:
            self._forget(now)
        queue = self._queues.setdefault(session, _Queue())
        queue.items.append(item)
        self.waiting += 1
        if len(queue.items) == 1 and not queue.running:
            self._head(queue, now)
        return item

    def take(self, now: float) -> Taken[T]:
        """The next batch; its items are in flight until ``done``."""
        expired = self._expire(now)
        ready = [queue for queue in self._queues.values() if queue.items and not queue.running]
        if not ready:
            return Taken((), 0, expired)
        ready.sort(key=lambda queue: (queue.items[0].deadline, queue.served))
        first = ready[0].items[0]
        same = [q for q in ready if (q.items[0].lane, q.items[0].variant)
                == (first.lane, first.variant)]  # fmt: skip
        lane = self._lanes[first.lane]
        size = lane.size_for(len(same))
        batch = []
        for queue in same[:size]:
            batch.append(queue.items.popleft())
            queue.running, queue.served, queue.misses = True, next(self._turn), 0
        self.waiting -= len(batch)
        return Taken(tuple(batch), size, expired)

    def done(self, batch: tuple[Item[T], ...], now: float) -> None:
        """The batch has been answered, one way or the other."""
        for item in batch:
            queue = self._queues[item.session]
            queue.running = False
            self._head(queue, now)

    def drain(self) -> list[Item[T]]:
        """Take out everything that waits."""
        items = [item for queue in self._queues.values() for item in queue.items]
        self._queues = {k: q for k, q in self._queues.items() if q.running}
        for queue in self._queues.values():
            queue.items.clear()
        self.waiting = 0
        return items

    def _head(self, queue: _Queue[T], now: float) -> None:
        """Give the next item its deadline."""
        if queue.items:
            period = self._lanes[queue.items[0].lane].period
            queue.deadline = min(max(now, queue.deadline), now + self._debt) + period
            queue.items[0].deadline = queue.deadline

    def _forget(self, now: float) -> None:
        """Drop sessions that ended long ago: nobody says so."""
        gone = [
            session
            for session, queue in self._queues.items()
            if not queue.items and not queue.running and queue.deadline < now - _FORGET_SECONDS
        ]
        for session in gone:
            del self._queues[session]

    def _expire(self, now: float) -> tuple[Item[T], ...]:
        expired = []
        for queue in self._queues.values():
            if queue.running or not queue.items or queue.misses >= self._patience:
                continue
            item = queue.items[0]
            limit = self._lanes[item.lane].expires
            if limit is not None and now > item.deadline + limit:
                expired.append(queue.items.popleft())
                queue.misses += 1
                self.waiting -= 1
                self._head(queue, now)
        return tuple(expired)


@dataclass(slots=True)
class BatchStats:
    """Counters of one lane since the start."""

    batches: int = 0
    items: int = 0
    padding: int = 0
    """Rows computed for nobody."""
    expired: int = 0
    failed: int = 0
    """Items whose batch failed."""
    busy_s: float = 0.0
    """Seconds the network ran."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    row: Row
    answer: Future[dict[str, Array]]


class Batcher:
    """One device and its networks, shared by sessions. Takes over the networks.

    Args:
        networks: by lane name, then by batch size; all sizes of a lane of one class and device.
        lanes: overrides; ``sizes`` in them are replaced by what ``networks`` holds.
        clock: seconds; for tests.

    Raises:
        ArtifactError: the sizes of a lane are not the same network.
    """

    def __init__(
        self,
        networks: Mapping[str, Mapping[int, RowNetwork]],
        lanes: Mapping[str, Lane] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._networks = {name: dict(sorted(sizes.items())) for name, sizes in networks.items()}
        for name, sizes in self._networks.items():
            _check_sizes(name, sizes)
        given = lanes or {}
        self._schedule: Schedule[_Waiting] = Schedule(
            {name: _lane(given.get(name, Lane()), sizes) for name, sizes in self._networks.items()}
        )
        self._clock = clock
        self._changed = threading.Condition()
        self._device = threading.Lock()
        self._closed = False
        self._stats = {name: BatchStats() for name in self._networks}
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    @property
    def stats(self) -> Mapping[str, BatchStats]:
        """Counters by lane; live, read-only."""
        return self._stats

    def client(self, lane: str) -> RowBackend:
        """A session's own ``Backend`` on a lane; ``fork`` it for further sessions.

        Raises:
            BackendError: there is no such lane.
        """
        if lane not in self._networks:
            raise BackendError(f"the batcher has no '{lane}'; it has {', '.join(self._networks)}")
        return RowBackend(_LaneHost(self, lane, self._networks[lane]), lane)

    def close(self) -> None:
        """Fail what waits, finish what runs, close the networks. May be called more than once."""
        with self._changed:
            first, self._closed = not self._closed, True
            _fail(self._schedule.drain(), "the batcher was closed")
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_SECONDS)
        if first:
            for sizes in self._networks.values():
                for network in sizes.values():
                    network.close()

    def place(self, lane: str, name: str, array: Array) -> Placed:
        """Put a session's constant where the lane's networks run."""
        with self._device:
            return next(iter(self._networks[lane].values())).place(name, array)

    def submit(self, lane: str, session: int, row: Row) -> dict[str, Array]:
        """Queue a row and wait for its answer.

        Raises:
            Expired: too late to be run.
            BackendError: its batch failed, or the batcher was closed.
        """
        waiting = _Waiting(row, Future())
        with self._changed:
            if self._closed:
                raise BackendError("the batcher was closed")
            # Rows that feed different names cannot share a call.
            self._schedule.add(session, lane, waiting, self._clock(), frozenset(row.feeds))
            self._changed.notify_all()
        return waiting.answer.result()

    def _work(self) -> None:
        try:
            while self._step():
                pass
        finally:
            # Whatever ends the thread: nobody may wait for it for ever.
            with self._changed:
                self._closed = True
                _fail(self._schedule.drain(), "the batcher has stopped")

    def _step(self) -> bool:
        """Wait for work and do one batch; False when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._schedule.waiting)
            if self._closed:
                return False
            taken = self._schedule.take(self._clock())
        for item in taken.expired:
            self._stats[item.lane].expired += 1
            item.payload.answer.set_exception(Expired(f"{item.lane}: too late, not run"))
        if taken.batch:
            try:
                self._run(taken)
            finally:
                with self._changed:
                    self._schedule.done(taken.batch, self._clock())
        return True

    def _run(self, taken: Taken[_Waiting]) -> None:
        lane = taken.batch[0].lane
        stats = self._stats[lane]
        began = self._clock()
        try:
            with self._device:
                rows = [item.payload.row for item in taken.batch]
                answers = self._networks[lane][taken.size].run_rows(rows)
            if len(answers) != len(rows):
                raise BackendError(f"{len(rows)} rows gave {len(answers)} answers")
        except Exception as error:  # noqa: BLE001 - the callers' to handle, in their own threads
            stats.failed += len(taken.batch)
            _fail(taken.batch, f"{lane}: {error}", error)
            return
        finally:
            stats.batches += 1
            stats.items += len(taken.batch)
            stats.padding += taken.size - len(taken.batch)
            stats.busy_s += self._clock() - began
        for item, answer in zip(taken.batch, answers, strict=True):
            item.payload.answer.set_result(answer)


def _fail(items: Iterable[Item[_Waiting]], sentence: str, cause: Exception | None = None) -> None:
    """Answer each with an error of its own: a traceback belongs to one thread."""
    for item in items:
        error = BackendError(sentence)
        error.__cause__ = cause
        item.payload.answer.set_exception(error)


class _LaneHost:
    """``RowHost`` of one lane."""

    def __init__(self, batcher: Batcher, lane: str, sizes: Mapping[int, RowNetwork]) -> None:
        self._batcher = batcher
        self._lane = lane
        first = next(iter(sizes.values()))
        self.inputs: Mapping[str, TensorSpec] = first.inputs
        self.outputs: Mapping[str, TensorSpec] = first.outputs
        self.name = f"{first.name}, batches of {', '.join(map(str, sizes))}"

    def place(self, name: str, array: Array, /) -> Placed:
        """See ``RowHost``."""
        return self._batcher.place(self._lane, name, array)

    def submit(self, session: int, row: Row, /) -> dict[str, Array]:
        """See ``RowHost``."""
        return self._batcher.submit(self._lane, session, row)


def _lane(lane: Lane, sizes: Mapping[int, RowNetwork]) -> Lane:
    return Lane(sizes=tuple(sizes), period=lane.period, expires=lane.expires)


def _check_sizes(name: str, sizes: Mapping[int, RowNetwork]) -> None:
    if not sizes:
        raise ArtifactError(f"the batcher got no network for '{name}'")
    first = next(iter(sizes.values()))
    for size, network in sizes.items():
        if network.batch != size or type(network) is not type(first):
            raise ArtifactError(f"{name}: {network.name} stands for batch {size} of {first.name}")
        check_rows(first.inputs, network.inputs, 1)
        check_rows(first.outputs, network.outputs, 1)
