"""One peer: its connection, its microphone into the session, the session's slots out to it.

    received track ─▶ AudioIngest ─▶ session ─▶ playout ─▶ SlotPump ─▶ outgoing tracks

The session is freed whatever way the peer goes: it says so, its connection closes or fails, it
never connects, or nothing more is heard of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidAccessError, InvalidStateError, OperationError
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from engine.clock import Clock
from engine.errors import EngineError, SessionClosed
from engine.media import AudioChunk
from engine.transport.control import Control
from engine.transport.encoder import SEND_STATS, SendStats
from engine.transport.ingest import AudioIngest, mono
from engine.transport.offer import AUDIO_CODECS, VIDEO_CODECS, OfferError
from engine.transport.tracks import SlotPump

if TYPE_CHECKING:
    from engine.session import Session

log = logging.getLogger(__name__)

_TICK_SECONDS = 0.02
_WATCH_SECONDS = 0.5
_REPORT_EVERY = 2
_CLOSE_SECONDS = 5.0
_JITTER_MS = 40
"""What the receiving jitter buffer holds back: two packets."""


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """How a peer is treated.

    Args:
        ice_servers: STUN or TURN URLs.
        lost_after: seconds without a packet after which the peer is gone.
        connect_within: seconds in which it must connect.
    """

    ice_servers: tuple[str, ...] = ()
    lost_after: float = 5.0
    connect_within: float = 15.0


class Peer:
    """See the module's docstring. Lives on the event loop.

    Args:
        session: closed with the peer.
        clock: real time.
        options: see ``PeerOptions``.
    """

    def __init__(self, session: Session, clock: Clock, options: PeerOptions) -> None:
        self.session = session
        self.sent = SendStats()
        self._clock = clock
        self._options = options
        self._ingest = AudioIngest(clock)
        self._control = Control(session.interrupt)
        self._pump = SlotPump(session.playout, clock, self._control.slot)
        self._tasks: set[asyncio.Task[None]] = set()
        self._gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._connected = False
        self._hears = False
        servers = [RTCIceServer(urls=url) for url in options.ice_servers]
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._prepare()

    def _prepare(self) -> None:
        for track, names in ((self._pump.audio, AUDIO_CODECS), (self._pump.video, VIDEO_CODECS)):
            self._pc.addTrack(track)
            # Preferences count only if they are set before the offer is.
            _prefer(self._pc.getTransceivers()[-1], names)
        self._pc.on("track", self._on_track)
        self._pc.on("datachannel", self._on_channel)
        self._pc.on("connectionstatechange", self._on_state)

    async def answer(self, offer: str) -> str:
        """Take a checked offer; return the answer with all candidates in it.

        Raises:
            OfferError: if aiortc finds nothing in common.
        """
        token = SEND_STATS.set(self.sent)
        try:
            await self._pc.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
            await self._pc.setLocalDescription(await self._pc.createAnswer())
        except (OperationError, InvalidStateError, InvalidAccessError, ValueError) as error:
            raise OfferError("codec", f"The offer cannot be answered: {error}.") from error
        finally:
            SEND_STATS.reset(token)
        return self._pc.localDescription.sdp

    def leave(self, reason: str) -> None:
        """Let ``run`` end; only the first reason counts."""
        if not self._gone.done():
            self._gone.set_result(reason)

    async def run(self) -> str:
        """Serve the peer until it is gone, then free everything. Returns the reason."""
        self._start(self._watch())
        reason = "cancelled"
        try:
            reason = await self._gone
        finally:
            await self._free(reason)
        return reason

    def report(self) -> dict[str, object]:
        """Numbers of this peer: what the data channel carries once a second."""
        playout = self.session.playout.stats()
        return {
            "mic_ms": _JITTER_MS,
            "delay_ms": round(playout.depth_ms, 1),
            "encode_ms": round(self.sent.encode_ms, 2),
            "bitrate": self.sent.bitrate,
            "frames": self.sent.frames,
            "playout": {name: round(value, 2) for name, value in playout.as_dict().items()},
            "ingest": {n: round(v, 1) for n, v in self._ingest.stats.as_dict().items()},
            "dropped_ms": round(self.session.dropped_ms, 1),
        }

    async def _free(self, reason: str) -> None:
        log.info("session %s ends: %s", self.session.id[:6], reason)
        for task in self._tasks:
            task.cancel()
        if self.session.error is not None:
            self._control.send("error", message="The avatar stopped because of an internal error.")
            await asyncio.sleep(0.1)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await asyncio.wait_for(self._pc.close(), _CLOSE_SECONDS)
        except TimeoutError:
            log.error("session %s: its connection did not close", self.session.id[:6])
        # Joining the worker may take a moment.
        await asyncio.to_thread(self.session.close)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(self._guard(work))
        self._tasks.add(task)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """A task that fails ends the session instead of being forgotten."""
        try:
            await work
        except SessionClosed:
            self.leave("session closed")
        except EngineError as error:
            log.warning("session %s: %s", self.session.id[:6], error)
            self.leave("error")
        except Exception:
            log.exception("session %s: transport failed", self.session.id[:6])
            self.leave("error")

    def _on_state(self) -> None:
        state = self._pc.connectionState
        if state == "connected" and not self._connected:
            self._connected = True
            self._ingest = AudioIngest(self._clock)
            self._start(self._pump.run())
            self._start(self._pace())
        elif state in ("failed", "closed"):
            self.leave(f"connection {state}")

    def _on_channel(self, channel: RTCDataChannel) -> None:
        self._control.attach(channel)

    def _on_track(self, track: MediaStreamTrack) -> None:
        listen = track.kind == "audio" and not self._hears
        self._hears = self._hears or listen
        # What is not wanted is drained all the same: aiortc's queue has no limit.
        self._start(self._hear(track) if listen else _drain(track))

    async def _hear(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if not self._connected or not isinstance(frame, av.AudioFrame):
                continue
            samples = frame.to_ndarray().reshape(-1, len(frame.layout.channels))
            self._say(self._ingest.receive(mono(samples.astype(np.int16)), frame.pts or 0))

    async def _pace(self) -> None:
        while True:
            self._say(self._ingest.tick())
            await asyncio.sleep(_TICK_SECONDS)

    def _say(self, chunks: list[AudioChunk]) -> None:
        for chunk in chunks:
            self.session.push_audio(chunk)

    async def _watch(self) -> None:
        """End the session if the peer has vanished; report to it otherwise."""
        packets, heard, count = 0, self._clock.now(), 0
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            received = await _packets_received(self._pc.getSenders()[0])
            if received != packets:
                packets, heard = received, self._clock.now()
            patience = self._options.lost_after if packets else self._options.connect_within
            if self._clock.now() - heard > patience:
                self.leave("lost" if packets else "never connected")
            if self.session.closed:
                self.leave("session closed")
            count += 1
            if count % _REPORT_EVERY == 0:
                self._control.send("stats", **self.report())


async def _packets_received(sender: RTCRtpSender) -> int:
    stats = await sender.getStats()
    return sum(s.packetsReceived for s in stats.values() if s.type == "transport")


async def _drain(track: MediaStreamTrack) -> None:
    while True:
        try:
            await track.recv()
        except MediaStreamError:
            return


def _prefer(transceiver: RTCRtpTransceiver, names: tuple[str, ...]) -> None:
    codecs = RTCRtpSender.getCapabilities(transceiver.kind).codecs
    wanted = [codec for name in (*names, "rtx") for codec in codecs if codec.name == name]
    transceiver.setCodecPreferences(wanted)
