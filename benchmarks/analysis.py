"""What a received call says: where sounds and openings begin and end, lags, trends. Pure NumPy.

Sound is float32 at 48 kHz, times are seconds of ``time.monotonic()``, series have one value for
every sample time given beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.stats import theilslopes

from benchmarks.peer import PACKET, RATE, Arrival
from engine.media import Float32

Float64 = NDArray[np.float64]
_WRAP = 1 << 32
_FAINTEST = 0.01
"""Share of a part's energy that a place must have to be it."""
_MOST_POINTS = 1500
"""Theil and Sen compare every pair: longer series are reduced to medians first."""


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """Received sound on the stream's own time line.

    Args:
        line: float32, from the first packet on; zeros where packets are missing.
        came: for every 20 ms packet, when it arrived; NaN if it did not.
    """

    line: Float32
    came: Float64

    def at(self, sample: int) -> float:
        """The earliest moment at which a sample could be played; NaN if it never came."""
        packet, inside = divmod(sample, PACKET)
        return float(self.came[packet]) + inside / RATE if packet < len(self.came) else float("nan")

    def sample(self, at: float) -> int:
        """The first sample that arrived after a moment."""
        later = np.flatnonzero(self.came > at)
        return int(later[0]) * PACKET if len(later) else len(self.line)


