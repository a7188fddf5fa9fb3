"""A WHEP player made with aiortc that also measures the test card's mouth."""

from __future__ import annotations

import aiohttp
import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from engine.media import UInt8
from tests.e2e.test_whip import Party
from tests.e2e.testcard import SIZE, read_number

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
