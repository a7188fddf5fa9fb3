"""WHEP players: one made with aiortc that measures the test card's mouth; what any of them sees."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
