"""Which video files there are, and what is said in them."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

VIDEO = Path("../shared/data/video")
"""Where the clips lie beside the checkout; they are no part of the project."""
SUFFIXES = frozenset((".mp4", ".mpg", ".mov", ".mkv", ".webm", ".avi"))
SOUND_LATE: dict[str, float] = {"uncrop_Obama": 0.22}
"""Seconds by which the sound of a defective clip comes after its picture: every measure of this
clip peaks 5 to 6 frames off (``python -m training calibrate``), every other clip's within 3."""
TRANSCRIPTS = Path(__file__).with_name("transcripts.tsv")

_GRID: tuple[dict[str, str], ...] = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"},
    {"z": "zero", "1": "one", "2": "two", "3": "three", "4": "four", "5": "five", "6": "six",
     "7": "seven", "8": "eight", "9": "nine"},
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)  # fmt: skip
"""The six words of a GRID sentence by their letters (Cooke et al. 2006)."""


def clips(split: str, root: Path = VIDEO) -> list[Path]:
    """Return the video files of ``train`` (may be learned from) or ``dev`` (measuring only).

    Sorted by name; empty if the folder is not there.

    Raises:
        ValueError: there is no such split.
    """
    if split not in ("train", "dev"):
        raise ValueError(f"no split {split!r}: train or dev")
    folder = root / split
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)


def grid_sentence(code: str) -> str:
    """Spell out a GRID code: ``bbaf2n`` is "bin blue at f two now".

    Raises:
        ValueError: not a GRID code.
    """
    if len(code) != len(_GRID) or any(c not in words for c, words in zip(code, _GRID, strict=True)):
        raise ValueError(f"{code!r} is no GRID sentence")
    return " ".join(words[c] for c, words in zip(code, _GRID, strict=True))


@dataclass(frozen=True, slots=True)
class Passage:
    """What is said between two times in seconds."""

    start: float
    end: float
    text: str


def transcript(path: Path) -> list[Passage]:
    """Return what is said in a clip, in order; empty where nobody wrote it down."""
    if path.stem.startswith("grid_"):
        return [Passage(0.0, math.inf, grid_sentence(path.stem.removeprefix("grid_")))]
    with TRANSCRIPTS.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["clip"] == path.stem]
    return [Passage(float(row["start"]), float(row["end"]), row["text"]) for row in rows]


def group(path: Path) -> str:
    """Return the kind of clip: ``GRID`` (read commands), ``address`` or ``dev``."""
    if path.parent.name == "dev":
        return "dev"
    return "GRID" if path.stem.startswith("grid_") else "address"
