"""A real server and an aiortc peer in another process on this machine: latency, skew, barge-in.

The peer is this process. ``docs/latency.md`` defines every figure: where its clock starts and
stops.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from tqdm import tqdm

from benchmarks import bargein, clicks, connect, lossy, report, talk
from benchmarks.calls import Part, until
from benchmarks.mouth import MouthView
from benchmarks.report import Result, machine
from benchmarks.server import Server

PARTS = ("talk", "clicks", "bargein", "connect", "overload", "loss", "narrow")
_NETWORKS = {"loss": "5 % loss, 50 ms jitter", "narrow": "300 kbit/s, then lifted"}
_FREE_S = 20.0
SETTINGS = ("server.sessions=1",)
"""One session is what the promises are about; it also makes the next one too many."""


def run(
    quick: bool,
    command: str,
    minutes: float | None = None,
    interrupts: int | None = None,
    parts: str | None = None,
) -> Result:
    """Measure.

    Args:
        quick: a few of each, and no bad networks; ends within about a minute, and proves little.
        command: how it was called.
        minutes: of talk; 10, or 0.15 when quick.
        interrupts: how many, and as many syllables; 60, or 4 when quick.
        parts: names of ``PARTS`` with commas between; all of them.

    Raises:
        SystemExit: an unknown part.
    """
    wanted = tuple(parts.split(",")) if parts else PARTS[:-2] if quick else PARTS
    if unknown := sorted(set(wanted) - set(PARTS)):
        raise SystemExit(f"no part '{unknown[0]}'; there are {', '.join(PARTS)}")
    minutes = minutes or (0.15 if quick else 10.0)
    count = interrupts or (4 if quick else 60)
    seconds = 10.0 if quick else 60.0
    before = machine()
    view = MouthView()
    with tempfile.TemporaryDirectory() as folder, _bar() as bar:
        settings = [*SETTINGS, f"server.data={folder}"]
        with Server(settings) as server:
            work: dict[str, Callable[[], Awaitable[Part]]] = {
                "talk": lambda: talk.run(server, view, minutes, bar),
                "clicks": lambda: clicks.run(server, view, count, bar),
                "bargein": lambda: bargein.run(server, view, count, bar),
                "connect": lambda: connect.first_frames(server, 1 if quick else 10, bar),
                "overload": lambda: connect.overload(server, 3.0 if quick else 30.0, bar),
                "loss": lambda: lossy.loss(server, seconds, bar),
                "narrow": lambda: lossy.narrow(server, 1.5 * seconds, bar),
            }
            chosen = {name: work[name] for name in wanted}
            found = uvloop.run(_all(chosen, bar, lambda: _free(server)))
            started, said = server.start_s, _problems(server.said)
    total = Part(figures={"start_s": round(started, 2)})
    for part in found:
        total.figures |= part.figures
        total.samples |= part.samples
        total.notes += part.notes
        total.failures += part.failures
    conditions = (
        "one run; server and peer are two processes on this machine and share its cores; "
        "profile talk (the defaults); VP8; default avatar; docs/latency.md defines the figures"
    )
    config = {"settings": list(SETTINGS), "parts": list(wanted), "minutes": minutes,
              "interrupts": count, "quick": quick}  # fmt: skip
    return Result(
        "loopback", command, config, total.samples, total.figures,
        [conditions, *total.notes, *said], total.failures, machine=before,
    )  # fmt: skip


async def _all(
    work: dict[str, Callable[[], Awaitable[Part]]], bar: tqdm[Any], free: Callable[[], bool]
) -> list[Part]:
    """One after the other; a part that cannot be measured fails, and the others go on.

    Args:
        work: parts by name.
        bar: shows which one it is.
        free: whether the last part's sessions are gone.
    """
    found = []
    for name, measure in work.items():
        bar.set_description(name)
        try:
            found.append(await measure())
        except (TimeoutError, OSError, KeyError, aiohttp.ClientError) as error:
            why = f"{name} was not measured: {error or type(error).__name__}"
            found.append(Part(failures=[why]))
        with suppress(TimeoutError):
            await until(free, _FREE_S, "a free place")
    return found


def _free(server: Server) -> bool:
    with suppress(OSError):
        return server.scrape()["avatar_sessions"] == 0
    return False


def _bar() -> tqdm[Any]:
    return tqdm(unit="s", file=sys.stderr, bar_format="{desc}: {n:.0f} s of media, {elapsed}")


def _problems(said: list[str]) -> list[str]:
    """Warnings and errors in the server's log: a result with them is to be read with care."""
    lines = [line for line in said if line.startswith(("WARNING", "ERROR", "Traceback"))]
    return [f"server: {line}" for line in lines[:10]]


def plot(result: Result, path: Path) -> None:
    """Latencies as histograms, slots, age and skew over time, and the bad networks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 2, figsize=(12, 11))
    samples = result.samples
    _histogram(
        axes[0, 0], "syllable at the microphone to ...", samples,
        {"click_to_mouth_pixels_ms": "mouth seen to move", "click_to_mouth_motion_ms":
         "commanded, and come", "click_to_sound_ms": "sound received"},
    )  # fmt: skip
    _histogram(
        axes[0, 1], "interrupt to ...", samples,
        {"barge_in_audio_ms": "last audible sample", "barge_in_mouth_ms": "mouth seen shut",
         "barge_in_mouth_motion_ms": "commanded, and come"},
    )  # fmt: skip
    _line(axes[1, 0], samples, "age_at_s", "age_by_second_ms", "sound to its frame at the encoder")
    _line(axes[1, 0], samples, None, "server_delay_ms", "playout delay, as the server says")
    axes[1, 0].set(title="age of a slot's oldest sound", ylabel="ms", xlabel="s", ylim=(0, None))
    _line(axes[1, 1], samples, "skew_at_s", "skew_by_second_ms", "arrival: picture after sound")
    _line(axes[1, 1], samples, "content_skew_at_s", "content_skew_ms", "content: mouth after sound",
          "o")  # fmt: skip
    axes[1, 1].axhline(0, color="grey", linewidth=0.5)
    axes[1, 1].set(title="skew at the receiver", ylabel="ms", xlabel="s")
    for row, name in enumerate(_NETWORKS):
        axis = axes[2, row]
        _line(axis, samples, None, f"{name}_bitrate_kbps", "video, kbit/s")
        axis.set(title=_NETWORKS[name], ylabel="kbit/s", xlabel="s", ylim=(0, None))
        other = axis.twinx()
        _line(other, samples, None, f"{name}_frames_per_s", "frames a second", "--", "tab:orange")
        other.set(ylabel="frames/s", ylim=(0, 32))
        for edge in ("narrow_limited_from_s", "narrow_limited_to_s"):
            if name == "narrow" and edge in result.figures:
                axis.axvline(result.figures[edge], color="grey", linestyle=":")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8, loc="best")
    figure.suptitle(report.title(result))
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def _histogram(axis: Any, title: str, samples: Any, series: dict[str, str]) -> None:
    known = {name: label for name, label in series.items() if samples.get(name)}
    values = [samples[name] for name in known]
    if values:
        axis.hist(values, bins=24, label=list(known.values()))
    axis.set(title=title, xlabel="ms", ylabel="times")


def _line(
    axis: Any, samples: Any, at: str | None, name: str, label: str, style: str = "-",
    colour: str | None = None,
) -> None:  # fmt: skip
    values = samples.get(name) or []
    if values:
        times = samples[at] if at else range(len(values))
        axis.plot(times, values, style, label=label, linewidth=1, markersize=3, color=colour)
