"""WHIP in and WHEP out bound by a session, with aiortc peers, after RFC 9725."""

from __future__ import annotations

import asyncio

import aiohttp
import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from multidict import CIMultiDict

from benchmarks.peer import RATE, Voice
from engine.config import ServerConfig
from tests.e2e.conftest import serving, until
from tests.e2e.testcard import CardEngine, read_number
from tests.fakes import speechlike

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}


class Party:
    """A WHIP publisher or WHEP player made with aiortc."""

    def __init__(self, http: aiohttp.ClientSession, base: str) -> None:
        self.http, self.base = http, base
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.numbers: list[int] = []
        self.loudness: list[float] = []
        self.headers = CIMultiDict[str]()
        self._tasks: list[asyncio.Task[None]] = []
        self.pc.on(
            "track", lambda track: self._tasks.append(asyncio.ensure_future(self._read(track)))
        )

    async def begin(self, path: str, trickle: bool = False) -> int:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        text = self.pc.localDescription.sdp
        candidates = [n for n in text.splitlines() if n.startswith("a=candidate:")]
        if trickle:
            text = "".join(
                line + "\r\n"
                for line in text.splitlines()
                if not line.startswith(("a=candidate:", "a=end-of-candidates"))
            )
        async with self.http.post(self.base + path, data=text, headers=SDP) as response:
            if response.status != 201:
                return response.status
            self.headers = response.headers.copy()
            answer = await response.text()
        await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        if trickle:
            ufrag = next(n for n in text.splitlines() if n.startswith("a=ice-ufrag:"))
            body = "\r\n".join([ufrag, "a=mid:0", *candidates[:2], ""])
            headers = {**FRAGMENT, "If-Match": self.headers["ETag"]}
            url = self.base + self.headers["Location"]
            async with self.http.patch(url, data=body, headers=headers) as response:
                assert response.status == 204
        return 201

    async def end(self) -> int:
        async with self.http.delete(self.base + self.headers["Location"]) as response:
            status = response.status
        await self.close()
        return status

    async def close(self) -> None:
        await self.pc.close()
        for task in self._tasks:
            task.cancel()

    async def _read(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if track.kind == "video":
                self.numbers.append(read_number(frame.to_ndarray(format="rgb24")))
            else:
                self.loudness.append(float(np.abs(frame.to_ndarray()).mean()))


def publisher(http: aiohttp.ClientSession, base: str, seconds: float = 8) -> Party:
    party = Party(http, base)
    party.pc.addTrack(Voice(speechlike(seconds, RATE, seed=3)))
    return party


def player(
    http: aiohttp.ClientSession, base: str, kinds: tuple[str, ...] = ("audio", "video")
) -> Party:
    party = Party(http, base)
    for kind in kinds:
        party.pc.addTransceiver(kind, direction="recvonly")
    return party


def test_what_is_published_by_whip_is_seen_and_heard_by_two_whep_players() -> None:
    engine = CardEngine()

    async def scenario() -> tuple[list[Party], list[int]]:
        async with serving(engine) as (base, http):
            async with http.post(f"{base}/sessions", json={}) as response:
                assert response.status == 201
                made = await response.json()
                assert response.headers["Location"] == f"/sessions/{made['id']}"
            source = publisher(http, base)
            assert await source.begin(made["whip"], trickle=True) == 201
            viewers = [player(http, base) for _ in range(2)]
            for viewer in viewers:
                assert await viewer.begin(made["whep"]) == 201
            await until(lambda: all(len(v.numbers) > 75 for v in viewers), 15)
            first = await viewers[0].end()
            seen = len(viewers[1].numbers)
            await until(lambda: len(viewers[1].numbers) > seen + 20, 5)
            ends = [first, await source.end(), await viewers[1].end()]
            await until(lambda: not engine.sessions, 5)
            async with http.get(f"{base}/sessions/{made['id']}") as response:
                assert (await response.json())["state"] == "parked"
            return viewers, ends

    viewers, ends = asyncio.run(scenario())
    assert ends == [200, 200, 200]
    for viewer in viewers:
        assert min(np.diff(viewer.numbers[10:])) >= 0
        assert max(viewer.loudness) > 300


def test_a_player_may_want_only_the_sound_or_only_the_pictures() -> None:
    engine = CardEngine()

    async def scenario() -> tuple[Party, Party]:
        async with serving(engine) as (base, http):
            source = publisher(http, base)
            assert await source.begin("/whip") == 201
            path = source.headers["Location"].rpartition("/")[0].replace("whip", "whep")
            ear, eye = player(http, base, ("audio",)), player(http, base, ("video",))
            for viewer in (ear, eye):
                assert await viewer.begin(path) == 201
            await until(lambda: len(ear.loudness) > 100 and len(eye.numbers) > 50, 15)
            assert [await party.end() for party in (ear, eye, source)] == [200] * 3
            await until(lambda: not engine.sessions, 5)
            return ear, eye

    ear, eye = asyncio.run(scenario())
    assert max(ear.loudness) > 300 and ear.numbers == []
    assert min(np.diff(eye.numbers[10:])) >= 0 and eye.loudness == []


def test_the_rules_of_rfc_9725() -> None:
    async def scenario() -> None:
        async with serving(
            CardEngine(capacity=1), ServerConfig(ice_servers=("stun:192.0.2.1",))
        ) as (
            base,
            http,
        ):
            await check_endpoint(base, http)
            await check_resource(base, http)

    async def check_endpoint(base: str, http: aiohttp.ClientSession) -> None:
        for path in ("/whip", "/whep/any"):
            async with http.options(base + path) as response:
                assert response.status in (200, 204)
                assert response.headers["Accept-Post"] == "application/sdp"
            for method in ("GET", "PUT"):
                async with http.request(method, base + path) as response:
                    assert response.status == 405
        for body, headers, status in (
            ("v=0", {"Content-Type": "text/plain"}, 415),
            ("hello", SDP, 400),
            ("v=0\r\n", SDP, 400),
        ):
            async with http.post(f"{base}/whip", data=body, headers=headers) as response:
                assert response.status == status
        assert await publisher(http, base).begin("/whip/nobody") == 404
        assert await player(http, base).begin("/whep/nobody") == 404

    async def check_resource(base: str, http: aiohttp.ClientSession) -> None:
        source = publisher(http, base)
        assert await source.begin("/whip") == 201
        assert 'rel="ice-server"' in source.headers["Link"]
        url, etag = base + source.headers["Location"], source.headers["ETag"]
        good = "a=mid:0\r\na=candidate:1 1 UDP 2122252543 127.0.0.1 50000 typ host\r\n"
        for body, headers, status in (
            (good, {**FRAGMENT, "If-Match": etag}, 204),
            (good, FRAGMENT, 428),
            (good, {**FRAGMENT, "If-Match": '"other"'}, 412),
            (good, {**FRAGMENT, "If-Match": "*"}, 422),
            ("a=ice-ufrag:new\r\n" + good, {**FRAGMENT, "If-Match": etag}, 422),
            ("nonsense", {**FRAGMENT, "If-Match": etag}, 400),
            (good, {**SDP, "If-Match": etag}, 415),
        ):
            async with http.patch(url, data=body, headers=headers) as response:
                assert response.status == status, (body, headers, await response.text())
        full = publisher(http, base)
        assert await full.begin("/whip") == 503
        await full.close()
        await until(lambda: source.pc.connectionState == "connected", 5)
        assert await source.end() == 200
        async with http.delete(url) as response:
            assert response.status == 404

    asyncio.run(scenario())
