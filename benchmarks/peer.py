"""A peer made with aiortc: speaks given samples in real time and records what comes back."""

from __future__ import annotations

import asyncio
import json
import time
from fractions import Fraction
from typing import Any

import aiohttp
import av
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError

from engine.media import Float32
from engine.transport.tracks import audio_frame

RATE = 48_000
PACKET = 960
_NO_PICTURE = np.empty((0, 0, 3), np.uint8)
_NO_SOUND = np.empty(0, np.float32)


class Voice(MediaStreamTrack):
    """Plays samples once, then silence, 20 ms at a time."""

    kind = "audio"

    def __init__(self, samples: Float32) -> None:
        super().__init__()
        self._samples = samples
        self._sent = 0
        self._start = 0.0

    async def recv(self) -> av.AudioFrame:
        """The next 20 ms when they are due."""
        if self.readyState != "live":
            raise MediaStreamError
        self._start = self._start or time.monotonic()
        await asyncio.sleep(max(0.0, self._start + self._sent / RATE - time.monotonic()))
        part = np.zeros(PACKET, np.float32)
        found = self._samples[self._sent : self._sent + PACKET]
        part[: len(found)] = found
        frame = audio_frame(part, self._sent)
        self._sent += PACKET
        return frame


class LoopbackPeer:
    """Connects to a server on this machine.

    Args:
        http: client session.
        base: the server's address.
        voice: float32 samples to say at 48 kHz; None sends no audio at all.
        codec: the only video codec to offer, or None for all.
        keep: keep pictures and sound; else only when they came.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        base: str,
        voice: Float32 | None,
        codec: str | None = None,
        *,
        keep: bool = True,
    ) -> None:
        self._http, self._base, self._keep = http, base, keep
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.pictures: list[tuple[float, int, np.ndarray[Any, Any]]] = []
        self.sounds: list[tuple[float, int, Float32]] = []
        self.messages: list[dict[str, Any]] = []
        self.id = ""
        self.seen = asyncio.Event()
        """Set with the first picture."""
        self._tasks: list[asyncio.Task[None]] = []
        if voice is None:
            self.pc.addTransceiver("audio", direction="recvonly")
        else:
            self.pc.addTrack(Voice(voice))
        video = self.pc.addTransceiver("video", direction="recvonly")
        if codec is not None:
            known = RTCRtpReceiver.getCapabilities("video").codecs
            video.setCodecPreferences([c for c in known if c.name in (codec, "rtx")])
        self.channel = self.pc.createDataChannel("control")
        self.channel.on("message", lambda text: self.messages.append(json.loads(text)))
        self.channel.on("open", lambda: self.tell(type="subscribe", motion=True))
        self.pc.on("track", self._on_track)

    def tell(self, **message: object) -> None:
        """Send a control message."""
        self.channel.send(json.dumps(message))

    async def connect(self, **extra: str) -> None:
        """Offer and take the answer."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        offer = {"sdp": self.pc.localDescription.sdp, "type": "offer", **extra}
        async with self._http.post(f"{self._base}/offer", json=offer) as response:
            answer = await response.json()
            if response.status != 200:
                raise ConnectionRefusedError(answer)
        self.id = answer["id"]
        await self.pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))

    async def close(self) -> None:
        """Leave politely."""
        await self.pc.close()
        for task in self._tasks:
            task.cancel()

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """Control messages of one type."""
        return [message for message in self.messages if message["type"] == kind]

    def heard(self) -> tuple[int, Float32]:
        """All received sound on one line: pts of the first sample, samples."""
        start = self.sounds[0][1]
        end = max(pts + len(samples) for _, pts, samples in self.sounds)
        line = np.zeros(end - start, np.float32)
        for _, pts, samples in self.sounds:
            line[pts - start : pts - start + len(samples)] = samples
        return start, line

    def _on_track(self, track: MediaStreamTrack) -> None:
        record = self._record_sound if track.kind == "audio" else self._record_picture
        self._tasks.append(asyncio.ensure_future(record(track)))

    async def _record_sound(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if not self._keep:
                self.sounds.append((time.monotonic(), frame.pts, _NO_SOUND))
                continue
            samples = frame.to_ndarray().reshape(-1, len(frame.layout.channels))
            mono = samples.mean(axis=1).astype(np.float32) / 32768
            self.sounds.append((time.monotonic(), frame.pts, mono))

    async def _record_picture(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            pts = round(frame.pts * frame.time_base * Fraction(25))
            picture = frame.to_ndarray(format="rgb24") if self._keep else _NO_PICTURE
            self.pictures.append((time.monotonic(), pts, picture))
            self.seen.set()
