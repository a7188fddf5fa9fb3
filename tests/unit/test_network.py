"""Ports of media and credentials of TURN."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop
from aiortc import RTCPeerConnection

from engine.config import ServerConfig, load_config
from engine.errors import ConfigError
from engine.transport.network import ice_json, ice_servers, within_ports

LOOPS = [asyncio.SelectorEventLoop, uvloop.Loop]


@pytest.fixture
def ports() -> range:
    """Four UDP ports in a row that are free right now."""
    for first in range(42_000, 60_000, 7):
        taken = []
        try:
            for port in range(first, first + 4):
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                taken.append(sock)
                sock.bind(("0.0.0.0", port))  # noqa: S104
        except OSError:
            continue
        else:
            return range(first, first + 4)
        finally:
            for sock in taken:
                sock.close()
    pytest.fail("no free ports")


@pytest.mark.parametrize("kind", LOOPS)
def test_sockets_stay_within_the_ports(
    kind: Callable[[], asyncio.AbstractEventLoop], ports: range
) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()

        async def bound(port: int = 0) -> tuple[asyncio.DatagramTransport, int]:
            made, _ = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, local_addr=("127.0.0.1", port)
            )
            return made, made.get_extra_info("sockname")[1]

        held = [await bound() for _ in ports]
        assert {port for _, port in held} == set(ports)
        with pytest.raises(OSError, match="no UDP port"):
            await bound()
        freed, port = held.pop()
        freed.close()
        await asyncio.sleep(0.05)
        again, same = await bound()
        assert same == port
        again.close()
        asked, port = await bound(ports.stop)  # who asks for a port gets that one
        assert port == ports.stop
        for made, _ in [*held, (asked, 0)]:
            made.close()

    with asyncio.Runner(loop_factory=within_ports(kind, ports)) as runner:
        runner.run(scenario())


def test_a_connections_candidates_are_within_the_ports(ports: range) -> None:
    async def gathered() -> str:
        connection = RTCPeerConnection()
        connection.createDataChannel("x")
        await connection.setLocalDescription(await connection.createOffer())
        sdp = connection.localDescription.sdp
        await connection.close()
        return str(sdp)

    with asyncio.Runner(loop_factory=within_ports(uvloop.Loop, ports)) as runner:
        sdp = runner.run(gathered())
    hosts = [line.split() for line in sdp.splitlines() if line.startswith("a=candidate")]
    assert hosts
    assert all(int(line[5]) in ports for line in hosts)


def test_without_ports_nothing_changes() -> None:
    assert within_ports(uvloop.Loop, range(0)) is uvloop.Loop


def test_the_setting() -> None:
    assert ServerConfig(udp_ports="40000-40100").udp_port_range == range(40_000, 40_101)
    assert ServerConfig().udp_port_range == range(0)
    for bad in ("40000", "x-y", "9-5", "80-90", "60000-70000", "-5", "4e3-9e3"):
        with pytest.raises(ConfigError, match="FIRST-LAST"):
            load_config(None, [f"server.udp_ports='{bad}'"])


def test_credentials_are_for_turn_only() -> None:
    urls = ("stun:stun.example", "turn:turn.example:3478?transport=udp", "turns:turn.example")
    config = ServerConfig(ice_servers=urls)
    environment = {"VIVACE_TURN_USER": "ada", "VIVACE_TURN_PASSWORD": "engine"}
    own = {"username": "ada", "credential": "engine"}
    assert ice_json(ice_servers(config, environment)) == [
        {"urls": urls[0]},
        {"urls": urls[1], **own},
        {"urls": urls[2], **own},
    ]
    assert ice_json(ice_servers(config, {})) == [{"urls": url} for url in urls]
