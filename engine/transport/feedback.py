"""What aiortc's senders are given: threads of our own, and ears for what receivers report.

aiortc reads receiver reports for its statistics only; here the loss in them reaches the encoder.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

from aiortc import RTCRtpSender
from aiortc.rtp import (
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    RTP_HISTORY_SIZE,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSrPacket,
)

from engine.transport.encoder import VideoEncoder
from engine.transport.encoders import POOL
from engine.transport.resend import Answer, Resends
from engine.transport.sendstats import SEND_STATS, SendStats

_LOOP = "_RTCRtpSender__loop"
_ENCODER = "_RTCRtpSender__encoder"
_RTT = "_RTCRtpSender__rtt"
_HISTORY = "_RTCRtpSender__rtp_history"
PRIVATE = (_LOOP, _ENCODER, _RTT, _HISTORY)
"""Attributes of aiortc's sender that are used here."""


class _Threads:
    """Stands where a sender keeps its event loop, which it asks for nothing but threads."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def run_in_executor(
        self, _executor: None, work: Callable[..., Any], *args: Any
    ) -> Awaitable[Any]:
        """Do ``work`` in an encoder's thread."""
        stats = SEND_STATS.get()
        return POOL.run(self._kind, (stats or SendStats()).waited, work, *args)


def with_pool(original: Callable[..., None]) -> Callable[..., None]:
    """Make senders encode in ``POOL``."""

    def init(self: RTCRtpSender, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        setattr(self, _LOOP, _Threads(self.kind))

    return init


def with_reports(original: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Count what a receiver reports, and tell the video encoder of losses."""

    async def handle(self: RTCRtpSender, packet: AnyRtcpPacket) -> None:
        await original(self, packet)
        encoder = getattr(self, _ENCODER)
        if isinstance(encoder, VideoEncoder):
            _note(encoder, packet, self._ssrc, getattr(self, _RTT))

    return handle


def with_limit(original: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Send lost packets of pictures again as far as ``Resends`` allows."""
    limits: WeakKeyDictionary[RTCRtpSender, Resends] = WeakKeyDictionary()

    async def retransmit(self: RTCRtpSender, number: int) -> None:
        encoder = getattr(self, _ENCODER)
        packet = getattr(self, _HISTORY).get(number % RTP_HISTORY_SIZE)
        if isinstance(encoder, VideoEncoder) and packet is not None:
            limit = limits.setdefault(self, Resends())
            size, rtt = len(packet.payload), getattr(self, _RTT) or 0.0
            answer = limit.ask(number, size, time.monotonic(), rtt, encoder.target_bitrate)
            if answer is not Answer.SEND:
                encoder.unrepeated(for_good=answer is Answer.TOO_MUCH)
                return
        await original(self, number)

    return retransmit


def _note(encoder: VideoEncoder, packet: AnyRtcpPacket, ssrc: int, rtt: float | None) -> None:
    stats = encoder.stats
    match packet:
        case RtcpRrPacket() | RtcpSrPacket():
            stats.rtt_ms = 1000 * (rtt or 0.0)
            for report in packet.reports:
                if report.ssrc == ssrc:
                    encoder.lost(report.fraction_lost / 256)
        case RtcpRtpfbPacket() if packet.fmt == RTCP_RTPFB_NACK:
            stats.nack += len(packet.lost)
        case RtcpPsfbPacket() if packet.fmt in (RTCP_PSFB_PLI, RTCP_PSFB_FIR):
            stats.pli += 1
