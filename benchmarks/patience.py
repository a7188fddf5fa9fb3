"""Makes aiortc's video receiver ask for lost packets as browsers do.

aiortc 1.16 asks for a lost packet once, and again only when it next sees a hole; and it hands out
at most one picture for every packet that comes, so that a stream of small pictures stays late for
good after a hole. Its pictures freeze for a second where a browser's do not. libwebrtc's
``NackRequester`` looks every 20 ms, repeats after a round trip and each time a quarter later, ten
times at most.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiortc import RTCRtpReceiver
from aiortc.rtp import RtpPacket

_LOOK_SECONDS = 0.02
_ROUND_TRIP = 0.1
"""Seconds: libwebrtc's before it has measured one. Asking faster than that would fill a narrow pipe
with copies."""
_LONGEST = 1.0
_BACKOFF = 1.25
_TRIES = 10


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

    async def packet(packet: RtpPacket, arrival_time_ms: int) -> None:
        await take(packet, arrival_time_ms)
        first[:] = first or [packet]
        _drain(private, first[0].payload_type)

    async def ask() -> None:
        requester = Requester()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            missing = private._RTCRtpReceiver__nack_generator.missing
            due = requester.due(missing, time.monotonic())
            if due and first:
                await receiver._send_rtcp_nack(first[0].ssrc, due)

    private._handle_rtp_packet = packet
    return asyncio.ensure_future(ask())


def _drain(private: Any, payload_type: int) -> None:
    """Hand all further pictures that are complete to the decoder."""
    codec = private._RTCRtpReceiver__codecs[payload_type]
    while (frame := private._RTCRtpReceiver__jitter_buffer._remove_frame(0)) is not None:
        frame.timestamp = private._RTCRtpReceiver__timestamp_mapper.map(frame.timestamp)
        private._RTCRtpReceiver__decoder_queue.put((codec, frame))
