"""Results as Markdown: what goes into ``docs`` and to the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from training.evaluation.acceptance import Check, at

Tree = Mapping[str, Any]
Row = tuple[str, tuple[str, ...], str]
"""Label, path below the performer, number format."""

CORPUS_ROWS: tuple[Row, ...] = (
    ("lip opening, r (median)", ("speech", "opening_r", "median"), ".2f"),
    ("… without shifting", ("speech", "opening_r_lag0", "median"), ".2f"),
    ("lag, frames (+ late)", ("speech", "opening_lag", "median"), "+.1f"),
    ("mouth width, r", ("speech", "width_r", "median"), ".2f"),
    ("lip error, mean (inter-ocular)", ("speech", "lip_error"), ".4f"),
    ("lip vertex error, largest of the lips", ("speech", "lip_vertex_error"), ".4f"),
    ("p, b, m closed: recall", ("speech", "closure_recall"), ".2f"),
    ("… precision", ("speech", "closure_precision"), ".2f"),
    ("mouth in pauses, mean gap", ("speech", "pause_opening"), ".4f"),
    ("… its change per frame (silent-lip stability)", ("speech", "pause_change"), ".4f"),
    ("Fréchet distance", ("whole", "frechet"), ".2f"),
    ("… lips", ("whole", "frechet_lips"), ".2f"),
    ("… expression", ("whole", "frechet_expression"), ".2f"),
    ("… head", ("whole", "frechet_head"), ".2f"),
    ("lips: velocity ÷ corpus", ("whole", "lips_velocity_ratio"), ".2f"),
    ("lips: acceleration", ("whole", "lips_acceleration_ratio"), ".2f"),
    ("lips: jerk", ("whole", "lips_jerk_ratio"), ".2f"),
    ("head: velocity ÷ corpus", ("whole", "head_velocity_ratio"), ".2f"),
    ("head: acceleration", ("whole", "head_acceleration_ratio"), ".2f"),
    ("head: jerk", ("whole", "head_jerk_ratio"), ".2f"),
    ("seam ratio (1 = invisible)", ("whole", "seam_ratio"), ".2f"),
    ("blinks a minute, network", ("whole", "blinks_per_minute_network"), ".1f"),
    ("… after the idle stage", ("whole", "blinks_per_minute"), ".1f"),
    ("blink, ms", ("whole", "blink_ms"), ".0f"),
    ("times between blinks, KS distance", ("whole", "blink_gap_distance"), ".2f"),
    ("noise and music: mean lip gap", ("sound", "opening_mean"), ".4f"),
    ("listening: mean lip gap", ("listening", "opening_mean"), ".4f"),
    ("… head velocity ÷ corpus", ("listening", "head_velocity_ratio"), ".2f"),
    ("… blinks a minute", ("listening", "blinks_per_minute"), ".0f"),
    ("beat alignment of the head", ("whole", "beat_alignment"), ".2f"),
    ("… with other sounds (chance)", ("whole", "beat_alignment_shuffled"), ".2f"),
)
REAL_ROWS: tuple[Row, ...] = (
    ("lip opening, r as filed: median", ("opening_r", "median"), ".2f"),
    ("… quartiles", ("opening_r", "q25"), "range"),
    ("… 95 % interval over 6 s pieces", ("opening_interval",), "interval"),
    ("lip opening, r in sync: median", ("synced_r", "median"), ".2f"),
    ("… quartiles", ("synced_r", "q25"), "range"),
    ("… 95 % interval over 6 s pieces", ("synced_interval",), "interval"),
    ("… lag, frames (+ late)", ("synced_lag", "median"), "+.1f"),
    ("mouth width, r in sync", ("synced_width_r", "median"), ".2f"),
    ("lip velocity ÷ real", ("lip_velocity_ratio",), ".2f"),
    ("lip jerk ÷ real", ("lip_jerk_ratio",), ".2f"),
    ("… both smoothed by a frame", ("lip_jerk_ratio_smoothed",), ".2f"),
    ("head velocity ÷ real", ("head_velocity_ratio",), ".2f"),
    ("head deviation ÷ real", ("head_std_ratio",), ".2f"),
    ("p, b, m closed: recall", ("closure_recall",), ".2f"),
    ("… precision", ("closure_precision",), ".2f"),
    ("… of how many", ("closures_wanted",), ".0f"),
    ("blinks a minute", ("blinks_per_minute",), ".0f"),
)


def table(part: Tree, rows: Sequence[Row], names: Sequence[str]) -> str:
    """Figures by row, performers by column."""
    head = ["", *names]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for label, path, form in rows:
        cells = [_cell(part.get(name, {}), path, form) for name in names]
        if any(cell != "–" for cell in cells):
            lines.append("| " + " | ".join([label, *cells]) + " |")
    return "\n".join(lines)


def show(value: Any, form: str) -> str:
    """A number, or a dash for what is not known."""
    known = isinstance(value, int | float) and math.isfinite(value)
    return format(value + 0.0, form) if known else "–"  # + 0.0: no minus before a zero


def _cell(part: Tree, path: tuple[str, ...], form: str) -> str:
    if form == "interval":
        pair = part.get(path[0])
        known = pair and pair[0] is not None and math.isfinite(pair[0])
        return f"{pair[0]:.2f} to {pair[1]:.2f}" if pair and known else "–"
    value = at(part, *path)
    if form == "range" and math.isfinite(value):
        return f"{value:.2f} to {at(part, path[0], 'q75'):.2f}"
    return show(value, form)


def people(part: Tree) -> str:
    """Who is in a table: the performers of a section, in the order they were measured."""
    return ", ".join(name for name, value in part.items() if isinstance(value, Mapping))


def performers(part: Tree) -> list[str]:
    """Names in a section that are performers."""
    other = ("clips", "skipped", "truth", "real")
    return [k for k, v in part.items() if isinstance(v, Mapping) and k not in other]


def voice_table(corpus: Tree, names: Sequence[str]) -> str:
    """Lip opening and closures by kind of voice."""
    groups = sorted({g for n in names for g in corpus.get(n, {}).get("by_voice", {})})
    lines = ["| r of lip opening (recall of p, b, m) | " + " | ".join(names) + " |"]
    lines.append("|" + "---|" * (len(names) + 1))
    for group in groups:
        cells = []
        for name in names:
            part = corpus.get(name, {}).get("by_voice", {}).get(group, {})
            r, recall = at(part, "opening_r", "median"), at(part, "closure_recall")
            cells.append(f"{r:.2f} ({recall:.2f})" if math.isfinite(r) else "–")
        lines.append("| " + " | ".join([group, *cells]) + " |")
    return "\n".join(lines)


def quiet_table(quiet: Tree, name: str) -> str:
    """One network in silence and noise."""
    lines = [
        "| | lip gap, % of speaking range (network alone) | most | taken for speech, % "
        "| blinks a minute | longest freeze, s |",
        "|---|---|---|---|---|---|",
    ]
    for kind, row in quiet.get(name, {}).items():
        if isinstance(row, Mapping):
            lines.append(
                f"| {kind} | {row['lip_gap_percent']:.2f} ({row['lip_gap_network_percent']:.1f}) "
                f"| {row['lip_gap_most_percent']:.1f} | {row['taken_for_speech_percent']:.0f} "
                f"| {row['blinks_per_minute']:.0f} | {row['longest_freeze_s']:.2f} |"
            )
    return "\n".join(lines)


def drift_table(drift: Tree) -> str:
    """First and last minute."""
    minutes = int(at(drift, "minutes"))
    lines = [
        f"| Fréchet distance | minute 1 | minute {minutes} | 1 to {minutes} | 1, other noise "
        f"| head aside, rad: 1 → {minutes} |",
        "|---|---|---|---|---|---|",
    ]
    for name in performers(drift):
        row = drift[name]
        lines.append(
            f"| {name} | {row['frechet_first']:.2f} | {row['frechet_last']:.2f} "
            f"| {row['frechet_first_to_last']:.2f} | {row['frechet_to_other_seed']:.2f} "
            f"| {row['pose_first']:.3f} → {row['pose_last']:.3f} |"
        )
    return "\n".join(lines)


PROFILE_ROWS: tuple[Row, ...] = (
    ("algorithmic delay, ms", ("delay_ms",), ".0f"),
    ("corpus: lip opening, r", ("opening_r",), ".2f"),
    ("corpus: lip error", ("lip_error",), ".4f"),
    ("corpus: p, b, m recall", ("closure_recall",), ".2f"),
    ("corpus: Fréchet distance", ("frechet",), ".2f"),
    ("corpus: lip jerk ratio", ("lips_jerk_ratio",), ".2f"),
    ("corpus: head jerk ratio", ("head_jerk_ratio",), ".2f"),
    ("seam ratio", ("seam_ratio",), ".2f"),
    ("real clips: lip opening, r in sync", ("real_r",), ".2f"),
    ("real clips: lip velocity ÷ real", ("real_lip_velocity_ratio",), ".2f"),
)


def style_table(style: Tree) -> str:
    """Measured change per style unit beside the corpus's."""
    lines = ["| style | change per unit | in the corpus | share |", "|---|---|---|---|"]
    for name, row in style.items():
        cells = [show(row["slope"], "+.4f"), show(row["corpus_slope"], "+.4f")]
        lines.append("| " + " | ".join([name, *cells, show(row["share"], ".2f")]) + " |")
    return "\n".join(lines)


def emotion_table(emotion: Tree) -> str:
    """What each emotion does to the shapes that show it."""
    lines = [
        "| emotion | change of the shapes that show it | as meant | speed ÷ neutral "
        "| lips: r with neutral |",
        "|---|---|---|---|---|",
    ]
    for name, row in emotion.items():
        change = ", ".join(f"{k} {v:+.3f}" for k, v in row["change"].items()) or "–"
        cells = [show(row["as_meant"], ".0%"), show(row["movement_ratio"], ".2f")]
        cells.append(show(row["opening_r_to_neutral"], ".2f"))
        lines.append("| " + " | ".join([name, change, *cells]) + " |")
    return "\n".join(lines)


def check_table(found: Sequence[Check]) -> str:
    """Limits, values, and whether they hold."""
    lines = ["| | what | value | limit | |", "|---|---|---|---|---|"]
    for check in found:
        mark = "pass" if check.passed else "**fail**"
        value = f"{check.value:.3g}" if math.isfinite(check.value) else "not measured"
        lines.append(f"| {check.who} | {check.what} | {value} | {check.limit} | {mark} |")
    return "\n".join(lines)
