"""What an engine hands back: 16 kHz audio, phones with times, and the words they came from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import soxr
from numpy.typing import NDArray

from engine.media import SAMPLE_RATE
from training.corpus.phones import Phone, is_pause

Float32 = NDArray[np.float32]


class SpeechUnavailable(Exception):
    """An engine is not installed, or could not say or align this sentence."""


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """One spoken sentence.

    Args:
        audio: float32 [N] at 16 kHz, within [-1, 1].
        phones: in order, without gaps longer than the engine left; pauses included.
        text: what was said.
        voice: ``engine:name``.
    """

    audio: Float32
    phones: tuple[Phone, ...]
    text: str
    voice: str


def to_16k(samples: NDArray[np.generic], rate: int) -> Float32:
    """Resample mono audio [N] to 16 kHz float32 [M]; int16 is scaled to [-1, 1]."""
    audio = samples.astype(np.float32)
    if samples.dtype == np.int16:
        audio /= 32768.0
    if rate != SAMPLE_RATE:
        audio = soxr.resample(audio, rate, SAMPLE_RATE, quality="HQ").astype(np.float32)
    return audio


def warp(speech: Utterance, factor: float) -> Utterance:
    """Play ``factor`` times faster, pitch and formants included; phone times follow exactly.

    It makes another person of the same engine voice (a longer or shorter vocal tract).
    """
    audio = soxr.resample(speech.audio, SAMPLE_RATE * factor, SAMPLE_RATE).astype(np.float32)
    phones = tuple(Phone(p.name, p.start / factor, p.end / factor) for p in speech.phones)
    return replace(speech, audio=audio, phones=phones)


def trim(speech: Utterance, margin: float = 0.06) -> Utterance:
    """Cut leading and trailing pauses down to ``margin`` seconds.

    Raises:
        SpeechUnavailable: nothing is spoken.
    """
    spoken = [p for p in speech.phones if not is_pause(p.name)]
    if not spoken:
        raise SpeechUnavailable(f"{speech.voice} said nothing for {speech.text!r}")
    start = max(spoken[0].start - margin, 0.0)
    end = min(spoken[-1].end + 2 * margin, len(speech.audio) / SAMPLE_RATE)
    first, last = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
    moved = []
    for phone in speech.phones:
        a, b = max(phone.start, start) - start, min(phone.end, end) - start
        if b > a:
            moved.append(Phone(phone.name, a, b))
    audio = speech.audio[first:last].copy()
    ramp = min(len(audio) // 2, round(0.02 * SAMPLE_RATE))
    audio[:ramp] *= np.linspace(0, 1, ramp, dtype=np.float32)
    audio[len(audio) - ramp :] *= np.linspace(1, 0, ramp, dtype=np.float32)
    return replace(speech, audio=audio, phones=tuple(moved))


def level(speech: Utterance, decibels: float) -> Utterance:
    """Scale so that the loud parts (95th percentile of 25 ms RMS) sit at ``decibels`` dBFS."""
    size = 400
    blocks = speech.audio[: len(speech.audio) // size * size].reshape(-1, size)
    loud = float(np.percentile(np.sqrt(np.mean(blocks**2, axis=1)), 95)) if len(blocks) else 0.0
    gain = 10 ** (decibels / 20) / max(loud, 1e-4)
    peak = float(np.abs(speech.audio).max(initial=0.0))
    gain = min(gain, 0.98 / max(peak, 1e-4))
    return replace(speech, audio=(speech.audio * gain).astype(np.float32))
