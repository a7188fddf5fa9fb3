"""The form every benchmark's result has: one JSON, one table, one plot."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

_PACKAGES = ("openvino", "numpy", "aiortc", "av", "opencv-python-headless")


def machine() -> dict[str, Any]:
    """CPU, cores, memory, load, versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    flags = next((line for line in lines if line.startswith("flags")), "")
    memory = Path("/proc/meminfo")
    total = memory.read_text().split()[1] if memory.exists() else "0"
    load = Path("/proc/loadavg")
    return {
        "cpu": model or platform.processor(),
        "cores": len([line for line in lines if line.startswith("processor")]),
        "features": [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags],
        "memory_gb": round(int(total) / 2**20, 1),
        "load_average": load.read_text().split()[:3] if load.exists() else [],
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def commit() -> str:
    """Short commit hash, with ``+`` when the tree has changes."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return git("rev-parse", "--short", "HEAD") + (
        "+" if git("status", "--porcelain", "-uno") else ""
    )


class Unavailable(Exception):
    """A benchmark lacks something to run; the message says what, and how to get it."""


@dataclass(frozen=True)
class Result:
    """What a benchmark found.

    Args:
        benchmark: its name.
        command: how to repeat it.
        config: the settings that matter.
        samples: series by name, in the unit their name ends with.
        figures: flat summary, name to number.
        notes: conditions worth knowing when reading the numbers.
        failures: what was promised and not kept; any makes the command fail.
        date, machine, commit: of now, unless the measurement began earlier.
    """

    benchmark: str
    command: str
    config: Mapping[str, Any]
    samples: Mapping[str, Sequence[float]]
    figures: Mapping[str, float]
    notes: Sequence[str] = ()
    failures: Sequence[str] = ()
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    machine: Mapping[str, Any] = field(default_factory=machine)
    commit: str = field(default_factory=commit)

    def to_json(self) -> str:
        """The whole result, indented."""
        return json.dumps(asdict(self), indent=1)


def percentiles(name: str, values: Sequence[float]) -> dict[str, float]:
    """``NAME_p50_ms`` and ``NAME_p95_ms`` of milliseconds."""
    if not len(values):
        return {}
    p50, p95 = np.percentile(values, [50, 95])
    return {f"{name}_p50_ms": round(float(p50), 3), f"{name}_p95_ms": round(float(p95), 3)}


def title(result: Result) -> str:
    """What was measured, where, when and of which commit."""
    where = f"{result.machine['cpu']}, {result.machine['cores']} cores"
    return f"{result.benchmark} · {where} · {result.date} · {result.commit}"


def table(result: Result) -> str:
    """Figures for people."""
    width = max(len(name) for name in result.figures)
    lines = [f"  {name:<{width}}  {value:>10.3f}" for name, value in result.figures.items()]
    broken = [f"FAILED: {failure}" for failure in result.failures]
    return "\n".join([title(result), *lines, *result.notes, *broken])


def plot(result: Result, path: Path) -> None:
    """Every series as a box over its name."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 0.6 * len(result.samples) + 1.6))
    names = list(result.samples)
    axes.boxplot(
        [result.samples[n] for n in names], orientation="horizontal", whis=(5, 95), showfliers=False
    )
    axes.set_yticks(range(1, len(names) + 1), names)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds (box: quartiles, whiskers: 5 to 95 %)")
    axes.set_title(f"{result.benchmark}, {result.machine['cpu']}, {result.date[:10]}")
    axes.grid(axis="x", alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
