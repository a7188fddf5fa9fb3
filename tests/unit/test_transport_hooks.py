"""Whose packets the server hears: this machine's alone, unless it is there for others."""

from __future__ import annotations

import asyncio

import aioice
import aioice.ice
import pytest

from engine.config import ServerConfig
from engine.transport import hooks
from engine.transport.routes import create_app
from tests.e2e.testcard import CardEngine

OWN = [b"192.0.2.7", b"127.0.0.1"]
OTHERS = [b"192.0.2.8", b"198.51.100.1"]


class Heard:
    """Stands for an ICE connection with addresses of its own; notes what reaches it."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self._protocols = []
        for host in OWN:
            protocol = aioice.ice.StunProtocol(self)  # type: ignore[arg-type]
            protocol.local_candidate = aioice.Candidate(
                "1", 1, "udp", 1, host.decode(), 5000, "host"
            )
            self._protocols.append(protocol)

    def data_received(self, data: bytes, _component: int) -> None:
        self.data.append(data)

    def receive(self, sender: bytes) -> None:
        self._protocols[0].datagram_received(sender, (sender.decode(), 6000))


@pytest.mark.parametrize(
    ("config", "others"),
    [
        (ServerConfig(), False),
        (ServerConfig(host="::1"), False),
        (ServerConfig(host="0.0.0.0"), True),  # noqa: S104
        (ServerConfig(behind_proxy=True), True),
        (ServerConfig(ice_servers=("stun:192.0.2.1",)), True),
    ],
)
def test_others_are_heard_only_by_a_server_that_is_there_for_them(
    config: ServerConfig, others: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def found(*, use_ipv4: bool, use_ipv6: bool) -> list[str]:
        asked.append((use_ipv4, use_ipv6))
        return ["192.0.2.7"]

    hooks.install()
    monkeypatch.setitem(hooks._installed, "aioice.ice.get_host_addresses", found)

    async def scenario() -> list[bytes]:
        create_app(CardEngine(), config, "token")  # type: ignore[arg-type]
        try:
            offered = aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True)
            assert offered == ["192.0.2.7", "127.0.0.1"]
            connection = Heard()
            for sender in OWN + OTHERS:
                connection.receive(sender)
            return connection.data
        finally:
            monkeypatch.undo()
            hooks.install()

    assert asyncio.run(scenario()) == OWN + (OTHERS if others else [])
    # Linux takes IPv6 packets from outside whose source is an address of its own.
    assert asked == [(True, others)]
