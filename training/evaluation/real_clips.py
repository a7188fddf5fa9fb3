"""Clips of real talkers: tracked faces, aligned phones, and each file's own offset."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from engine.errors import EngineError
from engine.media import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, Float32
from training.corpus.phones import Phone
from training.corpus.recorded import align
from training.corpus.speech import SpeechUnavailable
from training.evaluation import baselines
from training.evaluation.sounds import CACHE, Sound
from training.motion import metrics
from training.motion.metrics import opening
from training.tracking import Tracked, clips, track
from training.tracking.clips import Passage, group, transcript

TRACKING = CACHE.parent / "tracking"
VIDEO = Path(__file__).resolve().parents[3] / "shared" / "data" / "video"
"""Clips beside the checkout; they are no part of the project."""
_OFFSETS = 6
"""Largest offset of picture and sound looked for, in frames."""
_CUTS = ((0.0, 0.0), (0.15, 0.3), (0.3, 0.1), (-0.05, 0.5))
"""Seconds by which the cut of a passage is moved outwards, attempt by attempt."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class RealClip:
    """A tracked clip.

    Args:
        sound: its sound, with phones where the words are known and could be aligned.
        tracked: the face.
        seen: whether training or calibration knew the clip.
        offset: frames by which the file's sound is late, None where no phones tell.
        covered: bool [T], where the phones are known.
    """

    sound: Sound
    tracked: Tracked
    seen: bool
    offset: int | None
    covered: Mask


def load(video: Path = VIDEO, quick: bool = False) -> list[RealClip]:
    """Track and align the clips under ``video``; empty where there are none."""
    paths = [*clips("dev", video), *clips("train", video)]
    if quick:
        short = [path for path in paths if path.stat().st_size < 600_000]
        paths = [*[p for p in short if p.parent.name == "dev"][:3], *short[-2:]]
    found = []
    for path in tqdm(paths, "real clips", leave=False):
        try:
            tracked = track(path, TRACKING)
        except EngineError as error:
            tqdm.write(f"{path.name}: {error}")
            continue
        frames = min(len(tracked.opening), len(tracked.audio) // SAMPLES_PER_FRAME)
        audio = tracked.audio[: frames * SAMPLES_PER_FRAME]
        phones, covered = _aligned(path, audio)
        sound = Sound(path.stem, group(path), audio, phones=phones or None)
        face = _first(tracked, frames)
        offset = _offset(sound, face, covered)
        found.append(RealClip(sound, face, path.parent.name != "dev", offset, covered))
    return found


def _offset(sound: Sound, face: Tracked, covered: Mask) -> int | None:
    """Lag at which the rules' lips agree best with the face."""
    motion = baselines.rule(sound)
    used = covered & face.seen
    if motion is None or used.sum() < FPS:
        return None
    return metrics.best_lag(opening(motion)[used], face.opening[used], _OFFSETS)[1]


def _first(tracked: Tracked, frames: int) -> Tracked:
    names = ("motion", "opening", "width", "blink", "seen")
    return replace(tracked, **{name: getattr(tracked, name)[:frames] for name in names})


def _aligned(path: Path, audio: Float32) -> tuple[tuple[Phone, ...], Mask]:
    """Phones of the passages that could be aligned, and the frames they cover; cached."""
    passages = transcript(path)
    key = audio.tobytes() + repr((passages, _CUTS)).encode()
    digest = hashlib.sha256(key).hexdigest()[:20]
    kept = CACHE / "align" / f"{digest}.json"
    if not kept.is_file():
        found = [_align(audio, passage) for passage in passages]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found))
    covered = np.zeros(len(audio) // SAMPLES_PER_FRAME, bool)
    phones: list[Phone] = []
    for passage, rows in zip(passages, json.loads(kept.read_text()), strict=True):
        phones += [Phone(*row) for row in rows]
        end = min(passage.end, len(audio) / SAMPLE_RATE)
        covered[round(passage.start * FPS) : round(end * FPS)] |= bool(rows)
    return tuple(sorted(phones, key=lambda p: p.start)), covered


def _align(audio: Float32, passage: Passage) -> list[list[Any]]:
    """Rows of name, start, end; empty if no attempt succeeds.

    The search can lose its path by bad luck: a slightly different cut is another try.
    """
    for before, after in _CUTS:
        first = max(round((passage.start - before) * SAMPLE_RATE), 0)
        end = min(passage.end + after, len(audio) / SAMPLE_RATE)
        piece = audio[first : round(end * SAMPLE_RATE)]
        try:
            found = align(piece, passage.text)
        except SpeechUnavailable as error:
            tqdm.write(f"{passage.text[:40]}...: {error}", file=sys.stderr)
            continue
        start = first / SAMPLE_RATE
        return [[p.name, p.start + start, p.end + start] for p in found]
    return []
