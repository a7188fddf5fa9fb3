"""Make one clip: speak its sentences, place them with pauses, animate, save."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.media import SAMPLE_RATE, SAMPLES_PER_FRAME
from training.corpus import espeak, festival, flite, recorded, sounds, text
from training.corpus.phones import Phone, visemes_of
from training.corpus.plan import ClipSpec
from training.corpus.speech import SpeechUnavailable, Utterance, level, trim, warp
from training.teacher import animate
from training.teacher.head import Sentence
from training.teacher.style import draw

Rng = np.random.Generator

_SHORTEST, _LONGEST = 8.0, 20.0
_TAIL_ROOM = 0.4


@dataclass(frozen=True, slots=True)
class Job:
    """A clip, where it goes, the corpus seed, and whether only its motion is made again.

    Alignments are cached in ``out/align``.
    """

    spec: ClipSpec
    out: Path
    seed: int
    again: bool = False

    @property
    def path(self) -> Path:
        """The clip's file."""
        return self.out / "clips" / f"{self.spec.index:05d}.npz"


def _synthesise(spec: ClipSpec, rng: Rng, lines: list[text.Line]) -> list[Utterance]:
    engine, _, name = spec.voice.partition(":")
    tempo = float(rng.uniform(0.88, 1.2))  # > 1 is slower, as the engines' stretch
    if engine == "flite":
        pitch = float(rng.uniform(85, 160)) if name == "kal16" else None
        said = [flite.say(line.text, name, tempo, pitch) for line in lines]
    elif engine == "festival":
        said = festival.say([line.text for line in lines], tempo)
    else:
        pitch, span = int(rng.integers(25, 75)), int(rng.integers(35, 75))
        words = int(165 / tempo)
        voices = [name if engine == "espeak" else f"{x.language}+{name}" for x in lines]
        said = espeak.say(
            [
                espeak.Request(line.text, voice, words, pitch, span)
                for line, voice in zip(lines, voices, strict=True)
            ]
        )
    if engine != "espeak" and rng.random() < 0.5:
        factor = float(rng.uniform(0.90, 1.12))
        said = [warp(u, factor) for u in said]
    return said


def _lines(spec: ClipSpec, rng: Rng) -> list[text.Line]:
    words = random.Random(int(rng.integers(2**62)))
    if spec.voice.startswith("espeak-foreign"):
        first = text.foreign(words, spec.split)
        more = (text.foreign(words, spec.split) for _ in range(200))
        # One person speaks one language within a clip.
        return [first, *[x for x in more if x.language == first.language][:7]]
    return [text.english(words, spec.split) for _ in range(8)]


def _utterances(job: Job, rng: Rng) -> tuple[list[Utterance], list[bool]]:
    spec = job.spec
    if spec.voice.startswith("recorded"):
        said = [recorded.load(r, job.out / "align") for r in spec.recordings]
        said = [warp(u, spec.warp) if spec.warp != 1.0 else u for u in said]
        return said, [r.text.rstrip().endswith("?") for r in spec.recordings]
    lines = _lines(spec, rng)
    if spec.voice.startswith("festival"):
        lines = lines[:4]
    return _synthesise(spec, rng, lines), [line.question for line in lines]


def _pause(rng: Rng) -> float:
    return float(rng.uniform(0.2, 0.8) if rng.random() < 0.7 else rng.uniform(0.8, 2.5))


