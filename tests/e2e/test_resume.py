"""Coming back: resume tokens, parked sessions, time limits, and a server that stops."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import numpy as np
import pytest

from benchmarks.peer import RATE, LoopbackPeer
from engine.config import ServerConfig
from engine.transport.routes import LIVES
from tests.e2e.conftest import serving, until
from tests.e2e.test_loopback import vanish
from tests.e2e.testcard import CardEngine
from tests.fakes import speechlike

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


async def offer(
    http: aiohttp.ClientSession, base: str, **fields: Any
) -> tuple[int, dict[str, Any]]:
    """Offer without a connection behind it; status and answer."""
    peer = LoopbackPeer(http, base, None)
    await peer.pc.setLocalDescription(await peer.pc.createOffer())
    body = {"sdp": peer.pc.localDescription.sdp, "type": "offer", **fields}
    async with http.post(f"{base}/offer", json=body) as response:
        answer = await response.json()
    await peer.close()
    return response.status, answer


def test_a_lost_client_comes_back_to_its_session_and_its_motion() -> None:
    engine = CardEngine(capacity=1)

    async def scenario() -> tuple[str, str, Any, Any]:
        async with serving(engine, ServerConfig(lost_peer_s=1.0)) as (base, http):
            peer = LoopbackPeer(http, base, speechlike(3, RATE))
            await peer.connect()
            await until(lambda: len(peer.pictures) > 50, 10)
            token, first = peer.answer["resume"], peer.id
            vanish(peer)
            await until(lambda: not engine.sessions, 5)  # its place is free for others
            last = engine.created[-1].last_motion
            await peer.close()
            other = LoopbackPeer(http, base, None)
            await other.connect()
            status, answer = await offer(http, base, resume=token)
            assert (status, answer["error"]) == (503, "overloaded")
            async with http.delete(f"{base}/sessions/{other.id}") as response:
                assert response.status == 204
            await other.close()
            back = LoopbackPeer(http, base, speechlike(3, RATE))
            await back.connect(resume=token)
            await until(lambda: len(back.pictures) > 25, 10)
            second = back.id
            await back.close()
            return first, second, last, engine.pipelines[-1].resumed_from

    first, second, last, resumed_from = asyncio.run(scenario())
    assert first == second
    np.testing.assert_array_equal(last, resumed_from)


def test_a_reload_takes_over_from_itself_before_its_loss_is_noticed() -> None:
    engine = CardEngine(capacity=1)

    async def scenario() -> int:
        async with serving(engine) as (base, http):
            peer = LoopbackPeer(http, base, speechlike(3, RATE))
            await peer.connect()
            await until(lambda: len(peer.pictures) > 25, 10)
            vanish(peer)
            back = LoopbackPeer(http, base, speechlike(3, RATE))
            await back.connect(resume=peer.answer["resume"])
            await until(lambda: len(back.pictures) > 50, 10)
            assert back.id == peer.id
            opened = len(engine.created)
            await peer.close()
            await back.close()
            return opened

    assert asyncio.run(scenario()) == 1


def test_an_unknown_token_begins_anew_and_an_unknown_session_does_not() -> None:
    async def scenario() -> None:
        async with serving(CardEngine()) as (base, http):
            status, answer = await offer(http, base, resume="nothing")
            assert (status, answer["resumed"]) == (200, False)
            status, answer = await offer(http, base, session="nothing")
            assert (status, answer["error"]) == (404, "no_session")

    asyncio.run(scenario())


def test_a_parked_session_is_over_after_its_grace() -> None:
    async def scenario() -> None:
        async with serving(CardEngine(), ServerConfig(grace_s=1.0)) as (base, http):
            peer = LoopbackPeer(http, base, None)
            await peer.connect()
            await until(lambda: peer.pictures, 10)
            await peer.close()
            url = f"{base}/sessions/{peer.id}"

            async def state() -> str:
                async with http.get(url) as response:
                    return (await response.json()).get("state", "gone")

            states = [await state()]
            while states[-1] != "gone" and len(states) < 100:
                await asyncio.sleep(0.05)
                states.append(await state())
            assert "parked" in states and states[-1] == "gone"

    asyncio.run(scenario())


def test_time_limits_are_announced_and_kept() -> None:
    engine = CardEngine()

    async def scenario() -> list[dict[str, Any]]:
        async with serving(engine) as (base, http):
            async with http.post(f"{base}/sessions", json={"ttl_s": 3}) as response:
                made = await response.json()
            events: list[dict[str, Any]] = []
            follower = asyncio.ensure_future(follow(http, base + made["events"], events))
            peer = LoopbackPeer(http, base, None)
            await peer.connect(session=made["id"])
            await until(lambda: peer.of_type("session_ending"), 10)
            await asyncio.wait_for(follower, 10)  # the stream ends with the session
            await until(lambda: not engine.sessions, 5)
            await peer.close()
            return events

    ending = [e for e in asyncio.run(scenario()) if e["type"] == "session_ending"]
    assert ending[0]["reason"] == "time is up"
    assert 0 < ending[0]["in_s"] <= 3


async def follow(http: aiohttp.ClientSession, url: str, events: list[dict[str, Any]]) -> None:
    """Read ``text/event-stream`` until it ends."""
    async with http.get(url) as response:
        assert response.content_type == "text/event-stream"
        async for line in response.content:
            if line.startswith(b"data: "):
                events.append(json.loads(line[6:]))


def test_a_server_that_stops_takes_nobody_new_and_waits_for_those_inside() -> None:
    engine = CardEngine()

    async def scenario() -> None:
        async with serving(engine) as (base, http):
            lives = engine.app[LIVES]
            peer = LoopbackPeer(http, base, None)
            await peer.connect()
            await until(lambda: peer.pictures, 10)
            drained = asyncio.ensure_future(lives.drain(10))
            await until(lambda: peer.of_type("session_ending"), 5)
            status, answer = await offer(http, base)
            assert (status, answer["error"]) == (503, "overloaded")
            async with http.get(f"{base}/readyz") as response:
                assert response.status == 503
            seen = len(peer.pictures)
            await until(lambda: len(peer.pictures) > seen + 10, 5)
            assert not drained.done()
            async with http.delete(f"{base}/sessions/{peer.id}") as response:
                assert response.status == 204
            await asyncio.wait_for(drained, 2)
            await peer.close()

    asyncio.run(scenario())
