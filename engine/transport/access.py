"""Who may use the server: bearer token, page origin, host name."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from engine.config import ServerConfig
from engine.errors import ConfigError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/openapi.json"})
_OPEN_PREFIX = "/static/"


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


def guard(config: ServerConfig, token: str) -> Middleware:
    """The middleware that lets requests in or not."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_loopback(config.host) and not token and not is_loopback(_name(request.host)):
            # A name that was made to point here (DNS rebinding).
            return refusal(403, "forbidden", "This server answers to localhost only.")
        origin = request.headers.get(hdrs.ORIGIN)
        if origin and urlsplit(origin).netloc != request.host and origin not in config.origins:
            return refusal(403, "forbidden", "Pages from elsewhere may not use this server.")
        if token and not _is_open(request.path) and not _has_token(request, token):
            return refusal(
                401, "unauthorized", "A token is needed.", **{hdrs.WWW_AUTHENTICATE: "Bearer"}
            )
        return await handler(request)

    return check


def _name(host: str) -> str:
    return urlsplit(f"//{host}").hostname or ""


def _is_open(path: str) -> bool:
    return path in _OPEN_PATHS or path.startswith(_OPEN_PREFIX)


def _has_token(request: web.Request, token: str) -> bool:
    given = request.headers.get(hdrs.AUTHORIZATION, "").removeprefix("Bearer ").strip()
    return hmac.compare_digest(given.encode(), token.encode())
