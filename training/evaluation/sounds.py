"""What is performed in a measurement: a sound, its conditions, and its phones where known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.media import FPS, SAMPLES_PER_FRAME, Float32
from training.corpus.phones import Phone, visemes_of

_KEPT = Path(__file__).resolve().parents[2] / ".cache"
CORPUS = _KEPT / "corpus"
"""Where ``python -m training corpus`` leaves its clips."""
CACHE = _KEPT / "evaluation"
"""Compiled teachers, alignments and other things that are made once."""
WORDLESS = frozenset(("sound", "listening"))
"""Groups of clips in which the avatar itself says nothing."""
_CLOSES_BEFORE = 0.012
"""Seconds by which the lips meet before the sound of p, b, m stops."""
_OPENS_BEFORE_END = 0.18
"""Share of p, b, m that sounds after the lips part (burst, aspiration)."""


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """A sound to perform.

    Args:
        name: unique within a measurement.
        group: kind of voice.
        audio: float32 [T * 640], 16 kHz mono.
        style: float32 [16] or None: the average manner.
        emotion: intensities or None: neutral.
        phones: of the whole sound, or None where nobody knows them.
        other: float32 [T * 640], who speaks to the avatar, or None.
    """

    name: str
    group: str
    audio: Float32
    style: Float32 | None = None
    emotion: Float32 | None = None
    phones: tuple[Phone, ...] | None = None
    other: Float32 | None = None

    @property
    def frames(self) -> int:
        """Length in frames."""
        return len(self.audio) // SAMPLES_PER_FRAME


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A corpus clip: a sound, and the motion it was given.

    Args:
        sound: with the clip's own style and phones.
        truth: float32 [T,58].
        closure: uint8 [T], 1 where p, b or m must be seen closed.
        speaking: uint8 [T].
    """

    sound: Sound
    truth: Float32
    closure: NDArray[np.uint8]
    speaking: NDArray[np.uint8]


def voice_group(voice: str, held_out: Sequence[str] = ()) -> str:
    """``recorded:name`` stays apart (marked if held out); of synthetic voices the engine counts."""
    if voice in held_out:
        return f"held out: {voice.partition(':')[2]}"
    engine, _, name = voice.partition(":")
    return voice if engine == "recorded" and name else engine


def read_clip(path: Path, held_out: Sequence[str] = ()) -> Clip:
    """Read one clip of the corpus."""
    with np.load(path) as file:
        meta: dict[str, Any] = json.loads(str(file["meta"]))
        audio = _floats(file["audio"])
        truth = file["motion"].astype(np.float32)
        phones = tuple(Phone(row[0], float(row[-2]), float(row[-1])) for row in meta["phones"])
        sound = Sound(
            path.stem,
            voice_group(str(file["voice"]), held_out),
            audio[: len(truth) * SAMPLES_PER_FRAME],
            file["style"].astype(np.float32) if "style" in file else None,
            file["emotion"].astype(np.float32) if "emotion" in file else None,
            phones,
            _other(file),
        )
        return Clip(sound, truth, file["closure"], file["speaking"])


def _other(file: Any) -> Float32 | None:
    """Who speaks to the avatar, if anybody does."""
    other = _floats(file["other"]) if "other" in file else np.zeros(0, np.float32)
    return other if other.any() else None


def _floats(samples: NDArray[Any]) -> Float32:
    return np.asarray(samples, np.float32) / np.float32(32768.0)


def held_out_voices(corpus: Path) -> tuple[str, ...]:
    """Voices that were kept out of training altogether."""
    index = corpus / "index.json"
    if not index.is_file():
        return ()
    return tuple(json.loads(index.read_text()).get("held_out_voices", ()))


def dev_clips(corpus: Path, per_group: int, held_out_count: int) -> list[Clip]:
    """A fixed selection of development clips: the first of every kind of voice.

    Args:
        corpus: folder of ``python -m training corpus``.
        per_group: clips of each kind of voice.
        held_out_count: clips of each held-out voice.

    Raises:
        FileNotFoundError: there are no development clips.
    """
    held_out = held_out_voices(corpus)
    rows = _index(corpus)
    taken: dict[str, int] = {}
    chosen = []
    for name, voice, split in rows:
        if split != "dev":
            continue
        group = voice_group(voice, held_out)
        limit = held_out_count if voice in held_out else per_group
        if taken.get(group, 0) < limit:
            taken[group] = taken.get(group, 0) + 1
            chosen.append(read_clip(corpus / name, held_out))
    if not chosen:
        raise FileNotFoundError(f"no dev clips in {corpus}; run python -m training corpus")
    return chosen


def _index(corpus: Path) -> list[tuple[str, str, str]]:
    """File, voice and split of every clip, in order."""
    path = corpus / "index.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run python -m training corpus")
    rows = json.loads(path.read_text())["clips"]
    found = [(row["file"], row["voice"], row["split"]) for row in rows]
    return [row for row in found if (corpus / row[0]).is_file()]


def styled_motion(corpus: Path, count: int) -> list[tuple[Float32, Float32]]:
    """Style [16] and motion [T,58] of up to ``count`` speaking clips, spread over the corpus."""
    rows = [row for row in _index(corpus) if row[1] not in WORDLESS]
    out = []
    for name, _, _ in rows[:: max(1, len(rows) // count)][:count]:
        with np.load(corpus / name) as file:
            if "style" in file and "motion" in file:
                motion = file["motion"].astype(np.float32)
                out.append((file["style"].astype(np.float32), motion))
    return out


def closure_spans(phones: Sequence[Phone]) -> list[tuple[int, int]]:
    """Frames [first, end) during which the lips must touch for each p, b and m, at least one."""
    spans = []
    for phone in phones:
        if visemes_of(phone.name) != ("pbm",):
            continue
        start = phone.start - _CLOSES_BEFORE
        end = phone.end - _OPENS_BEFORE_END * (phone.end - phone.start)
        first, last = int(np.ceil(start * FPS - 0.5)), int(np.floor(end * FPS - 0.5))
        if last < first:  # shorter than a frame: the one whose centre is nearest
            first = last = round((start + end) / 2 * FPS - 0.5)
        spans.append((max(first, 0), last + 1))
    return spans


def spoken(phones: Sequence[Phone], frames: int, longest_pause: float = 0.3) -> NDArray[np.bool_]:
    """Frames [T] within speech, pauses shorter than ``longest_pause`` seconds included."""
    centres = (np.arange(frames) + 0.5) / FPS
    inside = np.zeros(frames, bool)
    end = -np.inf
    for phone in phones:
        if visemes_of(phone.name) == ("sil",):
            continue
        start = end if phone.start - end < longest_pause else phone.start
        inside |= (centres >= start) & (centres < phone.end)
        end = phone.end
    return inside
