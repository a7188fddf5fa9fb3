"""The picture that goes with ``docs/motion_eval.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from engine.media import FPS
from engine.motion.arkit import INDEX
from training.motion.metrics import opening

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_SECONDS = 8


def draw(clips: list[Any], checkpoints: Path, target: Path) -> None:
    """Lip opening of two clips, head and lids of one, and the training curves.

    Args:
        clips: ``evaluate.Clip`` items.
        checkpoints: folder with the ``.jsonl`` logs.
        target: picture file.
    """
    spoken = [c for c in clips if c.voice != "sound"]
    figure, axes = plt.subplots(5, 1, figsize=(10, 13), layout="constrained")
    for axis, clip in zip(axes[:2], (spoken[0], spoken[-1]), strict=True):
        _opening(axis, clip)
    seconds = np.arange(min(len(spoken[0].made), _SECONDS * FPS)) / FPS
    for name, values in (("corpus", spoken[0].truth), ("network", spoken[0].made)):
        part = values[: len(seconds)]
        axes[2].plot(seconds, part[:, INDEX["eyeBlinkLeft"]], label=f"lid, {name}")
        axes[3].plot(seconds, part[:, 52], label=f"yaw, {name}")
        axes[3].plot(seconds, part[:, 53], "--", label=f"pitch, {name}")
    axes[2].legend(fontsize=7)
    axes[3].legend(fontsize=7)
    axes[3].set_ylabel("rad")
    for name in ("teacher", "student"):
        log = checkpoints / f"{name}.jsonl"
        if log.is_file():
            lines = [json.loads(line) for line in log.read_text().splitlines()]
            axes[4].plot(
                [x["step"] for x in lines], [x["flow"] for x in lines], label=f"{name}: flow"
            )
    axes[4].set_yscale("log")
    axes[4].set_xlabel("step")
    axes[4].legend(fontsize=7)
    figure.savefig(target, dpi=80)
    plt.close(figure)


def _opening(axis: Any, clip: Any) -> None:
    count = min(len(clip.made), _SECONDS * FPS)
    seconds = np.arange(count) / FPS
    axis.plot(seconds, opening(clip.truth)[:count], label="corpus")
    axis.plot(seconds, opening(clip.made)[:count], label="network")
    axis.fill_between(seconds, 0, 0.3, where=clip.closure[:count] > 0, alpha=0.2, label="p, b, m")
    axis.set_title(f"lip opening (inter-ocular units), {clip.voice}", fontsize=9)
    axis.legend(fontsize=7)
