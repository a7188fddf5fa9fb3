"""What the peers say: real speech (the page's sample), its syllables, and speech without pauses."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.analysis import loudness, onset
from benchmarks.peer import RATE
from engine.audio.framer import Framer
from engine.media import AudioChunk, Float32
from engine.transport.files import read_audio

SAMPLE = Path(__file__).resolve().parent.parent / "clients" / "web" / "sample.wav"
_BLOCK = RATE // 100
_QUIET = 0.02
"""Share of the loudest 10 ms below which there is a pause."""
_PAUSE_BLOCKS = 12
_SYLLABLE_S = 0.45
_FADE = RATE // 200


@dataclass(frozen=True, slots=True, eq=False)
class Clicks:
    """Syllables after silence.

    Args:
        samples: float32, the whole track.
        begins: sample at which each syllable can first be heard.
        syllables: the sound of each, from there on.
    """

    samples: Float32
    begins: tuple[int, ...]
    syllables: tuple[Float32, ...]


@cache
def talk() -> Float32:
    """The page's sample clip at 48 kHz: 14 s of speech."""
    sound = read_audio(SAMPLE)
    framer = Framer(sound.rate, RATE)
    padded = np.concatenate([sound.samples, np.zeros(sound.rate // 10, np.float32)])
    parts = list(framer.push(AudioChunk(padded, 0, sound.rate)))
    line: Float32 = np.concatenate([part.samples for part in parts])
    return line


@cache
def onsets() -> tuple[Float32, ...]:
    """Beginnings of phrases, half a second each, with silence before them in the clip."""
    line = talk()
    loud = loudness(line, _BLOCK)
    voiced = loud > _QUIET * loud.max()
    found = []
    for block in np.flatnonzero(voiced):
        pause = voiced[max(0, block - _PAUSE_BLOCKS) : block]
        if pause.any() or (block and len(pause) < _PAUSE_BLOCKS):
            continue
        # From half a block earlier: the threshold is crossed somewhere inside.
        start = max(0, int(block) * _BLOCK - _BLOCK // 2)
        piece = line[start : start + int(_SYLLABLE_S * RATE)].copy()
        piece = piece[onset(piece) :]
        piece[-_FADE:] *= np.linspace(1, 0, _FADE, dtype=np.float32)
        if len(piece) >= 0.3 * RATE and loudness(piece[: RATE // 10], _BLOCK).max() > 0.03:
            found.append(0.5 * piece / np.abs(piece).max())
    return tuple(found)


def clicks(count: int, seed: int, lead_s: float = 3.0) -> Clicks:
    """Syllables at random moments, 1.6 to 2.1 s apart, silence between them.

    Args:
        count: how many.
        seed: of the moments.
        lead_s: silence before the first one: the stream's delay settles.
    """
    rng = np.random.default_rng(seed)
    kinds = onsets()
    begins = np.cumsum(rng.uniform(1.6, 2.1, count) * RATE).astype(int) + int(lead_s * RATE)
    samples = np.zeros(int(begins[-1]) + 2 * RATE, np.float32)
    said = []
    for index, begin in enumerate(begins):
        piece = kinds[index % len(kinds)]
        samples[begin : begin + len(piece)] = piece
        said.append(piece)
    return Clicks(samples, tuple(int(b) for b in begins), tuple(said))


def breathless(seconds: float) -> Float32:
    """Speech whose pauses are cut out: whoever stops it was interrupted."""
    line = talk()
    loud = loudness(line, _BLOCK)
    keep = loud > 4 * _QUIET * loud.max()
    kept = line[: len(keep) * _BLOCK].reshape(-1, _BLOCK)[keep].reshape(-1)
    looped: Float32 = np.resize(kept, int(seconds * RATE)).astype(np.float32)
    return looped


def wav(samples: Float32, rate: int = RATE) -> bytes:
    """A 16 bit mono WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()
