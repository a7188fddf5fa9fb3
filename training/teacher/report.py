"""``docs/results/teacher.*``: the tables and the picture of a calibration."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from engine.media import FPS
from training.teacher import measure
from training.teacher.measure import Figures
from training.teacher.style import Style

if TYPE_CHECKING:
    from training.teacher.calibrate import Agreement, Case

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_DRAWN = 6  # clips in the picture


def medians(agreements: list[Agreement]) -> dict[str, dict[str, float]]:
    """Median opening and width correlation of ``train`` (GRID and addresses) and ``dev``."""
    out = {}
    for name in ("train", "dev"):
        part = [a for a in agreements if (a.group == "dev") == (name == "dev")]
        if part:
            out[name] = {
                key: float(np.median([getattr(a, key) for a in part]))
                for key in ("opening", "opening_speaking", "width", "wrong_audio")
            }
    return out


def table(agreements: list[Agreement], groups: dict[str, dict[str, Figures]]) -> str:
    """Return both tables as Markdown."""
    lines = [
        "| clip | group | lip opening r (lag) | while speaking | mouth width r (lag) "
        "| wrong words |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {a.name} | {a.group} | {a.opening:.2f} ({a.opening_lag:+d}) | {a.opening_speaking:.2f} "
        f"| {a.width:.2f} ({a.width_lag:+d}) | {a.wrong_audio:.2f} |"
        for a in agreements
    ]
    lines += [
        f"| **median {name}** | | **{m['opening']:.2f}** | **{m['opening_speaking']:.2f}** "
        f"| {m['width']:.2f} | {m['wrong_audio']:.2f} |"
        for name, m in medians(agreements).items()
    ]
    names = [name for name, both in groups.items() if "real" in both]
    head = " | ".join(f"{name} real | teacher | ratio" for name in names)
    lines += ["", f"| figure | {head} |", "|---|" + "---|" * (3 * len(names))]
    for field in fields(Figures):
        cells = []
        for name in names:
            real, made = (getattr(groups[name][who], field.name) for who in ("real", "teacher"))
            cells.append(f"{real:.3g} | {made:.3g} | {made / real:.2f}")
        lines.append(f"| {field.name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write(
    folder: Path,
    found: list[Case],
    agreements: list[Agreement],
    groups: dict[str, dict[str, Figures]],
    as_json: str,
) -> None:
    """Write ``teacher.json``, ``teacher.md`` and ``teacher.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "teacher.json").write_text(as_json, "utf-8")
    heading = "# The motion teacher against tracked faces\n\n"
    note = (
        "Written by `python -m training calibrate`; what the figures mean is in "
        "[teacher.md](../teacher.md).\n\n"
    )
    (folder / "teacher.md").write_text(heading + note + table(agreements, groups), "utf-8")
    _draw(found, agreements, groups, folder / "teacher.png")


def _draw(
    found: list[Case],
    agreements: list[Agreement],
    groups: dict[str, dict[str, Figures]],
    path: Path,
) -> None:
    shown = [(c, a) for c, a in zip(found, agreements, strict=True) if c.group != "dev"][:_DRAWN]
    figure = plt.figure(figsize=(14, 2.1 * len(shown) + 3.2), layout="constrained")
    grid = figure.add_gridspec(len(shown) + 1, 1, height_ratios=[*[1.0] * len(shown), 1.6])
    for row, (case, agreement) in enumerate(shown):
        axis = figure.add_subplot(grid[row])
        opening, _ = measure.face(case.perform(Style(), 0).motion)
        times = np.arange(len(opening)) / FPS
        axis.plot(times, case.real.opening, "k", lw=1.2, label="tracked")
        axis.plot(times - agreement.opening_lag / FPS, opening, "C1", label="teacher, lag removed")
        axis.set_title(
            f"{case.name}: lip opening, inter-ocular units, r {agreement.opening:.2f}", fontsize=9
        )
        axis.set_xlim(0, times[-1])
        if row == 0:
            axis.legend(fontsize=8)
    axis = figure.add_subplot(grid[len(shown)])
    names = [field.name for field in fields(Figures)]
    both = {name: pair for name, pair in groups.items() if "real" in pair}
    for k, (name, pair) in enumerate(both.items()):
        ratio = [getattr(pair["teacher"], n) / getattr(pair["real"], n) for n in names]
        at = np.arange(len(names)) + 0.25 * (k - (len(both) - 1) / 2)
        axis.bar(at, np.clip(ratio, 0, 3), 0.25, label=name)
    axis.axhline(1, color="k", lw=0.8)
    axis.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=7)
    axis.set_title("teacher / real (cut at 3)", fontsize=9)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=80)
    plt.close(figure)
