"""The data channel beside the media: JSON messages both ways.

From the client: ``{"type": "subscribe", "motion": true}`` and ``{"type": "ping", "t": any}`` are
answered here; everything else (``interrupt``, ``configure``) goes to the session. To the client:
the session's events, ``stats`` once a second, ``motion`` for every new picture if subscribed,
``pong``, and ``error`` for what is not understood.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from aiortc import RTCDataChannel

from engine.slots import Slot

log = logging.getLogger(__name__)

_MAX_BUFFERED = 64 * 1024
"""Bytes waiting in the channel above which motion is left out."""
_MAX_MESSAGE = 4096
_MAX_CHANNELS = 4


class Control:
    """All data channels of one connection.

    Args:
        command: told what the client wants; says whether it is understood.
    """

    def __init__(self, command: Callable[[Mapping[str, Any]], bool]) -> None:
        self._command = command
        self._channels: list[RTCDataChannel] = []
        self._motion: set[RTCDataChannel] = set()
        self.heard = 0
        """Messages received."""

    def attach(self, channel: RTCDataChannel) -> None:
        """Serve a channel the client has opened; more than a few are closed again."""
        if len(self._channels) >= _MAX_CHANNELS:
            channel.close()
            return
        self._channels.append(channel)
        channel.on("message", lambda message: self._receive(channel, message))
        channel.on("close", lambda: self._detach(channel))

    def send(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Send a message on every open channel."""
        text = json.dumps({"type": kind, **fields})
        for channel in self._channels:
            self._write(channel, text)

    def slot(self, slot: Slot) -> None:
        """Tell subscribers about the motion of a picture that leaves now."""
        if not self._motion or slot.frame is None or slot.repeated:
            return
        motion = slot.frame.motion
        text = json.dumps(
            {
                "type": "motion",
                "pts": slot.frame.pts,
                "slot": slot.pts,
                "speech": round(motion.speech, 3),
                "values": [round(float(value), 4) for value in motion.values],
            }
        )
        for channel in list(self._motion):
            if channel.bufferedAmount < _MAX_BUFFERED:
                self._write(channel, text)

    def _write(self, channel: RTCDataChannel, text: str) -> None:
        if channel.readyState == "open":
            channel.send(text)

    def _detach(self, channel: RTCDataChannel) -> None:
        self._motion.discard(channel)
        if channel in self._channels:
            self._channels.remove(channel)

    def _receive(self, channel: RTCDataChannel, message: str | bytes) -> None:
        self.heard += 1
        try:
            if len(message) > _MAX_MESSAGE:
                raise ValueError("too long")
            content = json.loads(message, parse_constant=_no_number)
            kind = content["type"]
        except (ValueError, KeyError, TypeError, RecursionError):
            self._refuse(channel)
            return
        if kind == "subscribe":
            (self._motion.add if content.get("motion") else self._motion.discard)(channel)
        elif kind == "ping":
            self._write(channel, json.dumps({"type": "pong", "t": content.get("t")}))
        elif not self._command(content):
            self._refuse(channel)

    def _refuse(self, channel: RTCDataChannel) -> None:
        self._write(channel, json.dumps({"type": "error", "message": "not understood"}))


def _no_number(word: str) -> None:
    """NaN and Infinity are no JSON: browsers could not read them in the answer."""
    raise ValueError(f"{word} is no JSON")
