"""Bad networks for tests and benchmarks: loss, delay, jitter, reordering, a narrow and short pipe.

``Link`` decides, ``Wire`` carries it out on an event loop. ``impair`` puts wires around one aiortc
peer; ``UdpRelay`` stands between a server and any other peer, a browser for one::

    peer = LoopbackPeer(http, base, voice)
    await peer.connect()
    net = impair(peer.pc, Impairment(loss=0.05, jitter_ms=50))
    ...
    net.change(CLEAN)
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiortc import RTCPeerConnection

_KNOT_SECONDS = 0.06
_KNOT_SLOPE = 1.25
_OVERTAKEN_SECONDS = 0.03
_HEADERS = 28
"""Bytes of IP and UDP in front of every datagram."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Impairment:
    """What a network does to datagrams in one direction.

    Args:
        loss: share lost at random.
        delay_ms: added to every datagram.
        jitter_ms: most that is added beyond that. It wanders as a queue does, so that by itself
            it keeps the order.
        reorder: share held back by another 30 ms, so that others overtake.
        rate_kbps: what passes, IP and UDP headers included; 0 for no limit.
        queue_ms: how long a datagram may wait for its turn; those that would wait longer are lost.
        seed: same seed, same datagrams, same fate.
    """

    loss: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    reorder: float = 0.0
    rate_kbps: float = 0.0
    queue_ms: float = 300.0
    seed: int = 0


CLEAN = Impairment()


@dataclass(slots=True)
class LinkStats:
    """Datagrams since the beginning."""

    sent: int = 0
    lost: int = 0
    """At random."""
    dropped: int = 0
    """For want of room in the queue."""


class Link:
    """The fate of datagrams, without doing anything. Deterministic.

    Args:
        impairment: see there.
    """

    def __init__(self, impairment: Impairment) -> None:
        self._is = impairment
        self._rng = random.Random(impairment.seed)
        self._free_at = 0.0
        self._origin: float | None = None
        self._knots = [self._knot(), self._knot()]
        self.stats = LinkStats()

    def arrival(self, now: float, size: int) -> float | None:
        """When a datagram of ``size`` bytes sent at ``now`` (seconds) arrives; None if never."""
        if self._origin is None:
            self._origin = now
        self.stats.sent += 1
        # Drawn in any case, so that one setting does not change what another one draws.
        lost, held_back = self._rng.random(), self._rng.random()
        if lost < self._is.loss:
            self.stats.lost += 1
            return None
        leaves = now
        if self._is.rate_kbps:
            leaves = max(now, self._free_at)
            if leaves - now > self._is.queue_ms / 1000:
                self.stats.dropped += 1
                return None
            leaves += (size + _HEADERS) * 8 / (self._is.rate_kbps * 1000)
            self._free_at = leaves
        late = _OVERTAKEN_SECONDS if held_back < self._is.reorder else 0.0
        return leaves + self._is.delay_ms / 1000 + self._jitter(now - self._origin) + late

    def _jitter(self, elapsed: float) -> float:
        """A line through random knots, too flat to turn datagrams around."""
        step = max(_KNOT_SECONDS, self._is.jitter_ms / 1000 * _KNOT_SLOPE)
        index, rest = divmod(elapsed / step, 1.0)
        while len(self._knots) < int(index) + 2:
            self._knots.append(self._knot())
        before, after = self._knots[int(index)], self._knots[int(index) + 1]
        return before + (after - before) * rest

    def _knot(self) -> float:
        return self._rng.uniform(0, self._is.jitter_ms) / 1000


class Wire:
    """Carries datagrams as a ``Link`` decides. Belongs to the running event loop."""

    def __init__(self, impairment: Impairment) -> None:
        self._loop = asyncio.get_running_loop()
        self._link = Link(impairment)

    @property
    def stats(self) -> LinkStats:
        """Of the present impairment."""
        return self._link.stats

    def change(self, impairment: Impairment) -> None:
        """From now on; what is under way arrives as decided."""
        self._link = Link(impairment)

    def carry(self, size: int, deliver: Callable[[], object]) -> None:
        """Call ``deliver`` when the datagram arrives, if it does."""
        now = self._loop.time()
        arrival = self._link.arrival(now, size)
        if arrival is not None and arrival <= now:
            deliver()
        elif arrival is not None:
            self._loop.call_at(arrival, deliver)


class ImpairedPeer:
    """The wires around one peer.

    Args:
        outgoing: what the peer sends.
        incoming: what it gets.
    """

    def __init__(self, outgoing: Wire, incoming: Wire) -> None:
        self.outgoing, self.incoming = outgoing, incoming

    def change(self, both: Impairment, incoming: Impairment | None = None) -> None:
        """Another network, both ways or two different ones."""
        self.outgoing.change(both)
        self.incoming.change(both if incoming is None else incoming)


