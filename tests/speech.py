"""Speech with known phone times for end-to-end tests, and a curve of how open phones are.

The openness classes are textbook vowel height (open, mid, close) and consonant manner, chosen here
and independent of the training targets, so that agreeing with them is evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.media import FPS, SAMPLE_RATE, AudioChunk, Float32
from tests.conftest import require_program
from training.corpus import flite

OPEN = ("aa", "ae", "ah", "ao", "aw", "ay")
MID = ("eh", "er", "ey", "ow", "oy", "ax")
CLOSE = ("ih", "iy", "uh", "uw", "y", "w")
BILABIAL = ("p", "b", "m")
LABIODENTAL = ("f", "v")
SILENCE = ("pau", "sil")


@dataclass(frozen=True)
class Spoken:
    """A sentence with silence around it.

    Args:
        audio: mono, 16 kHz.
        phones: (name, start, end) in seconds from the first sample.
    """

    audio: AudioChunk
    phones: list[tuple[str, float, float]]

    @property
    def frames(self) -> int:
        """Video frames under the audio."""
        return len(self.audio.samples) * FPS // SAMPLE_RATE

    def openness(self) -> Float32:
        """How open the lips should be per video frame, [frames], 0..1, smoothed over 120 ms."""
        fine = np.zeros(self.frames * 4, np.float32)
        for name, start, end in self.phones:
            fine[round(start * 100) : round(end * 100)] = _openness(name)
        kernel = np.hanning(14)[1:-1]
        smooth = np.convolve(fine, kernel / kernel.sum(), "same")
        return smooth.reshape(-1, 4).mean(1).astype(np.float32)

    def frames_of(self, names: tuple[str, ...], shortest: float = 0.05) -> list[slice]:
        """Video frames under each phone of these names that lasts at least ``shortest`` s."""
        return [
            slice(int(start * FPS), int(np.ceil(end * FPS)))
            for name, start, end in self.phones
            if name in names and end - start >= shortest
        ]


def _openness(name: str) -> float:
    for names, value in ((OPEN, 1.0), (MID, 0.7), (CLOSE, 0.4), (BILABIAL, 0.0), (SILENCE, 0.0)):
        if name in names:
            return value
    return 0.15 if name in LABIODENTAL else 0.25


def speak(text: str, voice: str = "rms", before: float = 1.5, after: float = 2.0) -> Spoken:
    """Let flite say sentences, one second apart, with silence before and after."""
    require_program("flite")
    parts, phones, now = [np.zeros(int(before * SAMPLE_RATE), np.float32)], [], before
    for sentence in text.split("|"):
        said = flite.say(sentence.strip(), voice)
        phones += [(p.name, p.start + now, p.end + now) for p in said.phones]
        pause = np.zeros(SAMPLE_RATE, np.float32)
        parts += [said.audio, pause]
        now += len(said.audio) / SAMPLE_RATE + 1.0
    parts.append(np.zeros(int(after * SAMPLE_RATE), np.float32))
    samples = np.concatenate(parts)
    samples = samples[: len(samples) // 640 * 640]
    noise = np.random.default_rng(0).standard_normal(len(samples)) * 3e-4
    return Spoken(AudioChunk((samples + noise).astype(np.float32), 0, SAMPLE_RATE), phones)


def aligned(first: Float32, second: Float32, most: int = 6) -> tuple[float, int]:
    """Best Pearson correlation over shifts of up to ``most`` frames, and that shift."""
    best = (-1.0, 0)
    for shift in range(-most, most + 1):
        one = first[max(0, shift) : len(first) + min(0, shift)]
        two = second[max(0, -shift) : len(second) + min(0, -shift)]
        best = max(best, (float(np.corrcoef(one, two)[0, 1]), shift))
    return best
