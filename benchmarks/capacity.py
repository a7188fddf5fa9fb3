"""How many sessions a CPU carries: the real server on some of the cores, cheap peers on the others.

A number of sessions is carried if at least 99 % of all slots leave on time with their own sound and
picture (``calls.on_time``), the peers receive 95 % of the pictures, and nothing was taken back: the
server's ladder, which draws smaller or fewer pictures when it is late, stays at 0. A number that
fails is tried once more, as a shared machine may have had a bad moment. The knee is the largest
number that is carried, with all smaller ones.

The server gets its cores by affinity (as ``taskset`` does), and sees only those when it counts
them. Peers (``benchmarks.blind``) decode nothing and send sound that was encoded before; they run
on the other cores where there are any.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from benchmarks import report
from benchmarks.gpu_sessions import ON_TIME
from benchmarks.gpu_webrtc import LIMIT, Crowd, WebPoint, judge
from benchmarks.loads import Load, curve, plot, series, summarise
from benchmarks.report import Result, machine
from benchmarks.server import Server, Unreachable

__all__ = ["plot", "run"]

SECONDS = 20.0
"""Judged of every number of sessions."""
_SETTLE_S = 6.0
"""Pre-roll, the encoder's first choice of bitrate, the delay."""
_PEERS_A_PROCESS = 8
_LEFT_S = 20.0
"""In which sessions end whose peers have left."""
VARIANTS = {
    "threads2": ("runtime.threads=2",),
    "steps1": ("motion.steps=1",),
    "steps4": ("motion.steps=4",),
    "quality": ("motion.hop=5", "motion.lookahead=3"),
    "f32": ("runtime.precision=f32",),
    "onnxruntime": ("runtime.backend=onnxruntime",),
}
"""What else the configuration offers that costs or saves time, on all cores."""


@dataclass(frozen=True, slots=True)
class Case:
    """A server to be filled.

    Args:
        name: of its figures.
        cores: how many it may use.
        settings: beside the defaults.
    """

    name: str
    cores: int
    settings: tuple[str, ...] = ()


def cases(parts: str | None, quick: bool, cores: int) -> list[Case]:
    """What is measured: the defaults on 1, 2, 4 ... cores, and the variants on all of them.

    Args:
        parts: only these, with commas between.
        quick: only the defaults on all cores.
        cores: of this machine.

    Raises:
        SystemExit: an unknown one.
    """
    numbers = sorted({2**n for n in range(cores.bit_length()) if 2**n < cores} | {cores})
    known = [Case(f"cores{number}", number) for number in numbers]
    known += [Case(name, cores, settings) for name, settings in VARIANTS.items()]
    if parts is None:
        return [known[len(numbers) - 1]] if quick else known
    by_name = {case.name: case for case in known}
    if unknown := [name for name in parts.split(",") if name not in by_name]:
        raise SystemExit(f"no case '{unknown[0]}'; there are {', '.join(by_name)}")
    return [by_name[name] for name in parts.split(",")]


def run(quick: bool, command: str, parts: str | None = None) -> Result:
    """Measure.

    Args:
        quick: one case, at most two sessions, a few seconds each.
        command: how it was called.
        parts: names of cases with commas between.

    Raises:
        Unavailable: this system cannot keep a process on some of its cores.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise report.Unavailable("capacity keeps the server on some of the cores: Linux only")
    before, cores = machine(), sorted(os.sched_getaffinity(0))
    wanted = cases(parts, quick, len(cores))
    seconds, most = (6.0, 2) if quick else (SECONDS, LIMIT)
    curves: dict[str, list[Load]] = {}
    notes, failures = [], []
    with tqdm(unit=" numbers of sessions", file=sys.stderr) as bar:
        for case in wanted:
            bar.set_description(case.name)
            own = cores[: case.cores]
            try:
                curves[case.name] = _fill(
                    case, own, cores[case.cores :] or cores, seconds, most, bar
                )
            except Unreachable as error:
                failures.append(f"{case.name} was not measured: {error}")
    if any(case.cores == len(cores) for case in wanted):
        notes.append(f"on {len(cores)} cores the peers share them with the server")
    notes.append("one run; 512x512 at 25 fps, VP8, default avatar, real speech from every peer")
    figures = {k: v for name, loads in curves.items() for k, v in summarise(name, loads).items()}
    samples = {k: v for name, loads in curves.items() for k, v in series(name, loads).items()}
    settings = {
        "seconds": seconds, "on_time": ON_TIME,
        "cases": {c.name: {"cores": c.cores, "settings": list(c.settings)} for c in wanted},
    }  # fmt: skip
    return Result("capacity", command, settings, samples, figures, notes, failures, machine=before)


@contextmanager
def on_cores(cores: Collection[int]) -> Iterator[None]:
    """Processes started inside run on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _fill(
    case: Case, own: Sequence[int], others: Sequence[int], seconds: float, most: int, bar: tqdm[Any]
) -> list[Load]:
    with tempfile.TemporaryDirectory() as folder:
        settings = (f"server.sessions={LIMIT}", f"server.data={folder}", *case.settings)
        with on_cores(own):
            server = Server(settings)

        def one(number: int) -> Load:
            bar.update()
            with on_cores(others):
                return _measure(server, number, seconds)

        with server:
            return curve(one, most)


def _measure(server: Server, sessions: int, seconds: float) -> Load:
    """Run ``sessions`` peers; a server that does not let them all in carries none of it."""
    try:
        crowd = Crowd(server.url, sessions, "benchmarks.blind", _PEERS_A_PROCESS)
    except Unreachable:
        if not server.alive:
            raise
        _wait_empty(server)
        return Load(
            WebPoint(sessions, 0, 0.0, 0.0, 0.0, 0.0, 0.0), 0.0, 0.0, server.usage().pss_mb, 0
        )
    try:
        time.sleep(_SETTLE_S)
        before, used, spent, begin = (
            server.scrape(),
            server.usage(),
            crowd.cpu_s(),
            time.monotonic(),
        )
        level = 0.0
        with ThreadPoolExecutor(1) as pool:
            counting = pool.submit(crowd.count, seconds)
            while not counting.done():
                level = max(level, server.scrape()["avatar_degrade_level"])
                time.sleep(min(1.0, seconds / 4))
        after, uses, took = server.scrape(), server.usage(), time.monotonic() - begin
        peers = (crowd.cpu_s() - spent) / took
    finally:
        crowd.close()
    _wait_empty(server)
    point = judge(sessions, took, before, after, round(counting.result() * took / seconds))
    cores = (uses.cpu_s - used.cpu_s) / took
    return Load(point, round(cores, 3), round(peers, 3), round(uses.pss_mb, 1), int(level))


def _wait_empty(server: Server) -> None:
    end = time.monotonic() + _LEFT_S
    while server.scrape()["avatar_sessions"] and time.monotonic() < end:
        time.sleep(0.2)
