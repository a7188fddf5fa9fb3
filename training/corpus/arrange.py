"""Place sentences, breaths and turns on the time line of a clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.media import SAMPLE_RATE, SAMPLES_PER_FRAME
from training.corpus import sounds
from training.corpus.phones import Phone, visemes_of
from training.corpus.speech import SpeechUnavailable, Utterance
from training.corpus.voices import ready
from training.teacher.head import Sentence

Float32 = NDArray[np.float32]
Rng = np.random.Generator

_SHORTEST, _LONGEST = 8.0, 20.0
_TAIL_ROOM = 0.4
_BREATHING = 0.35  # share of sentences with an audible breath before them


@dataclass(slots=True)
class Track:
    """What one speaker contributes to a clip.

    Args:
        audio: float32 [20 s], cut when the clip's length is known.
        phones, sentences, texts, breaths: in order; times in seconds from the clip's start.
    """

    voice: str
    level: float = -20.0
    audio: Float32 = field(
        default_factory=lambda: np.zeros(round(_LONGEST * SAMPLE_RATE), np.float32)
    )
    phones: list[Phone] = field(default_factory=list)
    sentences: list[Sentence] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    breaths: list[tuple[float, float]] = field(default_factory=list)

    def place(self, speech: Utterance, question: bool, at: float) -> float:
        """Add a trimmed, levelled utterance from ``at`` seconds on; return its end."""
        first = round(at * SAMPLE_RATE)
        self.audio[first : first + len(speech.audio)] += speech.audio
        start = first / SAMPLE_RATE
        end = start + len(speech.audio) / SAMPLE_RATE
        self.phones += [Phone(p.name, p.start + start, p.end + start) for p in speech.phones]
        self.sentences.append(Sentence(start, end, question))
        self.texts.append(speech.text)
        return end

    def breathe(self, rng: Rng, before: float, not_before: float) -> None:
        """Take an audible breath that ends at ``before``, if there is room and need for it."""
        sound = sounds.inhale(rng)
        start = round(before * SAMPLE_RATE) - len(sound)
        wanted = rng.random() < _BREATHING
        if wanted and start / SAMPLE_RATE > not_before:
            quieter = self.level - float(rng.uniform(12, 26))
            self.audio[start : start + len(sound)] += sound * np.float32(10 ** (quieter / 20))
            self.breaths.append((start / SAMPLE_RATE, before))

    def row(self) -> dict[str, Any]:
        """Return the track as JSON-ready lists."""
        return {
            "text": self.texts,
            "sentences": [[round(s.start, 3), round(s.end, 3), s.question] for s in self.sentences],
            "phones": [
                [p.name, "+".join(visemes_of(p.name)), round(p.start, 4), round(p.end, 4)]
                for p in self.phones
            ],
            "breaths": [[round(a, 3), round(b, 3)] for a, b in self.breaths],
        }


def _pause(rng: Rng) -> float:
    return float(rng.uniform(0.2, 0.8) if rng.random() < 0.7 else rng.uniform(0.8, 2.5))


def _gap(rng: Rng) -> float:
    """Silence between turns; most are 0 to 0.5 s, some overlap (Heldner and Edlund 2010)."""
    return float(np.clip(rng.normal(0.28, 0.30), -0.25, 1.5))


def monologue(
    track: Track, said: list[Utterance], questions: list[bool], rng: Rng, keep_all: bool
) -> float:
    """Place one speaker's sentences with pauses; return where the clip ends, in seconds.

    Args:
        track: receives them.
        said: sentences in order.
        questions: which of them ask.
        rng: decides pauses and loudness.
        keep_all: place every sentence that fits, not only about 9 to 17 s of them.

    Raises:
        SpeechUnavailable: no sentence fits.
    """
    wanted = float(rng.uniform(9.0, 17.0))
    now, free = float(rng.uniform(0.2, 1.2)), 0.0
    for speech, question in zip(said, questions, strict=True):
        levelled = ready(speech, track.level + float(rng.uniform(-2, 2)))
        seconds = len(levelled.audio) / SAMPLE_RATE
        if now + seconds + _TAIL_ROOM > _LONGEST or (not keep_all and now > wanted):
            continue
        track.breathe(rng, now, free)
        free = track.place(levelled, question, now)
        now = free + _pause(rng)
    if not track.sentences:
        raise SpeechUnavailable("no sentence fits into a clip")
    return free + float(rng.uniform(_TAIL_ROOM, 1.2))


def dialogue(
    ours: tuple[Track, Iterator[tuple[Utterance, bool]]],
    other: tuple[Track, Iterator[tuple[Utterance, bool]]],
    rng: Rng,
) -> float:
    """Let two speakers take turns of one or two sentences; return the clip's end in seconds.

    Raises:
        SpeechUnavailable: one of them got no sentence in.
    """
    wanted = float(rng.uniform(12.0, 18.0))
    now = float(rng.uniform(0.2, 1.0))
    turn = int(rng.integers(2))
    misses = 0
    while now < wanted and misses < 4:
        track, sentences = (ours, other)[turn]
        for _ in range(1 + int(rng.random() < 0.35)):
            speech, question = next(sentences, (None, False))
            if speech is None:
                misses += 1
                continue
            levelled = ready(speech, track.level + float(rng.uniform(-2, 2)))
            if now + len(levelled.audio) / SAMPLE_RATE + _TAIL_ROOM > _LONGEST:
                misses += 1
                continue
            now = track.place(levelled, question, now) + float(rng.uniform(0.15, 0.6))
        turn = 1 - turn
        now = max(now - 0.3 + _gap(rng), track.sentences[-1].end - 0.25 if track.sentences else 0)
    if not (ours[0].sentences and other[0].sentences):
        raise SpeechUnavailable("a dialogue with only one speaker")
    end = max(t.sentences[-1].end for t in (ours[0], other[0]))
    return end + float(rng.uniform(_TAIL_ROOM, 1.2))


def frames_of(end: float) -> int:
    """Return the number of frames of a clip whose last sound ends before ``end`` seconds."""
    return int(min(max(end, _SHORTEST), _LONGEST) * SAMPLE_RATE) // SAMPLES_PER_FRAME
