"""Peers that cost the machine little: they send sound encoded before, and decode nothing.

What comes is received as a browser does: decrypted, put in order, asked for again, answered with
reports and estimates of the rate. Only in place of each picture there is an empty one, so a whole
picture counts although nobody looks at it.

    python -m benchmarks.blind URL NUMBER      peers, driven as those of ``gpu_webrtc.Crowd`` are
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import aiohttp
import av
from aiortc import rtcrtpreceiver

from benchmarks.gpu_webrtc import peers
from benchmarks.peer import PACKET, RATE, LoopbackPeer, Voice
from benchmarks.sounds import talk
from engine.media import Float32
from engine.transport.opus import OpusEncoder
from engine.transport.tracks import audio_frame

_VIDEO_RATE = 90_000


class EmptyDecoder:
    """Takes whole encoded pictures or sounds and says only that they were there.

    Args:
        picture: of which kind.
    """

    def __init__(self, picture: bool) -> None:
        self._picture = picture

    def decode(self, encoded: Any) -> Iterable[av.VideoFrame | av.AudioFrame]:
        """One empty frame with the time of what came (``aiortc.jitterbuffer.JitterFrame``)."""
        frame: av.VideoFrame | av.AudioFrame
        if self._picture:
            frame = av.VideoFrame(16, 16, "yuv420p")
            frame.time_base = Fraction(1, _VIDEO_RATE)
        else:
            frame = av.AudioFrame(format="s16", layout="mono", samples=PACKET)
            frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
        frame.pts = encoded.timestamp
        return [frame]


def decode_nothing() -> None:
    """Have all of this process's receivers use ``EmptyDecoder``."""
    rtcrtpreceiver.get_decoder = lambda codec: EmptyDecoder(codec.mimeType.startswith("video/"))


class EncodedVoice(Voice):
    """A microphone whose sound is encoded once, by whoever makes it, and then repeated.

    Args:
        samples: float32 at 48 kHz; cut to whole packets.
    """

    def __init__(self, samples: Float32) -> None:
        super().__init__(samples, loop=True)
        encoder = OpusEncoder()
        whole = len(samples) // PACKET
        self._packets = [
            encoder.encode(audio_frame(samples[n * PACKET : (n + 1) * PACKET], n * PACKET))[0][0]
            for n in range(whole)
        ]

    async def recv(self) -> av.Packet:  # type: ignore[override]
        """The next 20 ms when they are due; aiortc sends packets as they are."""
        frame = await super().recv()
        packet = av.Packet(self._packets[frame.pts // PACKET % len(self._packets)])
        packet.pts, packet.time_base = frame.pts, Fraction(1, RATE)
        return packet


def viewer(http: aiohttp.ClientSession, url: str) -> LoopbackPeer:
    """Somebody who talks and watches, without the motion that only programs ask for."""
    return LoopbackPeer(http, url, EncodedVoice(talk()), keep=False, motion=False)


if __name__ == "__main__":
    decode_nothing()
    asyncio.run(peers(sys.argv[1], int(sys.argv[2]), viewer))
