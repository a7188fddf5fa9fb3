"""How many sessions a machine carries with WebRTC: the real server, and aiortc peers on loopback.

The server is ``python -m engine.serve`` in a process of its own. The peers live in others, three to
each, since Python moves one peer's packets in a quarter of a core; they speak without a pause, in
real time. What counts is the server's own: of all 40 ms slots that were due, how many left with the
sound and the picture that belong to them. And of the pictures due, how many the peers decoded.

    python -m benchmarks.gpu_webrtc URL NUMBER      peers, driven through stdin by ``Crowd``
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import aiohttp
import numpy as np

from benchmarks.calls import on_time, spent
from benchmarks.gpu_sessions import ON_TIME, knee
from benchmarks.peer import RATE, LoopbackPeer
from benchmarks.server import Server, Unreachable, usage
from engine.media import FPS, Float32

RECEIVED = 0.95
"""Share of the pictures that the peers must decode for a number of sessions to pass."""
LIMIT = 64
"""Places of the server."""
_PEERS_A_PROCESS = 3
_CONNECT_S = 20.0
_SETTLE_S = 2.0
"""Pre-roll, first pictures and the encoder's first choice of bitrate."""
_OVERHEAD_S = 6.0
"""Starting and ending peers."""


@dataclass(frozen=True, slots=True)
class WebPoint:
    """One number of sessions.

    Args:
        sessions: how many.
        slots: due while it was measured.
        on_time: share of them that left with their own sound and picture.
        received: share of the pictures due that the peers decoded.
        delay_ms: how far the slowest stream ran behind its sound.
        loop_lag_ms: recent peak of the server's event loop.
        encode_ms: mean time to encode a picture, slowest peer.
    """

    sessions: int
    slots: int
    on_time: float
    received: float
    delay_ms: float
    loop_lag_ms: float
    encode_ms: float

    @property
    def passed(self) -> bool:
        """Whether the machine carries them."""
        return self.on_time >= ON_TIME and self.received >= RECEIVED


class Crowd:
    """Peers in processes of their own.

    Args:
        url: of the server.
        number: how many.
        program: module that runs them, as this one does.
        a_process: how many to a process.

    Raises:
        Unreachable: not all of them see pictures in time.
    """

    def __init__(
        self,
        url: str,
        number: int,
        program: str = "benchmarks.gpu_webrtc",
        a_process: int = _PEERS_A_PROCESS,
    ) -> None:
        self._processes = []
        for first in range(0, number, a_process):
            count = min(a_process, number - first)
            line = [sys.executable, "-m", program, url, str(count)]
            self._processes.append(
                subprocess.Popen(
                    line, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE, text=True,
                )
            )  # fmt: skip
        try:
            for process in self._processes:
                self._answer(process)
        except BaseException:
            self.close()
            raise

    def count(self, seconds: float) -> int:
        """Pictures that all of them decode from now on for a while."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        return sum(self._answer(process) for process in self._processes)

    def cpu_s(self) -> float:
        """CPU seconds that they have spent so far."""
        return sum(usage(process.pid).cpu_s for process in self._processes)

    def close(self) -> None:
        """Let them leave."""
        for process in self._processes:
            with suppress(OSError):
                process.communicate("\n", timeout=10)
            if process.poll() is None:
                process.kill()
                process.communicate()

    def _answer(self, process: subprocess.Popen[str]) -> int:
        assert process.stdout is not None
        answer = process.stdout.readline()
        if not answer:
            said = process.communicate()[1].strip().splitlines()
            raise Unreachable(f"a peer ended: {said[-1] if said else 'without a word'}")
        return int(json.loads(answer))


def measure(server: Server, sessions: int, seconds: float) -> WebPoint:
    """Run ``sessions`` peers and judge ``seconds`` of them."""
    crowd = Crowd(server.url, sessions)
    try:
        time.sleep(_SETTLE_S)
        before = server.scrape()
        received = crowd.count(seconds)
        after = server.scrape()
    finally:
        crowd.close()
    return judge(sessions, seconds, before, after, received)


def judge(
    sessions: int,
    seconds: float,
    before: Mapping[str, float],
    after: Mapping[str, float],
    received: int,
) -> WebPoint:
    """A point from the server's metrics before and after, and what the peers decoded."""

    counted = spent(before, after)
    due = counted["slots"] + counted["missed"]
    good = on_time(counted) * due
    # A session that is gone has no slots: what it owes counts as well.
    due = max(due, 0.98 * sessions * seconds * FPS)
    return WebPoint(
        sessions, int(due), round(good / due, 4),
        round(received / (sessions * seconds * FPS), 4),
        round(after["avatar_playout_delay_seconds"] * 1000, 1),
        round(after["avatar_loop_lag_seconds"] * 1000, 1),
        round(after["avatar_encode_seconds"] * 1000, 2),
    )  # fmt: skip


def search(
    settings: Sequence[str], seconds: float, left: Callable[[], float], limit: int = LIMIT
) -> tuple[list[WebPoint], int]:
    """The largest number of sessions that passes; see ``gpu_sessions.knee``.

    Args:
        settings: of the server.
        seconds: judged of each number.
        left: time that may still be spent.
        limit: never more sessions than this.

    Raises:
        Unreachable: the server or its peers do not come up.
    """
    server = Server(
        [f"server.sessions={LIMIT}", *settings], max(10.0, left() - seconds - _OVERHEAD_S)
    )

    def point(number: int) -> WebPoint:
        found = measure(server, number, seconds)
        sys.stderr.write(f"  {number} with WebRTC: {found.on_time:.1%} on time, "
                         f"{found.received:.1%} received\n")  # fmt: skip
        return found

    try:
        return knee(point, lambda: left() > seconds + _SETTLE_S + _OVERHEAD_S, min(limit, LIMIT))
    finally:
        server.close()


@cache
def sound(seconds: float, rate: int) -> Float32:
    """A buzz that opens and closes like syllables and never falls silent."""
    t = np.arange(int(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 12))
    return (0.1 * buzz * (0.7 + 0.3 * np.sin(2 * np.pi * 4 * t))).astype(np.float32)


def speaker(http: aiohttp.ClientSession, url: str) -> LoopbackPeer:
    """A peer that never falls silent and looks at every picture."""
    return LoopbackPeer(http, url, sound(120, RATE), keep=False)


async def peers(
    url: str, number: int, make: Callable[[aiohttp.ClientSession, str], LoopbackPeer] = speaker
) -> None:
    """Connect, say so, count pictures whenever told for how long, leave on an empty line."""

    def tell(count: int) -> None:
        sys.stdout.write(f"{json.dumps(count)}\n")
        sys.stdout.flush()

    async with aiohttp.ClientSession() as session:
        crowd = [make(session, url) for _ in range(number)]
        try:
            async with asyncio.timeout(_CONNECT_S):
                await asyncio.gather(*(peer.connect() for peer in crowd))
                await asyncio.gather(*(peer.seen.wait() for peer in crowd))
            tell(number)
            while wanted := (await asyncio.to_thread(sys.stdin.readline)).strip():
                before = sum(len(peer.pictures) for peer in crowd)
                await asyncio.sleep(float(wanted))
                tell(sum(len(peer.pictures) for peer in crowd) - before)
        finally:
            await asyncio.gather(*(peer.close() for peer in crowd))


if __name__ == "__main__":
    asyncio.run(peers(sys.argv[1], int(sys.argv[2])))
