"""What can be said of a talking face in numbers: the same for tracked faces and for the teacher."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from engine.media import FPS
from engine.motion.arkit import INDEX, ROTATION
from training.motion import metrics

Float32 = NDArray[np.float32]

LAGS = 6
_HEAD_SMOOTH = 2.0
"""Frames: landmarks shake by a tenth of a degree, which at 25 fps is as fast as a head that turns.
Both sides are smoothed alike."""
BANDS = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Hz: edges of the bands in which the head's power is compared."""
_SHUT = 0.5


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one clip, or the mean of several. Lengths in inter-ocular units."""

    opening_mean: float
    opening_std: float
    opening_p95: float
    opening_speed: float
    """RMS per second; likewise the two below per s² and s³."""
    opening_acceleration: float
    opening_jerk: float
    width_std: float
    width_range: float
    """From the 5th to the 95th percentile."""
    width_speed: float
    head_speed: float
    """Mean angular speed, degrees per second."""
    yaw_range: float
    """Degrees from the 5th to the 95th percentile."""
    pitch_range: float
    roll_range: float
    head_below_half_hz: float
    """Share of the angular speed's power below 0.5 Hz; likewise the three bands below."""
    head_half_to_1_hz: float
    head_1_to_2_hz: float
    head_2_to_5_hz: float
    blinks_per_minute: float
    blink_seconds: float
    brow_std: float
    """Of the mean of browInnerUp and both browOuterUp, within a clip."""
    brow_speed: float


def face(motion: Float32) -> tuple[Float32, Float32]:
    """Return lip opening and mouth width [T] of motion [T,58] on the average head."""
    return metrics.opening(motion), metrics.width(motion)


def figures(motion: Float32, opening: Float32, width: Float32, blink: Float32) -> Figures:
    """Measure motion [T,58] with lip opening, mouth width and lid closure [T]."""
    change = [np.diff(opening, n=n) * FPS**n for n in (1, 2, 3)]
    head = np.degrees(gaussian_filter1d(motion[:, ROTATION].astype(float), _HEAD_SMOOTH, axis=0))
    speed = np.diff(head, axis=0) * FPS
    rates, seconds = _blinks(blink)
    brow = motion[:, [INDEX[n] for n in ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")]]
    raised = gaussian_filter1d(brow.mean(1).astype(float), 1.0)
    return Figures(
        float(opening.mean()),
        float(opening.std()),
        float(np.percentile(opening, 95)),
        *(float(np.sqrt(np.mean(c**2))) for c in change),
        float(width.std()),
        _range(width),
        float(np.sqrt(np.mean(np.diff(width) ** 2)) * FPS),
        float(np.linalg.norm(speed, axis=1).mean()),
        *(_range(head[:, k]) for k in range(3)),
        *_bands(speed),
        rates,
        seconds,
        float(raised.std()),
        float(np.sqrt(np.mean(np.diff(raised) ** 2)) * FPS),
    )


def mean(found: list[Figures]) -> Figures:
    """Average field by field; a blink's duration only over clips with blinks."""
    columns = [np.array([getattr(f, field.name) for f in found]) for field in fields(Figures)]
    return Figures(*(float(np.nanmean(c)) if np.isfinite(c).any() else np.nan for c in columns))


def _range(values: NDArray[np.floating]) -> float:
    low, high = np.percentile(values, [5, 95])
    return float(high - low)


def _bands(speed: NDArray[np.float64]) -> list[float]:
    """Share of the speed's power by band of frequency."""
    window = np.hanning(len(speed))[:, None]
    power = (np.abs(np.fft.rfft((speed - speed.mean(0)) * window, axis=0)) ** 2).sum(1)
    at = np.fft.rfftfreq(len(speed), 1 / FPS)
    total = power[at < BANDS[-1]].sum() + 1e-12
    return [float(power[(at >= low) & (at < high)].sum() / total) for low, high in pairwise(BANDS)]


def _blinks(blink: Float32) -> tuple[float, float]:
    """Return blinks per minute and their mean duration at half closure (nan without blinks)."""
    shut = np.concatenate([[False], blink > _SHUT, [False]])
    starts = np.flatnonzero(shut[1:] & ~shut[:-1])
    ends = np.flatnonzero(~shut[1:] & shut[:-1])
    lengths = (ends - starts) / FPS
    # Longer ones are eyes that look down or rest.
    real = lengths[lengths < 0.5]
    seconds = float(real.mean()) if len(real) else float("nan")
    return len(real) / (len(blink) / FPS) * 60, seconds
