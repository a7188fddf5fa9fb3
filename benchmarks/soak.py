"""A server left running: one session talks all the time, guests come and go, photos are uploaded.

What the server's processes hold is looked at every ten seconds for the plot, and whenever only the
permanent session is there for the figures: those must not grow.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil
import uvloop
from aiortc.exceptions import InvalidStateError
from tqdm import tqdm

from benchmarks import report
from benchmarks.analysis import growth, slope
from benchmarks.calls import joined, kept, spent
from benchmarks.guests import FAILURES, Guests, vitality
from benchmarks.peer import LoopbackPeer, Voice
from benchmarks.report import Result, machine
from benchmarks.server import Server
from benchmarks.skew import arrival_skew
from benchmarks.sounds import talk

SETTINGS = ("server.sessions=2",)
WARM_UP = 0.1
"""Share of the time in which caches, pools and heaps may fill."""
_EVERY_S = 10.0
_SETTLE_S = 2.0
_INTERRUPT_EVERY = 3
"""Guests between two interrupts of the permanent session."""
_ALIVE_S = 5.0
RSS_GROWTH = 1.0
_SERIES = ("rss_mb", "pss_mb", "threads", "fds", "processes")


class Log:
    """What was seen, and when, in seconds since the beginning."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._begin = time.monotonic()
        self.timeline: dict[str, list[float]] = {}
        self.quiet: dict[str, list[float]] = {}

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begin

    def note(self, into: dict[str, list[float]]) -> None:
        """Look at the server's processes and counters; a look that fails is left out."""
        try:
            used, counted = self._server.usage(), self._server.scrape()
        except (OSError, psutil.Error):
            return
        row = {"at_s": self.elapsed, **{name: getattr(used, name) for name in _SERIES}}
        row["sessions"] = counted["avatar_sessions"]
        row["loop_lag_ms"] = 1000 * counted["avatar_loop_lag_seconds"]
        row["delay_ms"] = 1000 * counted["avatar_playout_delay_seconds"]
        row["late"] = sum(
            counted[f"avatar_playout_{name}_total"] for name in ("held", "repeated", "late")
        )
        for name, value in row.items():
            into.setdefault(name, []).append(round(float(value), 3))


class Permanent:
    """The session that is never ended; if it is lost, another one takes its place."""

    def __init__(self, server: Server, http: aiohttp.ClientSession) -> None:
        self._server, self._http = server, http
        self.losses: list[str] = []
        """When and how each was lost."""
        self.peer: LoopbackPeer | None = None
        self.skew: tuple[list[float], list[float]] = ([], [])
        """Minutes and milliseconds, a median of every second."""

    async def run(self, log: Log) -> None:
        """Until cancelled."""
        first = True
        while True:
            voice = Voice(talk(), loop=True)
            peer = LoopbackPeer(self._http, self._server.url, voice, keep=False, tap=True)
            try:
                async with joined(peer):
                    self.peer = peer
                    first = False
                    while True:
                        await vitality(peer, _ALIVE_S)
                        await asyncio.sleep(1.0)
                        self._measure(peer, log)
            except FAILURES as error:
                self.peer = None
                if not first:
                    told = [m for m in peer.messages if m["type"] in ("error", "session_ending")]
                    self.losses.append(f"lost at {log.elapsed / 60:.1f} min: {error!r} {told[-1:]}")
                await asyncio.sleep(1.0)

    def _measure(self, peer: LoopbackPeer, log: Log) -> None:
        """Skew of what has come since; the packets are forgotten, the first ones excepted."""
        sound, picture = (peer.streams[kind].arrivals for kind in ("audio", "video"))
        _, skews = arrival_skew(sound, picture)
        if len(skews) > 4:
            # The newest slots may lack packets; the first entry is the time line's origin.
            self.skew[0].append(round(log.elapsed / 60, 4))
            self.skew[1].append(round(float(np.median(skews[1:-2])) * 1000, 2))
        del sound[1:], picture[1:], peer.pictures[:-1], peer.sounds[:-1]
        peer.departures.clear()
        del peer.messages[:-100]


def run(quick: bool, command: str, minutes: float | None = None) -> Result:
    """Measure.

    Args:
        quick: a minute instead of an hour: shows that it works, not that nothing grows.
        command: how it was called.
        minutes: how long.
    """
    minutes = minutes or (1.0 if quick else 60.0)
    before = machine()
    with (
        tempfile.TemporaryDirectory() as folder,
        Server([*SETTINGS, f"server.data={folder}"]) as server,
    ):
        log, guests, losses, skew, share, cut = uvloop.run(_soak(server, minutes))
        alive = server.alive
        said = [line for line in server.said if line.startswith(("ERROR", "Traceback"))]
    return _result(command, minutes, before, log, guests, losses, skew, share, cut, alive, said)


async def _soak(server: Server, minutes: float) -> Any:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    log = Log(server)
    async with aiohttp.ClientSession() as http:
        permanent, guests = Permanent(server, http), Guests(server, http, seed=3)
        tasks = [asyncio.ensure_future(permanent.run(log))]
        try:
            await asyncio.wait_for(_present(permanent), 60)
            counted = server.scrape()
            tasks.append(asyncio.ensure_future(_watch(log)))
            visits = asyncio.ensure_future(_visits(log, guests, permanent, minutes * 60))
            tasks += [visits, asyncio.ensure_future(stop.wait())]
            await asyncio.wait(tasks[2:], return_when=asyncio.FIRST_COMPLETED)
            if visits.done() and (error := visits.exception()):
                guests.errors[f"the benchmark itself failed: {error!r}"] += 1
            try:
                share = kept(spent(counted, server.scrape()))
            except OSError:
                share = 0.0
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return log, guests, permanent.losses, permanent.skew, share, stop.is_set()


