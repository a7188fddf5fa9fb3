"""One WebRTC connection: a client's microphone in, a session's slots out, or only one of them.

    received track ─▶ Host.sound      Output ─▶ encoders ─▶ RTP      data channel ◀─▶ Control

It is freed whatever way the client goes: it says so, its connection closes or fails, it never
connects, or nothing more is heard of it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import Enum
from functools import partial
from typing import Any

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
from engine.slots import Slot
from engine.transport.base import Host
from engine.transport.control import Control
from engine.transport.ingest import mono
from engine.transport.jitter import RECEIVE_STATS, ReceiveStats
from engine.transport.offer import AUDIO_CODECS, VIDEO_CODECS, OfferError
from engine.transport.sdpfrag import Fragment
from engine.transport.sendstats import SEND_STATS, SendStats
from engine.transport.tracks import Output

log = logging.getLogger(__name__)

_WATCH_SECONDS = 0.5
_CLOSE_SECONDS = 5.0


class Role(Enum):
    """Which way media flows."""

    TWO_WAY = "two-way"
    PUBLISH = "publish"
    """The client only sends (WHIP)."""
    PLAY = "play"
    """The client only receives (WHEP)."""


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """How a client is treated.

    Args:
        ice_servers: STUN or TURN servers.
        lost_after: seconds without a packet after which it is gone.
        connect_within: seconds in which it must connect.
    """

    ice_servers: tuple[RTCIceServer, ...] = ()
    lost_after: float = 5.0
    connect_within: float = 15.0


class WebRtcConnection:
    """A ``Connection`` over aiortc. Lives on the event loop.

    Args:
        host: the session it belongs to.
        role: which way media flows.
        clock: real time.
        options: see ``PeerOptions``.
    """

    def __init__(self, host: Host, role: Role, clock: Clock, options: PeerOptions) -> None:
        self.id = secrets.token_urlsafe(9)
        self.etag = f'"{secrets.token_urlsafe(9)}"'
        """Names this ICE session, for ``If-Match`` (RFC 9725)."""
        self.sent = SendStats()
        self.received = ReceiveStats()
        self.connected = False
        self.publishes = role is not Role.PLAY
        self.output = None if role is Role.PUBLISH else Output()
        self._host = host
        self._clock = clock
        self._options = options
        self._control = Control(self._command)
        self._tasks: set[asyncio.Task[None]] = set()
        self._gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._hears = False
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=list(options.ice_servers)))
        self._pc.on("track", self._on_track)
        self._pc.on("datachannel", self._on_channel)
        self._pc.on("connectionstatechange", self._on_state)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """What aiortc makes meanwhile counts for this connection."""
        tokens = SEND_STATS.set(self.sent), RECEIVE_STATS.set(self.received)
        try:
            yield
        finally:
            SEND_STATS.reset(tokens[0])
            RECEIVE_STATS.reset(tokens[1])

    def _add_tracks(self, offer: str) -> None:
        """Those the client has a part for: some want to hear only, or only to see."""
        if self.output is None:
            return
        for track, names in ((self.output.audio, AUDIO_CODECS), (self.output.video, VIDEO_CODECS)):
            if f"\nm={track.kind} " in offer:
                self._pc.addTrack(track)
                # Preferences count only if they are set before the offer is.
                _prefer(self._pc.getTransceivers()[-1], names)

    async def answer(self, offer: str) -> str:
        """Take a checked offer; return the answer with all candidates in it.

        Raises:
            OfferError: if aiortc finds nothing in common.
        """
        try:
            with self._counting():
                self._add_tracks(offer)
                await self._pc.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
                if self.output is None:
                    self._refuse_video()
                await self._pc.setLocalDescription(await self._pc.createAnswer())
        except (OperationError, InvalidStateError, InvalidAccessError, ValueError) as error:
            raise OfferError("codec", f"The offer cannot be answered: {error}.") from error
        return self._pc.localDescription.sdp

    async def trickle(self, fragment: Fragment) -> None:
        """Take candidates that came after the offer (RFC 8840).

        Raises:
            OfferError: a candidate that cannot be used.
        """
        known = self._pc.remoteDescription.sdp.splitlines()
        if any(f"a=ice-ufrag:{ufrag}" not in known for ufrag in fragment.ufrags):
            raise OfferError("ice_restart", "ICE restarts are not supported: make a new session.")
        try:
            for candidate in fragment.candidates:
                await self._pc.addIceCandidate(candidate)
        except ValueError as error:
            raise OfferError("not_sdp", f"The candidate cannot be used: {error}.") from error

    def send(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Tell the client something over its data channels."""
        self._control.send(kind, fields)

    def slot_left(self, slot: Slot) -> None:
        """A slot leaves now: its motion goes to those who asked for it."""
        self._control.slot(slot)

    def leave(self, reason: str) -> None:
        """Let ``run`` end; only the first reason counts."""
        if not self._gone.done():
            self._gone.set_result(reason)

    async def run(self) -> str:
        """Serve the client until it is gone, then free everything. Returns the reason."""
        self._start(self._watch)
        try:
            return await self._gone
        finally:
            await self._free()

    @property
    def encode_ms(self) -> float:
        """Mean time to encode a picture, over about the last second."""
        return self.sent.encode_ms

    def report(self) -> dict[str, object]:
        """Numbers of both directions."""
        return {**self.sent.report(), "microphone": asdict(self.received)}

    def counts(self) -> dict[str, int]:
        """Counters since it began."""
        return self.sent.counts()

    async def _free(self) -> None:
        self.connected = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.output is not None:
            self.output.stop()
        try:
            await asyncio.wait_for(self._pc.close(), _CLOSE_SECONDS)
        except TimeoutError:
            log.error("a connection did not close in %.0f s", _CLOSE_SECONDS)

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.ensure_future(self._guard(work))
        self._tasks.add(task)

    async def _guard(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A task that fails ends the connection instead of being forgotten."""
        try:
            await work()
        except SessionClosed:
            self.leave("session closed")
        except EngineError as error:
            log.warning("a connection ends: %s", error)
            self.leave("error")
        except Exception:
            log.exception("a connection failed")
            self.leave("error")

    def _command(self, message: Mapping[str, Any]) -> bool:
        return self._host.command(self, message)

    def _on_state(self) -> None:
        state = self._pc.connectionState
        if state == "connected" and not self.connected:
            self.connected = True
            self._host.connected(self)
        elif state in ("failed", "closed"):
            self.leave(f"connection {state}")

    def _on_channel(self, channel: RTCDataChannel) -> None:
        self._control.attach(channel)

    def _on_track(self, track: MediaStreamTrack) -> None:
        listen = track.kind == "audio" and not self._hears and self.publishes
        self._hears = self._hears or listen
        # What is not wanted is drained all the same: aiortc's queue has no limit.
        self._start(partial(self._hear if listen else _drain, track))

    def _refuse_video(self) -> None:
        """Publishers' pictures are not wanted: nobody should decode them."""
        for transceiver in self._pc.getTransceivers():
            if transceiver.kind == "video":
                transceiver.direction = "inactive"

    async def _hear(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if not self.connected or not isinstance(frame, av.AudioFrame):
                continue
            samples = frame.to_ndarray().reshape(-1, len(frame.layout.channels))
            self._host.sound(self, mono(samples.astype(np.int16)), frame.pts or 0)

    async def _watch(self) -> None:
        """Leave if the client has vanished."""
        seen, heard = 0, self._clock.now()
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            signs = await self._packets_received() + self._control.heard
            if signs != seen:
                seen, heard = signs, self._clock.now()
            patience = self._options.lost_after if seen else self._options.connect_within
            if self._clock.now() - heard > patience:
                self.leave("lost" if seen else "never connected")

    async def _packets_received(self) -> int:
        transceivers = self._pc.getTransceivers()
        if not transceivers:
            return 0
        # All of them share one transport.
        stats = await transceivers[0].receiver.getStats()
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
