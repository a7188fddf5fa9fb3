"""Servers and browsers for the end-to-end tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from engine.config import ServerConfig
from engine.transport.routes import create_app
from tests.e2e.testcard import CardEngine


@asynccontextmanager
async def serving(
    engine: CardEngine, config: ServerConfig | None = None, token: str = ""
) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    """A server on a free port: its address and a client session."""
    app = create_app(engine, config or ServerConfig(), token)  # type: ignore[arg-type]
    engine.app = app
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with aiohttp.ClientSession() as http:
            yield f"http://127.0.0.1:{port}", http
    finally:
        await runner.cleanup()
        engine.close()


@pytest.fixture(scope="session")
def screenshots() -> Iterator[Path]:
    """Where pictures for people to look at are left: ``build/e2e``, which git ignores."""
    folder = Path(__file__).resolve().parents[2] / "build" / "e2e"
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


async def until(condition, seconds: float, step: float = 0.05) -> float:  # type: ignore[no-untyped-def]
    """Wait for a condition; how long it took in seconds. Fails when time runs out."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    while not condition():
        if loop.time() - start > seconds:
            pytest.fail(f"not within {seconds} s: {condition}")
        await asyncio.sleep(step)
    return loop.time() - start