async def _present(permanent: Permanent) -> None:
    while permanent.peer is None:  # noqa: ASYNC110 - it says so by nothing else
        await asyncio.sleep(0.1)


async def _watch(log: Log) -> None:
    while True:
        await asyncio.to_thread(log.note, log.timeline)
        await asyncio.sleep(_EVERY_S)


async def _visits(log: Log, guests: Guests, permanent: Permanent, seconds: float) -> None:
    """Guests until time is up or the server is gone."""
    with tqdm(total=round(seconds), unit="s", desc="soak", file=sys.stderr) as bar:
        index = 0
        while log.elapsed < seconds and guests.server.alive:
            await guests.one(index)
            index += 1
            if index % _INTERRUPT_EVERY == 0 and permanent.peer is not None:
                with suppress(InvalidStateError):  # it is being lost, which is counted elsewhere
                    permanent.peer.tell(type="interrupt")
                    guests.did["interrupt"] += 1
            await asyncio.sleep(_SETTLE_S)
            await asyncio.to_thread(log.note, log.quiet)
            bar.update(min(seconds, log.elapsed) - bar.n)


def _result(
    command: str, minutes: float, before: Mapping[str, Any], log: Log, guests: Guests,
    losses: list[str], skew: tuple[list[float], list[float]], share: float, cut: bool,
    alive: bool, said: list[str],
) -> Result:  # fmt: skip
    quiet = log.quiet
    at = quiet.get("at_s", [])
    figures: dict[str, float] = {
        "minutes": round(log.elapsed / 60, 1),
        "rss_growth": round(growth(at, quiet.get("rss_mb", []), WARM_UP), 3),
        "pss_growth": round(growth(at, quiet.get("pss_mb", []), WARM_UP), 3),
        "threads_growth": round(_more(at, quiet.get("threads", [])), 2),
        "fds_growth": round(_more(at, quiet.get("fds", [])), 2),
        "rss_mb": float(np.median(quiet.get("rss_mb", [0.0]))),
        "sessions_lost": len(losses) + guests.lost,
        "requests_failed": sum(guests.errors.values()),
        "skew_slope_ms_per_min": round(slope(*skew)[0], 4),
        "slots_kept": round(share, 5),
        **{f"visits_{name}": guests.did[name] for name in sorted(guests.did)},
    }
    if skew[1]:
        figures["skew_p95_ms"] = round(float(np.percentile(np.abs(skew[1]), 95)), 2)
    failures = [] if alive else ["the server ended"]
    failures += ["it was stopped early"] if cut else []
    if gone := len(losses) + guests.lost:
        failures.append(f"{gone} session(s) were lost")
    failures += [what for what in guests.errors if what.startswith("the benchmark itself")]
    failures += ["no visit succeeded"] if not guests.did else []
    failures += ["memory grows"] if figures["rss_growth"] >= RSS_GROWTH else []
    failures += [f"{name} grow" for name in ("threads", "fds") if figures[f"{name}_growth"] >= 1]
    samples = {f"all_{name}": values for name, values in log.timeline.items()}
    samples |= {f"quiet_{name}": values for name, values in quiet.items()}
    samples |= {"skew_at_min": skew[0], "skew_ms": skew[1]}
    notes = [
        "one run; growth counts looks at which only the permanent session was there, from a tenth "
        "of the time on: Theil-Sen slope times that time, memory in % of the median",
        *(f"{count} x {what}" for what, count in guests.errors.items()),
        *losses,
        *said[:10],
    ]
    config = {"settings": list(SETTINGS), "minutes": minutes, "warm_up": WARM_UP}
    return Result("soak", command, config, samples, figures, notes, failures, machine=before)


def _more(at: list[float], counts: list[float]) -> float:
    """By how many a count grows after the warm-up, by its robust slope."""
    t, v = np.array(at), np.array(counts)
    if len(t) < 3:
        return 0.0
    kept = t >= t[0] + WARM_UP * (t[-1] - t[0])
    return slope(t[kept].tolist(), v[kept].tolist())[0] * float(np.ptp(t[kept]))


def plot(result: Result, path: Path) -> None:
    """Memory, threads and descriptors, skew, sessions and lateness over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(12, 8), sharex=True)
    samples = result.samples
    minutes = np.array(samples.get("all_at_s", [])) / 60
    quiet = np.array(samples.get("quiet_at_s", [])) / 60
    panels = (
        (axes[0, 0], ("rss_mb", "pss_mb"), "memory of all its processes", "MiB"),
        (axes[0, 1], ("threads", "fds"), "threads and descriptors", "number"),
        (axes[1, 1], ("loop_lag_ms", "delay_ms"), "event loop lag, playout delay", "ms"),
    )
    for axis, names, title, unit in panels:
        for name in names:
            if len(minutes):
                axis.plot(minutes, samples[f"all_{name}"], linewidth=0.6, alpha=0.6, label=name)
            if len(quiet):
                axis.plot(quiet, samples[f"quiet_{name}"], ".", label=f"{name}, no guest")
        axis.set(title=title, ylabel=unit)
    axes[1, 0].plot(
        samples["skew_at_min"], samples["skew_ms"], linewidth=0.6, label="median of 1 s"
    )
    axes[1, 0].set(title="picture after sound, permanent session", ylabel="ms")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
        axis.set_xlabel("minutes")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8)
    figure.suptitle(report.title(result))
    figure.tight_layout()
    figure.savefig(path, dpi=100)
