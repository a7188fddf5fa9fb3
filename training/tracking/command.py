"""``python -m training track VIDEO... [--plot out.png] [--csv FOLDER]``: look at tracked motion."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import matplotlib
import numpy as np
from tqdm import tqdm

from engine.errors import MediaError
from engine.media import FPS
from engine.motion.arkit import BLENDSHAPES, ROTATION
from training.tracking.track import Tracked, track

matplotlib.use("Agg")
from matplotlib import pyplot as plt

CACHE = Path(".cache/tracking")
_POSE = ("yaw", "pitch", "roll", "x", "y", "z")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training track", description=__doc__)
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO")
    parser.add_argument("--plot", type=Path, help="picture of the curves, one row per clip")
    parser.add_argument("--csv", type=Path, metavar="FOLDER", help="one table per clip")
    parser.add_argument("--cache", type=Path, default=CACHE, help="keeps results (%(default)s)")
    return parser


def write_csv(found: Tracked, path: Path) -> None:
    """Write one row per frame: time, the 58 numbers, and the measures of the landmarks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = ["seconds", *BLENDSHAPES, *_POSE, "opening", "width", "blink", "seen", "error"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for i, values in enumerate(found.motion):
            extra = (found.opening[i], found.width[i], found.blink[i])
            numbers = [f"{v:.5f}" for v in (*values, *extra)]
            row = [f"{i / FPS:.2f}", *numbers, int(found.seen[i]), f"{found.error[i]:.5f}"]
            writer.writerow(row)


def draw(found: dict[str, Tracked], path: Path) -> None:
    """Draw opening, width and blink, and head rotation, one row per clip."""
    figure, axes = plt.subplots(
        len(found), 2, figsize=(15, 2.2 * len(found)), squeeze=False, layout="constrained"
    )
    for (left, right), (name, clip) in zip(axes, found.items(), strict=True):
        times = np.arange(len(clip.opening)) / FPS
        left.plot(times, clip.opening, label="lip opening")
        left.plot(times, clip.width - np.median(clip.width), label="width − median")
        left.plot(times, 0.3 * clip.blink, lw=0.8, label="0.3 × blink")
        left.set_title(name, fontsize=8)
        for name_of, angle in zip(_POSE, clip.motion[:, ROTATION].T, strict=False):
            right.plot(times, np.degrees(angle), label=f"{name_of}, degrees")
        for axis in (left, right):
            axis.fill_between(
                times, *axis.get_ylim(), where=~clip.seen, color="0.8", label="no face"
            )
    for axis in axes[0]:
        axis.legend(fontsize=7, ncols=4)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main(argv: list[str]) -> int:
    """Run the command; return the exit status."""
    args = _parser().parse_args(argv)
    found: dict[str, Tracked] = {}
    for path in tqdm(args.videos, "clips"):
        try:
            clip = track(path, args.cache)
        except MediaError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        found[path.stem] = clip
        if args.csv:
            write_csv(clip, args.csv / f"{path.stem}.csv")
    if args.plot:
        draw(found, args.plot)
    for name, clip in found.items():
        low, high = np.percentile(clip.opening, [5, 95])
        sys.stdout.write(
            f"{name}: {len(clip.opening)} frames, face in {clip.seen.mean():.0%}, lip opening "
            f"{low:.3f} to {high:.3f}, lips' error {clip.error.mean():.4f} "
            f"(blendshape network {clip.network_error.mean():.4f}) inter-ocular units\n"
        )
    return 0