class _Transport:
    """A datagram transport that sends over a wire."""

    def __init__(self, inner: Any, wire: Wire) -> None:
        self._inner, self._wire = inner, wire

    def sendto(self, data: bytes, address: Any = None) -> None:
        self._wire.carry(len(data), lambda: self._send(bytes(data), address))

    def _send(self, data: bytes, address: Any) -> None:
        if not self._inner.is_closing():
            self._inner.sendto(data, address)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def impair(
    pc: RTCPeerConnection, outgoing: Impairment, incoming: Impairment | None = None
) -> ImpairedPeer:
    """Put a network around one aiortc peer, once it has gathered candidates. Others stay as is.

    Args:
        pc: the peer, after ``setLocalDescription``.
        outgoing: what happens to what it sends.
        incoming: what happens to what it gets; None: the same.
    """
    peer = ImpairedPeer(Wire(outgoing), Wire(outgoing if incoming is None else incoming))
    for protocol in {p for c in _ice_connections(pc) for p in c._protocols}:
        protocol.transport = _Transport(protocol.transport, peer.outgoing)
        protocol.datagram_received = _over(peer.incoming, protocol.datagram_received)
    return peer


def _ice_connections(pc: RTCPeerConnection) -> set[Any]:
    transports = [t.sender.transport for t in pc.getTransceivers()]
    transports += [pc.sctp.transport] if pc.sctp is not None else []
    return {dtls.transport._connection for dtls in transports}


def _over(wire: Wire, receive: Callable[..., None]) -> Callable[[bytes, Any], None]:
    def datagram_received(data: bytes, address: Any) -> None:
        wire.carry(len(data), lambda: receive(data, address))

    return datagram_received


class UdpRelay:
    """A port that passes datagrams on to a server's, and its answers back.

    For peers that cannot be reached into. Give the peer the relay's port in place of the server's
    (``through``), and the server no address of the peer's (``without_candidates``), so that the
    relay is their only way.

    Args:
        target: the server's address and port.
        up: towards the server.
        down: from the server.
    """

    def __init__(self, target: tuple[str, int], up: Impairment, down: Impairment) -> None:
        self._target = target
        self.up, self.down = Wire(up), Wire(down)
        self._front: asyncio.DatagramTransport | None = None
        self._backs: dict[Any, asyncio.Task[asyncio.DatagramTransport]] = {}

    async def start(self, host: str = "127.0.0.1") -> int:
        """Open the relay's port, and say which it is."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Receiver(self._from_peer), local_addr=(host, 0)
        )
        self._front = transport
        return int(transport.get_extra_info("sockname")[1])

    async def close(self) -> None:
        """Close all ports."""
        for back in self._backs.values():
            (await back).close()
        if self._front is not None:
            self._front.close()

    def _from_peer(self, data: bytes, peer: Any) -> None:
        if peer not in self._backs:
            self._backs[peer] = asyncio.ensure_future(self._connect(peer))
        back = self._backs[peer]
        self.up.carry(
            len(data), lambda: back.add_done_callback(lambda task: task.result().sendto(data))
        )

    async def _connect(self, peer: Any) -> asyncio.DatagramTransport:
        front = self._front
        assert front is not None

        def from_server(data: bytes, _server: Any) -> None:
            self.down.carry(len(data), lambda: front.is_closing() or front.sendto(data, peer))

        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Receiver(from_server), remote_addr=self._target
        )
        return transport


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, receive: Callable[[bytes, Any], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._receive(data, address)


def candidate_address(sdp: str) -> tuple[str, int]:
    """Address and port of the first candidate in a session description."""
    fields = next(n for n in sdp.splitlines() if n.startswith("a=candidate:")).split()
    return fields[4], int(fields[5])


def through(sdp: str, port: int) -> str:
    """A server's description with one candidate per section: the relay on this machine."""
    kept: list[str] = []
    seen = False
    for text in sdp.splitlines():
        seen = seen and not text.startswith("m=")
        if not text.startswith("a=candidate:"):
            kept.append(text)
        elif not seen:
            seen = True
            fields = text.split()
            fields[4:6] = ["127.0.0.1", str(port)]
            kept.append(" ".join(fields))
    return "\r\n".join(kept) + "\r\n"


def without_candidates(sdp: str) -> str:
    """A peer's description without addresses: it is found by the packets it sends."""
    kept = [
        text
        for text in sdp.splitlines()
        if not text.startswith(("a=candidate:", "a=end-of-candidates"))
    ]
    return "\r\n".join(kept) + "\r\n"
