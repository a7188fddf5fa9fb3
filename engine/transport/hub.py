"""Hands one session's events to everybody who follows them."""

from __future__ import annotations

import asyncio
from collections import deque

from engine.events import Event

_BACKLOG = 256
"""Events kept for a follower that does not read; then the oldest is lost."""


class Follower:
    """One who reads events, at their own pace."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._events: deque[Event] = deque(maxlen=_BACKLOG)
        self._filled = asyncio.Event()
        self._ended = False

    def put(self, event: Event) -> None:
        """Take an event."""
        self._events.append(event)
        self._filled.set()

    def end(self) -> None:
        """No more events will come."""
        self._ended = True
        self._filled.set()

    def close(self) -> None:
        """Follow no longer."""
        self._hub.followers.discard(self)

    async def wait(self, seconds: float) -> Event | None:
        """The next event; None if none came within ``seconds``.

        Raises:
            StopAsyncIteration: when the session has ended and everything is read.
        """
        if not self._events and not self._ended:
            self._filled.clear()
            try:
                await asyncio.wait_for(self._filled.wait(), seconds)
            except TimeoutError:
                return None
        if self._events:
            return self._events.popleft()
        raise StopAsyncIteration


class Hub:
    """Lives on the event loop."""

    def __init__(self) -> None:
        self.followers: set[Follower] = set()

    def follow(self) -> Follower:
        """A new follower, who hears what happens from now on."""
        follower = Follower(self)
        self.followers.add(follower)
        return follower

    def publish(self, event: Event) -> None:
        """Tell everybody."""
        for follower in self.followers:
            follower.put(event)

    def close(self) -> None:
        """The session is over."""
        for follower in self.followers:
            follower.end()
