"""Workers that die or hang, clocks that jump: the server goes on and nothing stays taken."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from benchmarks.peer import RATE, LoopbackPeer
from engine.errors import PortraitError
from engine.face.intake import Intake
from tests.e2e.conftest import serving, until
from tests.e2e.testcard import CardEngine, CardPipeline
from tests.fakes import speechlike

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix"),
]


def photo() -> bytes:
    """Something to decode that takes a moment."""
    noise = np.random.default_rng(0).integers(0, 256, (3000, 3000, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "JPEG", quality=80)
    return out.getvalue()


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_photo_decoder_that_is_stopped_or_killed_is_replaced(number: int) -> None:
    intake = Intake(seconds=3.0)
    data = photo()
    try:
        shape = intake.decode(data).shape
        assert shape == (3000, 3000, 3)
        assert intake.pid is not None
        os.kill(intake.pid, number)
        if number == signal.SIGSTOP:
            with pytest.raises(PortraitError) as caught:
                intake.decode(data)
            assert caught.value.reason == "undecodable"
            assert intake.restarts == 1
        else:
            time.sleep(0.2)
        # The next photo finds a decoder; a dead one was noticed before it got anything.
        assert intake.decode(data).shape == shape
    finally:
        intake.close()


def test_a_stuck_worker_frees_its_place_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = CardEngine(capacity=2)
    release = threading.Event()

    def hang(_: object) -> list[object]:
        release.wait(60)
        return []

    async def scenario() -> int:
        async with serving(engine) as (base, http):
            fine = LoopbackPeer(http, base, speechlike(30, RATE), keep=False)
            await fine.connect()
            await until(lambda: fine.pictures, 20)
            with monkeypatch.context() as patch:
                make = CardPipeline.__init__

                def broken(self: CardPipeline) -> None:
                    make(self)
                    self.renderer.push = hang  # type: ignore[method-assign, assignment]

                patch.setattr(CardPipeline, "__init__", broken)
                stuck = LoopbackPeer(http, base, speechlike(30, RATE), keep=False)
                await stuck.connect()
            async with http.get(f"{base}/readyz") as response:
                assert (await response.json())["sessions"] == 2
            await until(lambda: len(engine.sessions) == 1, 60)
            # The client is told before its connection ends, and its place is there for others.
            await until(lambda: stuck.of_type("error"), 10)
            assert [told["message"] for told in stuck.of_type("error")] == [
                "The avatar hangs; connect again."
            ]
            async with http.get(f"{base}/readyz") as response:
                assert response.status == 200
                told = await response.json()
                assert (told["sessions"], told["capacity"]) == (1, 2)
            again = LoopbackPeer(http, base, speechlike(30, RATE), keep=False)
            await again.connect()
            await until(lambda: again.pictures, 20)
            await again.close()
            await until(lambda: len(engine.sessions) == 1, 20)
            before = len(fine.pictures)
            await until(lambda: len(fine.pictures) > before + 20, 20)
            async with http.get(f"{base}/healthz") as response:
                assert response.status == 200
            left = len(engine.sessions)
            release.set()
            await asyncio.gather(fine.close(), stuck.close())
            return left

    assert asyncio.run(scenario()) == 1


def test_jumps_of_the_wall_clock_and_a_stalled_loop_do_not_end_a_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = CardEngine()
    real = time.time

    async def scenario() -> list[int]:
        grown = []
        async with serving(engine) as (base, http):
            peer = LoopbackPeer(http, base, speechlike(30, RATE), keep=False)
            await peer.connect()
            await until(lambda: peer.pictures, 20)
            for fault in ("day ahead", "day back", "stall"):
                if fault == "stall":
                    time.sleep(1.5)  # noqa: ASYNC251 - the loop is meant to stand still
                else:
                    jump = 86_400 if fault == "day ahead" else -86_400
                    monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
                before = len(peer.pictures)
                await until(lambda before=before: len(peer.pictures) > before + 25, 20)
                grown.append(len(engine.sessions))
            monkeypatch.setattr(time, "time", real)
            await peer.close()
        return grown

    assert asyncio.run(scenario()) == [1, 1, 1]
