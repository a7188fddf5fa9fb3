"""Statistics of a corpus, as Markdown with plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.media import FPS
from engine.motion.arkit import INDEX, ROTATION
from training.corpus import inventory, plots
from training.corpus.phones import VISEMES
from training.corpus.totals import Totals, gather

_CONTACT = 0.002  # inter-ocular units (0.13 mm): closed


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


def write(folder: Path, index: dict[str, Any], target: Path) -> None:
    """Write ``target`` (Markdown) and its plots beside it, from the corpus in ``folder``.

    A text between the first heading and the line ``<!-- statistics -->`` of an existing file stays.
    """
    totals = gather(folder, index)
    target.parent.mkdir(parents=True, exist_ok=True)
    shape, sentence, contents = (
        target.with_name(f"corpus_{name}.png") for name in ("shape", "sentence", "contents")
    )
    plots.distributions(totals, shape)
    plots.contents(index, contents)
    said = plots.sentence(folder, index, sentence)
    mark = "<!-- statistics -->"
    before = target.read_text("utf-8").split(mark)[0] if target.is_file() else "# Corpus\n\n"
    seconds = sum(row["seconds"] for row in index["clips"])
    voices = {row["voice"] for row in index["clips"]} - {"sound", "listening"}
    natural = sum(not voice.startswith("espeak") for voice in voices)
    speaking = float(totals.speaking.mean()) * 100
    lines = [
        mark,
        f"## Statistics (seed {index['seed']})",
        "",
        f"{len(index['clips'])} clips, {seconds / 3600:.2f} h, {len(voices)} voices ({natural} of "
        f"them not espeak-ng's), "
        f"{sum(len(r['phones']) for r in index['clips'])} phones, {speaking:.0f} % of the time "
        f"speaking; {index['recordings']['aligned']} of {index['recordings']['listed']} recordings "
        f"aligned with their transcripts. Held out: {', '.join(index['held_out_voices'])}.",
        "",
        *inventory.voices(index),
        "",
        *inventory.summary(folder, index),
        "",
        f"![contents]({contents.name})",
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
