"""What ``benchmarks.gpu`` found: as JSON, as tables, as a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu_engines import EngineLine
from benchmarks.gpu_networks import RENDER, Floor, Timing
from benchmarks.gpu_sessions import Point
from benchmarks.gpu_webrtc import WebPoint


@dataclass
class Report:
    """Everything that was found."""

    command: str
    date: str
    commit: str
    device: str
    machine: dict[str, Any]
    timings: list[Timing] = field(default_factory=list)
    engines: list[EngineLine] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    """What opening an engine on this machine says, by engine."""
    points: dict[str, list[Point]] = field(default_factory=dict)
    """Sessions, by what ran them."""
    capacity: dict[str, int] = field(default_factory=dict)
    web_points: list[WebPoint] = field(default_factory=list)
    web_capacity: int = 0
    web_settings: list[str] = field(default_factory=list)
    """Of the server."""
    stack_ms: dict[str, float] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    floors: list[Floor] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0


def to_json(report: Report) -> str:
    """The whole report, indented."""
    return json.dumps(asdict(report), indent=1) + "\n"


def to_markdown(report: Report) -> str:
    """Tables for people."""
    lines = [
        f"# GPU benchmark: {report.device}", "",
        f"`{report.command}` · {report.date} · commit {report.commit} · {report.seconds:.0f} s · "
        f"{report.machine['cpu']}, {report.machine['cores']} cores, "
        f"load {' '.join(report.machine['load_average'])}", "",
    ]  # fmt: skip
    lines += _engines(report)
    lines += [
        "## Networks", "",
        "A call from main memory to main memory; error relative to FP32 torch, the worst output.",
        "",
    ]  # fmt: skip
    rows = [
        (t.case.network, f"{t.case.backend} {t.case.precision}", t.case.batch, f"{t.median_ms:.2f}",
         f"{t.p95_ms:.2f}", f"{t.row_ms:.2f}", f"{max(t.errors.values()):.1e}")
        for t in sorted(report.timings, key=lambda t: (t.case.network, t.case.batch, t.row_ms))
    ]  # fmt: skip
    lines += _table(
        ("network", "backend", "rows", "median ms", "p95 ms", "ms a row", "error"), rows
    )
    lines += ["", "## Sessions at 25 fps, 512×512, real-time pacing", ""]
    for name, points in report.points.items():
        lines += [f"**{name}: {report.capacity[name]} session(s)** with at least 99 % on time", ""]
        lines += _table(
            ("sessions", "on time", "median ms", "p99 ms", "device busy", "pictures a call"),
            [
                (p.sessions, f"{p.on_time:.1%}", p.median_ms, p.p99_ms, f"{p.busy:.0%}",
                 p.mean_batch)
                for p in sorted(points, key=lambda p: p.sessions)
            ],
        )  # fmt: skip
        lines.append("")
    lines += _webrtc(report)
    lines += ["## One frame of one session", ""]
    lines += _table(("step", "ms"), [(k, f"{v:.3f}") for k, v in report.stack_ms.items()])
    lines += ["", "## Memory", ""]
    lines += _table(("what", "MB"), list(report.memory_mb.items()))
    lines += ["", "## Floors", "", ", ".join(f"{k} {v:g}" for k, v in report.peaks.items()), ""]
    lines += _table(
        ("network", "rows", "GFLOP", "MB", "floor of operations ms", "floor of bytes ms",
         "best ms", "times the floor", "by"),
        [
            (f.network, f.batch, f.gflop, f.mbytes, f.flop_ms, f.byte_ms, f"{f.measured_ms:.2f}",
             f"{f.measured_ms / max(f.flop_ms, f.byte_ms):.1f}", f.best)
            for f in report.floors
        ],
    )  # fmt: skip
    if report.skipped:
        lines += ["", "## Not measured", "", *(f"- {line}" for line in report.skipped)]
    return "\n".join(lines) + "\n"


def _engines(report: Report) -> list[str]:
    if not report.engines:
        return []
    rows = [
        (e.flavour, e.network, e.batch, e.precision, e.capability, e.megabytes,
         f"{e.build_s:.1f}" if e.build_s else "was there", e.process_s or "")
        for e in report.engines
    ]  # fmt: skip
    lines = ["## Engines built", ""]
    lines += _table(
        ("TensorRT", "network", "rows", "precision", "for", "MB", "build s", "process s"), rows
    )
    return [*lines, "", *(f"- {what}: {said}" for what, said in report.answers.items()), ""]


def _webrtc(report: Report) -> list[str]:
    if not report.web_points:
        return []
    lines = ["## The same with WebRTC", ""]
    lines += [f"**{report.web_capacity} session(s)** with at least 99 % of all slots on time. Real "
              "server, aiortc peers on loopback that share this machine's cores; "
              f"`{' '.join(report.web_settings)}`.", ""]  # fmt: skip
    lines += _table(
        ("sessions", "slots on time", "pictures received", "delay ms", "event loop late ms",
         "encoding ms"),
        [
            (p.sessions, f"{p.on_time:.1%}", f"{p.received:.1%}", p.delay_ms, p.loop_lag_ms,
             p.encode_ms)
            for p in sorted(report.web_points, key=lambda p: p.sessions)
        ],
    )  # fmt: skip
    return [*lines, ""]


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]


def plot(report: Report, path: Path) -> None:
    """Milliseconds a row over the batch size, and frames on time over the number of sessions."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(15, 4.5))
    for axes, network in ((left, "cmdt_k2"), (middle, RENDER)):
        series: dict[str, list[tuple[int, float]]] = {}
        for t in report.timings:
            if t.case.network == network:
                name = f"{t.case.backend} {t.case.precision}"
                series.setdefault(name, []).append((t.case.batch, t.row_ms))
        for name, places in series.items():
            axes.plot(*zip(*sorted(places), strict=True), marker="o", label=name)
        floor = [(f.batch, max(f.flop_ms, f.byte_ms) / f.batch) for f in report.floors
                 if f.network == network]  # fmt: skip
        if floor:
            axes.plot(*zip(*floor, strict=True), "k--", label="floor")
        axes.set(title=network, xlabel="rows of a call", ylabel="ms a row", xscale="log",
                 yscale="log")  # fmt: skip
        axes.legend(fontsize=7)
    for name, points in report.points.items():
        ordered = sorted(points, key=lambda p: p.sessions)
        right.plot([p.sessions for p in ordered], [100 * p.on_time for p in ordered],
                   marker="o", label=name)  # fmt: skip
    right.axhline(99, color="gray", linestyle=":")
    right.set(title="sessions, 25 fps, 512²", xlabel="sessions", ylabel="frames on time, %")
    if report.points:
        right.legend(fontsize=7)
    figure.suptitle(f"{report.device}, {report.date[:10]}")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
