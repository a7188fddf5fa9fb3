"""Uploads against a real decoder process while somebody is in a call."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import numpy as np
import pytest

from benchmarks.peer import LoopbackPeer
from engine.avatars import UNDECLARED, Declared
from engine.face.intake import Intake
from tests.e2e.conftest import serving, until
from tests.e2e.testcard import CardEngine, Entry, jpeg, read_number

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform == "win32", reason="sends signals that Windows lacks"),
]


class Decoding(CardEngine):
    """The test card's engine with the real intake."""

    def __init__(self) -> None:
        super().__init__()
        self.intake = Intake(seconds=3)

    def add_avatar(self, photo: bytes, declared: Declared = UNDECLARED) -> Entry:
        """Of what the decoder makes of the photo."""
        return super().add_avatar(jpeg(self.intake.decode(photo)), declared)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_decoder_that_is_frozen_or_killed_costs_one_upload_and_nothing_else(
    number: signal.Signals,
) -> None:
    engine = Decoding()
    photo = engine.avatars[0].picture

    async def scenario() -> list[int]:
        async with serving(engine) as (base, http):
            peer = LoopbackPeer(http, base, None)
            await peer.connect()
            await until(lambda: peer.pictures, 20)
            async with http.post(f"{base}/avatars", data=photo) as response:
                assert response.status == 201
            child = engine.intake.pid
            assert child is not None
            os.kill(child, signal.SIGSTOP)  # in the middle of whatever comes
            upload = asyncio.create_task(http.post(f"{base}/avatars", data=photo))
            begun = len(peer.pictures)
            await asyncio.sleep(1)
            os.kill(child, number)
            response = await asyncio.wait_for(upload, 30)
            answer = await response.json()
            assert (response.status, answer["reason"]) == (422, "undecodable")
            await until(lambda: len(peer.pictures) > begun + 20, 20)
            async with http.post(f"{base}/avatars", data=photo) as response:
                assert response.status == 201
            assert engine.intake.restarts == 1
            assert len(engine.sessions) == 1
            numbers = [read_number(image) for _, _, image in peer.pictures[begun:]]
            await peer.close()
            return numbers

    try:
        steps = np.diff(asyncio.run(scenario()))
    finally:
        engine.intake.close()
    assert min(steps) >= 0
    assert np.median(steps) == 1, "pictures went on, one after the other"
