"""The transport against aiortc peers over real sockets, with the test card as the avatar."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import numpy as np
import pytest
from scipy.signal import fftconvolve

from benchmarks.peer import RATE, LoopbackPeer
from engine.audio.framer import Framer
from engine.config import ServerConfig
from engine.media import Float32
from engine.motion.arkit import INDEX
from engine.stage import Chain
from engine.transport.webrtc import PeerOptions
from tests.e2e.conftest import serving, until
from tests.e2e.testcard import Card, CardEngine, CardPipeline, Meter, read_number
from tests.fakes import speechlike

pytestmark = pytest.mark.e2e


def envelope(samples: Float32, hop: int) -> Float32:
    """Loudness of every ``hop`` samples."""
    whole = samples[: len(samples) // hop * hop].reshape(-1, hop)
    return np.sqrt(np.mean(np.square(whole), axis=1))


def find(part: Float32, line: Float32) -> tuple[int, float]:
    """Where in ``line`` a part is, and how well the waveforms agree (1: exactly)."""
    scores = fftconvolve(line, part[::-1], "valid")
    energy = fftconvolve(np.square(line), np.ones(len(part)), "valid")
    scores /= np.sqrt(np.maximum(energy, 1e-9) * np.sum(np.square(part)))
    return int(np.argmax(scores)), float(scores.max())


def test_what_is_said_comes_back_with_its_own_picture() -> None:
    engine = CardEngine()
    voice = speechlike(6, RATE, seed=2)

    async def scenario() -> LoopbackPeer:
        async with serving(engine) as (base, http):
            peer = LoopbackPeer(http, base, voice)
            await peer.connect()
            await asyncio.sleep(8)
            await peer.close()
            return peer

    peer = asyncio.run(scenario())
    # Pictures: 512 x 512, one per slot, numbered without a jump once it runs.
    numbers = [read_number(image) for _, _, image in peer.pictures]
    assert {image.shape for _, _, image in peer.pictures} == {(512, 512, 3)}
    steady = numbers[50:175]
    assert len(steady) >= 120
    assert min(np.diff(steady)) >= 0
    assert np.mean(np.diff(steady) == 1) > 0.85  # a busy machine may drop a picture now and then
    # Sound: the voice, whole. A slot may be held (40 ms) on a busy machine, so look at each second.
    start, heard = peer.heard()
    seconds = [find(voice[n * RATE : (n + 1) * RATE], heard) for n in range(6)]
    assert np.median([score for _, score in seconds]) > 0.97
    lags = np.array([place - n * RATE for n, (place, score) in enumerate(seconds) if score > 0.97])
    # Held slots shift the sound by whole slots; a stall of the machine may cost one second more.
    assert np.sum((np.diff(lags) + 30) % 1920 >= 60) <= 1
    # Each picture's mouth belongs to the sound sent in the same slot. Picture and sound start on
    # one output clock, so slot numbers compare directly.
    motion = {m["pts"]: m["values"][INDEX["jawOpen"]] for m in peer.of_type("motion")}
    loud = envelope(np.pad(heard, (start % 1920, 0)), 1920)
    first = start // 1920
    pairs = [
        (motion[number], loud[pts - first])
        for (_, pts, _), number in zip(peer.pictures, numbers, strict=True)
        if number in motion and 0 <= pts - first < len(loud)
    ]
    shown, sounded = np.array(pairs).T
    assert len(pairs) > 120
    assert np.corrcoef(shown, sounded)[0, 1] > 0.9
    # Sound and picture of a slot also arrive together.
    sound_at = {pts: at for at, pts, _ in peer.sounds}
    skews = [at - sound_at[p * 1920] for at, p, _ in peer.pictures if p * 1920 in sound_at]
    assert abs(np.median(skews)) < 0.08


def test_a_peer_without_a_microphone_sees_a_living_face() -> None:
    engine = CardEngine()

    async def scenario() -> LoopbackPeer:
        async with serving(engine) as (base, http):
            peer = LoopbackPeer(http, base, None)
            await peer.connect()
            await asyncio.sleep(3)
            await peer.close()
            return peer

    peer = asyncio.run(scenario())
    numbers = [read_number(image) for _, _, image in peer.pictures]
    assert numbers[-1] > 45
    assert peer.of_type("stats")[-1]["playout"]["repeated"] < 5


def test_a_peer_that_speaks_only_h264_is_served() -> None:
    async def scenario() -> LoopbackPeer:
        async with serving(CardEngine()) as (base, http):
            peer = LoopbackPeer(http, base, None, codec="H264")
            await peer.connect()
            assert "H264" in peer.pc.remoteDescription.sdp
            assert "VP8" not in peer.pc.remoteDescription.sdp
            await until(lambda: len(peer.pictures) > 40, 10)
            await peer.close()
            return peer

    numbers = [read_number(image) for _, _, image in asyncio.run(scenario()).pictures]
    assert numbers[-1] > 25 and min(np.diff(numbers)) >= 0


def test_sessions_are_freed_however_the_peer_leaves() -> None:
    engine = CardEngine(capacity=1)
    config = ServerConfig(lost_peer_s=2.0)

    async def scenario() -> dict[str, float]:
        took: dict[str, float] = {}
        async with serving(engine, config) as (base, http):
            peer = LoopbackPeer(http, base, speechlike(1, RATE))
            await peer.connect()
            await until(lambda: peer.pictures, 10)
            async with http.delete(f"{base}/sessions/{peer.id}") as response:
                assert response.status == 204
            assert engine.sessions == []
            async with http.delete(f"{base}/sessions/{peer.id}") as response:
                assert response.status == 404
            await peer.close()

            peer = LoopbackPeer(http, base, speechlike(1, RATE))
            await peer.connect()
            await until(lambda: peer.pictures, 10)
            await peer.close()
            took["closed"] = await until(lambda: not engine.sessions, 3)

            peer = LoopbackPeer(http, base, speechlike(1, RATE))
            await peer.connect()
            await until(lambda: peer.pictures, 10)
            vanish(peer)
            took["vanished"] = await until(lambda: not engine.sessions, 6)
            await peer.close()
        return took

    before = threading.active_count()
    took = asyncio.run(scenario())
    assert took["closed"] < 2
    assert 1.0 < took["vanished"] < 3.5
    assert threading.active_count() <= before + 1


def vanish(peer: LoopbackPeer) -> None:
    """Cut the wire: nothing is sent any more and nobody is told."""
    for transport in {sender.transport.transport for sender in peer.pc.getSenders()}:
        for protocol in transport._connection._protocols:
            protocol.transport.abort()


def test_a_peer_that_never_connects_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = CardEngine(capacity=1)
    options = partial(PeerOptions, connect_within=1.0)
    monkeypatch.setattr("engine.transport.routes.PeerOptions", options)

    async def scenario() -> float:
        async with serving(engine) as (base, http):
            peer = LoopbackPeer(http, base, None)
            await peer.pc.setLocalDescription(await peer.pc.createOffer())
            offer = {"sdp": peer.pc.localDescription.sdp, "type": "offer"}
            async with http.post(f"{base}/offer", json=offer) as response:
                assert response.status == 200
            await peer.close()
            return await until(lambda: not engine.sessions, 5)

    assert 0.5 < asyncio.run(scenario()) < 3


def test_one_peers_end_does_not_touch_another() -> None:
    engine = CardEngine(capacity=2)

    async def scenario() -> tuple[LoopbackPeer, int]:
        async with serving(engine) as (base, http):
            stays = LoopbackPeer(http, base, speechlike(8, RATE))
            goes = LoopbackPeer(http, base, speechlike(8, RATE))
            await asyncio.gather(stays.connect(), goes.connect())
            await until(lambda: stays.pictures and goes.pictures, 10)
            await asyncio.sleep(1)
            vanish(goes)
            before = len(stays.pictures)
            await asyncio.sleep(3)
            after = len(stays.pictures)
            await stays.close()
            await goes.close()
            return stays, after - before

    _, pictures = asyncio.run(scenario())
    assert pictures > 60


def test_a_failing_stage_ends_its_own_session_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = CardEngine(capacity=2)

    async def scenario() -> tuple[LoopbackPeer, int]:
        async with serving(engine) as (base, http):
            fine = LoopbackPeer(http, base, speechlike(8, RATE))
            await fine.connect()
            await until(lambda: fine.pictures, 10)
            with monkeypatch.context() as patch:
                patch.setattr(CardPipeline, "__init__", _broken_pipeline)
                broken = LoopbackPeer(http, base, speechlike(8, RATE))
                await broken.connect()
            await until(lambda: broken.of_type("error"), 10)
            await until(lambda: len(engine.sessions) == 1, 5)
            before = len(fine.pictures)
            await asyncio.sleep(1)
            after = len(fine.pictures)
            await fine.close()
            await broken.close()
            return broken, after - before

    broken, pictures = asyncio.run(scenario())
    assert "internal error" in broken.of_type("error")[0]["message"]
    assert pictures > 15
    assert "the card caught fire" in caplog.text
    assert b"avatar_sessions_failed_total 1.0" in engine.metrics.exposition()


def _broken_pipeline(self: CardPipeline) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("the card caught fire")

    self.motion, self.renderer = Chain(Framer(RATE), Meter()), Card()
    self.renderer.push = fail  # type: ignore[method-assign, assignment]


def test_an_interrupt_silences_within_two_slots() -> None:
    engine = CardEngine()
    tone = np.full(8 * RATE, 0.3, np.float32) * np.sin(np.arange(8 * RATE) * 0.1)

    async def scenario() -> tuple[float, int]:
        async with serving(engine) as (base, http):
            peer = LoopbackPeer(http, base, tone.astype(np.float32))
            await peer.connect()
            await until(lambda: len(peer.pictures) > 40, 10)
            playout = engine.sessions[0].playout
            silent = playout.stats().silence
            asked = asyncio.get_running_loop().time()
            peer.tell(type="interrupt")
            await until(lambda: playout.stats().silence > silent, 2, step=0.005)
            waited = asyncio.get_running_loop().time() - asked
            await asyncio.sleep(1)
            after = engine.sessions[0].playout.stats()
            await peer.close()
            return waited, after.silence - silent

    waited, silent = asyncio.run(scenario())
    assert waited < 0.3
    # The microphone goes on, so the avatar speaks again after its own delay.
    assert 2 <= silent < 25


def test_http_errors_are_sentences() -> None:
    engine = CardEngine(capacity=1)

    async def scenario() -> None:
        async with serving(engine, ServerConfig(upload_mb=1)) as (base, http):
            await check_offers(base, http)
            await check_photos(base, http)

    async def check_offers(base: str, http) -> None:  # type: ignore[no-untyped-def]
        for body, status, reason in (
            ({"json": {"type": "offer", "sdp": "hello"}}, 400, "not_sdp"),
            ({"json": {"type": "answer", "sdp": "v=0"}}, 400, "not_sdp"),
            ({"json": [1]}, 400, "not_sdp"),
            ({"json": {"type": "offer", "sdp": 5}}, 400, "not_sdp"),
            ({"data": "{", "headers": {"Content-Type": "application/json"}}, 400, "not_json"),
            ({"data": "v=0"}, 400, "not_json"),
        ):
            async with http.post(f"{base}/offer", **body) as response:
                answer = await response.json()
                assert (response.status, answer["reason"]) == (status, reason)
                assert answer["message"].endswith((".", "}."))
        assert engine.sessions == []
        peer = LoopbackPeer(http, base, None)
        await peer.pc.setLocalDescription(await peer.pc.createOffer())
        good = {"sdp": peer.pc.localDescription.sdp, "type": "offer"}
        odd = {**good, "sdp": good["sdp"].replace("VP8/", "VP9/").replace("H264/", "AV1/")}
        async with http.post(f"{base}/offer", json=odd) as response:
            assert (response.status, (await response.json())["reason"]) == (415, "codec")
        async with http.post(f"{base}/offer", json={**good, "avatar": "nobody"}) as response:
            assert response.status == 404
        async with http.post(f"{base}/offer", json=good) as response:
            assert response.status == 200
        async with http.post(f"{base}/offer", json=good) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "7")
        await peer.close()

    async def check_photos(base: str, http) -> None:  # type: ignore[no-untyped-def]
        async with http.post(f"{base}/avatars", data=b"just text") as response:
            answer = await response.json()
            assert (response.status, answer["reason"]) == (422, "not_an_image")
        async with http.post(f"{base}/avatars", data=b"x" * 1_100_000) as response:
            assert (response.status, (await response.json())["reason"]) == (413, "too_large")
        photo = engine.avatars[0].picture
        async with http.post(f"{base}/avatars", data=photo) as response:
            assert response.status == 201
            made = await response.json()
        async with http.get(base + made["picture"]) as response:
            assert await response.read() == photo
        async with http.delete(f"{base}/avatars/{made['id']}") as response:
            assert response.status == 204
        async with http.get(base + made["picture"]) as response:
            assert response.status == 404
        async with http.get(f"{base}/avatars") as response:
            assert [entry["id"] for entry in await response.json()] == ["default"]

    asyncio.run(scenario())


def test_readiness_follows_the_engine_and_metrics_are_prometheus_text() -> None:
    engine = CardEngine(ready=False)

    async def scenario() -> str:
        async with serving(engine) as (base, http):
            async with http.get(f"{base}/readyz") as response:
                assert response.status == 503
            async with http.get(f"{base}/healthz") as response:
                assert response.status == 200
            async with http.post(f"{base}/avatars", data=b"x") as response:
                assert response.status == 503 and "Retry-After" in response.headers
            engine.ready = True
            async with http.get(f"{base}/readyz") as response:
                assert response.status == 200
                assert await response.json() == {"ready": True, "sessions": 0, "capacity": 2}
            async with http.get(f"{base}/ice") as response:
                assert await response.json() == {"iceServers": []}
            async with http.get(f"{base}/") as response:
                assert "client.js" in await response.text()
                assert "default-src 'self'" in response.headers["Content-Security-Policy"]
            for name in ("client.js", "connection.js", "voice.js", "style.css", "sample.wav"):
                async with http.get(f"{base}/static/{name}") as response:
                    assert response.status == 200
            async with http.get(f"{base}/static/../../pyproject.toml") as response:
                assert response.status == 404
            async with http.get(f"{base}/metrics") as response:
                return await response.text()

    text = asyncio.run(scenario())
    for name in ("avatar_peers 0.0", "avatar_playout_slots_total 0.0", "avatar_loop_lag_seconds"):
        assert name in text


def test_tokens_origins_and_host_names_are_checked() -> None:
    engine = CardEngine()

    async def scenario() -> None:
        async with serving(engine, ServerConfig(origins=("https://mine.example",)), "secret") as (
            base,
            http,
        ):
            for headers, status in (
                ({}, 401),
                ({"Authorization": "Bearer wrong"}, 401),
                ({"Authorization": "Bearer secret"}, 200),
                ({"Authorization": "Bearer secret", "Origin": "https://evil.example"}, 403),
                ({"Authorization": "Bearer secret", "Origin": "https://mine.example"}, 200),
                ({"Authorization": "Bearer secret", "Origin": base}, 200),
            ):
                async with http.get(f"{base}/avatars", headers=headers) as response:
                    assert response.status == status, headers
            for path in ("/", "/healthz", "/readyz", "/static/client.js"):
                async with http.get(base + path) as response:
                    assert response.status == 200
        async with serving(engine) as (base, http):
            rebound = {"Host": "attacker.example"}
            async with http.get(f"{base}/avatars", headers=rebound) as response:
                assert response.status == 403

    asyncio.run(scenario())
