"""How loud the microphone is, in dBFS, and whether it says anything at all. Pure; knows no device.

dBFS here is 20 log10 of the amplitude, 0 for full scale (a full-scale square wave has an RMS of
0 dBFS; AES17 would call a full-scale sine 0 dBFS, 3 dB more).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.media import Float32

FLOOR_DB = -60.0
"""The left end of the bar."""
SILENT_DB = -72.0
"""What never exceeds this is no microphone in a room: their own noise is louder."""
SILENT_SECONDS = 5.0
"""Seconds without sound after which the microphone counts as muted."""
_NOTHING = 1e-6


@dataclass(frozen=True, slots=True)
class Level:
    """Loudness since it was last read.

    Args:
        rms_db: mean loudness in dBFS; -120 for none.
        peak_db: loudest sample in dBFS.
    """

    rms_db: float
    peak_db: float

    @property
    def clipped(self) -> bool:
        """Whether a sample reached full scale."""
        return self.peak_db > -0.1


class Meter:
    """Adds up sound between two readings. Not thread-safe."""

    def __init__(self) -> None:
        self.silent_s = 0.0
        """Seconds of sound since anything was louder than ``SILENT_DB``."""
        self._energy = 0.0
        self._samples = 0
        self._peak = 0.0

    def add(self, samples: Float32, rate: int) -> None:
        """Take float32 [N] at a rate in Hz."""
        if not len(samples):
            return
        peak = float(np.max(np.abs(samples)))
        self._energy += float(np.dot(samples, samples))
        self._samples += len(samples)
        self._peak = max(self._peak, peak)
        self.silent_s = 0.0 if decibels(peak) > SILENT_DB else self.silent_s + len(samples) / rate

    @property
    def mute(self) -> bool:
        """Whether there has been no sound for long enough to say so."""
        return self.silent_s >= SILENT_SECONDS

    def read(self) -> Level:
        """The loudness since the last call."""
        rms = math.sqrt(self._energy / self._samples) if self._samples else 0.0
        level = Level(decibels(rms), decibels(self._peak))
        self._energy, self._samples, self._peak = 0.0, 0, 0.0
        return level


def decibels(amplitude: float) -> float:
    """An amplitude (1: full scale) in dBFS, not below -120."""
    return 20 * math.log10(max(amplitude, _NOTHING))


def bar(level_db: float, width: int = 20) -> str:
    """A bar of ``width`` characters: empty at -60 dBFS, full at 0."""
    share = min(1.0, max(0.0, 1 - level_db / FLOOR_DB))
    filled = round(share * width)
    return "#" * filled + "-" * (width - filled)
