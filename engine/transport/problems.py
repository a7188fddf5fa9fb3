"""What goes wrong in a request, as an answer: status, ``{error, reason, message}``, headers."""

from __future__ import annotations

import errno

from aiohttp import web

from engine.errors import ConfigError, EngineError, MediaError, Overloaded, SessionClosed
from engine.transport.access import Handler, refusal
from engine.transport.offer import OfferError

_OFFER_STATUS = {"codec": 415, "not_json": 400, "ice_restart": 422, "content_type": 415}
_STATUS: tuple[tuple[type[EngineError], int, str], ...] = (
    (MediaError, 422, "bad_audio"),
    (ConfigError, 422, "bad_option"),
    (SessionClosed, 409, "not_running"),
)
_HTTP = {403: "forbidden", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class Refused(EngineError):
    """A request that cannot be served.

    Args:
        status: HTTP status.
        error: stable word.
        message: one sentence.
    """

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error


def no_session() -> Refused:
    """There is no session of this name."""
    return Refused(404, "no_session", "There is no such session (any more).")


def no_avatar() -> Refused:
    """There is no avatar of this id."""
    return Refused(404, "no_avatar", "This avatar is not known here (any more).")


@web.middleware
async def problems(  # noqa: PLR0911 - one answer for each kind of error
    request: web.Request, handler: Handler
) -> web.StreamResponse:
    """Turn the engine's errors into answers."""
    try:
        return await handler(request)
    except Refused as error:
        return refusal(error.status, error.error, str(error))
    except OfferError as error:
        status = _OFFER_STATUS.get(error.reason, 400)
        return refusal(status, "bad_offer", str(error), error.reason)
    except Overloaded as error:
        retry = {"Retry-After": str(error.retry_after)}
        return refusal(503, "overloaded", str(error), **retry)
    except EngineError as error:
        for kind, status, word in _STATUS:
            if isinstance(error, kind):
                return refusal(status, word, _sentence(str(error)))
        raise
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _of_http(error)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return refusal(404, "not_found", "Not found.")


def _of_http(error: web.HTTPException) -> web.Response:
    word = _HTTP.get(error.status, "bad_request")
    allow = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
    return refusal(error.status, word, _sentence(error.reason), **allow)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].removesuffix(".") + "."
