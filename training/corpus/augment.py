"""What a microphone, a room and a network do to clean speech. Nothing here shifts time.

Every effect keeps the length and has no delay: filters run forward from a zero state, the direct
path of a room is its first tap, and a codec's look-ahead is taken out.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

from engine.media import SAMPLE_RATE
from training.corpus import codec, sounds

Float32 = NDArray[np.float32]
Rng = np.random.Generator

_BANK_SECONDS = 60
_ROOMS = 24
_NOISES = ("white", "pink", "babble", "hum", "clicks", "knocks")
_NOISE_SNR = (5.0, 30.0)  # dB
_QUIETEST, _LOUDEST = -25.0, 6.0  # dB


def augment(audio: Float32, rng: Rng) -> Float32:
    """Return audio [N] at 16 kHz as it might arrive: same length, same timing, within [-1, 1].

    The chain is that of a call: room and noises, microphone, overdrive, then codec or telephone.

    Args:
        audio: float32 [N], clean.
        rng: the same state gives the same result.
    """
    out = audio.astype(np.float32)
    if rng.random() < 0.30:
        out = _room(out, rng)
    if rng.random() < 0.12:
        out = _add(out, _excerpt("music", len(out), rng), float(rng.uniform(8, 30)))
    if rng.random() < 0.70:
        name = _NOISES[int(rng.integers(len(_NOISES)))]
        out = _add(out, _excerpt(name, len(out), rng), float(rng.uniform(*_NOISE_SNR)))
    if rng.random() < 0.5:
        out = _tilt(out, rng)
    out = _gain(out, rng)
    if rng.random() < 0.10:
        # Overdriven input: the loudest few per mille of the samples are flattened.
        limit = float(np.quantile(np.abs(out), rng.uniform(0.99, 0.999))) + 1e-6
        out = np.clip(out, -limit, limit)
    return np.clip(_channel(out, rng), -1, 1).astype(np.float32)


def _channel(audio: Float32, rng: Rng) -> Float32:
    """Send it through what a call may use: Opus, a telephone, a narrow band, or nothing."""
    which = rng.random()
    if which < 0.22:
        rate = int(rng.choice((16_000, 20_000, 24_000, 32_000)))
        loss = float(rng.choice((0.0, 0.0, 0.02, 0.05, 0.10)))
        return codec.opus(audio, rate, loss, rng)
    if which < 0.28:
        return codec.telephone(audio)
    return _band_limit(audio, rng) if which < 0.42 else audio


def _level(audio: Float32) -> float:
    """RMS of the louder half of 20 ms blocks: pauses do not count."""
    size = 320
    blocks = audio[: len(audio) // size * size].reshape(-1, size)
    if not len(blocks):
        return 0.0
    power = np.einsum("ij,ij->i", blocks, blocks) / size
    return float(np.sqrt(np.mean(power[power >= np.median(power)])))


def _add(audio: Float32, noise: Float32, snr: float) -> Float32:
    """Mix unit-RMS noise under audio; silence gets noise as faint as under quiet speech."""
    speech = max(_level(audio), 0.01)
    return audio + noise * np.float32(speech * 10 ** (-snr / 20))


def _gain(audio: Float32, rng: Rng) -> Float32:
    start = float(rng.uniform(_QUIETEST, _LOUDEST))
    decibels = np.full(2, start)
    if rng.random() < 0.2:
        # Someone moves, or an automatic gain control works.
        decibels[1] += float(rng.uniform(-6, 6))
    curve = 10 ** (np.clip(decibels, _QUIETEST, _LOUDEST) / 20)
    return audio * np.linspace(curve[0], curve[1], len(audio), dtype=np.float32)


def _tilt(audio: Float32, rng: Rng) -> Float32:
    """Colour of a microphone: one shelf and a high-pass."""
    strength = float(rng.uniform(-0.5, 0.5))
    coloured = lfilter((1.0, strength), (1.0,), audio) / (1 + abs(strength))
    corner = float(rng.uniform(20, 160))
    decay = np.exp(-2 * np.pi * corner / SAMPLE_RATE)
    return lfilter((1.0, -1.0), (1.0, -decay), coloured).astype(np.float32)


@cache
def _bands() -> tuple[NDArray[np.float64], ...]:
    edges = ((300, 3400), (200, 3400), (100, 4000), (60, 5500), (50, 7000))
    return tuple(butter(2, edge, "bandpass", fs=SAMPLE_RATE, output="sos") for edge in edges)


def _band_limit(audio: Float32, rng: Rng) -> Float32:
    """Telephone or a narrow codec; second order, so the group delay stays below a millisecond."""
    bands = _bands()
    return sosfilt(bands[int(rng.integers(len(bands)))], audio).astype(np.float32)


@cache
def _rooms() -> tuple[Float32, ...]:
    """Small rooms: direct path at tap 0, a few early reflections, an exponential diffuse tail."""
    rng = np.random.default_rng(11)
    rooms = []
    for _ in range(_ROOMS):
        reverberation = float(rng.uniform(0.12, 0.45))  # seconds to -60 dB
        t = np.arange(round(0.7 * reverberation * SAMPLE_RATE)) / SAMPLE_RATE
        tail = rng.standard_normal(len(t)) * np.exp(-6.91 * t / reverberation)
        tail *= np.clip((t - 0.004) / 0.02, 0, 1)
        for _ in range(6):
            tail[int(rng.integers(40, 480))] += float(rng.choice((-1, 1)) * rng.uniform(2, 6))
        direct_to_late = 10 ** (float(rng.uniform(0, 15)) / 10)
        tail *= np.sqrt(1 / direct_to_late / np.sum(tail**2))
        tail[0] = 1.0
        rooms.append(tail.astype(np.float32))
    return tuple(rooms)


def _room(audio: Float32, rng: Rng) -> Float32:
    response = _rooms()[int(rng.integers(_ROOMS))]
    return fftconvolve(audio, response)[: len(audio)].astype(np.float32)


@cache
def _bank(kind: str) -> Float32:
    """A minute of one kind, float32 [N], unit RMS; excerpts are drawn from it."""
    rng = np.random.default_rng(sum(kind.encode()))
    if kind == "babble":
        return _babble(rng, _BANK_SECONDS * SAMPLE_RATE)
    # Several short pieces: hum and music differ from piece to piece.
    pieces = [sounds.KINDS[kind](rng, 10 * SAMPLE_RATE) for _ in range(_BANK_SECONDS // 10)]
    return np.concatenate(pieces)


def _babble(rng: Rng, count: int) -> Float32:
    """Indistinct talkers: pulse trains through wandering formants, loud at a syllable's rhythm."""
    out = np.zeros(count)
    t = np.arange(count) / SAMPLE_RATE
    knots = np.arange(0, t[-1] + 0.4, 0.16)
    for _ in range(8):
        pitch = rng.uniform(90, 240) * np.interp(t, knots, rng.uniform(0.85, 1.2, len(knots)))
        source = np.diff(np.floor(np.cumsum(pitch) / SAMPLE_RATE), prepend=0.0)
        source += 0.03 * rng.standard_normal(count)
        voice = np.zeros(count)
        for centre in rng.uniform((300, 900, 2000), (800, 2000, 3200)):
            radius = np.exp(-np.pi * 130 / SAMPLE_RATE)
            pole = 2 * radius * np.cos(2 * np.pi * centre / SAMPLE_RATE)
            formant = lfilter((1 - radius,), (1.0, -pole, radius**2), source)
            voice += formant * np.interp(t, knots, rng.random(len(knots)))
        out += voice * np.interp(t, knots, rng.random(len(knots)) ** 2)
    return (out / np.sqrt(np.mean(out**2))).astype(np.float32)


def _excerpt(kind: str, count: int, rng: Rng) -> Float32:
    bank = _bank(kind)
    start = int(rng.integers(len(bank)))
    return np.take(bank, np.arange(start, start + count), mode="wrap")
