"""What a firewall and a TURN server need to know: UDP ports of media, and credentials."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import random
from collections.abc import Callable, Mapping
from typing import Any

from aiortc import RTCIceServer

from engine.config import TURN_PASSWORD, TURN_USER, ServerConfig


def ice_servers(
    config: ServerConfig, environment: Mapping[str, str] = os.environ
) -> tuple[RTCIceServer, ...]:
    """The configured STUN and TURN servers; TURN's credentials come from the environment."""
    user, password = environment.get(TURN_USER), environment.get(TURN_PASSWORD)
    return tuple(
        RTCIceServer(urls=url, username=user, credential=password)
        if url.startswith("turn") and user and password
        else RTCIceServer(urls=url)
        for url in config.ice_servers
    )


def ice_json(servers: tuple[RTCIceServer, ...]) -> list[dict[str, str]]:
    """As a browser's ``RTCPeerConnection`` takes them (``iceServers``)."""
    listed: list[dict[str, str]] = []
    for server in servers:
        entry = {"urls": str(server.urls)}
        if server.username and server.credential:
            entry |= {"username": server.username, "credential": server.credential}
        listed.append(entry)
    return listed


def within_ports(
    factory: Callable[[], asyncio.AbstractEventLoop], ports: range
) -> Callable[[], asyncio.AbstractEventLoop]:
    """A factory of loops on which UDP sockets that ask for any port get one of these.

    aioice binds each of its sockets to port 0 and offers no setting for it; the loop is where that
    request passes.

    Args:
        factory: the class of loop to use.
        ports: empty for any port.
    """
    if not ports:
        return factory
    assert isinstance(factory, type)

    class Within(factory):  # type: ignore[misc, valid-type]
        async def create_datagram_endpoint(
            self, protocol_factory: Any, local_addr: Any = None, *args: Any, **options: Any
        ) -> Any:
            make = super().create_datagram_endpoint
            if not local_addr or local_addr[1] != 0:
                return await make(protocol_factory, local_addr, *args, **options)
            # From a random one on: a port that was just freed may still get a stranger's packets.
            start = random.randrange(len(ports))  # noqa: S311 - no secret
            for port in itertools.chain(ports[start:], ports[:start]):
                try:
                    there = (local_addr[0], port, *local_addr[2:])
                    return await make(protocol_factory, there, *args, **options)
                except OSError as error:
                    reason = error.__cause__ or error  # uvloop wraps what the system said
                    if getattr(reason, "errno", None) != errno.EADDRINUSE:
                        raise
            raise OSError(errno.EADDRINUSE, f"no UDP port of {ports[0]} to {ports[-1]} is free")

    return Within
