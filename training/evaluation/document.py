"""The whole result as one Markdown document."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from training.evaluation.acceptance import Check, at
from training.evaluation.tables import (
    CORPUS_ROWS,
    PROFILE_ROWS,
    REAL_ROWS,
    check_table,
    drift_table,
    emotion_table,
    performers,
    quiet_table,
    style_table,
    table,
    voice_table,
)

Tree = Mapping[str, Any]


def document(report: Tree, stem: str) -> str:
    """The whole result as Markdown.

    Args:
        report: of ``python -m training evaluate``.
        stem: of the plots' file names.
    """
    about = report.get("about", {})
    parts = [
        "# Motion, measured",
        f"`python -m training evaluate`, {str(about.get('date', ''))[:10]}; hop {about.get('hop')},"
        f" look-ahead {about.get('lookahead')}, audio guidance {about.get('guidance')}; the teacher"
        f" takes {about.get('teacher_steps')} Euler steps. Everything runs through the engine's own"
        " stages with the real voice detector. Lengths are in inter-ocular units.",
    ]
    if about.get("quick"):
        parts.append("**A quick run: too few sounds to conclude anything.**")
    for name, write in _WRITERS.items():
        part = report.get(name)
        if part:
            written = [] if "reason" in part else write(part, stem)
            parts += [f"## {_TITLES[name]}", *_stamp(report, name), *_reasons(part), *written]
    rows = report.get("checks", [])
    if rows:
        parts += ["## Limits", _checks(rows)]
    return "\n\n".join(parts) + "\n"


def _stamp(report: Tree, name: str) -> list[str]:
    """A warning where a section was measured with other weights or settings than the latest."""
    now, then = report.get("about", {}), report.get("measured", {}).get(name, {})
    if not then or _what(now) == _what(then):
        return []
    when = then.get("date", "")[:16]
    return [f"**Measured {when} with other weights or settings:** {_what(then)}"]


def _what(about: Tree) -> str:
    names = [f"{k} {v.get('sha256', '')[:12]}" for k, v in about.get("weights", {}).items()]
    settings = [f"{k} {about.get(k)}" for k in ("hop", "lookahead", "guidance", "quick")]
    return ", ".join([*names, *settings])


def _reasons(part: Tree) -> list[str]:
    out = [f"Not measured: {part['reason']}"] if "reason" in part else []
    skipped = part.get("skipped", {})
    return out + [f"{name}: {why}." for name, why in skipped.items()]


def _checks(rows: Sequence[Tree]) -> str:
    fields = ("who", "what", "value", "low", "high", "target")
    known = [
        Check(**({k: row[k] for k in fields} | {"value": _number(row["value"])})) for row in rows
    ]
    return check_table(known)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _corpus_part(part: Tree, stem: str) -> list[str]:
    names = [n for n in performers(part) if "speech" in part[n]]
    truth = part.get("truth", {})
    return [
        f"{len(part.get('clips', {}))} development clips, {at(part, 'seconds'):.0f} s; the truth is"
        " the corpus's own motion, every clip is performed with its own style.",
        table(part, CORPUS_ROWS, names),
        f"The corpus itself: Fréchet distance between its halves {at(truth, 'frechet'):.2f} (the"
        f" floor), seam ratio {at(truth, 'seam_ratio'):.2f},"
        f" blinks {at(truth, 'blinks_per_minute'):.1f} a minute of {at(truth, 'blink_ms'):.0f} ms,"
        f" beat alignment {at(truth, 'beat_alignment'):.2f}"
        f" (chance {at(truth, 'beat_alignment_shuffled'):.2f}).",
        voice_table(part, names),
        f"![lips, lids and head]({stem}_corpus.png)",
    ]


def _real_part(part: Tree, stem: str) -> list[str]:
    out = []
    groups = [k for k in ("unseen", "address (seen)", "GRID (seen)") if k in part]
    for group in groups:
        row = part[group].get("real", {})
        out += [
            f"### {group}: {at(row, 'clips'):.0f} clips",
            table(part[group], REAL_ROWS, performers(part[group])),
            f"The talkers' own lips meet for {at(row, 'closure_recall'):.0%} of p, b, m; they blink"
            f" {at(row, 'blinks_per_minute'):.0f} times a minute.",
        ]
    if groups:
        out += [f"![correlations]({stem}_correlations.png)", f"![lip gaps]({stem}_real.png)"]
    return out


def _quiet_part(part: Tree, stem: str) -> list[str]:
    del stem
    out = [f"{at(part, 'seconds_each'):.0f} s of each."]
    for name in performers(part):
        out += [f"### {name}", quiet_table(part, name)]
    return out


def _drift_part(part: Tree, stem: str) -> list[str]:
    return [
        "One run without a reset; the last minute hears the same sound as the first.",
        drift_table(part),
        f"![minute by minute]({stem}_drift.png)",
    ]


def _profiles_part(part: Tree, stem: str) -> list[str]:
    names = [n for n in performers(part) if "hop" in part[n]]
    return [
        f"{part.get('network')}; columns are hop/look-ahead in frames of 40 ms.",
        table(part, PROFILE_ROWS, names),
        f"![price of look-ahead]({stem}_price.png)",
    ]


def _control_part(part: Tree, stem: str) -> list[str]:
    del stem
    out = [
        f"{part.get('network')}, {part.get('clips')} clips. A style number goes from -1 to +1; the"
        " change of what it should move, per unit, beside the slope over the corpus.",
        style_table(part.get("style", {})),
    ]
    if part.get("emotion"):
        out.append(emotion_table(part["emotion"]))
    row = part.get("diversity", {})
    out.append(
        f"Diversity over {row.get('seeds')} seeds (0 always the same, 1 unrelated): lips"
        f" {at(row, 'lips'):.2f}, expression {at(row, 'expression'):.2f},"
        f" head {at(row, 'head'):.2f}."
    )
    return out


_TITLES = {
    "corpus": "Held-out clips of the corpus",
    "real": "Real talkers' sound, against their tracked faces",
    "quiet": "Silence, noise, music, typing",
    "drift": "Drift",
    "profiles": "Hop and look-ahead",
    "control": "Control and diversity",
}
_WRITERS = {
    "corpus": _corpus_part,
    "real": _real_part,
    "quiet": _quiet_part,
    "drift": _drift_part,
    "profiles": _profiles_part,
    "control": _control_part,
}
