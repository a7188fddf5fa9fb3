"""Make one clip: let its speakers speak, place the sentences, animate, save."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.media import SAMPLE_RATE, SAMPLES_PER_FRAME
from training.corpus import arrange, sounds, voices
from training.corpus.arrange import Track
from training.corpus.phones import Phone
from training.corpus.plan import ClipSpec
from training.corpus.speech import SpeechUnavailable
from training.teacher import animate
from training.teacher.head import Sentence
from training.teacher.listening import Other
from training.teacher.style import draw

Int16 = NDArray[np.int16]
Rng = np.random.Generator

_TRIES = 4


@dataclass(frozen=True, slots=True)
class Job:
    """A clip, where it goes, the corpus seed, and which half of the work is done.

    Args:
        spec: what to make.
        out: folder of the corpus; alignments are cached in ``out/align``.
        seed: of the corpus.
        again: if the clip exists, it keeps its sound and gets its motion anew.
        sound_only: the motion is left for a later run.
    """

    spec: ClipSpec
    out: Path
    seed: int
    again: bool = False
    sound_only: bool = False

    @property
    def path(self) -> Path:
        """The clip's file."""
        return self.out / "clips" / f"{self.spec.index:05d}.npz"


def _speak(job: Job) -> tuple[Int16, Int16, dict[str, Any]]:
    """Make a clip's sound and the other speaker's, int16 [N] each, and its row of the index."""
    for attempt in range(_TRIES):
        # A foreign sentence may be too long, a dialogue may stay one-sided: draw others.
        rng = np.random.default_rng([job.seed, job.spec.index, attempt, 2])
        try:
            return _compose(job, rng)
        except SpeechUnavailable:
            if attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _compose(job: Job, rng: Rng) -> tuple[Int16, Int16, dict[str, Any]]:
    spec = job.spec
    emotion = voices.draw_emotion(rng)
    ours, other = Track(spec.voice), Track(spec.other)
    if spec.voice == "sound":
        frames = int(rng.integers(200, 400))
        kind, noise = sounds.draw(rng, frames * SAMPLES_PER_FRAME)
        ours.audio[: len(noise)] = noise
        ours.texts = [f"[{kind}]"]
    else:
        frames = arrange.frames_of(_perform(job, rng, emotion, ours, other))
    count = frames * SAMPLES_PER_FRAME
    row = {
        "file": f"clips/{job.path.name}",
        "voice": ours.voice,
        "split": spec.split,
        "seconds": count / SAMPLE_RATE,
        "warp": spec.warp,
        "emotion": [round(float(x), 3) for x in emotion],
        **ours.row(),
        "other": {"voice": other.voice, **other.row()} if spec.other else None,
    }
    return _int16(ours.audio[:count]), _int16(other.audio[:count]), row


def _perform(job: Job, rng: Rng, emotion: np.ndarray, ours: Track, other: Track) -> float:
    """Fill the tracks of a clip with speech; return its end in seconds."""
    spec, cache = job.spec, job.out / "align"
    ours.level = float(rng.uniform(-28, -16)) + voices.manner(emotion)[3]
    other.level = float(rng.uniform(-30, -18))
    spoken, replies = [], []
    if spec.voice != "listening":
        said, questions = voices.say(spec.voice, spec, rng, emotion, cache)
        ours.voice = said[0].voice
        spoken = list(zip(said, questions, strict=True))
    if spec.other:
        said, questions = voices.say(spec.other, spec, rng, np.zeros(5, np.float32), cache)
        other.voice = said[0].voice
        replies = list(zip(said, questions, strict=True))
    if spoken and replies:
        return arrange.dialogue((ours, iter(spoken)), (other, iter(replies)), rng)
    track, lines = (ours, spoken) if spoken else (other, replies)
    return arrange.monologue(
        track, [u for u, _ in lines], [q for _, q in lines], rng, bool(spec.recordings)
    )


def _int16(audio: NDArray[np.float32]) -> Int16:
    return np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16)


def _move(job: Job, audio: Int16, other: Int16, row: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Animate a clip; return the arrays of its file that come from the teacher."""
    rng = np.random.default_rng([job.seed, job.spec.index, 1])
    style = draw(rng)
    phones = [Phone(name, start, end) for name, _, start, end in row["phones"]]
    sentences = [Sentence(*fields) for fields in row["sentences"]]
    heard = None
    if row["other"]:
        turns = [Sentence(*fields) for fields in row["other"]["sentences"]]
        heard = Other(other.astype(np.float32) / np.float32(32768), turns)
    done = animate.animate(
        audio.astype(np.float32) / np.float32(32768),
        phones,
        sentences,
        style,
        rng,
        emotion=np.array(row["emotion"], np.float32),
        other=heard,
    )
    return {
        "motion": done.motion.astype(np.float16),
        "viseme": done.viseme,
        "speaking": done.speaking,
        "closure": done.closure,
        "style": style.vector(),
    }


def _save(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write a clip; an interrupted run leaves no half file."""
    part = path.with_suffix(".part.npz")
    np.savez(part, **arrays)  # type: ignore[arg-type]
    part.replace(path)


def row_of(path: Path) -> dict[str, Any]:
    """Return the row of the index of a clip that has been made."""
    with np.load(path) as saved:
        row: dict[str, Any] = json.loads(str(saved["meta"]))
    return row


def make(job: Job) -> dict[str, Any]:
    """Make what is missing of the clip; return its row of the index.

    Raises:
        SpeechUnavailable: the voice could not say it.
    """
    if job.path.is_file():
        with np.load(job.path) as saved:
            row: dict[str, Any] = json.loads(str(saved["meta"]))
            if job.sound_only or ("motion" in saved.files and not job.again):
                return row
            audio, other = saved["audio"], saved["other"]
    else:
        audio, other, row = _speak(job)
    arrays = {
        "audio": audio,
        "other": other,
        "emotion": np.array(row["emotion"], np.float32),
        "voice": np.array(row["voice"]),
        "meta": np.array(json.dumps(row, ensure_ascii=False)),
    }
    if not job.sound_only:
        arrays |= _move(job, audio, other, row)
    _save(job.path, arrays)
    return row
