"""Faults on purpose against a real server on which somebody is being served.

One session talks all the time; its slots are counted during each fault. Faults: the corpus of bad
inputs (``tests/badinputs``), a photo decoder that is killed or stopped during an upload, a bad
network of another client, and clients that come and go, politely or not.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from tqdm import tqdm

from benchmarks.calls import PLAYOUT, on_time
from benchmarks.impairment import CLEAN, Impairment, impair
from benchmarks.peer import LoopbackPeer, Voice
from benchmarks.report import Result, machine
from benchmarks.server import Server, Usage
from benchmarks.sounds import talk
from engine.avatars import default_portrait
from tests.badinputs.corpus import corpus
from tests.badinputs.images import strangers
from tests.badinputs.send import PATIENCE_SECONDS, Outcome, send_all

SETTINGS = ("server.sessions=6", "server.grace_s=1")
_CHURN = 200
_RUDE_ONE_IN = 8
"""One of so many clients leaves without a word: it costs seven seconds until that is noticed."""
_NETWORK_S = 12.0
_SETTLE_S = 6.0
_PATTERNS = {
    "loss_1": Impairment(loss=0.01),
    "loss_5": Impairment(loss=0.05),
    "loss_20": Impairment(loss=0.2),
    "jitter_50": Impairment(jitter_ms=50),
    "jitter_200": Impairment(jitter_ms=200),
    "reorder_5": Impairment(reorder=0.05),
    "narrow_300": Impairment(rate_kbps=300),
}
_QUICK = ("loss_5", "narrow_300")


@dataclass(frozen=True, slots=True)
class Fault:
    """What one kind of fault did.

    Args:
        name: its name.
        done: how many times.
        failed: how many were not answered or overcome as promised.
        recovery_s: longest time until things were as before.
        on_time: share of the other session's slots on time meanwhile, in percent.
    """

    name: str
    done: int
    failed: int
    recovery_s: float
    on_time: float


class Bench:
    """A server, a session that must not notice, and the faults.

    Args:
        server: running.
        http: client session.
        quick: shorter.
    """

    def __init__(self, server: Server, http: aiohttp.ClientSession, quick: bool) -> None:
        self._server, self._http, self._quick = server, http, quick
        self._other = self._peer()
        self.faults: list[Fault] = []
        self.outcomes: list[Outcome] = []
        self.notes: list[str] = []

    def _peer(self) -> LoopbackPeer:
        voice = Voice(talk(), loop=True)
        return LoopbackPeer(self._http, self._server.url, voice, keep=False, motion=False)

    async def run(self) -> None:
        """All faults, one after the other."""
        await self._other.connect()
        await asyncio.wait_for(self._other.seen.wait(), PATIENCE_SECONDS)
        await asyncio.sleep(_SETTLE_S)
        await self._during("nothing", self._nothing)
        await self._during("bad inputs", self._bad_inputs)
        for number in (signal.SIGKILL, signal.SIGSTOP):
            await self._during(f"decoder {number.name}", lambda n=number: self._decoder(n))
        for name in _QUICK if self._quick else _PATTERNS:
            await self._during(f"network {name}", lambda p=_PATTERNS[name]: self._network(p))
        await self._during("churn", self._churn)
        await self._other.close()

    async def visit(self) -> None:
        """Connect, look and leave: what a server's first client makes it start stays."""
        peer = self._peer()
        await peer.connect()
        await asyncio.wait_for(peer.seen.wait(), PATIENCE_SECONDS)
        await peer.close()
        await asyncio.sleep(_SETTLE_S)

    async def _during(
        self, name: str, fault: Callable[[], Awaitable[tuple[int, int, float]]]
    ) -> None:
        before = await self._slots()
        try:
            done, failed, recovery = await fault()
        except (TimeoutError, ConnectionError, aiohttp.ClientError) as error:
            # What else is to be measured is measured all the same.
            done, failed, recovery = 1, 1, PATIENCE_SECONDS
            self.notes.append(f"{name}: {type(error).__name__} {error}")
        after = await self._slots()
        share = 100 * on_time({name: after[name] - before[name] for name in PLAYOUT})
        self.faults.append(Fault(name, done, failed, round(recovery, 2), round(share, 2)))

    async def _slots(self) -> dict[str, float]:
        """The other session's counters, as its next report has them."""
        seen = len(self._other.of_type("stats"))
        end = time.monotonic() + PATIENCE_SECONDS
        while len(self._other.of_type("stats")) == seen:
            if time.monotonic() > end:
                said = " / ".join(self._server.said[-5:])
                raise TimeoutError(f"the other session does not report any more: {said}")
            await asyncio.sleep(0.05)
        return dict(self._other.of_type("stats")[-1]["playout"])

    async def _nothing(self) -> tuple[int, int, float]:
        await asyncio.sleep(_SETTLE_S if self._quick else _NETWORK_S)
        return 1, 0, 0.0

    async def _bad_inputs(self) -> tuple[int, int, float]:
        cases = [*corpus(), *strangers()]
        attacker = self._peer()
        await attacker.connect()
        await asyncio.wait_for(attacker.seen.wait(), PATIENCE_SECONDS)
        with tqdm(total=len(cases), unit="input", desc="faults") as bar:
            self.outcomes = await send_all(
                self._server.url, cases, attacker, done=lambda _: bar.update()
            )
        await attacker.close()
        failed = [outcome for outcome in self.outcomes if outcome.fault]
        self.notes += [f"{outcome.name}: {outcome.fault}" for outcome in failed]
        return len(cases), len(failed), max(outcome.seconds for outcome in self.outcomes)

    async def _decoder(self, number: signal.Signals) -> tuple[int, int, float]:
        """Photos go on being taken after the process that reads them was hit."""
        await self._upload()
        hit = self._decoders()
        for child in hit:
            os.kill(child.pid, number)
        started = time.monotonic()
        failed = 1
        for _ in range(2):  # the photo that was hit may be refused; the next must be taken
            if await self._upload() == 201:
                failed = 0 if hit else 1
                break
        return 1, failed, time.monotonic() - started

    def _decoders(self) -> list[psutil.Process]:
        found = []
        for child in psutil.Process(self._server.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if "engine.face.intake" in child.cmdline():
                    found.append(child)
        return found

    async def _upload(self) -> int:
        headers = {"Content-Type": "image/png", "X-Consent": "A test's own picture."}
        # Distinct each time: a photo that is known already is not read again.
        data = default_portrait().read_bytes() + os.urandom(8)
        url = f"{self._server.url}/avatars"
        timeout = aiohttp.ClientTimeout(60)
        async with self._http.post(url, data=data, headers=headers, timeout=timeout) as answer:
            return answer.status

    async def _network(self, pattern: Impairment) -> tuple[int, int, float]:
        """Another client on a bad network; recovery: until its pictures flow again."""
        peer = self._peer()
        await peer.connect()
        await asyncio.wait_for(peer.seen.wait(), PATIENCE_SECONDS)
        net = impair(peer.pc, pattern)
        await asyncio.sleep(_SETTLE_S if self._quick else _NETWORK_S)
        alive = peer.pc.connectionState == "connected"
        net.change(CLEAN)
        started, shown = time.monotonic(), len(peer.pictures)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(peer.pictures) < shown + 10:  # noqa: ASYNC110 - filled by the peer
                    await asyncio.sleep(0.05)
        flows = len(peer.pictures) >= shown + 10
        await peer.close()
        return 1, 0 if alive and flows else 1, time.monotonic() - started

    async def _churn(self) -> tuple[int, int, float]:
        """Connect and leave, now and then without a word; the place must be free again in time."""
        count = 12 if self._quick else _CHURN
        failed, worst = 0, 0.0
        for number in tqdm(range(count), unit="peer", desc="faults"):
            peer = self._peer()
            try:
                await peer.connect()
                await asyncio.wait_for(peer.seen.wait(), PATIENCE_SECONDS)
            except (TimeoutError, ConnectionRefusedError):
                failed += 1
            if number % (3 if self._quick else _RUDE_ONE_IN) == 0:
                for transport in {sender.transport.transport for sender in peer.pc.getSenders()}:
                    for protocol in transport._connection._protocols:
                        protocol.transport.abort()
            await peer.close()
            freed = await self._freed()
            failed += freed >= PATIENCE_SECONDS
            worst = max(worst, freed)
        return count, failed, worst

    async def _freed(self) -> float:
        """Seconds until only the other session holds a place."""
        started = time.monotonic()
        while time.monotonic() - started < PATIENCE_SECONDS:
            if (await asyncio.to_thread(self._server.scrape))["avatar_sessions"] <= 1:
                break
            await asyncio.sleep(0.1)
        return time.monotonic() - started


def run(quick: bool, command: str) -> Result:
    """All faults; about two minutes when quick, twelve else."""
    conditions = machine()
    with Server(SETTINGS) as server:
        bench, first, last = asyncio.run(_run(server, quick))
        crashes = 0 if server.alive else 1
        failures = _failures(bench, crashes)
    hangs = sum(outcome.hung for outcome in bench.outcomes)
    bad = next(fault for fault in bench.faults if fault.name == "bad inputs")
    figures = {
        "bad_inputs": float(bad.done),
        "bad_inputs_not_as_documented": float(bad.failed),
        "crashes": float(crashes),
        "hangs": float(hangs),
        "threads_grown": float(last.threads - first.threads),
        "fds_grown": float(last.fds - first.fds),
        "rss_grown_mb": round(last.rss_mb - first.rss_mb, 1),
    }
    for fault in bench.faults:
        key = fault.name.replace(" ", "_").lower()
        figures |= {
            f"{key}_failed": float(fault.failed),
            f"{key}_recovery_s": fault.recovery_s,
            f"{key}_others_on_time_percent": fault.on_time,
        }
    families = sorted({outcome.name.split("/")[0] for outcome in bench.outcomes})
    samples = {
        f"{family}_ms": [
            round(1000 * o.seconds, 1) for o in bench.outcomes if o.name.startswith(f"{family}/")
        ]
        for family in families
    }
    notes = ["samples: until a bad input was answered; on time: slots of the session that talks",
             *bench.notes]  # fmt: skip
    return Result("faults", command, {"server": SETTINGS, "quick": quick}, samples, figures,
                  notes, failures, machine=conditions)  # fmt: skip


async def _run(server: Server, quick: bool) -> tuple[Bench, Usage, Usage]:
    async with aiohttp.ClientSession() as http:
        bench = Bench(server, http, quick)
        # The photo decoder is part of a server that has seen a photo.
        await bench._upload()
        await bench.visit()
        first = server.usage()
        await bench.run()
        await asyncio.sleep(_SETTLE_S)
        return bench, first, server.usage()


def _failures(bench: Bench, crashes: int) -> list[str]:
    told = [
        f"{fault.name}: {fault.failed} of {fault.done}" for fault in bench.faults if fault.failed
    ]
    return told + (["the server ended"] if crashes else [])


def plot(result: Result, path: Path) -> None:
    """On the left how the talking session fared, on the right how long bad inputs took."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    suffix = "_others_on_time_percent"
    shares: dict[str, Any] = {
        name.removesuffix(suffix): value
        for name, value in result.figures.items()
        if name.endswith(suffix)
    }
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 5))
    left.barh(list(shares), list(shares.values()), color="#4878a8")
    left.set_xlabel("slots of the other session on time, %")
    left.invert_yaxis()
    right.boxplot(list(result.samples.values()), orientation="horizontal", whis=(5, 95))
    right.set_yticks(range(1, len(result.samples) + 1), list(result.samples))
    right.set_xscale("log")
    right.set_xlabel("milliseconds until a bad input was answered")
    figure.suptitle(f"faults, {result.machine['cpu']}, {result.date[:10]}")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
