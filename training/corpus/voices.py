"""Let a voice of the plan say some sentences: text, engine, rate, pitch and manner."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from training.corpus import espeak, festival, flite, kokoro, recorded, sounds, text
from training.corpus.phones import Phone
from training.corpus.plan import ClipSpec, language_of
from training.corpus.speech import Utterance, level, trim, warp
from training.teacher.emotion import EMOTIONS

Rng = np.random.Generator

_NEUTRAL_SHARE = 0.45
# How a feeling sounds (Scherer 2003): pace, pitch, its span, loudness in dB, at full strength.
_MANNER: dict[str, tuple[float, float, float, float]] = {
    "happy": (0.94, 1.08, 1.3, 1.5), "sad": (1.15, 0.94, 0.6, -4.0),
    "angry": (0.92, 1.04, 1.25, 3.0), "surprised": (0.97, 1.12, 1.45, 1.5),
    "calm": (1.08, 0.98, 0.85, -2.0),
}  # fmt: skip
_LAUGHTER = 0.10
_LETTERS_PER_SECOND, _ENOUGH = 14.0, 17.0


def draw_emotion(rng: Rng) -> np.ndarray:
    """Return intensities float32 [5]: neutral (zeros) or one emotion at 0.4 to 1."""
    vector = np.zeros(len(EMOTIONS), np.float32)
    if rng.random() >= _NEUTRAL_SHARE:
        vector[int(rng.integers(len(EMOTIONS)))] = float(rng.uniform(0.4, 1.0))
    return vector


def manner(emotion: np.ndarray) -> tuple[float, float, float, float]:
    """Return factors of duration, pitch and its span, and decibels, for intensities [5]."""
    which = int(np.argmax(emotion))
    strength = float(emotion[which])
    pace, pitch, span, loud = _MANNER[EMOTIONS[which]]
    return pace**strength, pitch**strength, span**strength, loud * strength


def say(
    voice: str, spec: ClipSpec, rng: Rng, emotion: np.ndarray, cache: Path
) -> tuple[list[Utterance], list[bool]]:
    """Speak up to eight sentences (or the plan's recordings) with one voice.

    Args:
        voice: as in ``ClipSpec.voice``.
        spec: gives the split and the recordings.
        rng: decides text, rate and pitch.
        emotion: float32 [5], see ``EMOTIONS``; it colours rate, pitch and loudness.
        cache: folder of alignments.

    Returns:
        Utterances, and whether each is a question.

    Raises:
        SpeechUnavailable: the engine or voice is missing.
    """
    if voice.startswith("recorded"):
        said = [recorded.load(r, cache) for r in spec.recordings]
        said = [warp(u, spec.warp) if spec.warp != 1.0 else u for u in said]
        return said, [r.text.rstrip().endswith("?") for r in spec.recordings]
    engine, _, name = voice.partition(":")
    lines = _lines(engine, name, spec.split, rng)
    said = _ENGINES[engine](name, lines, rng, emotion)
    if not engine.startswith("espeak") and rng.random() < 0.5:
        factor = float(rng.uniform(0.90, 1.12))
        said = [warp(u, factor) for u in said]
    questions = [line.question for line in lines]
    if rng.random() < _LAUGHTER and emotion[1] == 0 and emotion[2] == 0:
        at = int(rng.integers(0, min(3, len(said))))
        said.insert(at, _laugh(rng, said[0]))
        questions.insert(at, False)
    return said, questions


def _lines(engine: str, name: str, split: str, rng: Rng) -> list[text.Line]:
    words = random.Random(int(rng.integers(2**62)))
    language = language_of(f"{engine}:{name}")
    if language != "en":
        first = text.foreign(words, split, language)
        # One person speaks one language within a clip.
        drawn = [first, *(text.foreign(words, split, first.language) for _ in range(40))]
    else:
        drawn = [text.english(words, split) for _ in range(8)]
    return _enough(list(dict.fromkeys(drawn)))


def _enough(lines: list[text.Line]) -> list[text.Line]:
    """Keep as many lines as a clip can need: speaking is most of the work."""
    total, kept = 0.0, []
    for line in lines:
        kept.append(line)
        total += len(line.text) / _LETTERS_PER_SECOND + 0.7
        if total > _ENOUGH:
            break
    return kept


def _flite(name: str, lines: list[text.Line], rng: Rng, emotion: np.ndarray) -> list[Utterance]:
    pace, pitch, _, _ = manner(emotion)
    tempo = float(rng.uniform(0.88, 1.2)) * pace
    hertz = float(rng.uniform(85, 160)) * pitch if name == "kal16" else None
    return [flite.say(line.text, name, tempo, hertz) for line in lines]


def _festival(name: str, lines: list[text.Line], rng: Rng, emotion: np.ndarray) -> list[Utterance]:
    tempo = float(rng.uniform(0.85, 1.15)) * manner(emotion)[0]
    return festival.say([line.text for line in lines], tempo, name)


def _espeak(name: str, lines: list[text.Line], rng: Rng, emotion: np.ndarray) -> list[Utterance]:
    pace, pitch, span, _ = manner(emotion)
    words = int(165 / (float(rng.uniform(0.88, 1.2)) * pace))
    height = int(np.clip(int(rng.integers(25, 75)) * pitch**2, 0, 99))
    swing = int(np.clip(int(rng.integers(35, 75)) * span, 0, 99))
    voices = [name if line.language == "en" else f"{line.language}+{name}" for line in lines]
    return espeak.say(
        [
            espeak.Request(line.text, voice, words, height, swing)
            for line, voice in zip(lines, voices, strict=True)
        ]
    )


def _kokoro(name: str, lines: list[text.Line], rng: Rng, emotion: np.ndarray) -> list[Utterance]:
    speed = float(rng.uniform(0.85, 1.2)) / manner(emotion)[0]
    return [kokoro.say(line.text, name, speed) for line in lines]


_ENGINES: dict[str, Callable[[str, list[text.Line], Rng, np.ndarray], list[Utterance]]] = {
    "flite": _flite,
    "festival": _festival,
    "espeak": _espeak,
    "espeak-foreign": _espeak,
    "kokoro": _kokoro,
}


def _laugh(rng: Rng, like: Utterance) -> Utterance:
    """Return a laugh of our own making, put into the mouth of ``like``'s voice."""
    sound, phones = sounds.laugh(rng, float(rng.uniform(160, 380)))
    named = tuple(Phone(*phone) for phone in phones)
    return Utterance(sound * np.float32(0.1), named, "[laugh]", like.voice)


def ready(speech: Utterance, decibels: float) -> Utterance:
    """Trim and level an utterance so that it can be placed.

    Raises:
        SpeechUnavailable: nothing is spoken.
    """
    return level(trim(speech), decibels)
