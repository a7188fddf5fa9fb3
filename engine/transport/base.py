"""What a live session and a connection know of each other, whatever carries the media."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from engine.media import Float32
from engine.slots import Slot
from engine.transport.tracks import Output


class Connection(Protocol):
    """One way in, out, or both, between a client and a live session. Lives on the event loop."""

    @property
    def id(self) -> str:
        """Unguessable name."""
        ...

    @property
    def publishes(self) -> bool:
        """Whether it sends sound to the session."""
        ...

    @property
    def output(self) -> Output | None:
        """Tracks to fill with the session's slots; None if it only publishes."""
        ...

    @property
    def connected(self) -> bool:
        """Whether media can flow."""
        ...

    @property
    def encode_ms(self) -> float:
        """Mean time to encode a picture, over about the last second."""
        ...

    def send(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Tell the client something, if it listens."""
        ...

    def slot_left(self, slot: Slot) -> None:
        """A slot leaves now: its motion goes to those who asked for it."""
        ...

    def report(self) -> dict[str, object]:
        """Numbers of both directions."""
        ...

    def counts(self) -> dict[str, int]:
        """Counters since it began: ``bytes``, ``key_frames``, ``skipped``, ``nack``,
        ``unrepeated``, ``pli``."""
        ...

    def leave(self, reason: str) -> None:
        """Let ``run`` end; only the first reason counts."""
        ...

    async def run(self) -> str:
        """Serve until the client is gone, then free everything. Returns the reason."""
        ...


class Host(Protocol):
    """The live session as its connections see it."""

    def connected(self, connection: Connection) -> None:
        """Media can flow from now on."""
        ...

    def sound(self, connection: Connection, samples: Float32, pts: int) -> None:
        """Sound has arrived: float32 [N], 48 kHz mono, at the sender's time ``pts``."""
        ...

    def command(self, connection: Connection, message: Mapping[str, Any]) -> bool:
        """The client wants something; False if it is not understood."""
        ...