def _arrange(
    said: list[Utterance], questions: list[bool], rng: Rng, keep_all: bool
) -> tuple[np.ndarray, list[Phone], list[Sentence], list[str]]:
    """Place utterances on a line of 8 to 20 s; return audio, phones, sentences, texts."""
    wanted = float(rng.uniform(9.0, 17.0))
    now = float(rng.uniform(0.2, 1.2))
    base = float(rng.uniform(-28, -16))
    audio = np.zeros(round(_LONGEST * SAMPLE_RATE), np.float32)
    phones: list[Phone] = []
    sentences: list[Sentence] = []
    texts: list[str] = []
    for speech, question in zip(said, questions, strict=True):
        ready = level(trim(speech), base + float(rng.uniform(-2, 2)))
        seconds = len(ready.audio) / SAMPLE_RATE
        if now + seconds + _TAIL_ROOM > _LONGEST or (not keep_all and now > wanted):
            continue
        first = round(now * SAMPLE_RATE)
        audio[first : first + len(ready.audio)] = ready.audio
        start = first / SAMPLE_RATE
        phones += [Phone(p.name, p.start + start, p.end + start) for p in ready.phones]
        sentences.append(Sentence(start, start + seconds, question))
        texts.append(speech.text)
        now = start + seconds + _pause(rng)
    if not sentences:
        raise SpeechUnavailable("no sentence fits into a clip")
    end = max(sentences[-1].end + float(rng.uniform(_TAIL_ROOM, 1.2)), _SHORTEST)
    frames = int(min(end, _LONGEST) * SAMPLE_RATE) // SAMPLES_PER_FRAME
    return audio[: frames * SAMPLES_PER_FRAME], phones, sentences, texts


def _speak(job: Job) -> tuple[NDArray[np.int16], dict[str, Any]]:
    """Make a clip's audio, int16 [N], and its row of the index."""
    rng = np.random.default_rng([job.seed, job.spec.index])
    voice = job.spec.voice
    phones: list[Phone] = []
    sentences: list[Sentence] = []
    if voice == "sound":
        frames = int(rng.integers(200, 400))
        kind, audio = sounds.draw(rng, frames * SAMPLES_PER_FRAME)
        texts = [f"[{kind}]"]
    else:
        said, questions = _utterances(job, rng)
        voice = said[0].voice
        audio, phones, sentences, texts = _arrange(said, questions, rng, bool(job.spec.recordings))
    row = {
        "file": f"clips/{job.path.name}",
        "voice": voice,
        "split": job.spec.split,
        "seconds": len(audio) / SAMPLE_RATE,
        "warp": job.spec.warp,
        "text": texts,
        "sentences": [[round(s.start, 3), round(s.end, 3), s.question] for s in sentences],
        "phones": [
            [p.name, "+".join(visemes_of(p.name)), round(p.start, 4), round(p.end, 4)]
            for p in phones
        ],
    }
    return np.round(audio * 32767).astype(np.int16), row


def _move(job: Job, audio: NDArray[np.int16], row: dict[str, Any]) -> None:
    """Animate a clip and write its file; an interrupted run leaves no half clip."""
    rng = np.random.default_rng([job.seed, job.spec.index, 1])
    style = draw(rng)
    phones = [Phone(name, start, end) for name, _, start, end in row["phones"]]
    sentences = [Sentence(*fields) for fields in row["sentences"]]
    done = animate.animate(audio.astype(np.float32) / 32768, phones, sentences, style, rng)
    part = job.path.with_suffix(".part.npz")
    np.savez(
        part,
        audio=audio,
        motion=done.motion.astype(np.float16),
        viseme=done.viseme,
        speaking=done.speaking,
        closure=done.closure,
        voice=np.array(row["voice"]),
        style=style.vector(),
        meta=np.array(json.dumps(row, ensure_ascii=False)),
    )
    part.replace(job.path)


def make(job: Job) -> dict[str, Any]:
    """Make the clip unless its file exists; return its row of the index.

    With ``job.again`` an existing clip keeps its sound and gets its motion from the teacher anew.

    Raises:
        SpeechUnavailable: the voice could not say it.
    """
    if job.path.is_file():
        with np.load(job.path) as saved:
            row: dict[str, Any] = json.loads(str(saved["meta"]))
            audio = saved["audio"] if job.again else None
        if audio is None:
            return row
    else:
        audio, row = _speak(job)
    _move(job, audio, row)
    return row
