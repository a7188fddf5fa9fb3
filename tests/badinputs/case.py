"""One bad input and what the server must answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

JSON_TYPE = ("Content-Type", "application/json")
SDP_TYPE = ("Content-Type", "application/sdp")
SESSION = "{session}"
"""Stands in a path for the id of an open session."""
RESOURCE = "{resource}"
"""Stands in a path for a WHIP resource's."""
ETAG = "{etag}"
"""Stands in a header for the entity tag of that resource."""


@dataclass(frozen=True, slots=True)
class Request:
    """A well-formed HTTP request with a bad content.

    Args:
        name: distinct; its part before the slash is the family.
        status: what must be answered.
        word: the ``reason`` of the refusal; empty where the answer is no refusal, or not JSON.
        needs_face: only the real engine looks for faces; the test card takes any picture.
        token: whether the right token is sent along where the server wants one.
    """

    name: str
    method: str
    path: str
    status: int
    word: str = ""
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    needs_face: bool = False
    token: bool = True

    def key(self) -> tuple[object, ...]:
        """What makes it distinct."""
        return (self.method, self.path, self.body, self.headers, self.token)


@dataclass(frozen=True, slots=True)
class Wire:
    """Bytes written to the server's port.

    Args:
        name: distinct.
        data: what is written; then the client ends its half of the connection.
        status: status lines that are right; 0 stands for closing without an answer.
    """

    name: str
    data: bytes
    status: tuple[int, ...]

    def key(self) -> tuple[object, ...]:
        """What makes it distinct."""
        return (self.data,)


@dataclass(frozen=True, slots=True)
class Message:
    """A message on the data channel.

    Args:
        name: distinct.
        data: text or bytes.
        error: whether an ``error`` message must come back; else the message is ignored.
    """

    name: str
    data: str | bytes
    error: bool

    def key(self) -> tuple[object, ...]:
        """What makes it distinct."""
        return (self.data,)


Case = Request | Wire | Message


def as_json(content: Any) -> bytes:
    """The content as a JSON body."""
    return json.dumps(content).encode()
