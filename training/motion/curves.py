"""Loss curves of a training log."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

_NOT_LOSSES = ("step", "seconds", "rate", "norm")


def draw(log: Path, picture: Path) -> None:
    """Plot every term of a log (JSON lines of ``Progress.write``) over the steps."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    names = sorted({name for line in lines for name in line} - set(_NOT_LOSSES))
    columns = 3
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 2.2 * rows), squeeze=False)
    for place in axes.flat[len(names) :]:
        place.axis("off")
    for name, place in zip(names, axes.flat, strict=False):
        points = [(line["step"], line[name]) for line in lines if name in line]
        place.plot(*zip(*points, strict=True), linewidth=1)
        place.set_title(name, fontsize=9)
    figure.tight_layout()
    figure.savefig(picture, dpi=90)
    plt.close(figure)
