"""The report as one picture: gains over the baselines, shapes that follow, identity, lips."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.quality import targets
from benchmarks.quality.pictures import MEASURES
from benchmarks.report import Result, title

_COLOURS = {"affine": "tab:orange", "frozen": "tab:blue"}
_NAMES = {"affine": "bent mesh, dark mouth", "frozen": "frozen photo"}


def plot(result: Result, path: Path) -> None:
    """Draw ``result`` into a picture file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(12, 10.5), layout="constrained")
    grid = figure.add_gridspec(3, 3, height_ratios=(1, 1.5, 1))
    for column, (measure, label) in enumerate(MEASURES.items()):
        _gains(figure.add_subplot(grid[0, column]), result, measure, label)
    _shapes(figure.add_subplot(grid[1, :]), result)
    _portraits(figure.add_subplot(grid[2, :2]), result)
    _lips(figure.add_subplot(grid[2, 2]), result)
    figure.suptitle(title(result), fontsize=9)
    figure.savefig(path, dpi=110)


def _gains(axes, result: Result, measure: str, label: str) -> None:  # type: ignore[no-untyped-def]
    for offset, (method, colour) in enumerate(_COLOURS.items()):
        for place, name in enumerate((measure, f"mouth_{measure}")):
            key = f"gain_{name}_over_{method}"
            gain, low, high = (result.figures[k] for k in (key, f"{key}_low", f"{key}_high"))
            axes.bar(
                place + 0.36 * offset, gain, 0.34, color=colour,
                yerr=np.abs([[gain - low], [high - gain]]), capsize=4,
                label=f"over {_NAMES[method]}" if place == 0 else None,
            )  # fmt: skip
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks([0.18, 1.18], ["whole picture", "mouth box"])
    axes.set_title(f"gain in {label}" + (" (less of it)" if measure == "gmsd" else ""))
    axes.grid(axis="y", alpha=0.3)
    if measure == "psnr":
        axes.legend(fontsize=8)


def _shapes(axes, result: Result) -> None:  # type: ignore[no-untyped-def]
    """Correlation of every visible shape, with what is promised."""
    names = sorted(result.config["visible_shapes"], key=lambda n: -result.figures[f"follow_{n}"])
    values = [result.figures[f"follow_{name}"] for name in names]
    least = [targets.FOLLOW_STRICT if n in targets.STRICT else targets.FOLLOW for n in names]
    colours = ["tab:green" if v >= at else "tab:red" for v, at in zip(values, least, strict=True)]
    axes.bar(range(len(names)), values, color=colours)
    places = np.arange(len(names))
    axes.hlines(least, places - 0.45, places + 0.45, color="black", label="promised")
    axes.set_xticks(places, names, rotation=60, ha="right", fontsize=8)
    axes.set_ylim(min(0, *values) if values else 0, 1)
    axes.set_title("commanded blendshape against the one read back: correlation, mean of portraits")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8)


def _portraits(axes, result: Result) -> None:  # type: ignore[no-untyped-def]
    """Identity of every portrait: mean and worst frame."""
    names = [str(name) for name in result.config["portraits"]]
    means, worst = (result.samples.get(k, []) for k in ("identity", "identity_worst"))
    axes.bar(range(len(means)), means, color="tab:blue", label="mean of frames")
    axes.plot(range(len(worst)), worst, "k_", markersize=12, label="worst frame")
    for limit in (targets.IDENTITY_MEAN, targets.IDENTITY_WORST):
        axes.axhline(limit, color="tab:red", linestyle="--", linewidth=0.8)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=7)
    axes.set_title("distance to the photo (dlib; red: promised mean, worst)")
    axes.set_ylim(0, 0.65)
    axes.legend(fontsize=8)


def _lips(axes, result: Result) -> None:  # type: ignore[no-untyped-def]
    gaps = sorted(result.samples["lip_gap_px"])
    axes.bar(range(len(gaps)), gaps, color="tab:purple")
    axes.axhline(targets.LIP_GAP, color="tab:red", linestyle="--", linewidth=0.8)
    axes.set_xticks([])
    axes.set_xlabel("portraits")
    axes.set_title("widest gap of lips told to close, px")
