"""The served test card in a thread of its own, for callers that block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from engine.config import ServerConfig
from tests.e2e.conftest import serving
from tests.e2e.testcard import CardEngine

_START_SECONDS = 20.0


@contextmanager
def served(
    engine: CardEngine, config: ServerConfig | None = None, token: str = ""
) -> Iterator[str]:
    """The server's address; it ends, and all of its sessions with it, on leaving."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    started = threading.Event()
    address: list[str] = []

    async def run() -> None:
        async with serving(engine, config, token) as (base, _):
            address.append(base)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), name="served")
    thread.start()
    try:
        assert started.wait(_START_SECONDS), "the server did not start"
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(_START_SECONDS)
        loop.close()
        assert not thread.is_alive(), "the server did not end"
