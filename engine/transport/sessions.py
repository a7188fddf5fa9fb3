"""The HTTP routes of sessions: offers, and what a program does with a session besides."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import hdrs, web

from engine.avatars import DEFAULT_AVATAR
from engine.clock import Clock
from engine.errors import ConfigError
from engine.transport.live import MODES, LiveSession, Settings, read_changes
from engine.transport.offer import OfferError, read_offer
from engine.transport.problems import Refused, no_avatar, no_session
from engine.transport.registry import LiveSessions
from engine.transport.soundbox import SoundBox
from engine.transport.speak import MAX_SECONDS, say_body
from engine.transport.webrtc import PeerOptions, Role, WebRtcConnection

_MAX_BODY = 200_000
"""Characters of an offer or another JSON body."""
_MAX_FOLLOWERS = 8
_HEARTBEAT_SECONDS = 10.0
_TEXT = ("avatar", "emotion", "style", "session", "resume")


class SessionRoutes:
    """Sessions over HTTP.

    Args:
        lives: the sessions.
        options: how clients are treated.
        clock: real time.
    """

    def __init__(self, lives: LiveSessions, options: PeerOptions, clock: Clock) -> None:
        self._lives = lives
        self._options = options
        self._clock = clock
        self._box = SoundBox(MAX_SECONDS)

    async def lifetime(self, _app: web.Application) -> AsyncIterator[None]:
        """End the decoder with the server."""
        yield
        self._box.close()

    def routes(self) -> list[web.RouteDef]:
        """What answers where."""
        return [
            web.post("/offer", self.offer),
            web.post("/sessions", self.create),
            web.get("/sessions/{id}", self.show),
            web.patch("/sessions/{id}", self.change),
            web.delete("/sessions/{id}", self.end),
            web.post("/sessions/{id}/speak", self.speak),
            web.post("/sessions/{id}/interrupt", self.interrupt),
            web.get("/sessions/{id}/events", self.events, allow_head=False),
        ]

    async def offer(self, request: web.Request) -> web.StreamResponse:
        """Answer ``{sdp, type, session? | resume? | avatar?, mode?...}`` with ``{sdp, type, id}``.

        With ``resume`` (a token from an earlier answer) or ``session`` (from ``POST /sessions``)
        the client joins that session; a token that is not known any more begins a new one.
        """
        body = await _json_body(request, offer=True)
        sdp = body.get("sdp")
        if body.get("type") != "offer" or not isinstance(sdp, str):
            raise OfferError("not_sdp", 'The offer must be {"type": "offer", "sdp": ...}.')
        offer = read_offer(sdp)
        settings = read_settings(body)
        live, made = await self._find_or_create(body, settings)
        connection = WebRtcConnection(live, Role.TWO_WAY, self._clock, self._options)
        answer = await join(self._lives, live, connection, offer, made=made)
        return web.json_response(
            {
                "sdp": answer,
                "type": "answer",
                "id": live.id,
                "resume": live.resume_token,
                "resumed": not made,
                "avatar": live.settings.avatar or DEFAULT_AVATAR,
            }
        )

    async def _find_or_create(
        self, body: Mapping[str, Any], settings: Settings
    ) -> tuple[LiveSession, bool]:
        if body.get("session"):
            try:
                return self._lives.get(body["session"]), False
            except KeyError:
                raise no_session() from None
        if body.get("resume"):
            try:
                return self._lives.by_resume_token(body["resume"]), False
            except KeyError:
                pass  # it has ended: the client begins again
        return await create(self._lives, settings), True

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Open a session that clients connect to afterwards."""
        body = await _json_body(request) if request.body_exists else {}
        ttl = body.get("ttl_s")
        if ttl is not None and (type(ttl) not in (int, float) or not 0 < ttl < 1e7):
            raise ConfigError("'ttl_s' must be a number of seconds above 0")
        live = await create(self._lives, read_settings(body), ttl)
        answer = {**describe(live), "resume": live.resume_token}
        return web.json_response(
            answer, status=201, headers={hdrs.LOCATION: f"/sessions/{live.id}"}
        )

    async def show(self, request: web.Request) -> web.StreamResponse:
        """The session as it is now."""
        return web.json_response(describe(self._live(request)))

    async def change(self, request: web.Request) -> web.StreamResponse:
        """Change ``{emotion?, style?, barge_in?}`` while it runs."""
        live, body = self._live(request), await _json_body(request)
        changes = read_changes(body)
        unknown = sorted(set(body) - {"emotion", "style", "barge_in"})
        if unknown:
            raise ConfigError(f"'{unknown[0]}' cannot be changed while a session runs")
        live.configure(**changes)
        return web.json_response(describe(live))

    async def end(self, request: web.Request) -> web.StreamResponse:
        """The client says goodbye; returns when everything is freed."""
        if await self._lives.remove(request.match_info["id"], "left"):
            return web.Response(status=204)
        raise no_session()

    async def speak(self, request: web.Request) -> web.StreamResponse:
        """Say the sound in the body: see ``engine/transport/speak.py``."""
        live = self._live(request)
        if live.settings.mode != "agent":
            raise Refused(
                409,
                "wrong_mode",
                'Only a session of {"mode": "agent"} can be told to speak.',
            )
        utterance = await say_body(live.session, request, self._box)
        return web.json_response({"utterance": utterance}, status=202)

    async def interrupt(self, request: web.Request) -> web.StreamResponse:
        """Barge-in. Valid at any moment; answers what had been played."""
        played = self._live(request).session.interrupt()
        return web.json_response(
            {
                "utterance": played.utterance,
                "played_ms": played.played_ms,
                "position_ms": played.position_ms,
            }
        )

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Follow the session's events as ``text/event-stream``, until it ends."""
        hub = self._live(request).hub
        if len(hub.followers) >= _MAX_FOLLOWERS:
            raise Refused(429, "too_many", f"{_MAX_FOLLOWERS} follow this session already.")
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "text/event-stream"})
        follower = hub.follow()
        try:
            await response.prepare(request)
            await _write(response, ": following\n\n")
            while True:
                try:
                    event = await follower.wait(_HEARTBEAT_SECONDS)
                except StopAsyncIteration:
                    break
                if event is None:
                    await _write(response, ": still here\n\n")
                    continue
                data = json.dumps({"type": event.kind, **event.fields})
                await _write(response, f"event: {event.kind}\ndata: {data}\n\n")
        finally:
            follower.close()
        return response

    def _live(self, request: web.Request) -> LiveSession:
        try:
            return self._lives.get(request.match_info["id"])
        except KeyError:
            raise no_session() from None


