"""Makes aiortc's video receiver ask for lost packets as browsers do.

aiortc 1.16 asks for a lost packet once, and again only when it next sees a hole; it hands out at
most one picture for every packet that comes, so that a stream of small pictures stays late for
good after a hole; and it waits behind a hole for 128 packets, whatever comes. Its pictures freeze
for seconds where a browser's do not. libwebrtc's ``NackRequester`` looks every 20 ms, repeats after
a round trip and each time a quarter later, ten times at most. Without a picture for three seconds a
browser asks for a key frame, and it goes on with any that is complete.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiortc import RTCRtpReceiver
from aiortc.codecs.vpx import VpxPayloadDescriptor
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket
from aiortc.utils import uint16_gt

_LOOK_SECONDS = 0.02
_ROUND_TRIP = 0.1
"""Seconds: libwebrtc's before it has measured one. Asking faster than that would fill a narrow pipe
with copies."""
_LONGEST = 1.0
_BACKOFF = 1.25
_TRIES = 10
_KEY_SECONDS = 3.0
"""Without a picture, until a key frame is asked for."""


class Requester:
    """Asks again for what is missing; pure but for the clock that is handed in."""

    def __init__(self) -> None:
        self.round_trip = _ROUND_TRIP
        """Mean seconds from first asking for a packet to having it."""
        self._asked: dict[int, tuple[int, float, float]] = {}
        """Tries, first and latest time, by sequence number."""

    def due(self, missing: set[int], now: float) -> list[int]:
        """Sequence numbers to ask for now. A new one has just been asked for by aiortc itself."""
        for number in self._asked.keys() - missing:
            waited = min(_LONGEST, now - self._asked.pop(number)[1])
            self.round_trip += (max(_ROUND_TRIP, waited) - self.round_trip) / 8
        found = []
        for number in sorted(missing):
            tries, first, latest = self._asked.setdefault(number, (1, now, now))
            wait = self.round_trip * _BACKOFF ** (tries - 1)
            if tries < _TRIES and now - latest >= wait - 1e-9:
                self._asked[number] = (tries + 1, first, now)
                found.append(number)
        return found


def make_patient(receiver: RTCRtpReceiver) -> asyncio.Task[None]:
    """Repeat requests and drain the jitter buffer of a video receiver, until cancelled."""
    private: Any = receiver
    take = receiver._handle_rtp_packet
    first: list[RtpPacket] = []
    """Retransmissions have another source and payload type than the stream's first packet."""
    progress = [time.monotonic()]
    """When the newest picture was complete, or a key frame asked for."""

    buffer = private._RTCRtpReceiver__jitter_buffer
    missing = private._RTCRtpReceiver__nack_generator.missing

    async def packet(packet: RtpPacket, arrival_time_ms: int) -> None:
        before = buffer._origin
        await take(packet, arrival_time_ms)
        first[:] = first or [packet]
        if missing:
            missing.difference_update(skip_to_key(buffer, missing))
        _drain(private, first[0].payload_type)
        if buffer._origin != before:
            progress[0] = time.monotonic()

    async def ask() -> None:
        requester = Requester()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            due = requester.due(missing, time.monotonic())
            if due and first:
                await receiver._send_rtcp_nack(first[0].ssrc, due)
            if first and time.monotonic() - progress[0] > _KEY_SECONDS:
                progress[0] = time.monotonic()
                await receiver._send_rtcp_pli(first[0].ssrc)

    private._handle_rtp_packet = packet
    return asyncio.ensure_future(ask())


def skip_to_key(buffer: JitterBuffer, missing: set[int]) -> set[int]:
    """Give up what lies before a complete VP8 key frame, if something of it is missing.

    Args:
        buffer: of packets not yet handed out; those given up are removed.
        missing: sequence numbers that have not come.

    Returns:
        Those of ``missing`` that are no longer wanted.
    """
    origin, held = buffer._origin, buffer._packets
    if origin is None:
        return set()
    hole, key, stamp = False, None, 0
    for count in range(buffer.capacity):
        packet = held[(origin + count) % buffer.capacity]
        if packet is None:
            hole, key = True, None
        elif key is not None and packet.timestamp != stamp:
            buffer.remove(key)
            return {number for number in missing if uint16_gt((origin + key) % (1 << 16), number)}
        elif hole and key is None and _begins_key(packet.payload):
            key, stamp = count, packet.timestamp
    return set()


def _begins_key(payload: bytes) -> bool:
    """Whether an RTP payload is the first of a key frame (RFC 7741, sections 4.2 and 4.3)."""
    try:
        descriptor, data = VpxPayloadDescriptor.parse(payload)
    except ValueError:
        return False
    begins = descriptor.partition_start == 1 and descriptor.partition_id == 0
    return begins and bool(data) and not data[0] & 1


def _drain(private: Any, payload_type: int) -> None:
    """Hand all further pictures that are complete to the decoder."""
    codec = private._RTCRtpReceiver__codecs[payload_type]
    while (frame := private._RTCRtpReceiver__jitter_buffer._remove_frame(0)) is not None:
        frame.timestamp = private._RTCRtpReceiver__timestamp_mapper.map(frame.timestamp)
        private._RTCRtpReceiver__decoder_queue.put((codec, frame))
