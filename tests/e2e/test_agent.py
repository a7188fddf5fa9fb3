"""Agent mode over HTTP and the data channel: speak, events, interrupt, listening."""

from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import numpy as np
import pytest

from benchmarks.peer import RATE, LoopbackPeer
from engine.media import Float32
from tests.e2e.conftest import serving, until
from tests.e2e.test_loopback import envelope, find
from tests.e2e.test_resume import follow
from tests.e2e.testcard import CardEngine
from tests.fakes import speechlike

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def wav(samples: Float32, rate: int) -> bytes:
    """A 16 bit WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


async def agent(
    http: aiohttp.ClientSession, base: str, **options: Any
) -> tuple[dict[str, Any], LoopbackPeer]:
    """A session in agent mode with one client that keeps silent, connected."""
    async with http.post(f"{base}/sessions", json={"mode": "agent", **options}) as response:
        assert response.status == 201
        made = await response.json()
    peer = LoopbackPeer(http, base, np.zeros(RATE, np.float32))
    await peer.connect(session=made["id"])
    await until(lambda: len(peer.pictures) > 5, 10)
    return made, peer


def test_what_is_spoken_is_heard_whole_and_reported() -> None:
    engine = CardEngine()
    voice = speechlike(3, RATE, seed=5)

    async def scenario() -> tuple[LoopbackPeer, list[dict[str, Any]]]:
        async with serving(engine) as (base, http):
            made, peer = await agent(http, base)
            events: list[dict[str, Any]] = []
            follower = asyncio.ensure_future(follow(http, base + made["events"], events))
            await asyncio.sleep(0.1)
            url = f"{base}/sessions/{made['id']}/speak?utterance=hello"
            headers = {"Content-Type": "audio/wav"}
            async with http.post(url, data=wav(voice, RATE), headers=headers) as response:
                assert response.status == 202
                assert (await response.json()) == {"utterance": "hello"}
            await until(lambda: any(e["type"] == "utterance_finished" for e in events), 10)
            await asyncio.sleep(0.5)
            follower.cancel()
            await peer.close()
            return peer, events

    peer, events = asyncio.run(scenario())
    kinds = [(e["type"], e.get("state")) for e in events if e["type"] != "stats"]
    assert kinds.index(("utterance_started", None)) < kinds.index(("utterance_finished", None))
    assert ("state", "speaking") in kinds
    finished = next(e for e in events if e["type"] == "utterance_finished")
    assert finished["utterance"] == "hello" and finished["interrupted"] is False
    assert abs(finished["played_ms"] - 3000) <= 1
    _, heard = peer.heard()
    _, score = find(voice[RATE // 2 : 2 * RATE], heard)
    assert score > 0.95
    # The data channel tells the same.
    assert [m["utterance"] for m in peer.of_type("utterance_finished")] == ["hello"]


@pytest.mark.parametrize(("kind", "encoding"), [("audio/L16", ">i2"), ("audio/pcm", "<i2")])
def test_raw_sound_is_said_while_it_still_arrives(kind: str, encoding: str) -> None:
    engine = CardEngine()
    voice = speechlike(2, 24_000, seed=6)
    data = (voice * 32767).astype(encoding).tobytes()

    async def scenario() -> tuple[LoopbackPeer, bool]:
        async with serving(engine) as (base, http):
            made, peer = await agent(http, base)
            told = asyncio.Event()

            async def body() -> AsyncIterator[bytes]:
                yield data[:19_201]  # an odd number of bytes: samples are put together again
                await asyncio.wait_for(told.wait(), 10)
                yield data[19_201:]

            url = f"{base}/sessions/{made['id']}/speak"
            headers = {"Content-Type": f"{kind};rate=24000"}
            request = asyncio.ensure_future(http.post(url, data=body(), headers=headers))
            await until(lambda: peer.of_type("utterance_started"), 10)
            early = not request.done()
            told.set()
            assert (await request).status == 202
            await until(lambda: peer.of_type("utterance_finished"), 10)
            await peer.close()
            return peer, early

    peer, early = asyncio.run(scenario())
    assert early
    assert abs(peer.of_type("utterance_finished")[0]["played_ms"] - 2000) <= 1


def test_an_interrupt_tells_what_was_played_and_the_sound_stops() -> None:
    engine = CardEngine()
    time = np.arange(20 * RATE) / RATE
    tone = (0.4 * np.sin(2 * np.pi * 330 * time)).astype(np.float32)

    async def scenario() -> tuple[LoopbackPeer, dict[str, Any]]:
        async with serving(engine) as (base, http):
            made, peer = await agent(http, base)
            url = f"{base}/sessions/{made['id']}"
            async with http.post(f"{url}/interrupt") as response:  # nothing to interrupt: fine
                assert (await response.json())["utterance"] is None
            headers = {"Content-Type": "audio/wav"}
            async with http.post(f"{url}/speak", data=wav(tone, RATE), headers=headers) as response:
                assert response.status == 202
            await until(lambda: peer.of_type("utterance_started"), 10)
            await asyncio.sleep(1)
            async with http.post(f"{url}/interrupt") as response:
                played = await response.json()
            async with http.post(f"{url}/interrupt") as response:  # again: nothing more happens
                assert (await response.json())["utterance"] is None
            await asyncio.sleep(1)
            await peer.close()
            return peer, played

    peer, played = asyncio.run(scenario())
    finished = peer.of_type("utterance_finished")
    assert [m["interrupted"] for m in finished] == [True]
    assert finished[0]["played_ms"] == played["played_ms"]
    _, heard = peer.heard()
    loud = envelope(heard, RATE // 100) > 0.05
    heard_ms = 10 * int(loud.sum())
    # What was reported is what was heard, but for Opus' own soft edges.
    assert abs(heard_ms - played["played_ms"]) <= 40
    assert not loud[-50:].any()


def test_only_agents_speak_and_nonsense_is_refused() -> None:
    async def scenario() -> None:
        async with serving(CardEngine()) as (base, http):
            async with http.post(f"{base}/sessions") as response:
                mirror = await response.json()
            async with http.post(f"{base}/sessions", json={"mode": "agent"}) as response:
                made = await response.json()
            good = wav(speechlike(0.2, RATE), RATE)
            for session, body, kind, status, word in (
                (mirror, good, "audio/wav", 409, "wrong_mode"),
                (made, b"hello", "audio/wav", 422, "bad_audio"),
                (made, b"", "audio/wav", 422, "bad_audio"),
                (made, b"hello", "text/plain", 415, "content_type"),
                (made, b"abc", "audio/L16;rate=16000", 422, "bad_audio"),
                (made, b"ab", "audio/L16", 422, "bad_audio"),
                (made, b"ab", "audio/L16;rate=1", 422, "bad_audio"),
                (made, b"ab", "audio/L16;rate=16000;channels=2", 422, "bad_audio"),
            ):
                url = f"{base}/sessions/{session['id']}/speak"
                headers = {"Content-Type": kind}
                async with http.post(url, data=body, headers=headers) as response:
                    assert (response.status, (await response.json())["error"]) == (status, word)
            for body, status in (
                ({"mode": "parrot"}, 422),
                ({"ttl_s": -1}, 422),
                ({"emotion": 5}, 422),
                ({"avatar": "nobody"}, 404),
                ([], 400),
            ):
                async with http.post(f"{base}/sessions", json=body) as response:
                    assert response.status == status, body

    asyncio.run(scenario())
