"""Fuzzes what reads data-channel messages: ``python -m tests.fuzz.messages --seconds 60``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import atheris

with atheris.instrument_imports(include=["engine.transport.control", "engine.transport.live"]):
    from engine.errors import EngineError
    from engine.transport.control import Control
    from engine.transport.live import read_changes

from tests.badinputs.messages import messages
from tests.fuzz.run import fuzz


class Channel:
    """Stands for a data channel: keeps its listener, and insists on text that is JSON."""

    readyState = "open"
    bufferedAmount = 0

    def __init__(self) -> None:
        self.receive: Callable[[str | bytes], None] = lambda _: None

    def on(self, kind: str, listener: Any) -> None:
        """Remember who listens to messages."""
        if kind == "message":
            self.receive = listener

    def send(self, text: str) -> None:
        """What goes to the client must be JSON."""
        assert "type" in json.loads(text)


def command(message: Mapping[str, Any]) -> bool:
    """As a session reads it."""
    try:
        read_changes(message)
    except EngineError:
        return True
    return message["type"] == "interrupt"


def target(data: bytes) -> None:
    """Nothing but an answer may come of any message."""
    channel = Channel()
    Control(command).attach(channel)  # type: ignore[arg-type]
    channel.receive(data)
    channel.receive(data.decode("utf-8", "replace"))


if __name__ == "__main__":
    cases = [case.data for case in messages()]
    fuzz(target, [d.encode() if isinstance(d, str) else d for d in cases])