async def create(lives: LiveSessions, settings: Settings, ttl: float | None = None) -> LiveSession:
    """A new session.

    Raises:
        Refused: unknown avatar.
        Overloaded: no place.
    """
    try:
        return await lives.create(settings, ttl)
    except KeyError:
        raise no_avatar() from None


async def join(
    lives: LiveSessions, live: LiveSession, connection: WebRtcConnection, offer: str, *, made: bool
) -> str:
    """Take a client into a session; returns the answer to its offer.

    Args:
        made: the session was made for this client: it ends if the client cannot be taken in.

    Raises:
        Refused: the session was parked and its avatar has been deleted meanwhile.
        OfferError, Overloaded, SessionClosed: as ``LiveSession.connect`` says.
    """
    try:
        return await live.connect(connection, offer)
    except BaseException as error:
        if made:
            await lives.remove(live.id, "bad offer")
        if isinstance(error, KeyError):
            raise no_avatar() from error
        raise


def read_settings(body: Mapping[str, Any]) -> Settings:
    """The settings in a request.

    Raises:
        ConfigError: of the wrong type, or a mode that does not exist.
    """
    for name in _TEXT:
        if not isinstance(body.get(name), str | None):
            raise ConfigError(f"'{name}' must be text")
    mode = body.get("mode") or MODES[0]
    if mode not in MODES:
        raise ConfigError(f"'mode' is {mode!r}; {' or '.join(MODES)}")
    return Settings(avatar=body.get("avatar") or None, mode=mode, **read_changes(body))


def describe(live: LiveSession) -> dict[str, Any]:
    """A session as JSON."""
    left = live.expires_in
    return {
        "id": live.id,
        "mode": live.settings.mode,
        "avatar": live.settings.avatar,
        "state": "parked" if live.parked else live.session.state,
        "connections": len(live.connections),
        "expires_in_s": None if left is None else round(left, 1),
        "whip": f"/whip/{live.id}",
        "whep": f"/whep/{live.id}",
        "events": f"/sessions/{live.id}/events",
    }


async def _write(response: web.StreamResponse, text: str) -> None:
    await response.write(text.encode())


async def _json_body(request: web.Request, *, offer: bool = False) -> dict[str, Any]:
    def refuse(reason: str, message: str) -> Exception:
        return OfferError(reason, message) if offer else Refused(400, "bad_request", message)

    if request.content_type != "application/json":
        raise refuse("not_json", "The body must be sent as application/json.")
    if (request.content_length or 0) > _MAX_BODY:
        raise refuse("too_large", "The body is too long.")
    try:
        body = json.loads(await request.text())
    except (ValueError, RecursionError, LookupError) as error:
        raise refuse("not_json", "The body is not JSON.") from error
    if not isinstance(body, dict):
        raise refuse("not_sdp", "The body must be a JSON object.")
    return body
