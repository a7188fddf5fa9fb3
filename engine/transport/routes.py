"""The web server: the page, health and metrics, and all routes put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from engine.clock import SystemClock
from engine.config import ServerConfig
from engine.transport import openapi
from engine.transport.access import Handler, allow_origins, guard, is_loopback
from engine.transport.avatars import AvatarRoutes
from engine.transport.encoders import POOL
from engine.transport.hooks import install
from engine.transport.live import LiveOptions
from engine.transport.network import ice_json, ice_servers
from engine.transport.problems import problems
from engine.transport.registry import LiveSessions
from engine.transport.sessions import SessionRoutes
from engine.transport.webrtc import PeerOptions
from engine.transport.whip import WhipRoutes

if TYPE_CHECKING:
    from engine.app import Engine

WEB_CLIENT = Path(__file__).parents[2] / "clients" / "web"
LIVES = web.AppKey("lives", LiveSessions)
"""Where the application keeps its sessions."""
_HEADERS = {
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' "
    "blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}


class Pages:
    """What is not about one session.

    Args:
        engine: avatars and sessions.
        config: the server's settings.
        lives: the sessions clients are connected to.
    """

    def __init__(self, engine: Engine, config: ServerConfig, lives: LiveSessions) -> None:
        self._engine = engine
        self._config = config
        self._lives = lives

    def routes(self) -> list[web.RouteDef | web.StaticDef]:
        """What answers where."""
        return [
            web.get("/", self.page),
            web.static("/static", WEB_CLIENT),
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
            web.get("/metrics", self.metrics),
            web.get("/ice", self.ice),
        ]

    async def lifetime(self, _app: web.Application) -> AsyncIterator[None]:
        """Measure the loop while serving; end every session afterwards."""
        probe = asyncio.create_task(self._lives.probe_loop())
        yield
        probe.cancel()
        await self._lives.close()
        await asyncio.to_thread(POOL.close)

    async def page(self, _request: web.Request) -> web.StreamResponse:
        """The web client."""
        return web.FileResponse(WEB_CLIENT / "index.html")

    async def healthz(self, _request: web.Request) -> web.StreamResponse:
        """The process is up."""
        return web.json_response({"ok": True})

    async def readyz(self, _request: web.Request) -> web.StreamResponse:
        """Networks are loaded and warm, and the server is not about to stop."""
        engine = self._engine
        ready = engine.ready and not self._lives.draining
        body = {
            "ready": ready,
            "sessions": len(engine.sessions),
            "capacity": engine.capacity,
        }
        return web.json_response(body, status=200 if ready else 503)

    async def metrics(self, _request: web.Request) -> web.StreamResponse:
        """Prometheus' text format."""
        text = self._engine.metrics.exposition()
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4"})

    async def ice(self, _request: web.Request) -> web.StreamResponse:
        """``{iceServers}`` for the browser's own connection: the same ones as the server's."""
        return web.json_response({"iceServers": ice_json(ice_servers(self._config))})


@web.middleware
async def _headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def create_app(engine: Engine, config: ServerConfig, token: str = "") -> web.Application:
    """The application for an engine.

    Args:
        engine: may still be starting; offers get 503 until it is ready.
        config: the server's settings.
        token: bearer token asked for; empty for none.
    """
    shared = config.behind_proxy or config.ice_servers
    install(only_here=is_loopback(config.host) and not shared)
    app = web.Application(
        client_max_size=config.upload_mb * 1_000_000,
        middlewares=[_headers, guard(config, token), problems],
    )
    app.on_response_prepare.append(allow_origins(config))
    clock = SystemClock()
    peers = PeerOptions(ice_servers(config), config.lost_peer_s)
    options = LiveOptions(grace=config.grace_s, ttl=config.ttl_s)
    lives = app[LIVES] = LiveSessions(engine, clock, options, engine.metrics.registry)
    app.add_routes(openapi.routes())
    app.add_routes(WhipRoutes(lives, peers, clock).routes())
    sessions = SessionRoutes(lives, peers, clock)
    for part in (Pages(engine, config, lives), sessions, AvatarRoutes(engine, config)):
        app.add_routes(part.routes())
        app.cleanup_ctx.append(part.lifetime)
    return app
