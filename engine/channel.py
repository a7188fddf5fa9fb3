"""The closable, bounded channel: the only object that crosses into a session's worker thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_MAX_ITEMS = 1024
"""Items that may wait whatever their length: some take no time at all."""


class Channel(Generic[T]):
    """A queue bounded in milliseconds of media that drops the *oldest* item when full.

    Every item is tagged with the epoch current when it was sent. ``interrupt`` raises the epoch and
    forgets what waits, so that nothing sent before it can start the new segment.

    Args:
        capacity_ms: media that may wait.
        duration_ms: media in one item.
    """

    def __init__(self, capacity_ms: float, duration_ms: Callable[[T], float]) -> None:
        self._capacity = capacity_ms
        self._duration = duration_ms
        self._items: deque[tuple[int, T]] = deque()
        self._waiting = 0.0
        self._closed = False
        self._changed = threading.Condition()
        self.epoch = 0
        self.dropped_ms = 0.0

    @property
    def waiting_ms(self) -> float:
        """Media waiting now."""
        return self._waiting

    def send(self, item: T) -> bool:
        """Append; never blocks. False when the channel is closed."""
        with self._changed:
            if self._closed:
                return False
            self._items.append((self.epoch, item))
            self._waiting += self._duration(item)
            while len(self._items) > 1 and (
                self._waiting > self._capacity or len(self._items) > _MAX_ITEMS
            ):
                _, oldest = self._items.popleft()
                self._waiting -= self._duration(oldest)
                self.dropped_ms += self._duration(oldest)
            self._changed.notify()
            return True

    def receive(self) -> tuple[int, T] | None:
        """Wait for the next item with its epoch; None once closed and empty."""
        with self._changed:
            while not self._items:
                if self._closed:
                    return None
                self._changed.wait()
            epoch, item = self._items.popleft()
            self._waiting = max(0.0, self._waiting - self._duration(item))
            return epoch, item

    def interrupt(self, keep: Callable[[T], bool] = lambda _: False) -> int:
        """Forget what waits and start a new epoch; returns it.

        Args:
            keep: says which items the interrupt does not concern: they belong to the new epoch.
        """
        with self._changed:
            self.epoch += 1
            kept = [item for _, item in self._items if keep(item)]
            self._items = deque((self.epoch, item) for item in kept)
            self._waiting = sum((self._duration(item) for item in kept), 0.0)
            return self.epoch

    def close(self, *, discard: bool = False) -> None:
        """No more items; ``receive`` still hands out what waits unless ``discard``."""
        with self._changed:
            self._closed = True
            if discard:
                self._items.clear()
                self._waiting = 0.0
            self._changed.notify_all()
