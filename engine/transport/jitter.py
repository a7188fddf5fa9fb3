"""Reorders received audio packets, and gives up on lost ones at once.

aiortc's own buffer emits only what is contiguous: one lost packet costs five frames and adds 200 ms
of delay for the rest of the call. Here one Opus packet is one frame, a hole is skipped as soon as
``prefetch`` newer packets are there, and the delay is the same after a loss as before it.
"""

from __future__ import annotations

from aiortc.jitterbuffer import JitterFrame
from aiortc.rtp import RtpPacket

_MODULUS = 1 << 16


def _ahead(a: int, b: int) -> int:
    """How far sequence number ``a`` lies ahead of ``b``, -32768..32767."""
    return (a - b + _MODULUS // 2) % _MODULUS - _MODULUS // 2


class AudioJitterBuffer:
    """Takes the place of ``aiortc.jitterbuffer.JitterBuffer`` for audio.

    Args:
        capacity: packets; a jump at least this large (a restarted sender) starts afresh.
        prefetch: packets that must be newer than the one emitted; 2 is 40 ms.
    """

    def __init__(self, capacity: int = 64, prefetch: int = 2) -> None:
        self._capacity = capacity
        self._prefetch = prefetch
        self._packets: dict[int, RtpPacket] = {}
        self._origin = 0
        self._highest = 0
        self._started = False

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Take a packet.

        Returns:
            ``(False, frame)``: False as no key frame is ever wanted, and the frame whose turn it
            is, if any.
        """
        number = packet.sequence_number
        if not self._started or abs(_ahead(number, self._highest)) >= self._capacity:
            self._started = True
            self._packets.clear()
            self._origin = self._highest = number
        if _ahead(number, self._origin) < 0:
            return False, None
        self._packets[number] = packet
        if _ahead(number, self._highest) > 0:
            self._highest = number
        return False, self._take()

    def _take(self) -> JitterFrame | None:
        while _ahead(self._highest, self._origin) >= self._prefetch:
            packet = self._packets.pop(self._origin, None)
            self._origin = (self._origin + 1) % _MODULUS
            if packet is not None:
                data: bytes = packet._data  # type: ignore[attr-defined]
                return JitterFrame(data=data, timestamp=packet.timestamp)
        return None
