"""Curves of ``capacity``: what numbers of sessions do to a server, and where its knee is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import report
from benchmarks.gpu_sessions import ON_TIME
from benchmarks.gpu_webrtc import WebPoint
from benchmarks.report import Result

_BEYOND = 2
"""Numbers measured beyond the knee, for the shape of the curve."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one number of sessions did to the server.

    Args:
        point: slots and pictures.
        cores: CPU seconds a second, of the server.
        peer_cores: the same of the peers.
        pss_mb: memory of the server's processes in MiB.
        level: worst rung of the ladder; 0 is as configured.
    """

    point: WebPoint
    cores: float
    peer_cores: float
    pss_mb: float
    level: int

    @property
    def passed(self) -> bool:
        """Whether the server carries them as configured."""
        return self.point.passed and self.level == 0


def curve(measure: Callable[[int], Load], most: int) -> list[Load]:
    """Loads of 1, 2, 3 ... sessions, some beyond the knee.

    Args:
        measure: one number; asked again if it fails, and the better of the two counts.
        most: never more sessions than this.
    """
    loads: list[Load] = []
    for number in range(1, most + 1):
        load = measure(number)
        if not load.passed and (not loads or loads[-1].passed):
            load = max(load, measure(number), key=lambda one: (one.passed, one.point.on_time))
        loads.append(load)
        if number - knee(loads) >= _BEYOND:
            break
    return loads


def knee(loads: Sequence[Load]) -> int:
    """The largest number of sessions that is carried, with all smaller ones."""
    carried = 0
    for load in loads:
        if not load.passed:
            break
        carried = load.point.sessions
    return carried


def summarise(name: str, loads: Sequence[Load]) -> dict[str, float]:
    """Knee, CPU time of a session at the knee, and memory by a line through all numbers."""
    carried = knee(loads)
    figures = {f"{name}_sessions": float(carried)}
    if not loads:
        return figures
    at = loads[max(0, carried - 1)]
    figures |= {
        f"{name}_on_time": at.point.on_time,
        f"{name}_cores_per_session": round(at.cores / at.point.sessions, 3),
        f"{name}_peer_cores_per_session": round(at.peer_cores / at.point.sessions, 3),
        f"{name}_encode_ms": at.point.encode_ms,
    }
    if len(loads) > 1:
        slope, base = np.polyfit([p.point.sessions for p in loads], [p.pss_mb for p in loads], 1)
        figures[f"{name}_memory_mb_per_session"] = round(float(slope), 1)
        figures[f"{name}_memory_mb_base"] = round(float(base), 1)
    return figures


def series(name: str, loads: Sequence[Load]) -> dict[str, list[float]]:
    """Everything measured, by number of sessions."""
    return {
        f"{name}_tried": [float(load.point.sessions) for load in loads],
        f"{name}_share_on_time": [load.point.on_time for load in loads],
        f"{name}_share_received": [load.point.received for load in loads],
        f"{name}_used_cores": [load.cores for load in loads],
        f"{name}_peers_cores": [load.peer_cores for load in loads],
        f"{name}_pss_mb": [load.pss_mb for load in loads],
        f"{name}_level": [float(load.level) for load in loads],
        f"{name}_delay_ms": [load.point.delay_ms for load in loads],
        f"{name}_loop_lag_ms": [load.point.loop_lag_ms for load in loads],
    }


def plot(result: Result, path: Path) -> None:
    """Slots on time, CPU and memory over the number of sessions, a line for every case."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(14, 4.6))
    panels = (("share_on_time", "slots on time", ""), ("used_cores", "CPU of the server", "cores"),
              ("pss_mb", "memory of the server (PSS)", "MiB"))  # fmt: skip
    for axis, (series, title, unit) in zip(axes, panels, strict=True):
        for name in result.config["cases"]:
            if tried := result.samples.get(f"{name}_tried"):
                values = result.samples[f"{name}_{series}"]
                (line,) = axis.plot(tried, values, "o-", markersize=4, label=name)
                carried = int(result.figures[f"{name}_sessions"])
                if carried and series == "share_on_time":
                    axis.plot(
                        carried, values[carried - 1], "o", ms=10, mfc="none", c=line.get_color()
                    )
        axis.set(title=title, xlabel="sessions", ylabel=unit, ylim=(0, None))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    axes[0].set_ylim(0, 1.03)
    axes[0].axhline(ON_TIME, color="grey", linestyle=":", linewidth=1)
    axes[0].legend(fontsize=8)
    figure.suptitle(f"{report.title(result)}; ring: carried")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
