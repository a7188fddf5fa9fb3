"""Head pose from prosody: nods on accents, sway, a new posture for a new sentence, breath."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from training.teacher.noise import bump, drift, step_to
from training.teacher.prosody import RATE, Prosody
from training.teacher.style import Style

Float32 = NDArray[np.float32]

LIMITS = np.array([0.22, 0.16, 0.14, 0.12, 0.10, 0.12], np.float32)
"""Largest |yaw|, |pitch|, |roll| in radians, |x|, |y|, |z| in inter-ocular units."""
_NECK = 1.1
"""Inter-ocular units from the neck's pivot up to the face's centre: how far rotation carries it."""
_NECK_SHARE = 0.35  # of a rigid rotation about that pivot: the spine bends along its length


@dataclass(frozen=True, slots=True)
class Sentence:
    """When a sentence is spoken (seconds), and whether it asks."""

    start: float
    end: float
    question: bool


def _postures(
    rng: np.random.Generator, times: Float32, sentences: list[Sentence], style: Style
) -> NDArray[np.float32]:
    """Return slowly changing yaw, pitch, roll [3, T]: one posture for each sentence."""
    spread = np.array([0.080, 0.044, 0.048]) * style.head
    current = rng.normal(0, spread)
    curve = np.repeat(current[:, None], len(times), 1)
    for sentence in sentences:
        following = 0.3 * current + rng.normal(0, spread)
        begin = sentence.start - float(rng.uniform(0.1, 0.5))
        move = step_to(times, begin, float(rng.uniform(0.5, 1.0)))
        curve += (following - current)[:, None] * move[None, :]
        current = following
    return curve.astype(np.float32)


def pose(
    rng: np.random.Generator,
    prosody: Prosody,
    accents: list[tuple[float, float]],
    sentences: list[Sentence],
    style: Style,
    tempo: float,
    added: Float32,
) -> NDArray[np.float32]:
    """Return yaw, pitch, roll, x, y, z at 100 Hz, float32 [6, T].

    Args:
        rng: the clip's generator.
        prosody: curves of the clip.
        accents: (time, strength 0..1) of stressed syllables.
        sentences: in order.
        style: the person's manner.
        tempo: factor on how fast the head changes.
        added: float32 [6, T], what feeling and listening add before the limits.
    """
    count = len(prosody.loudness)
    times = (np.arange(count, dtype=np.float32) + 0.5) / RATE
    yaw, pitch, roll = _postures(rng, times, sentences, style)
    sway = 0.35 + 0.65 * np.clip(_slow(prosody.loudness), 0, 1)
    yaw = yaw + style.head * sway * (
        0.072 * drift(rng, count, 1.10 / tempo) + 0.026 * drift(rng, count, 0.62 / tempo)
    )
    pitch = pitch + style.head * sway * 0.036 * drift(rng, count, 0.95 / tempo)
    roll = roll + style.head * sway * (
        0.045 * drift(rng, count, 1.2 / tempo) + 0.016 * drift(rng, count, 0.7 / tempo)
    )
    # The head rises a little with the voice (Yehia et al. 2002) and drops onto accents.
    pitch = pitch - 0.006 * style.nod * _slow(prosody.pitch, 9)
    for at, strength in accents:
        if rng.random() < 0.75:
            peak = at + float(rng.uniform(-0.02, 0.06))
            depth = 0.100 * style.nod * strength * float(rng.uniform(0.5, 1.2))
            pitch = pitch + depth * bump(times, peak, 0.16, 0.30)
            yaw = yaw + 0.3 * depth * float(rng.choice((-1, 1))) * bump(times, peak, 0.2, 0.35)
    for sentence in sentences:
        if sentence.question:
            side = float(rng.choice((-1, 1))) * 0.03 * style.head
            roll = roll + side * bump(times, sentence.end - 0.05, 0.7, 0.8)
            pitch = pitch - 0.02 * style.nod * bump(times, sentence.end, 0.4, 0.6)
    breath = np.sin(2 * np.pi * float(rng.uniform(0.2, 0.3)) * times + rng.uniform(0, 6.28))
    pitch = pitch + 0.003 * breath
    x = _NECK_SHARE * _NECK * (np.sin(yaw) * 0.25 - np.sin(roll)) + 0.008 * drift(rng, count, 2.0)
    y = -_NECK_SHARE * 0.12 * np.abs(pitch) + 0.006 * breath + 0.004 * drift(rng, count, 1.5)
    z = _NECK_SHARE * _NECK * np.sin(pitch) + 0.010 * style.head * drift(rng, count, 2.5)
    raw = np.stack([yaw, pitch, roll, x, y, z]) + added
    return (LIMITS[:, None] * np.tanh(raw / LIMITS[:, None])).astype(np.float32)


def _slow(curve: Float32, sigma: float = 15.0) -> Float32:
    return gaussian_filter1d(curve, sigma).astype(np.float32)
