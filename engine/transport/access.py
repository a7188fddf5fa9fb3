"""Who may use the server, and how often: bearer token, page origin, host name, rate."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from engine.clock import Clock, SystemClock
from engine.config import ServerConfig
from engine.errors import ConfigError
from engine.transport.limits import Limits, client_of, kind_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/openapi.json"})
_OPEN_PREFIX = "/static/"
_BODY_SECONDS = 15.0
"""Offers and options are short; a body that drips in holds a connection for nothing."""
_METHODS = "GET, POST, PATCH, DELETE, OPTIONS"
_ALLOWED = "Authorization, Content-Type, If-Match, X-Consent"
_EXPOSED = "Location, ETag, Link, Retry-After, Accept-Patch, Accept-Post"


def is_loopback(host: str) -> bool:
    """Whether a listening address or host name stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(config: ServerConfig, token: str) -> None:
    """Refuse to be open to the network by accident.

    Raises:
        ConfigError: listening beyond this machine without a token and without saying so.
    """
    if not (is_loopback(config.host) or token or config.allow_open):
        raise ConfigError(
            f"'{config.host}' can be reached from other machines. Set a token in the environment "
            "(VIVACE_TOKEN=...), or server.allow_open=true behind a proxy that checks for you."
        )


def consent_needed(config: ServerConfig) -> bool:
    """Whether a photo must come with a statement of consent."""
    if config.consent == "auto":
        return not is_loopback(config.host)
    return config.consent == "required"


def refusal(
    status: int, error: str, message: str, reason: str = "", **headers: str
) -> web.Response:
    """An error as JSON: ``{error, reason, message}``."""
    body = {"error": error, "reason": reason or error, "message": message}
    return web.json_response(body, status=status, headers=headers)


def guard(config: ServerConfig, token: str, clock: Clock | None = None) -> Middleware:
    """The middleware that lets requests in or not.

    Args:
        config: the server's settings.
        token: bearer token asked for; empty for none.
        clock: of the rate limits.
    """
    limits = Limits(config, clock or SystemClock())

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_loopback(config.host) and not token and not is_loopback(_name(request.host)):
            # A name that was made to point here (DNS rebinding).
            return refusal(403, "forbidden", "This server answers to localhost only.")
        origin = request.headers.get(hdrs.ORIGIN)
        if origin and _place(origin) != request.host and origin not in config.origins:
            return refusal(403, "forbidden", "Pages from elsewhere may not use this server.")
        if _is_preflight(request):  # asked by the browser itself, without the page's token
            return web.Response(status=204)
        return _refused(request) or await _handled(request, handler)

    def _refused(request: web.Request) -> web.Response | None:
        # One line per proxy, or one for all: either way the last entry is the nearest proxy's.
        forwarded = ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, []))
        client = client_of(request.remote, forwarded if config.behind_proxy else "")
        asks_token = bool(token) and not _is_open(request.path)
        if asks_token:
            if wait := limits.blocked(client):
                return _slower(wait, "Too many wrong tokens came from this address.")
            if not _has_token(request, token):
                if hdrs.AUTHORIZATION in request.headers:
                    limits.failed(client)
                needed = {hdrs.WWW_AUTHENTICATE: "Bearer"}
                return refusal(401, "unauthorized", "A token is needed.", **needed)
        if wait := limits.ask(kind_of(request.method, request.path), client, asks_token):
            return _slower(wait, "Too many requests came from this address.")
        return None

    return check


def allow_origins(config: ServerConfig) -> Callable[[web.Request, web.StreamResponse], Any]:
    """What goes on every response as it leaves: pages of allowed origins may read it (CORS).

    Append to ``Application.on_response_prepare``; a middleware would miss responses that stream.
    """

    async def permit(request: web.Request, response: web.StreamResponse) -> None:
        origin = request.headers.get(hdrs.ORIGIN)
        if not origin or origin not in config.origins:
            return
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        if _is_preflight(request):
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = _METHODS
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = _ALLOWED
            response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = "3600"

    return permit


async def _handled(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.can_read_body and not _takes_long(request):
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                await request.read()  # kept by the request for its handler
        except TimeoutError:
            return refusal(408, "too_slow", "The request took too long to arrive.")
        except web.HTTPRequestEntityTooLarge:
            return refusal(413, "too_large", "The request is larger than this server takes.")
    return await handler(request)


def _takes_long(request: web.Request) -> bool:
    """Whether the handler reads the body itself: photos, sound as it is spoken."""
    return request.path == "/avatars" or request.path.endswith("/speak")


def _is_preflight(request: web.Request) -> bool:
    asks = (hdrs.ORIGIN, hdrs.ACCESS_CONTROL_REQUEST_METHOD)
    return request.method == hdrs.METH_OPTIONS and all(name in request.headers for name in asks)


def _slower(seconds: int, why: str) -> web.Response:
    retry = {hdrs.RETRY_AFTER: str(seconds)}
    return refusal(429, "too_many", f"{why} Wait {seconds} s.", **retry)


def _place(origin: str) -> str:
    """Host and port of an origin; empty where there are none (``null``, nonsense)."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_open(path: str) -> bool:
    return path in _OPEN_PATHS or path.startswith(_OPEN_PREFIX)


def _has_token(request: web.Request, token: str) -> bool:
    scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    # What was no UTF-8 arrives as lone surrogates.
    same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    return same and scheme.lower() == "bearer"
