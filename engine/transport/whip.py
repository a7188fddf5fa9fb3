"""WHIP in (RFC 9725) and WHEP out (draft-ietf-wish-whep): one POST makes a connection.

``POST /whip`` begins a session with the publisher's sound as its voice; ``POST /whip/{id}``
publishes into one made before, ``POST /whep/{id}`` plays it, for any number of players. The answer
holds all of our candidates; the client's may come later by PATCH. ICE restarts are refused (422),
as the RFC allows: aiortc has none.
"""

from __future__ import annotations

from aiohttp import hdrs, web
from aiortc import RTCIceServer

from engine.clock import Clock
from engine.transport.live import LiveSession, Settings
from engine.transport.offer import OfferError, read_offer
from engine.transport.problems import Refused, no_session
from engine.transport.registry import LiveSessions
from engine.transport.sdpfrag import CONTENT_TYPE, read_fragment
from engine.transport.sessions import create, join
from engine.transport.webrtc import PeerOptions, Role, WebRtcConnection

_SDP = "application/sdp"
_MAX_SDP = 200_000
_ROLES = {"whip": Role.PUBLISH, "whep": Role.PLAY}


class WhipRoutes:
    """WHIP and WHEP over HTTP.

    Args:
        lives: the sessions.
        options: how clients are treated.
        clock: real time.
    """

    def __init__(self, lives: LiveSessions, options: PeerOptions, clock: Clock) -> None:
        self._lives = lives
        self._options = options
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """What answers where."""
        endpoints = ("/whip", "/{protocol:whip|whep}/{id}")
        resource = "/{protocol:whip|whep}/{id}/{connection}"
        return [
            *(web.post(path, self.connect) for path in endpoints),
            *(web.options(path, self.options) for path in (*endpoints, resource)),
            web.patch(resource, self.trickle),
            web.delete(resource, self.disconnect),
        ]

    async def options(self, _request: web.Request) -> web.StreamResponse:
        """What may be sent."""
        return web.Response(status=204, headers={"Accept-Post": _SDP, "Accept-Patch": CONTENT_TYPE})

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Take an offer in SDP; 201 with the answer in SDP and the connection's address."""
        protocol = request.match_info.get("protocol", "whip")
        offer = read_offer(await _body(request, _SDP))
        name = request.match_info.get("id")
        if name is None:
            live, made = await create(self._lives, Settings()), True
        else:
            live, made = self._live(name), False
        connection = WebRtcConnection(live, _ROLES[protocol], self._clock, self._options)
        answer = await join(self._lives, live, connection, offer, made=made)
        response = web.Response(
            status=201,
            text=answer,
            content_type=_SDP,
            headers={
                hdrs.LOCATION: f"/{protocol}/{live.id}/{connection.id}",
                "ETag": connection.etag,
                "Accept-Patch": CONTENT_TYPE,
            },
        )
        for server in self._options.ice_servers:
            response.headers.add(hdrs.LINK, _link(server))
        return response

    async def trickle(self, request: web.Request) -> web.StreamResponse:
        """Take candidates that the offer did not hold."""
        connection = self._connection(request)
        fragment = read_fragment(await _body(request, CONTENT_TYPE))
        known = request.headers.get(hdrs.IF_MATCH)
        if known is None:
            raise Refused(428, "if_match", "Say which ICE session is meant: If-Match is missing.")
        if known == "*":
            raise OfferError("ice_restart", "ICE restarts are not supported: make a new session.")
        if known != connection.etag:
            raise Refused(412, "if_match", "If-Match names another ICE session.")
        await connection.trickle(fragment)
        return web.Response(status=204)

    async def disconnect(self, request: web.Request) -> web.StreamResponse:
        """The client leaves; a session without anybody left is over after its grace period."""
        live = self._live(request.match_info["id"])
        if not await live.disconnect(self._connection(request).id):
            raise no_session()
        return web.Response()

    def _live(self, name: str) -> LiveSession:
        try:
            return self._lives.get(name)
        except KeyError:
            raise no_session() from None

    def _connection(self, request: web.Request) -> WebRtcConnection:
        live = self._live(request.match_info["id"])
        connection = live.connections.get(request.match_info["connection"])
        publishes = request.match_info["protocol"] == "whip"
        if not isinstance(connection, WebRtcConnection) or connection.publishes != publishes:
            raise no_session()
        return connection


def _link(server: RTCIceServer) -> str:
    """A STUN or TURN server as a ``Link`` header (RFC 9725, 4.6)."""
    link = f'<{server.urls}>; rel="ice-server"'
    if server.username:
        link += f'; username="{server.username}"; credential="{server.credential}"'
        link += '; credential-type="password"'
    return link


async def _body(request: web.Request, content_type: str) -> str:
    if request.content_type != content_type:
        raise OfferError("content_type", f"The body must be sent as {content_type}.")
    if (request.content_length or 0) > _MAX_SDP:
        raise OfferError("too_large", "The body is too long.")
    try:
        return await request.text()
    except (UnicodeDecodeError, LookupError) as error:
        raise OfferError("not_sdp", "The body is not UTF-8 text.") from error
