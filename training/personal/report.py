"""What an adaptation changed, for people (HTML, picture) and programs (JSON)."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engine.media import UInt8
from training.personal.adapt import Result
from training.personal.compare import DRIVES
from training.personal.judge import BETTER

CROP = (slice(96, 432), slice(88, 424))
"""The face in a portrait."""
_NAMES = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "mouth_psnr": "PSNR mouth, dB",
    "mouth_ssim": "SSIM mouth",
    "lips": "lips' error, px",
}
_VARIANTS = {
    "first_frame": "photo: first frame",
    "before": "photo: the chosen frame",
    "after": "personal avatar",
}
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Personal avatar</title>
<style>body{{font:15px system-ui;max-width:1100px;margin:2em auto}}img{{max-width:100%}}
td,th{{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}}
td:first-child,th:first-child{{text-align:left}}</style>
<h1>Personal avatar</h1><p>{summary}</p>
<img src="comparison.png" alt="filmed, photo only, personal avatar">
<p>Rows: filmed; photo only; personal avatar. Moments of the last part of the video, from which
nothing was learnt, moved by the blendshapes that are seen in them.</p>
{tables}<h2>Parts</h2>{parts}</html>
"""


def write(result: Result, folder: Path) -> None:
    """Write ``report.json``, ``comparison.png`` and ``index.html``."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = json.dumps(result.facts, indent=1, default=float)
    (folder / "report.json").write_text(facts + "\n", encoding="utf-8")
    bgr = cv2.cvtColor(sheet(result.rows), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(folder / "comparison.png"), bgr)
    (folder / "index.html").write_text(_page(result.facts), encoding="utf-8")


def sheet(rows: dict[str, list[UInt8]]) -> UInt8:
    """Rows of faces, one under the other, each with its name."""
    lines = []
    for name, pictures in rows.items():
        line = np.hstack([picture[CROP] for picture in pictures])
        for colour, width in ((0, 3), (255, 1)):
            font = cv2.FONT_HERSHEY_SIMPLEX
            cv2.putText(line, name, (6, 22), font, 0.6, (colour,) * 3, width, cv2.LINE_AA)
        lines.append(line)
    return np.asarray(np.vstack(lines), np.uint8)


def summary(facts: dict[str, Any]) -> str:
    """What happened, in a sentence or two."""
    kept = [name for name, part in facts["parts"].items() if part["kept"]]
    left = [name for name, part in facts["parts"].items() if not part["kept"]]
    minutes = facts["minutes"]
    text = f"Photo: frame {facts['photo']['frame']}. "
    if facts["judged"]["taken_back"]:
        text += (
            "In the last part of the video the adapted avatar was worse: the photo alone is kept."
        )
    else:
        text += f"Adapted: {', '.join(kept) or 'nothing'}."
        if left:
            text += f" Left out, since it made nothing better: {', '.join(left)}."
    return f"{text} {minutes['wall']:.1f} minutes, {minutes['cpu']:.1f} of one core."


def interval(value: tuple[float, float, float]) -> str:
    """A gain with its 95 % interval."""
    mean, low, high = value
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"


def _page(facts: dict[str, Any]) -> str:
    tables = "".join(_table(facts, drive) for drive in DRIVES)
    parts = "".join(
        f"<p>{html.escape(name)}: {'kept' if part['kept'] else 'left out'}. "
        f"{html.escape(_facts(part))}</p>"
        for name, part in facts["parts"].items()
    )
    return _PAGE.format(summary=html.escape(summary(facts)), tables=tables, parts=parts)


def _facts(part: dict[str, Any]) -> str:
    own = {k: v for k, v in part.items() if k not in ("kept", "gains")}
    words = [f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in own.items()]
    return ", ".join(words)


def _table(facts: dict[str, Any], drive: str) -> str:
    head = "".join(f"<th>{name}</th>" for name in _NAMES.values())
    lines = [f"<h2>Motion {drive}</h2><table><tr><th></th>{head}</tr>"]
    for variant, words in _VARIANTS.items():
        if values := facts["scores"].get(variant):
            cells = "".join(f"<td>{values[drive][name]:.3f}</td>" for name in BETTER)
            lines.append(f"<tr><td>{words}</td>{cells}</tr>")
    gains = facts["judged"]["gains"][drive]
    cells = "".join(f"<td>{interval(gains[name])}</td>" for name in BETTER)
    lines.append(f"<tr><td>better by, 95 %</td>{cells}</tr></table>")
    return "".join(lines)
