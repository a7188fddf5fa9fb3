"""Sounds without speech: the face must stay closed and alive under all of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from engine.media import SAMPLE_RATE

Float32 = NDArray[np.float32]
Rng = np.random.Generator


def white(rng: Rng, count: int) -> Float32:
    """White noise [count], unit RMS."""
    return rng.standard_normal(count).astype(np.float32)


def pink(rng: Rng, count: int) -> Float32:
    """Pink noise [count], unit RMS (Kellet's three-pole filter of white noise)."""
    b = (0.049922035, -0.095993537, 0.050612699, -0.004408786)
    a = (1.0, -2.494956002, 2.017265875, -0.522189400)
    return _unit(lfilter(b, a, rng.standard_normal(count)))


def hum(rng: Rng, count: int) -> Float32:
    """Mains hum or a fan [count]: harmonics of 50 or 60 Hz over faint noise, unit RMS."""
    t = np.arange(count) / SAMPLE_RATE
    base = float(rng.choice((50, 60, 100, 120)))
    tone = sum(
        rng.uniform(0, 1) / k * np.sin(2 * np.pi * base * k * t + rng.uniform(0, 6.28))
        for k in range(1, 8)
    )
    return _unit(tone + 0.1 * pink(rng, count))


def clicks(rng: Rng, count: int) -> Float32:
    """Typing [count]: short damped resonances in bursts, unit RMS."""
    out = np.zeros(count, np.float32)
    now = float(rng.uniform(0.1, 0.5))
    while now < count / SAMPLE_RATE - 0.06:
        length = round(rng.uniform(0.008, 0.04) * SAMPLE_RATE)
        t = np.arange(length) / SAMPLE_RATE
        body = rng.standard_normal(length) + 2 * np.sin(2 * np.pi * rng.uniform(800, 4000) * t)
        first = round(now * SAMPLE_RATE)
        out[first : first + length] += rng.uniform(0.3, 1) * body * np.exp(-t * 250)
        now += float(rng.uniform(0.08, 0.3) if rng.random() < 0.85 else rng.uniform(0.5, 1.5))
    return _unit(out)


def music(rng: Rng, count: int) -> Float32:
    """Chords and a melody of decaying harmonic tones on a steady beat [count], unit RMS."""
    out = np.zeros(count + SAMPLE_RATE * 2, np.float32)
    beat = 60 / float(rng.uniform(70, 140))
    root = float(rng.uniform(90, 220))
    scale = np.array((0, 2, 4, 5, 7, 9, 11, 12) if rng.random() < 0.6 else (0, 3, 5, 7, 10))
    decay = float(rng.uniform(1.5, 8))
    for index in range(int(count / SAMPLE_RATE / beat) + 1):
        chord = rng.integers(0, len(scale), 3) if index % 2 == 0 else rng.integers(0, len(scale), 1)
        for step in chord:
            octave = 2.0 ** int(rng.integers(0, 3 if len(chord) == 1 else 2))
            note = _note(rng, root * octave * 2 ** (scale[step] / 12), 2 * beat, decay)
            first = round(index * beat * SAMPLE_RATE)
            last = min(first + len(note), len(out))
            out[first:last] += note[: last - first]
    return _unit(out[:count])


def _note(rng: Rng, frequency: float, seconds: float, decay: float) -> Float32:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = np.zeros(len(t))
    for harmonic in range(1, 6):
        if frequency * harmonic < 7000:
            tone += rng.uniform(0.2, 1) / harmonic * np.sin(2 * np.pi * frequency * harmonic * t)
    ramp = np.minimum(t / 0.01, 1) * np.minimum((t[-1] - t) / 0.02, 1)
    return (tone * np.exp(-decay * t) * ramp).astype(np.float32)


def breaths(rng: Rng, count: int) -> Float32:
    """Breathing through the nose and rustling [count]: slow bursts of filtered noise, unit RMS."""
    t = np.arange(count) / SAMPLE_RATE
    phase = np.sin(2 * np.pi * t * rng.uniform(0.2, 0.5) + rng.uniform(0, 6.28))
    tilt = float(rng.uniform(0.3, 0.9))
    return _unit(np.clip(phase, 0.05, None) * lfilter((1 - tilt,), (1, -tilt), white(rng, count)))


def inhale(rng: Rng) -> Float32:
    """One audible breath of 0.25 to 0.55 s before a sentence [N], unit RMS."""
    count = round(float(rng.uniform(0.25, 0.55)) * SAMPLE_RATE)
    rise = float(rng.uniform(0.5, 0.8))
    shape = np.interp(np.linspace(0, 1, count), (0, rise, 1), (0, 1, 0)) ** 1.5
    tilt = float(rng.uniform(0.2, 0.7))
    hiss = lfilter((1.0, -0.9), (1.0, -tilt), white(rng, count))
    return _unit(hiss * shape)


def laugh(rng: Rng, pitch: float) -> tuple[Float32, list[tuple[str, float, float]]]:
    """A few voiced bursts, "ha ha ha", slowing down and falling [N], unit RMS.

    Each burst is breath, then a pulse train through the formants of an open vowel (Bachorowski et
    al. 2001: four to five calls a second, pitch well above speech).

    Args:
        rng: decides number, rate and colour of the bursts.
        pitch: of the first burst, Hz.

    Returns:
        The sound and its phones (name, start, end) in seconds.
    """
    phones: list[tuple[str, float, float]] = []
    pieces: list[NDArray[np.floating]] = []
    now = 0.0
    period = float(rng.uniform(0.17, 0.24))
    vowel, formants = _LAUGHS[int(rng.integers(len(_LAUGHS)))]
    for index in range(int(rng.integers(3, 8))):
        breath, voiced = 0.4 * period, 0.6 * period
        pieces += [0.25 * white(rng, round(breath * SAMPLE_RATE))]
        pieces += [_call(rng, pitch * 0.96**index, voiced, formants) * 0.9**index]
        pieces[-2] *= 0.9**index * np.hanning(len(pieces[-2]))
        phones += [("hh", now, now + breath), (vowel, now + breath, now + period)]
        now += period
        period *= 1.04
    return _unit(np.concatenate(pieces)), phones


_LAUGHS = (
    ("aa", (800.0, 1250.0, 2600.0)),
    ("ah", (650.0, 1300.0, 2500.0)),
    ("eh", (580.0, 1800.0, 2600.0)),
)


def _call(rng: Rng, pitch: float, seconds: float, formants: tuple[float, ...]) -> Float32:
    count = round(seconds * SAMPLE_RATE)
    curve = np.linspace(1.05, 0.92, count) * pitch
    source = np.diff(np.floor(np.cumsum(curve) / SAMPLE_RATE), prepend=0.0)
    source += 0.02 * rng.standard_normal(count)
    voice = np.zeros(count)
    for strength, centre in zip((1.0, 0.6, 0.3), formants, strict=True):
        radius = np.exp(-np.pi * 110 / SAMPLE_RATE)
        pole = 2 * radius * np.cos(2 * np.pi * centre / SAMPLE_RATE)
        voice += strength * lfilter((1 - radius,), (1.0, -pole, radius**2), source)
    return _unit(voice * np.sin(np.linspace(0, np.pi, count)) ** 0.5)


def knocks(rng: Rng, count: int) -> Float32:
    """Thumps, doors, taps [count]: rare low resonances, unit RMS."""
    out = np.zeros(count, np.float32)
    for _ in range(int(rng.integers(2, 10))):
        length = round(0.25 * SAMPLE_RATE)
        first = int(rng.integers(0, max(count - length, 1)))
        t = np.arange(length) / SAMPLE_RATE
        body = np.sin(2 * np.pi * rng.uniform(60, 400) * t) + 0.3 * rng.standard_normal(length)
        out[first : first + length] += (body * np.exp(-t * rng.uniform(15, 60))).astype(np.float32)
    return _unit(out)


def silence(rng: Rng, count: int) -> Float32:
    """Digital silence [count]; takes the generator only to look like its siblings."""
    del rng
    return np.zeros(count, np.float32)


def _unit(signal: NDArray[np.floating]) -> Float32:
    return (signal / (np.sqrt(np.mean(signal**2)) + 1e-9)).astype(np.float32)


KINDS: dict[str, Callable[[Rng, int], Float32]] = {
    "silence": silence,
    "white": white,
    "pink": pink,
    "hum": hum,
    "clicks": clicks,
    "music": music,
    "breaths": breaths,
    "knocks": knocks,
}


def draw(rng: Rng, count: int) -> tuple[str, Float32]:
    """Return the name of a kind, or of two at once, and ``count`` samples at -60..-15 dBFS."""
    names = [str(n) for n in rng.choice(list(KINDS), 2 if rng.random() < 0.3 else 1, False)]
    mixed = np.zeros(count, np.float32)
    for name in names:
        mixed += KINDS[name](rng, count) * np.float32(10 ** (float(rng.uniform(-60, -15)) / 20))
    return "+".join(names), np.clip(mixed, -1, 1)
