"""The web server: offers, health, metrics and the web client's files."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from engine.clock import SystemClock
from engine.config import ServerConfig
from engine.errors import Overloaded
from engine.transport import openapi
from engine.transport.access import Handler, guard, is_loopback, refusal
from engine.transport.avatars import AvatarRoutes
from engine.transport.hooks import and_loopback, install, only_loopback
from engine.transport.offer import OfferError, read_offer
from engine.transport.peers import Peers
from engine.transport.webrtc import Peer, PeerOptions

if TYPE_CHECKING:
    from engine.app import Engine
    from engine.session import Session

log = logging.getLogger(__name__)

WEB_CLIENT = Path(__file__).parents[2] / "clients" / "web"
_MAX_OFFER = 200_000
_HEADERS = {
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' "
    "blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}


class Signaling:
    """The HTTP routes of one engine.

    Args:
        engine: avatars and sessions.
        config: the server's settings.
    """

    def __init__(self, engine: Engine, config: ServerConfig) -> None:
        self._engine = engine
        self._config = config
        self._options = PeerOptions(config.ice_servers, config.lost_peer_s)
        self._clock = SystemClock()
        self._peers = Peers(self._clock, engine.metrics.registry)

    def routes(self) -> list[web.RouteDef | web.StaticDef]:
        """What answers where."""
        return [
            web.get("/", self.page),
            web.static("/static", WEB_CLIENT),
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
            web.get("/metrics", self.metrics),
            web.get("/ice", self.ice),
            web.post("/offer", self.offer),
            web.delete("/sessions/{id}", self.end_session),
        ]

    async def lifetime(self, _app: web.Application) -> AsyncIterator[None]:
        """Measure the loop while serving; end every session afterwards."""
        probe = asyncio.create_task(self._peers.probe_loop())
        yield
        probe.cancel()
        await self._peers.close()

    async def page(self, _request: web.Request) -> web.StreamResponse:
        """The web client."""
        return web.FileResponse(WEB_CLIENT / "index.html")

    async def healthz(self, _request: web.Request) -> web.StreamResponse:
        """The process is up."""
        return web.json_response({"ok": True})

    async def readyz(self, _request: web.Request) -> web.StreamResponse:
        """Networks are loaded and warm."""
        engine = self._engine
        body = {
            "ready": engine.ready,
            "sessions": len(engine.sessions),
            "capacity": engine.capacity,
        }
        return web.json_response(body, status=200 if engine.ready else 503)

    async def metrics(self, _request: web.Request) -> web.StreamResponse:
        """Prometheus' text format."""
        text = self._engine.metrics.exposition()
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4"})

    async def ice(self, _request: web.Request) -> web.StreamResponse:
        """``{iceServers}`` for the browser's own connection: the same ones as the server's."""
        servers = [{"urls": url} for url in self._config.ice_servers]
        return web.json_response({"iceServers": servers})

    async def offer(self, request: web.Request) -> web.StreamResponse:
        """Answer ``{sdp, type, avatar?}`` with ``{sdp, type, id}``."""
        try:
            sdp, avatar = await _read_offer_body(request)
            offer = read_offer(sdp)
        except OfferError as error:
            status = 415 if error.reason == "codec" else 400
            return refusal(status, "bad_offer", str(error), error.reason)
        try:
            session = await asyncio.to_thread(self._engine.create_session, avatar)
        except KeyError:
            return refusal(404, "no_avatar", "This avatar is not known here (any more).")
        except Overloaded as error:
            retry = {"Retry-After": str(error.retry_after)}
            return refusal(503, "overloaded", str(error), **retry)
        return await self._answer(session, offer)

    async def _answer(self, session: Session, offer: str) -> web.StreamResponse:
        peer = Peer(session, self._clock, self._options)
        self._peers.add(peer)
        try:
            answer = await peer.answer(offer)
        except OfferError as error:
            await self._peers.remove(session.id, "bad offer")
            return refusal(415, "bad_offer", str(error), error.reason)
        except BaseException:
            # Whatever happened, a request that ends here holds no session.
            peer.leave("request failed")
            raise
        log.info("session %s begins", session.id[:6])
        return web.json_response({"sdp": answer, "type": "answer", "id": session.id})

    async def end_session(self, request: web.Request) -> web.StreamResponse:
        """The client says goodbye; returns when everything is freed."""
        if await self._peers.remove(request.match_info["id"], "left"):
            return web.Response(status=204)
        return refusal(404, "no_session", "There is no such session (any more).")


async def _read_offer_body(request: web.Request) -> tuple[str, str | None]:
    if request.content_type != "application/json":
        raise OfferError("not_json", "The offer must be sent as application/json.")
    if (request.content_length or 0) > _MAX_OFFER:
        raise OfferError("too_large", "The offer is too long.")
    try:
        body = json.loads(await request.text())
    except (ValueError, RecursionError) as error:
        raise OfferError("not_json", "The offer is not JSON.") from error
    if not isinstance(body, dict) or body.get("type") != "offer":
        raise OfferError("not_sdp", 'The offer must be {"type": "offer", "sdp": ...}.')
    sdp, avatar = body.get("sdp"), body.get("avatar")
    if not isinstance(sdp, str) or not (avatar is None or isinstance(avatar, str)):
        raise OfferError("not_sdp", "The offer's sdp and avatar must be text.")
    return sdp, avatar


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
    install(only_loopback if is_loopback(config.host) else and_loopback)
    signaling = Signaling(engine, config)
    app = web.Application(
        client_max_size=config.upload_mb * 1_000_000,
        middlewares=[_headers, guard(config, token)],
    )
    app.add_routes(openapi.routes())
    avatars = AvatarRoutes(engine, config)
    for part in (signaling, avatars):
        app.add_routes(part.routes())
        app.cleanup_ctx.append(part.lifetime)
    return app
