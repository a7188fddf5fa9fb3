"""Jaw, lips and tongue: dominance blending, then contacts that are guaranteed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from training.corpus.phones import VISEME_ID, VOWELS, Unit
from training.teacher.prosody import RATE, Prosody
from training.teacher.style import Style
from training.teacher.targets import (
    CHANNELS,
    GROUPS,
    TIMING,
    insistence_matrix,
    target_matrix,
)

Float32 = NDArray[np.float32]

_TYPICAL_VOWEL, _TYPICAL_CONSONANT = 0.10, 0.07  # seconds
_LOUD, _USUAL_LOUDNESS = 0.26, 0.83  # what loudness adds to a vowel's amplitude
_STRESS, _USUAL_STRESS = 0.20, 0.56
_SMOOTH = 0.6  # control points: keeps the sum of exponentials from having corners
_CLOSURE_LEAD = 0.024
_CLOSURE_TAIL = 0.18  # share of a bilabial that sounds after the lips part (burst, aspiration)
_CLOSURE_SHORTEST = 0.056  # seconds: always covers the centre of a 40 ms frame
_CLOSING, _OPENING = 0.058, 0.046
_REST_AFTER = 0.17  # seconds of silence before the mouth starts to close for good
_REST_SHORTEST = 0.30  # of a silence that counts as one
_CLOSED_SHORTEST = 0.55  # of a silence in which the lips meet; talkers only relax in shorter ones
_RELAXED = {"jaw": 0.12, "low": 0.17, "up": 0.07}  # targets of a pause between words


def _effort(spoken: list[Unit], stress: Float32, prosody: Prosody, style: Style) -> Float32:
    """Amplitude multiplier of each unit [U]: stress, loudness and room to move."""
    length = np.array([u.end - u.start for u in spoken])
    vowel = np.array([u.viseme in VOWELS for u in spoken], bool)
    typical = np.where(vowel, _TYPICAL_VOWEL, _TYPICAL_CONSONANT)
    room = np.clip((length / typical) ** style.hypo, 0.6, 1.15)
    middles = np.array([0.5 * (u.start + u.end) for u in spoken])
    at = np.clip((middles * RATE).astype(int), 0, len(prosody.loudness) - 1)
    loud = np.clip(1 + _LOUD * (prosody.loudness[at] - _USUAL_LOUDNESS), 0.5, 1.2)
    stressed = 1 + _STRESS * (stress - _USUAL_STRESS)
    return (room * np.where(vowel, stressed * loud, 1.0)).astype(np.float32)


def _dominance(spoken: list[Unit], group: int, times: Float32, style: Style) -> Float32:
    """Dominance of each unit at each control point, float32 [U, T]."""
    timing = list(TIMING.values())[group]
    insist = insistence_matrix()[[VISEME_ID[u.viseme] for u in spoken], group]
    start = np.array([u.start for u in spoken], np.float32)
    end = np.array([u.end for u in spoken], np.float32)
    silent = np.array([u.viseme == "sil" for u in spoken], bool)
    lead = np.where(silent, 0.0, timing.lead * style.lead)
    center = 0.5 * (start + end) - lead
    half = np.where(silent, 0.5 * (end - start), 0.25 * (end - start))
    offset = times[None, :] - center[:, None].astype(np.float32)
    away = np.maximum(np.abs(offset) - half[:, None], 0).astype(np.float32)
    decay = np.where(offset < 0, np.float32(timing.before), np.float32(timing.after))
    return (insist[:, None] * np.exp(-away / decay)).astype(np.float32)


def blend(
    spoken: list[Unit], stress: Float32, prosody: Prosody, style: Style, count: int
) -> dict[str, Float32]:
    """Blend targets into curves at 100 Hz, one float32 [T] per channel."""
    times = (np.arange(count, dtype=np.float32) + 0.5) / RATE
    targets = target_matrix()[[VISEME_ID[u.viseme] for u in spoken]]
    effort = _effort(spoken, stress, prosody, style)
    scale = {"jaw": style.open, "low": style.open, "up": style.open, "spread": style.spread}
    scale |= {"funnel": style.rounding, "pucker": style.rounding}
    pause = _pauses(spoken, count / RATE)
    curves: dict[str, Float32] = {}
    for group, names in enumerate(GROUPS.values()):
        weight = _dominance(spoken, group, times, style)
        total = weight.sum(0) + 1e-6
        for name in names:
            column = np.where(pause, _RELAXED.get(name, 0.0), targets[:, CHANNELS.index(name)])
            column = column * scale.get(name, 1.0)
            if name in ("jaw", "low", "up"):
                column = column * effort
            elif name != "roll":
                column = column * (0.5 + 0.5 * effort)
            curve = (column[:, None] * weight).sum(0) / total
            curves[name] = gaussian_filter1d(curve, _SMOOTH).astype(np.float32)
    return curves


def _pauses(spoken: list[Unit], seconds: float) -> NDArray[np.bool_]:
    """Tell which units [U] are silences within speech too short for the lips to meet."""
    short = [u.viseme == "sil" and u.end - u.start < _CLOSED_SHORTEST for u in spoken]
    inside = [u.start > 0 and u.end < seconds for u in spoken]
    return np.array(short, bool) & np.array(inside, bool)


def _trapezoid(times: Float32, start: float, end: float, rise: float, fall: float) -> Float32:
    """1 within [start, end], half-cosine ramps outside."""
    before = np.clip((times - (start - rise)) / rise, 0, 1)
    after = np.clip(((end + fall) - times) / fall, 0, 1)
    ramp = np.minimum(before, after)
    return (0.5 - 0.5 * np.cos(np.pi * ramp)).astype(np.float32)


def closures(spoken: list[Unit], count: int) -> tuple[Float32, list[tuple[float, float]]]:
    """Return the weight of lip contact [T] for p, b, m and the intervals of full contact.

    Contact begins with the acoustic closure or just before it and lasts until the release. Very
    short ones are lengthened to the front, so that a 25 fps frame always sees them.
    """
    times = (np.arange(count, dtype=np.float32) + 0.5) / RATE
    weight = np.zeros(count, np.float32)
    spans = []
    for unit in spoken:
        if unit.viseme != "pbm":
            continue
        start = unit.start - _CLOSURE_LEAD
        end = unit.end - _CLOSURE_TAIL * (unit.end - unit.start)
        start = min(start, end - _CLOSURE_SHORTEST)
        spans.append((start, end))
        weight = np.maximum(weight, _trapezoid(times, start, end, _CLOSING, _OPENING))
    return weight, spans


def labiodentals(spoken: list[Unit], count: int) -> Float32:
    """Return the weight of the lower lip on the upper teeth [T] for f and v."""
    times = (np.arange(count, dtype=np.float32) + 0.5) / RATE
    weight = np.zeros(count, np.float32)
    for unit in spoken:
        if unit.viseme == "fv":
            end = max(unit.end - 0.02, unit.start + 0.03)
            weight = np.maximum(weight, _trapezoid(times, unit.start, end, _CLOSING, _OPENING))
    return weight


def rests(spoken: list[Unit], count: int) -> Float32:
    """Return the weight of the resting, closed mouth [T]: 1 within long silences."""
    times = (np.arange(count, dtype=np.float32) + 0.5) / RATE
    weight = np.zeros(count, np.float32)
    for start, end in silences(spoken, count / RATE):
        if end - start < _CLOSED_SHORTEST and start > 0 and end < count / RATE:
            continue
        first = start <= 0
        last = end >= count / RATE - 1e-6
        a = -1.0 if first else start + _REST_AFTER
        b = end + 1.0 if last else end - _REST_AFTER
        if b > a:
            weight = np.maximum(weight, _trapezoid(times, a + 0.14 * (not first), b, 0.24, 0.09))
    return weight


def silences(spoken: list[Unit], seconds: float) -> list[tuple[float, float]]:
    """Return the gaps of at least 0.3 s between spoken units, the clip's edges included."""
    edges = [0.0]
    for unit in spoken:
        if unit.viseme != "sil":
            edges += [unit.start, unit.end]
    edges.append(seconds)
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [(a, b) for a, b in pairs if b - a >= _REST_SHORTEST or (a <= 0 and b >= seconds)]
