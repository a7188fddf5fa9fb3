"""The pictures of a corpus report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from engine.media import FPS, SAMPLE_RATE
from engine.motion.arkit import INDEX, ROTATION
from training.corpus import inventory
from training.corpus.phones import VISEMES
from training.corpus.totals import Totals
from training.teacher.emotion import EMOTIONS
from training.teacher.mouth import lip_gap

_SHOWN = ("jawOpen", "mouthFunnel", "mouthPucker", "mouthStretchLeft", "mouthPressLeft")


def sentence(folder: Path, index: dict[str, Any], target: Path) -> str:
    """Draw four seconds of a recorded clip; return its text."""
    rows = index["clips"]
    spoken = [r for r in rows if r["sentences"]] or rows
    row = next((r for r in spoken if r["voice"].startswith("recorded")), spoken[0])
    with np.load(folder / row["file"]) as clip:
        audio, motion = clip["audio"], clip["motion"].astype(np.float32)
        closure = clip["closure"]
    time = (np.arange(len(motion)) + 0.5) / FPS
    figure = Figure(figsize=(9, 5.5))
    axes = figure.subplots(3, 1, sharex=True)
    axes[0].plot(np.arange(len(audio)) / SAMPLE_RATE, audio / 32768, lw=0.3)
    for name, _, start, _ in row["phones"]:
        axes[0].text(
            start, 0.9, name, fontsize=6, clip_on=True, transform=axes[0].get_xaxis_transform()
        )
        for axis in axes:
            axis.axvline(start, lw=0.2, color="gray")
    axes[1].plot(time, np.maximum(lip_gap(motion), 0), "k.-", label="lip opening")
    axes[1].fill_between(time, 0, 0.05 * closure, step="mid", alpha=0.4, label="p, b, m")
    for name in _SHOWN:
        axes[1].plot(time, motion[:, INDEX[name]], lw=0.9, label=name)
    for name in ("browInnerUp", "eyeBlinkLeft"):
        axes[2].plot(time, 0.1 * motion[:, INDEX[name]], lw=0.9, label=f"{name} / 10")
    for offset, name in enumerate(("yaw", "pitch", "roll")):
        axes[2].plot(time, motion[:, 52 + offset], lw=0.9, label=name)
    first = row["sentences"][0][0] - 0.5 if row["sentences"] else 0.0
    axes[0].set_xlim(first, first + 4.5)
    for axis in axes[1:]:
        axis.legend(loc="upper right", fontsize=6)
    axes[2].set_xlabel("seconds")
    _save(figure, target)
    return str(row["text"][0]) if row["text"] else ""


def distributions(totals: Totals, target: Path) -> None:
    figure = Figure(figsize=(9, 2.6))
    axes = figure.subplots(1, 3)
    axes[0].hist(totals.gap[totals.speaking], 60, range=(0, 0.45), color="tab:red")
    axes[0].set_title("lip opening while speaking", fontsize=8)
    names = [v for v in VISEMES if v != "sil"]
    shown = [totals.gap[totals.viseme == VISEMES.index(n)] for n in names]
    medians = [float(np.median(gaps)) if len(gaps) else 0.0 for gaps in shown]
    axes[1].bar(names, medians, color="tab:blue")
    axes[1].tick_params(axis="x", rotation=90, labelsize=6)
    axes[1].set_title("median lip opening by viseme", fontsize=8)
    rotation = np.degrees(totals.motion[:, ROTATION])
    for column, name in enumerate(("yaw", "pitch", "roll")):
        axes[2].hist(rotation[:, column], 60, histtype="step", label=name)
    axes[2].legend(fontsize=6)
    axes[2].set_title("head rotation, degrees", fontsize=8)
    _save(figure, target)


def _save(figure: Figure, target: Path) -> None:
    FigureCanvasAgg(figure)
    figure.tight_layout()
    figure.savefig(target, dpi=80)


def contents(index: dict[str, Any], target: Path) -> None:
    """Draw languages, English phones, viseme pairs, pace and pauses of a corpus."""
    figure = Figure(figsize=(11, 5.5))
    axes = figure.subplots(2, 3)
    spoken = inventory.languages(index).most_common()
    axes[0, 0].bar([name for name, _ in spoken], [hours for _, hours in spoken], log=True)
    axes[0, 0].set_title("speech by language, hours", fontsize=8)
    english, _ = inventory.phones(index)
    names = sorted(inventory.ENGLISH, key=english.__getitem__, reverse=True)
    axes[0, 1].bar(names, [english[name] for name in names], log=True)
    axes[0, 1].set_title("English phones, number", fontsize=8)
    pairs = inventory.transitions(index)
    axes[0, 2].imshow(np.log10(pairs + 1), cmap="viridis")
    axes[0, 2].set_xticks(range(len(VISEMES)), VISEMES)
    axes[0, 2].set_yticks(range(len(VISEMES)), VISEMES)
    axes[0, 2].set_title("viseme (row) before viseme (column), log number", fontsize=8)
    rates, pauses = inventory.pace(index)
    axes[1, 0].hist(rates, 60, range=(4, 24))
    axes[1, 0].set_title("pace of sentences, phones per second", fontsize=8)
    axes[1, 1].hist(pauses, 60, range=(0, 3))
    axes[1, 1].set_title("pauses between sentences, s", fontsize=8)
    seconds: dict[str, float] = {}
    for row in index["clips"]:
        for name, strength in zip(EMOTIONS, row["emotion"], strict=True):
            seconds[name] = seconds.get(name, 0.0) + row["seconds"] / 3600 * (strength > 0)
    axes[1, 2].bar(list(seconds), list(seconds.values()))
    axes[1, 2].set_title("feelings other than neutral, hours", fontsize=8)
    for axis in axes.flat:
        axis.tick_params(labelsize=5)
    axes[0, 0].tick_params(axis="x", rotation=90)
    for axis in (axes[0, 1], axes[0, 2]):
        axis.tick_params(axis="x", rotation=90)
    _save(figure, target)
