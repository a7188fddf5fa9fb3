"""Loudness, pitch and prominence from the sound itself, so that every voice gets them alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from engine.media import SAMPLE_RATE
from training.corpus.phones import VOWELS, Unit

Float32 = NDArray[np.float32]

RATE = 100
"""Control points per second of every teacher curve."""
_HOP = SAMPLE_RATE // RATE
_WINDOW = 640
_FLOOR = 1e-4
_LOWEST, _HIGHEST = 70.0, 400.0


@dataclass(frozen=True, slots=True, eq=False)
class Prosody:
    """Curves at 100 Hz, float32 [T].

    Args:
        loudness: dB above the clip's quiet level, scaled so that loud speech is about 1.
        pitch: semitones around the voice's median, 0 where unvoiced, smoothed.
    """

    loudness: Float32
    pitch: Float32


def _frames(audio: Float32, count: int) -> NDArray[np.float32]:
    padded = np.pad(audio, (_WINDOW // 2, _WINDOW))
    starts = np.arange(count) * _HOP
    return np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[starts]


def _pitch(frames: NDArray[np.float32], rms: Float32) -> Float32:
    """Autocorrelation pitch in semitones around the median; 0 where unvoiced."""
    shortest, longest = int(SAMPLE_RATE / _HIGHEST), int(SAMPLE_RATE / _LOWEST)
    spectrum = np.fft.rfft(frames * np.hanning(_WINDOW).astype(np.float32), 2 * _WINDOW)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:, : longest + 1]
    correlation /= correlation[:, :1] + 1e-6
    lags = shortest + np.argmax(correlation[:, shortest:], axis=1)
    clarity = np.take_along_axis(correlation, lags[:, None], 1)[:, 0]
    voiced = (clarity > 0.35) & (rms > 0.1 * rms.max(initial=_FLOOR))
    if not voiced.any():
        return np.zeros(len(rms), np.float32)
    tones = 12 * np.log2(SAMPLE_RATE / lags)
    tones = np.where(voiced, np.clip(tones - np.median(tones[voiced]), -8, 8), 0.0)
    weight = gaussian_filter1d(voiced.astype(np.float64), 6) + 0.05
    return (gaussian_filter1d(tones, 6) / weight).astype(np.float32)


def measure(audio: Float32, count: int) -> Prosody:
    """Measure ``count`` control points of 16 kHz audio [N]."""
    frames = _frames(audio, count)
    rms = np.sqrt(np.mean(frames**2, axis=1)).astype(np.float32)
    decibels = 20 * np.log10(np.maximum(rms, _FLOOR))
    loud = np.percentile(decibels, 95)
    loudness = np.clip((decibels - (loud - 30)) / 30, 0, 1.2).astype(np.float32)
    if loud < -50:
        loudness[:] = 0
    return Prosody(gaussian_filter1d(loudness, 2).astype(np.float32), _pitch(frames, rms))


def prominence(spoken: list[Unit], prosody: Prosody) -> Float32:
    """Return how stressed each unit is, float32 [U] in 0..1; consonants take their vowel's value.

    Long, loud, high vowels are heard as stressed (Fry 1958); the three cues are compared with the
    other vowels of the clip.
    """
    middles = np.array([0.5 * (u.start + u.end) for u in spoken])
    at = np.clip((middles * RATE).astype(int), 0, len(prosody.loudness) - 1)
    vowel = np.array([u.viseme in VOWELS for u in spoken], bool)
    if vowel.sum() < 3:
        return np.full(len(spoken), 0.5, np.float32)
    length = np.array([np.log(max(u.end - u.start, 0.02)) for u in spoken])
    score = np.zeros(len(spoken))
    for cue, weight in ((length, 0.4), (prosody.loudness[at], 0.4), (prosody.pitch[at], 0.3)):
        deviation = np.std(cue[vowel]) + 1e-3
        score += weight * (cue - np.mean(cue[vowel])) / deviation
    full = np.where(vowel, np.array([u.viseme not in ("ax",) for u in spoken]) * 0.6, 0)
    value = 1 / (1 + np.exp(-1.3 * (score + full - 0.3)))
    nearest = np.abs(middles[:, None] - middles[vowel][None, :]).argmin(1)
    return np.where(vowel, value, value[vowel][nearest]).astype(np.float32)