def media_time(timestamps: Sequence[int]) -> NDArray[np.int64]:
    """RTP timestamps from the first one on, without wrapping (a stream shorter than 12 hours)."""
    stamps = np.asarray(timestamps, np.int64)
    if not len(stamps):
        return stamps
    since: NDArray[np.int64] = (stamps - stamps[0] + _WRAP // 2) % _WRAP - _WRAP // 2
    return since


def decode(arrivals: Sequence[Arrival]) -> Heard:
    """Sound of Opus packets of 20 ms, each where its timestamp says.

    Decoding delay is none; the encoder's own (6.5 ms, RFC 6716 section 2.1.9) stays in.
    """
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout, decoder.format = RATE, "mono", "s16"
    places = media_time([arrival.timestamp for arrival in arrivals]) // PACKET
    if not len(places):
        return Heard(np.empty(0, np.float32), np.empty(0))
    line = np.zeros((int(places.max()) + 1) * PACKET, np.float32)
    came = np.full(int(places.max()) + 1, np.nan)
    for index in np.argsort(places, kind="stable"):
        place, arrival = int(places[index]), arrivals[index]
        if place < 0 or not np.isnan(came[place]) or not arrival.payload:
            continue
        came[place] = arrival.at
        for frame in decoder.decode(av.Packet(arrival.payload)):
            samples = frame.to_ndarray().reshape(-1).astype(np.float32) / 32768
            start = place * PACKET
            room = line[start : start + len(samples)]
            room[:] = samples[: len(room)]
    return Heard(line, came)


def arrival_by_slot(arrivals: Sequence[Arrival], ticks: int, *, last: bool) -> dict[int, float]:
    """When each slot's first (or last) packet came; slots count from the stream's first one."""
    found: dict[int, float] = {}
    slots = media_time([arrival.timestamp for arrival in arrivals]) // ticks
    for slot, arrival in zip(slots.tolist(), arrivals, strict=True):
        if last or slot not in found:
            found[slot] = arrival.at
    return found


def loudness(samples: Float32, hop: int) -> Float32:
    """Root mean square of every ``hop`` samples."""
    whole = samples[: len(samples) // hop * hop].reshape(-1, hop)
    out: Float32 = np.sqrt(np.mean(np.square(whole), axis=1))
    return out


def match(part: Float32, line: Float32) -> tuple[int, float]:
    """Where in ``line`` a part is, and how well the waveforms agree (1: exactly)."""
    if len(line) < len(part) or not np.any(part):
        return 0, 0.0
    scores = fftconvolve(line, part[::-1], "valid")
    energy = fftconvolve(np.square(line), np.ones(len(part)), "valid")
    own = float(np.sum(np.square(part)))
    # Against silence any rounding error would agree: what is far softer than the part is not it.
    scores /= np.sqrt(np.maximum(energy, _FAINTEST * own) * own)
    return int(np.argmax(scores)), float(scores.max())


def onset(samples: Float32, below_peak_db: float = 30.0, block: int = 48) -> int:
    """First sample of the first millisecond that is less than this much below the loudest one."""
    loud = loudness(samples, block)
    if not len(loud) or not loud.max():
        return 0
    return int(np.argmax(loud >= loud.max() * 10 ** (-below_peak_db / 20))) * block


def last_audible(samples: Float32, threshold: float, block: int = 48) -> int | None:
    """End of the last millisecond that is as loud as ``threshold``; None if none is."""
    audible = np.flatnonzero(loudness(samples, block) >= threshold)
    return (int(audible[-1]) + 1) * block if len(audible) else None


def first_move(
    times: Float64, opening: Float64, after: float, before: float, least: float
) -> float:
    """When a mouth at rest begins to move.

    Args:
        times: of each picture.
        opening: gap between the lips, in eye distances.
        after: the earliest moment that counts.
        before: the latest one.
        least: change of the opening that counts as a movement.

    Returns:
        Time of the first picture whose opening exceeds the one at rest by ``least``, or by four
        times what it wavers there if that is more; NaN if none does. Rest is the half second before
        ``after``.
    """
    resting = opening[(times > after - 0.5) & (times <= after)]
    window = (times > after) & (times <= before)
    if not len(resting) or not window.any():
        return float("nan")
    centre = float(np.median(resting))
    wavers = 1.4826 * float(np.median(np.abs(resting - centre)))
    moved = opening[window] - centre > max(least, 4 * wavers)
    return float(times[window][np.argmax(moved)]) if moved.any() else float("nan")


def closes(times: Float64, opening: Float64, after: float, until: float, shut: float) -> float:
    """When a mouth has closed to stay so.

    Args:
        times: of each picture.
        opening: gap between the lips.
        after: the moment it was told to.
        until: how far to look; it must stay shut until then.
        shut: largest gap that counts as closed.

    Returns:
        Time of the first picture from which on all are shut; ``after`` if it never was open; NaN
        if it is still open at the end or nothing was seen.
    """
    window = (times > after) & (times <= until)
    if not window.any():
        return float("nan")
    seen, gap = times[window], opening[window]
    open_at = np.flatnonzero(gap > shut)
    if not len(open_at):
        return after
    following = open_at[-1] + 1
    return float(seen[following]) if following < len(seen) else float("nan")


def lag(first: Float64, second: Float64, step: float, most: float) -> tuple[float, float]:
    """How much later ``second`` does what ``first`` does.

    Args:
        first: a series.
        second: another one at the same times.
        step: seconds between values.
        most: largest lag looked for, either way, in seconds.

    Returns:
        Lag in seconds, to a fraction of a step (parabola through the peak), and the correlation
        there. NaN and 0 where a series does not change.
    """
    a, b = first - np.mean(first), second - np.mean(second)
    if len(a) < 3 or not a.any() or not b.any():
        return float("nan"), 0.0
    reach = min(round(most / step), len(a) - 2)
    scores = []
    for shift in range(-reach, reach + 1):
        x = a[max(0, -shift) : len(a) - max(0, shift)]
        y = b[max(0, shift) : len(b) + min(0, shift)]
        power = float(np.sqrt(np.sum(x * x) * np.sum(y * y)))
        scores.append(float(np.sum(x * y)) / power if power else 0.0)
    best = int(np.argmax(scores))
    fraction = 0.0
    if 0 < best < len(scores) - 1:
        left, top, right = scores[best - 1 : best + 2]
        bend = left - 2 * top + right
        fraction = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return (best - reach + fraction) * step, scores[best]


def slope(times: Sequence[float], values: Sequence[float]) -> tuple[float, float, float]:
    """Robust trend after Theil and Sen, per unit of time, with its 95 % interval.

    Returns:
        Slope, lower and upper bound; zeros below three points.
    """
    t, v = np.asarray(times, float), np.asarray(values, float)
    good = np.isfinite(t) & np.isfinite(v)
    t, v = t[good], v[good]
    if len(t) < 3 or np.ptp(t) == 0:
        return 0.0, 0.0, 0.0
    if len(t) > _MOST_POINTS:
        groups = np.array_split(np.arange(len(t)), _MOST_POINTS)
        t = np.array([np.median(t[g]) for g in groups])
        v = np.array([np.median(v[g]) for g in groups])
    found = theilslopes(v, t, 0.95)
    return float(found.slope), float(found.low_slope), float(found.high_slope)


def growth(times: Sequence[float], values: Sequence[float], warm_up: float = 0.1) -> float:
    """Per cent by which a quantity grows over the whole time, after the warm-up's share of it.

    The robust slope times the length, over the median level: a step back and forth is no growth.
    """
    t, v = np.asarray(times, float), np.asarray(values, float)
    if len(t) < 3:
        return 0.0
    kept = t >= t[0] + warm_up * (t[-1] - t[0])
    t, v = t[kept], v[kept]
    level = float(np.median(v))
    return 100 * slope(t.tolist(), v.tolist())[0] * float(np.ptp(t)) / level if level else 0.0


def longest_gap(times: Sequence[float], begin: float, end: float) -> float:
    """Longest time without an event between two moments, in seconds."""
    inside = [at for at in times if begin < at < end]
    return float(np.max(np.diff([begin, *inside, end])))


def summary(name: str, values: Sequence[float]) -> dict[str, float]:
    """``NAME_p50_ms``, ``_p95_ms`` and ``_p99_ms`` of seconds; what was never seen is left out."""
    good = np.asarray(values, float)
    good = good[np.isfinite(good)]
    if not len(good):
        return {}
    points = np.percentile(good, [50, 95, 99])
    return {
        f"{name}_p{p}_ms": round(float(v) * 1000, 1)
        for p, v in zip((50, 95, 99), points, strict=True)
    }
