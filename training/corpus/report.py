"""Statistics of a corpus, as Markdown with two small plots."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.media import FPS, SAMPLE_RATE
from engine.motion.arkit import INDEX, ROTATION
from training.corpus.phones import VISEMES
from training.teacher.mouth import lip_gap

Float32 = NDArray[np.float32]

_CONTACT = 0.002  # inter-ocular units (0.13 mm): closed
_SHOWN = ("jawOpen", "mouthFunnel", "mouthPucker", "mouthStretchLeft", "mouthPressLeft")


@dataclass(slots=True)
class Totals:
    """Frames of all clips, end to end: motion [F, 58], gap [F], labels [F], clip starts."""

    motion: Float32
    gap: Float32
    viseme: NDArray[np.int8]
    speaking: NDArray[np.bool_]
    closure: NDArray[np.bool_]
    joint: NDArray[np.bool_]
    """True at the first frame of a clip: no velocity is taken there."""


def gather(folder: Path, index: dict[str, Any]) -> Totals:
    """Read the motion of every clip of a corpus."""
    parts: dict[str, list[NDArray[Any]]] = defaultdict(list)
    for row in index["clips"]:
        with np.load(folder / row["file"]) as clip:
            for key in ("motion", "viseme", "speaking", "closure"):
                parts[key].append(clip[key])
        joint = np.zeros(len(parts["motion"][-1]), bool)
        joint[0] = True
        parts["joint"].append(joint)
    whole = {key: np.concatenate(value) for key, value in parts.items()}
    motion = whole["motion"].astype(np.float32)
    return Totals(
        motion,
        np.maximum(lip_gap(motion), 0),
        whole["viseme"],
        whole["speaking"] > 0,
        whole["closure"] > 0,
        whole["joint"],
    )


def _voices(index: dict[str, Any]) -> list[str]:
    minutes: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    names: dict[str, set[str]] = defaultdict(set)
    for row in index["clips"]:
        voice = row["voice"]
        group = "espeak-ng" if voice.startswith("espeak") else voice
        minutes[group][row["split"]] += row["seconds"] / 60
        names[group].add(voice)
    lines = ["| voice | voices | train, min | dev, min |", "|---|---|---|---|"]
    for group, split in sorted(minutes.items(), key=lambda item: -sum(item[1].values())):
        lines.append(
            f"| {group} | {len(names[group])} | {split['train']:.1f} | {split['dev']:.1f} |"
        )
    return lines


def _blinks(totals: Totals) -> tuple[float, float]:
    """Blinks per minute and the median time a lid is more than 40 % closed, in ms."""
    shut = (totals.motion[:, INDEX["eyeBlinkLeft"]] > 0.4).astype(np.int8)
    edges = np.diff(shut, prepend=0, append=0)
    starts, ends = np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)
    minutes = len(shut) / FPS / 60
    return len(starts) / minutes, float(np.median(ends - starts)) * 1000 / FPS if len(
        starts
    ) else 0.0


def _dynamics(totals: Totals) -> list[str]:
    inside = ~totals.joint[1:]
    speed = np.abs(np.diff(totals.gap))[inside] * FPS
    head = np.linalg.norm(np.diff(totals.motion[:, ROTATION], axis=0), axis=1)[inside] * FPS
    spoken = totals.speaking[1:][inside]
    rate, length = _blinks(totals)
    rows = {
        "lip opening while speaking (inter-ocular units)": totals.gap[totals.speaking],
        "jawOpen while speaking": totals.motion[totals.speaking, INDEX["jawOpen"]],
        "lip opening in silence": totals.gap[~totals.speaking],
        "lip speed while speaking (units/s)": speed[spoken],
        "head speed while speaking (rad/s)": head[spoken],
        "head speed in silence (rad/s)": head[~spoken],
    }
    lines = ["| quantity | mean | median | 90 % | 95 % | 99 % |", "|---|---|---|---|---|---|"]
    for name, values in rows.items():
        if not len(values):
            continue
        levels = np.percentile(values, (50, 90, 95, 99))
        cells = " | ".join(f"{v:.3f}" for v in (values.mean(), *levels))
        lines.append(f"| {name} | {cells} |")
    touching = totals.gap[totals.closure] <= _CONTACT
    closed = 100 * touching.sum() / max(len(touching), 1)
    lines += [
        "",
        f"- p, b, m closed (rig's lip gap at most {_CONTACT}): **{closed:.2f} %** of "
        f"{int(totals.closure.sum())} frames.",
        f"- Blinks: {rate:.1f} per minute, lids more than 40 % shut for {length:.0f} ms (median).",
        f"- Head rotation, standard deviation of yaw, pitch, roll: "
        f"{', '.join(f'{v:.3f}' for v in totals.motion[:, ROTATION].std(0))} rad.",
    ]
    return lines


def _visemes(totals: Totals) -> list[str]:
    lines = ["| viseme | share of speech | lip opening, median | pucker, median |"]
    lines.append("|---|---|---|---|")
    for number, name in enumerate(VISEMES):
        here = (totals.viseme == number) & totals.speaking
        if here.any():
            pucker = np.median(totals.motion[here, INDEX["mouthPucker"]])
            share = 100 * here.sum() / totals.speaking.sum()
            lines.append(
                f"| {name} | {share:.1f} % | {np.median(totals.gap[here]):.3f} | {pucker:.2f} |"
            )
    return lines


def _plot_sentence(folder: Path, index: dict[str, Any], target: Path) -> str:
    """Draw four seconds of a recorded clip; return its text."""
    from matplotlib import pyplot as plt

    rows = index["clips"]
    row = next((r for r in rows if r["voice"].startswith("recorded")), rows[0])
    with np.load(folder / row["file"]) as clip:
        audio, motion = clip["audio"], clip["motion"].astype(np.float32)
        closure = clip["closure"]
    time = (np.arange(len(motion)) + 0.5) / FPS
    figure, axes = plt.subplots(3, 1, figsize=(9, 5.5), sharex=True)
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
    return str(row["text"][0])


def _plot_distributions(totals: Totals, target: Path) -> None:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(9, 2.6))
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


def _save(figure: Any, target: Path) -> None:
    from matplotlib import pyplot as plt

    figure.tight_layout()
    figure.savefig(target, dpi=80)
    plt.close(figure)


def write(folder: Path, index: dict[str, Any], target: Path) -> None:
    """Write ``target`` (Markdown) and its plots beside it, from the corpus in ``folder``.

    A text between the first heading and the line ``<!-- statistics -->`` of an existing file stays.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    totals = gather(folder, index)
    target.parent.mkdir(parents=True, exist_ok=True)
    shape, sentence = target.with_name("corpus_shape.png"), target.with_name("corpus_sentence.png")
    _plot_distributions(totals, shape)
    said = _plot_sentence(folder, index, sentence)
    mark = "<!-- statistics -->"
    before = target.read_text("utf-8").split(mark)[0] if target.is_file() else "# Corpus\n\n"
    seconds = sum(row["seconds"] for row in index["clips"])
    voices = len({row["voice"] for row in index["clips"]})
    speaking = float(totals.speaking.mean()) * 100
    lines = [
        mark,
        f"## Statistics (seed {index['seed']})",
        "",
        f"{len(index['clips'])} clips, {seconds / 3600:.2f} h, {voices} voices, "
        f"{sum(len(r['phones']) for r in index['clips'])} phones, {speaking:.0f} % of the time "
        f"speaking; {index['recordings']['aligned']} of {index['recordings']['listed']} recordings "
        f"aligned with their transcripts. Held out: {', '.join(index['held_out_voices'])}.",
        "",
        *_voices(index),
        "",
        *_dynamics(totals),
        "",
        *_visemes(totals),
        "",
        f"![distributions]({shape.name})",
        "",
        f"A sentence (“{said}”): sound and phones, lips, then lids, brows and head.",
        "",
        f"![a sentence]({sentence.name})",
        "",
    ]
    target.write_text(before + "\n".join(lines), "utf-8")
