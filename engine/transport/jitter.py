"""Puts received audio packets in order before they are decoded, and waits no longer than it must.

A packet whose turn it is goes on at once: no delay while all is well. Behind a missing one others
wait, until it comes or until as many newer ones are there as reordering has lately needed, two to
six (40 to 120 ms); then everything that is there goes on. How long the sound may be late in *time*
is for ``AudioIngest`` to decide, which also fills what stays missing.

aiortc's own buffer emits only what is contiguous, and one packet for one packet received: a single
loss costs five frames and adds 200 ms of delay for the rest of the call.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from aiortc.jitterbuffer import JitterFrame
from aiortc.rtp import RtpPacket

_MODULUS = 1 << 16
_LEAST, _MOST = 2, 6
_CALM = 500
"""Packets (10 s) without a need for more patience, after which there is one packet less of it."""


@dataclass(slots=True)
class ReceiveStats:
    """What arrived of one connection's sound, in packets."""

    received: int = 0
    reordered: int = 0
    """Came after a newer one, but in time."""
    late: int = 0
    """Came when nobody waited any more, or twice."""
    missing: int = 0
    """Given up."""
    patience: int = _LEAST
    """How many newer packets a missing one is waited for."""


RECEIVE_STATS: ContextVar[ReceiveStats | None] = ContextVar("receive_stats", default=None)
"""Set while a peer connection is made: aiortc creates its buffers then."""


class PacketRun(JitterFrame):
    """Packets that go to the decoder together; ``data`` and ``timestamp`` are the first one's.

    Args:
        packets: at least one, in order.
    """

    def __init__(self, packets: list[RtpPacket]) -> None:
        first = packets[0]
        super().__init__(data=_data(first), timestamp=first.timestamp)
        self.rest = [((p.timestamp - first.timestamp) % (1 << 32), _data(p)) for p in packets[1:]]
        """Of each further one: timestamp after the first one's, and data."""


def _ahead(a: int, b: int) -> int:
    """How far sequence number ``a`` lies ahead of ``b``, -32768..32767."""
    return (a - b + _MODULUS // 2) % _MODULUS - _MODULUS // 2


class AudioJitterBuffer:
    """Takes the place of ``aiortc.jitterbuffer.JitterBuffer`` for audio.

    Args:
        capacity: packets; a jump at least this large (a restarted sender) starts afresh.
        stats: where to count.
    """

    def __init__(self, capacity: int = 64, stats: ReceiveStats | None = None) -> None:
        self._capacity = capacity
        self._packets: dict[int, RtpPacket] = {}
        self._next = 0
        self._highest = 0
        self._started = False
        self._calm = 0
        self.stats = ReceiveStats() if stats is None else stats

    def add(self, packet: RtpPacket) -> tuple[bool, PacketRun | None]:
        """Take a packet.

        Returns:
            ``(False, run)``: False as no key frame is ever wanted, and the packets whose turn it
            is, if any.
        """
        number = packet.sequence_number
        self.stats.received += 1
        if not self._started or abs(_ahead(number, self._highest)) >= self._capacity:
            self._started = True
            self._packets.clear()
            self._next = self._highest = number
        overtaken = _ahead(self._highest, number)
        if _ahead(number, self._next) < 0 or number in self._packets:
            self.stats.late += 1
            self._be_patient(overtaken)
            return False, None
        if overtaken > 0:
            self.stats.reordered += 1
            self._be_patient(overtaken)
        else:
            self._highest = number
            self._grow_calm()
        self._packets[number] = packet
        return False, self._take()

    def _be_patient(self, overtaken: int) -> None:
        """A packet came ``overtaken`` places late: next time that must be in time."""
        self._calm = 0
        wanted = min(overtaken + 1, _MOST)
        self.stats.patience = max(self.stats.patience, wanted)

    def _grow_calm(self) -> None:
        self._calm += 1
        if self._calm >= _CALM:
            self._calm = 0
            self.stats.patience = max(_LEAST, self.stats.patience - 1)

    def _take(self) -> PacketRun | None:
        ready: list[RtpPacket] = []
        while self._packets:
            packet = self._packets.pop(self._next, None)
            if packet is not None:
                ready.append(packet)
            elif _ahead(self._highest, self._next) < self.stats.patience:
                break
            else:
                self.stats.missing += 1
            self._next = (self._next + 1) % _MODULUS
        return PacketRun(ready) if ready else None


def _data(packet: RtpPacket) -> bytes:
    data: bytes = packet._data  # type: ignore[attr-defined]
    return data
