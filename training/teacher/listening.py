"""What a face does while somebody else speaks, and while nobody does.

Listeners look at the speaker more steadily than speakers at them (Argyle and Cook 1976), nod and
smile at the ends of the other's phrases, 0.2 to 0.6 s after them (Dittmann and Llewellyn 1968;
Ward and Tsukahara 2000), and raise their brows at questions and accents.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from training.corpus.phones import Unit
from training.teacher import lips
from training.teacher.head import Sentence
from training.teacher.noise import bump
from training.teacher.prosody import RATE, measure
from training.teacher.style import Style

Float32 = NDArray[np.float32]
Rng = np.random.Generator

_DELAY = (0.2, 0.6)  # seconds from a phrase's end to the nod
_AT_END, _AT_PAUSE = 0.75, 0.45  # chance of a nod at a sentence's end, at a pause within one
_PAUSE = 0.22  # seconds of quiet within a sentence that invite a nod
_QUIET = 0.35  # loudness, on the scale of ``prosody.measure``
_MARGIN = 0.25  # seconds around our own speech in which we do not listen


@dataclass(frozen=True, slots=True, eq=False)
class Other:
    """The other speaker of a conversation.

    Args:
        audio: float32 [N] at 16 kHz on the clip's time axis, silent where nobody speaks.
        sentences: the other's, in order.
    """

    audio: Float32
    sentences: list[Sentence]


@dataclass(frozen=True, slots=True, eq=False)
class Listening:
    """What listening adds, at 100 Hz.

    Args:
        attention: float32 [T], 1 while the other speaks and we are silent, 0 while we speak.
        idle: float32 [T], 1 while nobody speaks.
        pitch, roll: float32 [T], radians added to the head.
        face: float32 [T] by ARKit name.
        ends: where a blink is likely, seconds.
    """

    attention: Float32
    idle: Float32
    pitch: Float32
    roll: Float32
    face: dict[str, Float32] = field(default_factory=dict)
    ends: list[float] = field(default_factory=list)


def listen(
    rng: Rng, count: int, spoken: list[Unit], other: Other | None, style: Style
) -> Listening:
    """Return how our person takes in what the other says.

    Args:
        rng: the clip's generator.
        count: T.
        spoken: our own units.
        other: whom we listen to, if anybody.
        style: our manner.
    """
    times = (np.arange(count, dtype=np.float32) + 0.5) / RATE
    free = _silent(spoken, count)
    heard = np.zeros(count, np.float32)
    for sentence in other.sentences if other else ():
        inside = (times > sentence.start - 0.1) & (times < sentence.end + 0.8)
        heard[inside] = 1
    attention = gaussian_filter1d(free * heard, 12).astype(np.float32)
    idle = gaussian_filter1d(free * (1 - heard), 12).astype(np.float32)
    pitch, roll = np.zeros(count, np.float32), np.zeros(count, np.float32)
    done = Listening(attention, idle, pitch, roll)
    if other is not None and other.sentences:
        _react(rng, times, free, other, style, done)
    return done


def _silent(spoken: list[Unit], count: int) -> Float32:
    """1 where our person is silent and not about to speak, float32 [T]."""
    free = np.zeros(count, np.float32)
    seconds = count / RATE
    for start, end in lips.silences(spoken, seconds):
        a = start + _MARGIN if start > 0 else 0.0
        b = end - _MARGIN if end < seconds else seconds
        free[int(a * RATE) : max(int(b * RATE), int(a * RATE))] = 1
    return free


def _react(
    rng: Rng, times: Float32, free: Float32, other: Other, style: Style, done: Listening
) -> None:
    """Add nods, tilts, brows and smiles in place."""
    count = len(times)
    raised, smile = np.zeros(count, np.float32), np.zeros(count, np.float32)
    pauses, accents = _landmarks(other, count)
    for sentence in other.sentences:
        done.ends.append(sentence.end)
        if rng.random() < _AT_END * min(style.nod, 1.2):
            _nod(rng, times, sentence.end, style, done.pitch)
        if rng.random() < 0.35:
            length = float(rng.uniform(1.2, 2.6))
            size = float(rng.uniform(0.10, 0.28))
            smile += size * bump(times, sentence.end + 0.5, 0.5 * length, 0.6 * length)
        tilt = float(rng.normal(0, 0.022)) * style.head
        middle = 0.5 * (sentence.start + sentence.end)
        half = 0.5 * (sentence.end - sentence.start) + 0.4
        done.roll[:] += tilt * bump(times, middle, half, half)
        if sentence.question or rng.random() < 0.15:
            size = float(rng.uniform(0.14, 0.34)) * min(style.brow, 1.3)
            raised += size * bump(times, sentence.end + 0.05, 0.35, 0.8)
    for at in pauses:
        done.ends.append(at)
        if rng.random() < _AT_PAUSE * min(style.nod, 1.2):
            _nod(rng, times, at, style, done.pitch)
    for at in accents:
        if rng.random() < 0.18 * style.brow:
            size = float(rng.uniform(0.08, 0.20))
            raised += size * bump(times, at + float(rng.uniform(0.1, 0.3)), 0.18, 0.45)
    # Our own turn ends every reaction softly.
    open_floor = gaussian_filter1d(free, 8).astype(np.float32)
    raised, smile = raised * open_floor, smile * open_floor
    done.pitch[:] *= open_floor
    done.roll[:] *= open_floor
    done.face["browInnerUp"] = raised
    for side in ("Left", "Right"):
        done.face[f"browOuterUp{side}"] = 0.7 * raised
        done.face[f"mouthSmile{side}"] = smile
        done.face[f"cheekSquint{side}"] = 0.6 * smile
        done.face[f"eyeSquint{side}"] = 0.3 * smile


def _nod(rng: Rng, times: Float32, after: float, style: Style, pitch: Float32) -> None:
    """Add one to three nods, each smaller than the one before."""
    at = after + float(rng.uniform(*_DELAY))
    depth = float(rng.uniform(0.030, 0.075)) * float(np.clip(style.nod, 0.5, 1.4))
    for _ in range(int(rng.choice((1, 2, 2, 3)))):
        half = float(rng.uniform(0.15, 0.22))
        pitch += depth * bump(times, at + half, half, 1.1 * half)
        at += 2.1 * half
        depth *= float(rng.uniform(0.5, 0.8))


def _landmarks(other: Other, count: int) -> tuple[list[float], list[float]]:
    """Times of pauses within the other's sentences, and of accents."""
    loudness = measure(other.audio, count).loudness
    pauses: list[float] = []
    accents: list[float] = []
    for sentence in other.sentences:
        first, last = int(sentence.start * RATE), min(int(sentence.end * RATE), count)
        quiet = np.concatenate([[False], loudness[first:last] < _QUIET, [False]])
        starts = np.flatnonzero(quiet[1:] & ~quiet[:-1])
        ends = np.flatnonzero(~quiet[1:] & quiet[:-1])
        for a, b in zip(starts, ends, strict=True):
            if a > 0 and b < last - first and b - a >= _PAUSE * RATE:
                pauses.append((first + a) / RATE)
        part = gaussian_filter1d(loudness[first:last], 5)
        if len(part) > 20:
            top = np.flatnonzero((part[1:-1] > part[:-2]) & (part[1:-1] >= part[2:])) + 1
            high = np.percentile(part, 75)
            accents += [(first + i) / RATE for i in top if part[i] > high]
    return pauses, accents
