"""A peer made with aiortc: speaks given samples in real time and records what comes back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
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
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtp import AnyRtcpPacket, RtcpSrPacket, RtpPacket

from benchmarks.patience import make_patient
from engine.media import Float32
from engine.transport.tracks import audio_frame

RATE = 48_000
PACKET = 960
_NO_PICTURE = np.empty((0, 0, 3), np.uint8)
_NO_SOUND = np.empty(0, np.float32)


@dataclass(frozen=True, slots=True)
class Arrival:
    """An RTP packet as it came, before any jitter buffer.

    Args:
        at: ``time.monotonic()``.
        number: sequence number, 16 bits.
        timestamp: media time, 32 bits.
        size: payload bytes.
        payload: of sound packets, one Opus frame; else empty.
    """

    at: float
    number: int
    timestamp: int
    size: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class SenderReport:
    """What a sender says of its clock (RFC 3550, 6.4.1): ``timestamp`` is shown at ``seconds``."""

    at: float
    seconds: float
    timestamp: int


@dataclass(slots=True)
class Stream:
    """Everything received of one track."""

    arrivals: list[Arrival] = field(default_factory=list)
    """Without retransmissions."""
    reports: list[SenderReport] = field(default_factory=list)


class Voice(MediaStreamTrack):
    """A microphone: 20 ms at a time, each when its last sample would have been captured.

    Args:
        samples: float32 at 48 kHz; silence follows.
        loop: say them again and again instead.
    """

    kind = "audio"

    def __init__(self, samples: Float32, *, loop: bool = False) -> None:
        super().__init__()
        self._samples = samples
        self._loop = loop
        self._sent = 0
        self._start = 0.0
        self.emitted: list[float] = []
        """``time.monotonic()`` of every packet."""

    def captured(self, sample: int) -> float:
        """When a sample was spoken: a packet is complete one packet after its first sample."""
        packet, inside = divmod(sample, PACKET)
        return self.emitted[packet] + (inside - PACKET) / RATE

    async def recv(self) -> av.AudioFrame:
        """The next 20 ms when they are due."""
        if self.readyState != "live":
            raise MediaStreamError
        self._start = self._start or time.monotonic()
        await asyncio.sleep(max(0.0, self._start + self._sent / RATE - time.monotonic()))
        frame = audio_frame(self._part(), self._sent)
        self.emitted.append(time.monotonic())
        self._sent += PACKET
        return frame

    def _part(self) -> Float32:
        if self._loop:
            return self._samples.take(np.arange(self._sent, self._sent + PACKET), mode="wrap")
        part = np.zeros(PACKET, np.float32)
        found = self._samples[self._sent : self._sent + PACKET]
        part[: len(found)] = found
        return part


class LoopbackPeer:
    """Connects to a server on this machine.

    Args:
        http: client session.
        base: the server's address.
        voice: float32 samples to say at 48 kHz, or a microphone; None sends no audio at all.
        codec: the only video codec to offer, or None for all.
        keep: keep pictures and sound; else only when they came.
        look: what to keep of a picture instead of all of it.
        tap: also note every packet as it comes and goes.
        patient: ask for lost packets as browsers do, not as aiortc does.
        motion: have the motion of every picture sent, which takes 120 kbit/s.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        base: str,
        voice: Float32 | Voice | None,
        codec: str | None = None,
        *,
        keep: bool = True,
        look: Callable[[av.VideoFrame], np.ndarray[Any, Any]] | None = None,
        tap: bool = False,
        patient: bool = False,
        motion: bool = True,
    ) -> None:
        self._http, self._base, self._keep = http, base, keep
        self._look, self._tap, self._patient = look, tap, patient
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.pictures: list[tuple[float, int, np.ndarray[Any, Any]]] = []
        self.sounds: list[tuple[float, int, Float32]] = []
        self.messages: list[dict[str, Any]] = []
        """Control messages, each with ``at``, when it came."""
        self.streams = {"audio": Stream(), "video": Stream()}
        """What ``tap`` notes of what comes."""
        self.departures: list[float] = []
        """What ``tap`` notes of what goes: when each sound packet left."""
        self.answer: dict[str, Any] = {}
        """What the server answered to the offer."""
        self.answered = 0.0
        """When."""
        self.id = ""
        self.voice: Voice | None = None
        self.seen = asyncio.Event()
        """Set with the first picture."""
        self._tasks: list[asyncio.Task[None]] = []
        if voice is None:
            self.pc.addTransceiver("audio", direction="recvonly")
        else:
            self.voice = voice if isinstance(voice, Voice) else Voice(voice)
            self.pc.addTrack(self.voice)
        video = self.pc.addTransceiver("video", direction="recvonly")
        if codec is not None:
            known = RTCRtpReceiver.getCapabilities("video").codecs
            video.setCodecPreferences([c for c in known if c.name in (codec, "rtx")])
        self.channel = self.pc.createDataChannel("control")
        self.channel.on("message", self._on_message)
        self.channel.on("open", lambda: self.tell(type="subscribe", motion=motion))
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
        self.answer, self.answered, self.id = answer, time.monotonic(), answer["id"]
        await self.pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        if self._tap and self.voice is not None:
            self._watch_departures(self.pc.getSenders()[0].transport)

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

    def _on_message(self, text: str) -> None:
        self.messages.append({**json.loads(text), "at": time.monotonic()})

    def _on_track(self, track: MediaStreamTrack) -> None:
        receiver = next(r for r in self.pc.getReceivers() if r.track is track)
        if self._patient and track.kind == "video":
            self._tasks.append(make_patient(receiver))
        if self._tap:
            _watch_arrivals(receiver, self.streams[track.kind], track.kind == "audio")
        record = self._record_sound if track.kind == "audio" else self._record_picture
        self._tasks.append(asyncio.ensure_future(record(track)))

    def _watch_departures(self, transport: RTCDtlsTransport) -> None:
        send = transport._send_rtp

        async def watched(data: bytes) -> None:
            await send(data)
            # RFC 5761, section 4: packet types 192 to 223 are RTCP. Only sound is sent as RTP.
            if not 192 <= data[1] <= 223:
                self.departures.append(time.monotonic())

        transport._send_rtp = watched

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
            at = time.monotonic()
            self.pictures.append((at, pts, self._seen_of(frame)))
            self.seen.set()

    def _seen_of(self, frame: av.VideoFrame) -> np.ndarray[Any, Any]:
        if self._look is not None:
            return self._look(frame)
        return frame.to_ndarray(format="rgb24") if self._keep else _NO_PICTURE


def _watch_arrivals(receiver: RTCRtpReceiver, stream: Stream, payloads: bool) -> None:
    take, report = receiver._handle_rtp_packet, receiver._handle_rtcp_packet
    sources: list[int] = []

    async def packet(packet: RtpPacket, arrival_time_ms: int) -> None:
        at = time.monotonic()
        # The first source is the stream itself; retransmissions have one of their own (RFC 4588).
        if not sources:
            sources.append(packet.ssrc)
        if packet.ssrc == sources[0]:
            kept = packet.payload if payloads else b""
            size = len(packet.payload)
            stream.arrivals.append(
                Arrival(at, packet.sequence_number, packet.timestamp, size, kept)
            )
        await take(packet, arrival_time_ms)

    async def control(packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpSrPacket):
            info = packet.sender_info
            seconds = info.ntp_timestamp / 2**32
            stream.reports.append(SenderReport(time.monotonic(), seconds, info.rtp_timestamp))
        await report(packet)

    receiver._handle_rtp_packet = packet
    receiver._handle_rtcp_packet = control
