"""A WHEP player made with aiortc that measures the test card's mouth; what players and publishers
by WHEP and WHIP are judged by."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from engine.media import UInt8
from tests.e2e.conftest import serving, until
from tests.e2e.test_whip import Party, publisher
from tests.e2e.testcard import SIZE, CardEngine, read_number

SKIN_FROM_MOUTH = 120
"""Brightness between the card's lips (about 58) and its skin (about 190)."""


def opening(luma: UInt8) -> float:
    """How much of the column through the mouth it fills; ``luma`` is (height, width)."""
    scale = luma.shape[0] / SIZE
    column = luma[round(300 * scale) : round(440 * scale), round(256 * scale)]
    return float(np.mean(column < SKIN_FROM_MOUTH))


class Viewer(Party):
    """Receives only."""

    def __init__(self, http: aiohttp.ClientSession, base: str) -> None:
        super().__init__(http, base)
        self.mouths: list[float] = []
        self.pc.addTransceiver("audio", direction="recvonly")
        self.pc.addTransceiver("video", direction="recvonly")

    async def _read(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if isinstance(frame, av.VideoFrame):
                picture = frame.to_ndarray(format="rgb24")
                self.numbers.append(read_number(picture))
                self.mouths.append(opening(frame.to_ndarray(format="gray")))
            else:
                self.loudness.append(float(np.abs(frame.to_ndarray()).mean()))


async def seen_by(player: Callable[[str], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """What a WHEP player saw of a session that aiortc speaks in by WHIP; nothing is left of it.

    Args:
        player: plays an address until it has seen enough.
    """
    engine = CardEngine()
    async with serving(engine) as (base, http):
        async with http.post(f"{base}/sessions", json={}) as response:
            made = await response.json()
        source = publisher(http, base, 30)
        assert await source.begin(made["whip"]) == 201
        seen = await player(base + made["whep"])
        assert await source.end() == 200
        await until(lambda: not engine.sessions, 5)
    return seen


async def seen_of(command: Callable[[str], list[str]], folder: Path) -> tuple[str, str]:
    """Watch what a program publishes by WHIP: the card moves and is heard; nothing is left of it.

    Args:
        command: the program for an address; it publishes until its input ends.
        folder: where it is started.

    Returns:
        What it wrote, and its log.
    """
    engine = CardEngine()
    pipe = asyncio.subprocess.PIPE
    async with serving(engine) as (base, http):
        async with http.post(f"{base}/sessions", json={}) as response:
            made = await response.json()
        words = command(base + made["whip"])
        process = await asyncio.create_subprocess_exec(
            *words, cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe
        )
        assert process.stdin is not None
        try:
            await until(lambda: bool(engine.sessions), 20)
            viewer = Viewer(http, base)
            assert await viewer.begin(made["whep"]) == 201
            await until(lambda: len(viewer.numbers) > 75, 20)
            process.stdin.close()
            out, log = await asyncio.wait_for(process.communicate(), 10)
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, log.decode()
        await viewer.end()
        await until(lambda: not engine.sessions, 5)
    assert min(np.diff(viewer.numbers[10:])) >= 0
    assert len(set(viewer.numbers)) > 40
    assert max(viewer.loudness) > 300
    assert np.ptp(viewer.mouths) > 0.05  # what it sent opened the mouth
    return out.decode(), log.decode()
