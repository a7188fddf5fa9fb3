"""Runs the web server: event loop, threads, signals."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web

from engine.app import Engine
from engine.config import EngineConfig, ServerConfig, token
from engine.errors import ConfigError
from engine.transport.access import check_exposure
from engine.transport.network import within_ports
from engine.transport.routes import LIVES, create_app
from engine.transport.tls import tls_context

log = logging.getLogger(__name__)

_SHUTDOWN_SECONDS = 10.0
_IDLE_SECONDS = 30.0
"""A connection on which no whole request head arrives for so long is closed (slow loris)."""


def serve(config: EngineConfig) -> None:
    """Serve until SIGINT (at once) or SIGTERM (sessions are given time to end).

    Raises:
        ConfigError: open to the network without a token; address in use; unreadable certificate.
        EngineError: when the engine cannot start.
    """
    logging.getLogger("aioice").setLevel(logging.WARNING)  # several lines per candidate pair
    secret = token()
    check_exposure(config.server, secret)
    with asyncio.Runner(
        loop_factory=within_ports(_loop_factory(), config.server.udp_port_range)
    ) as runner:
        runner.run(_serve(config, secret))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if sys.platform == "win32":
        return asyncio.ProactorEventLoop
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.Loop
    return factory


async def _serve(config: EngineConfig, secret: str) -> None:
    loop = asyncio.get_running_loop()
    # aiortc encodes in the loop's default threads; nothing heavy may share them.
    loop.set_default_executor(ThreadPoolExecutor(4 + 2 * config.server.sessions, "transport"))
    stop, at_once = asyncio.Event(), asyncio.Event()
    if sys.platform != "win32":
        # Who runs it by hand wants it to stop; a supervisor wants nobody to be cut off.
        loop.add_signal_handler(signal.SIGINT, _both(at_once, stop))
        loop.add_signal_handler(signal.SIGTERM, stop.set)
    engine = Engine(config)
    app = create_app(engine, config.server, secret)
    runner = web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=_IDLE_SECONDS,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    await runner.setup()
    try:
        log.info("open %s", await _listen(runner, config.server))
        starting = loop.run_in_executor(None, engine.start)
        waiting = asyncio.ensure_future(stop.wait())
        await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()  # raises what went wrong
        await waiting
        await _first(app[LIVES].drain(config.server.drain_s), at_once.wait())
    finally:
        await runner.cleanup()
        engine.close()


def _both(one: asyncio.Event, other: asyncio.Event) -> Callable[[], None]:
    def set_both() -> None:
        one.set()
        other.set()

    return set_both


async def _first(*works: Coroutine[Any, Any, object]) -> None:
    """Wait until one is done; the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _listen(runner: web.AppRunner, config: ServerConfig) -> str:
    context = tls_context(config)
    site = web.TCPSite(runner, config.host, config.port, ssl_context=context)
    try:
        await site.start()
    except OSError as error:
        where = f"{config.host}:{config.port}"
        raise ConfigError(f"cannot listen on {where}: {error.strerror or error}") from error
    host, port = runner.addresses[0][:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if context else 'http'}://{shown}:{port}"
