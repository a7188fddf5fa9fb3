"""Plots of the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from engine.media import FPS
from engine.motion.arkit import INDEX, ROTATION
from training.evaluation.pool import Takes
from training.evaluation.real_clips import RealClip
from training.evaluation.sounds import WORDLESS, Clip, closure_spans
from training.evaluation.tables import performers
from training.motion.metrics import opening

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_SECONDS = 7
_DPI = 90


def correlations(report: Mapping[str, Any], target: Path) -> None:
    """Lip opening against real faces: every clip a dot, the bar its median, all performers."""
    groups = [g for g in ("unseen", "address (seen)", "GRID (seen)") if g in report]
    figure, axes = plt.subplots(
        1, len(groups), figsize=(4.6 * len(groups), 4.2), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis, group in zip(axes[0], groups, strict=True):
        names = performers(report[group])
        for place, name in enumerate(names):
            values = list(report[group][name].get("synced_r_by_clip", {}).values())
            if not values:
                continue
            axis.bar(place, float(np.median(values)), color=f"C{place}", alpha=0.45)
            axis.plot([place] * len(values), values, "k.", markersize=4)
        axis.axhline(0.6, color="grey", linewidth=0.8, linestyle="--")
        axis.set_xticks(range(len(names)), names, rotation=60, fontsize=8)
        axis.set_title(group, fontsize=10)
        axis.grid(axis="y", alpha=0.3)
    axes[0][0].set_ylabel("correlation of lip opening, in sync")
    figure.savefig(target, dpi=_DPI)
    plt.close(figure)


def traces_real(real: Sequence[RealClip], takes: Takes, names: Sequence[str], target: Path) -> None:
    """Lip opening of a few clips: the talker, and some performers."""
    order = sorted(real, key=lambda c: (c.seen, c.offset is None))
    chosen = [c for c in order if c.covered.any()][:4] or order[:1]
    figure, axes = plt.subplots(
        len(chosen), 1, figsize=(11, 2.5 * len(chosen)), squeeze=False, layout="constrained"
    )
    for axis, clip in zip(axes[:, 0], chosen, strict=True):
        count = min(clip.sound.frames, _SECONDS * FPS)
        seconds = np.arange(count) / FPS
        shift = clip.offset or 0
        axis.plot(seconds, np.roll(clip.tracked.opening, shift)[:count], "k", label="tracked face")
        for name in names:
            take = takes.get((name, clip.sound.name))
            if take is not None:
                axis.plot(seconds, opening(take.shown)[:count], linewidth=1, label=name)
        for start, end in closure_spans(clip.sound.phones or ()):
            if end < count:
                axis.axvspan(start / FPS, end / FPS, color="C3", alpha=0.15)
        title = f"{clip.sound.name}, tracked face moved by {shift} frames; red: p, b, m"
        axis.set_title(title, fontsize=9)
        axis.set_ylabel("lip gap")
    axes[0][0].legend(fontsize=7, ncols=4)
    axes[-1][0].set_xlabel("s")
    figure.savefig(target, dpi=_DPI)
    plt.close(figure)


def traces_corpus(clips: Sequence[Clip], takes: Takes, names: Sequence[str], target: Path) -> None:
    """Lips, lids and head of one synthetic and one held-out clip."""
    spoken = [c for c in clips if c.sound.group not in WORDLESS]
    held = [c for c in spoken if c.sound.group.startswith("held out")]
    chosen = [spoken[0], (held or spoken)[-1]]
    figure, axes = plt.subplots(4, 2, figsize=(14, 9), layout="constrained")
    for column, clip in enumerate(chosen):
        count = min(len(clip.truth), _SECONDS * FPS)
        seconds = np.arange(count) / FPS
        motions = {"corpus": clip.truth}
        motions |= {
            n: takes[n, clip.sound.name].shown for n in names if (n, clip.sound.name) in takes
        }
        for name, motion in motions.items():
            style = {"color": "k"} if name == "corpus" else {"linewidth": 1.0}
            part = motion[:count]
            axes[0, column].plot(seconds, opening(part), label=name, **style)
            axes[1, column].plot(seconds, part[:, INDEX["eyeBlinkLeft"]], **style)
            axes[2, column].plot(seconds, np.degrees(part[:, ROTATION.start]), **style)
            axes[3, column].plot(seconds, np.degrees(part[:, ROTATION.start + 1]), **style)
        closed = clip.closure[:count] > 0
        axes[0, column].fill_between(seconds, 0, 0.3, where=closed, alpha=0.2, color="C3")
        axes[0, column].set_title(f"{clip.sound.group}: lip gap (red: p, b, m)", fontsize=9)
        axes[0, column].legend(fontsize=7)
    for axis, label in zip(axes[:, 0], ("lip gap", "lid", "yaw, degrees", "pitch"), strict=True):
        axis.set_ylabel(label)
    figure.savefig(target, dpi=_DPI)
    plt.close(figure)


def price(report: Mapping[str, Any], target: Path) -> None:
    """What each frame of look-ahead buys (hop 2), and the shipped profiles."""
    rows = [row for name, row in report.items() if isinstance(row, Mapping) and "hop" in row]
    curve = sorted((r for r in rows if r["hop"] == 2), key=lambda r: r["lookahead"])
    what = {
        "opening_r": "corpus: r of lip opening", "real_r": "real clips: r of lip opening",
        "closure_recall": "corpus: recall of p, b, m", "frechet": "corpus: Fréchet distance",
    }  # fmt: skip
    figure, axes = plt.subplots(1, len(what), figsize=(15, 3.4), layout="constrained")
    for axis, (key, title) in zip(axes, what.items(), strict=True):
        axis.plot([r["delay_ms"] for r in curve], [r.get(key, np.nan) for r in curve], "o-")
        for row in rows:
            if row["hop"] != 2:
                axis.plot(row["delay_ms"], row.get(key, np.nan), "s", color="C1")
                place = (row["delay_ms"], row.get(key, np.nan))
                axis.annotate(f"{row['hop']}/{row['lookahead']}", place, fontsize=8)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("algorithmic delay, ms")
        axis.grid(alpha=0.3)
    figure.savefig(target, dpi=_DPI)
    plt.close(figure)


def drift(report: Mapping[str, Any], target: Path) -> None:
    """Fréchet distance and mean head turn, minute by minute."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
    for name in performers(report):
        for axis, key in zip(axes, ("frechet_by_minute", "pose_by_minute"), strict=True):
            values = report[name][key]
            axis.plot(np.arange(len(values)) + 1, values, "o-", label=name, markersize=3)
    axes[0].set_ylabel("Fréchet distance to the corpus")
    axes[1].set_ylabel("mean |yaw, pitch, roll|, rad")
    for axis in axes:
        axis.set_xlabel("minute")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.savefig(target, dpi=_DPI)
    plt.close(figure)
