"""Peers that come and go: threads, descriptors and sessions stay as they are."""

from __future__ import annotations

import asyncio
import threading

import pytest

from benchmarks.peer import RATE, LoopbackPeer
from engine.config import ServerConfig
from tests.e2e.conftest import serving, until
from tests.e2e.test_badinputs import open_files
from tests.e2e.testcard import CardEngine
from tests.fakes import speechlike

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROUNDS = 12
"""``python -m benchmarks faults`` makes 200 of them."""


def cut(peer: LoopbackPeer) -> None:
    """Nothing is sent any more, and nobody is told."""
    for transport in {sender.transport.transport for sender in peer.pc.getSenders()}:
        for protocol in transport._connection._protocols:
            protocol.transport.abort()


def test_many_peers_one_after_the_other_leave_nothing_behind() -> None:
    engine = CardEngine(capacity=ROUNDS)
    config = ServerConfig(lost_peer_s=1.0, grace_s=0.3)
    voice = speechlike(1, RATE)

    async def visit(base: str, http, number: int) -> None:  # type: ignore[no-untyped-def]
        peer = LoopbackPeer(http, base, voice, keep=False)
        await peer.connect()
        await until(lambda: peer.pictures, 20)
        if number % 3 == 0:
            cut(peer)
        elif number % 3 == 1:
            await http.delete(f"{base}/sessions/{peer.id}")
        await peer.close()

    async def scenario() -> list[tuple[int, int]]:
        held = []
        async with serving(engine, config) as (base, http):
            for number in range(ROUNDS):
                await visit(base, http, number)
                await until(lambda: not engine.sessions, 20)
                held.append((threading.active_count(), open_files()))
        return held

    held = asyncio.run(scenario())
    # The first rounds start threads that stay: executors, decoders of the peers' side.
    threads, files = zip(*held[3:], strict=True)
    assert max(threads) - threads[0] <= 3
    assert max(files) - files[0] <= 4
    assert engine.sessions == []
