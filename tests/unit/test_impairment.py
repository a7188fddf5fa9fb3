"""The bad networks that other tests rely on do what they say."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection

from benchmarks.impairment import (
    CLEAN,
    Impairment,
    Link,
    UdpRelay,
    candidate_address,
    impair,
    through,
    without_candidates,
)


def arrivals(impairment: Impairment, count: int = 2000, every: float = 0.01) -> list[float | None]:
    link = Link(impairment)
    return [link.arrival(50 + n * every, 1000) for n in range(count)]


def test_a_clean_network_does_nothing() -> None:
    assert arrivals(CLEAN, 10) == pytest.approx([50 + n * 0.01 for n in range(10)])


def test_the_same_seed_gives_the_same_fate() -> None:
    bad = Impairment(loss=0.1, jitter_ms=50, reorder=0.1, seed=4)
    assert arrivals(bad) == arrivals(bad)
    assert arrivals(bad) != arrivals(Impairment(loss=0.1, jitter_ms=50, reorder=0.1, seed=5))


@pytest.mark.parametrize("loss", [0.01, 0.05, 0.2])
def test_loss_is_the_share_asked_for(loss: float) -> None:
    lost = sum(a is None for a in arrivals(Impairment(loss=loss), 20_000))
    assert lost / 20_000 == pytest.approx(loss, rel=0.15)


@pytest.mark.parametrize("jitter", [50, 200])
def test_jitter_fills_its_range_and_keeps_the_order(jitter: float) -> None:
    times = np.array(arrivals(Impairment(delay_ms=20, jitter_ms=jitter)), float)
    extra = (times - 50 - np.arange(2000) * 0.01) * 1000 - 20
    assert extra.min() >= -1e-6 and extra.max() <= jitter + 1e-6
    assert np.ptp(extra) > 0.8 * jitter
    assert np.all(np.diff(times) > 0)


def test_reordering_turns_some_around() -> None:
    times = np.array(arrivals(Impairment(reorder=0.1)), float)
    assert 0.05 < np.mean(np.diff(times) < 0) < 0.15


def test_a_narrow_pipe_passes_its_rate_and_drops_the_rest() -> None:
    """1000 bytes every 10 ms are 822 kbit/s with headers; 300 go through."""
    link = Link(Impairment(rate_kbps=300, queue_ms=200))
    times = [link.arrival(n * 0.01, 1000) for n in range(2000)]
    came = [t for t in times if t is not None]
    assert len(came) * 1028 * 8 / came[-1] == pytest.approx(300_000, rel=0.02)
    assert all(t - n * 0.01 < 0.24 for n, t in enumerate(times) if t is not None)
    assert link.stats.dropped + len(came) == link.stats.sent == 2000


def test_a_relay_passes_both_ways_and_loses_when_told() -> None:
    async def scenario() -> list[bytes]:
        loop = asyncio.get_running_loop()
        got: list[bytes] = []

        class Echo(asyncio.DatagramProtocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, address: object) -> None:
                self.transport.sendto(data.upper(), address)  # type: ignore[attr-defined]

        class Client(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, _address: object) -> None:
                got.append(data)

        server, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        relay = UdpRelay(server.get_extra_info("sockname"), CLEAN, CLEAN)
        port = await relay.start()
        client, _ = await loop.create_datagram_endpoint(Client, remote_addr=("127.0.0.1", port))
        client.sendto(b"one")
        await asyncio.sleep(0.2)
        relay.down.change(Impairment(loss=1))
        client.sendto(b"two")
        await asyncio.sleep(0.2)
        relay.down.change(CLEAN)
        client.sendto(b"three")
        await asyncio.sleep(0.2)
        client.close()
        await relay.close()
        server.close()
        return got

    assert asyncio.run(scenario()) == [b"ONE", b"THREE"]


def test_descriptions_lead_through_the_relay_alone() -> None:
    async def make() -> str:
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        pc.createDataChannel("control")
        pc.addTransceiver("audio")
        await pc.setLocalDescription(await pc.createOffer())
        impair(pc, CLEAN)  # takes hold of real sockets
        sdp: str = pc.localDescription.sdp
        await pc.close()
        return sdp

    sdp = asyncio.run(make())
    assert candidate_address(sdp)[1] > 0
    led = through(sdp, 4321)
    assert {n.split()[4] + ":" + n.split()[5] for n in led.splitlines() if "a=candidate" in n} == {
        "127.0.0.1:4321"
    }
    assert "a=candidate" not in without_candidates(sdp)
