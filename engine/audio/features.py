"""Streaming log-mel features, and the stage that adds the speech probability.

One video frame (640 samples at 16 kHz) gives 4 sub-frames of 80 log-mel bands. Each sub-frame is a
25 ms Hann window that *ends* with its own 10 ms hop, so a frame needs no sample beyond its own.
Mel scale and area-normalised triangles after Slaney (Auditory Toolbox, 1998).
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from engine.audio.vad import Vad
from engine.media import SAMPLE_RATE, SAMPLES_PER_FRAME, AudioChunk, FeatureFrame, Float32

BANDS = 80
HOP = SAMPLE_RATE // 100
"""Samples between sub-frames (10 ms)."""
WINDOW = SAMPLE_RATE // 40
"""Samples under one sub-frame (25 ms)."""
FFT = 512
SUBFRAMES = SAMPLES_PER_FRAME // HOP
FEATURE_SIZE = SUBFRAMES * BANDS
_PAST = WINDOW - HOP
_FLOOR = 1e-5
SILENCE = float(np.log(np.float32(_FLOOR)))
"""The lowest value of a band."""
assert SUBFRAMES * HOP == SAMPLES_PER_FRAME


def _hz_to_mel(hz: Float32) -> Float32:
    linear = hz / (200.0 / 3.0)
    log = 15.0 + np.log(np.maximum(hz, 1000.0) / 1000.0) * (27.0 / np.log(6.4))
    return np.where(hz < 1000.0, linear, log).astype(np.float32)


def _mel_to_hz(mel: Float32) -> Float32:
    linear = mel * (200.0 / 3.0)
    log = 1000.0 * np.exp((np.maximum(mel, 15.0) - 15.0) * (np.log(6.4) / 27.0))
    return np.where(mel < 15.0, linear, log).astype(np.float32)


def mel_filters() -> Float32:
    """Slaney's triangles: float32 [FFT // 2 + 1, BANDS], each of unit area in Hz."""
    limits = _hz_to_mel(np.array([0.0, SAMPLE_RATE / 2], np.float32))
    edges = _mel_to_hz(np.linspace(limits[0], limits[1], BANDS + 2, dtype=np.float32))
    bins = np.linspace(0.0, SAMPLE_RATE / 2, FFT // 2 + 1, dtype=np.float32)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    filters: Float32 = (triangles * (2.0 / (edges[2:] - edges[:-2]))).astype(np.float32)
    return filters


_FILTERS = mel_filters() * np.float32(SAMPLE_RATE / FFT)
_HANN = np.hanning(WINDOW + 1)[:-1].astype(np.float32)


class LogMel:
    """Streaming log-mel: the only state is the last 15 ms of sound."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the past: as if silence came before."""
        self._past = np.zeros(_PAST, np.float32)

    def push(self, samples: Float32) -> Float32:
        """Features of whole frames.

        Args:
            samples: float32 [T * 640].

        Returns:
            float32 [T, 320].

        Raises:
            ValueError: when the length is not a whole number of frames.
        """
        frames, rest = divmod(len(samples), SAMPLES_PER_FRAME)
        if rest:
            raise ValueError(f"{len(samples)} samples are not whole frames of {SAMPLES_PER_FRAME}")
        if not frames:
            return np.zeros((0, FEATURE_SIZE), np.float32)
        joined = np.concatenate([self._past, samples])
        self._past = joined[-_PAST:].copy()
        windows = np.lib.stride_tricks.sliding_window_view(joined, WINDOW)[::HOP]
        spectrum = np.fft.rfft(windows * _HANN, FFT)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        mel = np.log(np.maximum(power @ _FILTERS, _FLOOR))
        return mel.reshape(frames, FEATURE_SIZE)


def log_mel(samples: Float32) -> Float32:
    """Offline form of ``LogMel``: float32 [T * 640] to float32 [T, 320], the same lines."""
    return LogMel().push(samples)


class Features:
    """Stage from framed 16 kHz sound to ``FeatureFrame``.

    Args:
        vad: voice activity detector, owned by this stage.
    """

    lookahead = Fraction(0)

    def __init__(self, vad: Vad) -> None:
        self._vad = vad
        self._mel = LogMel()

    def push(self, item: AudioChunk, /) -> Iterable[FeatureFrame]:
        """One framed chunk (640 samples on the frame grid) gives one frame.

        Raises:
            ValueError: when the chunk is not a framer's.
        """
        frame, offset = divmod(item.pts, SAMPLES_PER_FRAME)
        if item.rate != SAMPLE_RATE or offset or len(item.samples) != SAMPLES_PER_FRAME:
            raise ValueError(
                f"expected {SAMPLES_PER_FRAME} samples at {SAMPLE_RATE} Hz on the frame grid, got "
                f"{len(item.samples)} at {item.rate} Hz, pts {item.pts}: put a Framer in front"
            )
        values = self._mel.push(item.samples)[0]
        return [FeatureFrame(values, self._vad.push(item.samples), frame)]

    def flush(self) -> Iterable[FeatureFrame]:
        """Nothing is held back."""
        self.reset()
        return []

    def reset(self) -> None:
        """Forget the sound heard so far."""
        self._mel.reset()
        self._vad.reset()
