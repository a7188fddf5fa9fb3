"""Section C: silence, noise, music and typing must leave a closed, living face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.media import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, Float32
from engine.transport.files import read_audio
from training.corpus.speech import to_16k
from training.evaluation import dynamics
from training.evaluation.performers import Performer
from training.evaluation.pool import Takes, perform_all
from training.evaluation.sounds import Sound
from training.motion.metrics import opening

SPEECH = Path(__file__).resolve().parents[2] / "clients" / "web" / "sample.wav"
"""What the speaking range is measured on."""
_SETTLED = 2 * FPS
Rng = np.random.Generator


def silence(rng: Rng, seconds: int) -> Float32:
    """Digital silence."""
    del rng
    return np.zeros(seconds * SAMPLE_RATE, np.float32)


def white(rng: Rng, seconds: int) -> Float32:
    """White noise at -40 dBFS."""
    return (0.01 * rng.standard_normal(seconds * SAMPLE_RATE)).astype(np.float32)


def music(rng: Rng, seconds: int) -> Float32:
    """Arpeggios, a bass, a voice-like lead with vibrato and a drum at -20 dBFS.

    Another synthesis than the corpus's: sawtooth tones through resonances, frequency sweeps.
    """
    time = np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
    beat = 0.5
    out = np.zeros(len(time))
    minor = 220.0 * 2.0 ** (np.array([0, 3, 7, 10, 12]) / 12)
    for index in range(int(seconds / beat)):
        chord = minor * 2.0 ** (float(rng.choice([0, 5, -4, 3])) / 12)
        span = slice(int(index * beat * SAMPLE_RATE), int((index + 1) * beat * SAMPLE_RATE))
        inside = time[span] - index * beat
        fade = np.exp(-3.0 * inside) * np.minimum(inside / 0.01, 1.0)
        for tone in (chord[index % 5], chord[0] / 2):
            phase = tone * inside
            out[span] += fade * (2 * (phase % 1.0) - 1)
        lead = chord[int(rng.integers(5))] * 2
        vibrato = 2 * np.pi * lead * inside + 3.0 * np.sin(2 * np.pi * 5.5 * inside)
        out[span] += 0.5 * np.minimum(inside / 0.05, 1.0) * (np.sin(vibrato) + np.sin(2 * vibrato))
        out[span] += np.exp(-40 * inside) * rng.standard_normal(len(inside))
    return _level(out, -20.0)


def typing(rng: Rng, seconds: int) -> Float32:
    """Key strokes, two clicks each, in bursts, peaks near -12 dBFS over a faint room."""
    out = 1e-4 * rng.standard_normal(seconds * SAMPLE_RATE)
    now = 0.3
    while now < seconds - 0.3:
        for offset, size in ((0.0, 1.0), (float(rng.uniform(0.05, 0.09)), 0.5)):
            length = int(0.02 * SAMPLE_RATE)
            first = int((now + offset) * SAMPLE_RATE)
            decay = np.exp(-np.arange(length) / SAMPLE_RATE * 300)
            out[first : first + length] += 0.2 * size * decay * rng.standard_normal(length)
        now += float(rng.uniform(0.09, 0.25) if rng.random() < 0.88 else rng.uniform(0.6, 2.0))
    return out.astype(np.float32)


def _level(signal: NDArray[np.float64], decibels: float) -> Float32:
    scaled = signal / np.sqrt(np.mean(signal**2)) * 10 ** (decibels / 20)
    leveled: Float32 = np.clip(scaled, -1, 1).astype(np.float32)
    return leveled


KINDS: dict[str, Callable[[Rng, int], Float32]] = {
    "silence": silence,
    "white noise, -40 dBFS": white,
    "music": music,
    "typing": typing,
}


def sounds(seconds: int) -> list[Sound]:
    """All kinds, and some speech for comparison."""
    made = [Sound(k, "quiet", KINDS[k](np.random.default_rng(7), seconds)) for k in KINDS]
    file = read_audio(SPEECH)
    speech = np.resize(to_16k(file.samples, file.rate), min(seconds, 20) * SAMPLE_RATE)
    return [*made, Sound("speech", "speech", speech[: len(speech) // SAMPLES_PER_FRAME * 640])]


def measure(
    performers: Sequence[Performer], seconds: int, jobs: int
) -> tuple[dict[str, Any], Takes]:
    """Figures of every kind of sound for every performer; the mouth in % of its speaking range."""
    takes, skipped = perform_all(performers, sounds(seconds), "quiet", jobs)
    report: dict[str, Any] = {"seconds_each": seconds, "skipped": skipped}
    for performer in performers:
        if (performer.name, "speech") not in takes:
            continue
        spoken = opening(takes[performer.name, "speech"].shown)
        reach = float(np.percentile(spoken, 95))
        report[performer.name] = {"speaking_range": reach} | {
            kind: _figures(takes[performer.name, kind].made, takes[performer.name, kind].shown,
                           takes[performer.name, kind].speech, reach)
            for kind in KINDS
        }  # fmt: skip
    return report, takes


def _figures(made: Float32, shown: Float32, speech: Float32, reach: float) -> dict[str, float]:
    gap = opening(shown)[_SETTLED:]
    return {
        "lip_gap_percent": 100 * float(gap.mean()) / max(reach, 1e-9),
        "lip_gap_network_percent": 100 * float(opening(made)[_SETTLED:].mean()) / max(reach, 1e-9),
        "lip_gap_most_percent": 100 * float(gap.max()) / max(reach, 1e-9),
        "lip_change": float(np.abs(np.diff(gap)).mean()),
        "taken_for_speech_percent": 100 * float((speech > 0.5).mean()),
        "longest_freeze_s": dynamics.longest_freeze(shown),
        "blinks_per_minute_network": dynamics.blink_figures([made])["blinks_per_minute"],
    } | dynamics.blink_figures([shown])
