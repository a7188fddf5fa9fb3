"""Sound for packets that never came: the voice goes on for a moment, and fades.

After ITU-T G.711 Appendix I: the last pitch period is repeated, without change for 10 ms, then
fading to nothing at 60 ms; where the sound comes back, the two are blended. A gap that long is no
longer a syllable's inside, and silence is the better answer.
"""

from __future__ import annotations

import numpy as np

from engine.media import Float32

_SHORTEST_MS, _LONGEST_MS = 2.5, 15.0
"""Pitch periods looked for: 400 to 67 Hz."""
_KEEP_MS = 10.0
LIMIT_MS = 60.0
"""What is concealed at most."""
_BLEND_MS = 4.0
HISTORY_MS = 2 * _LONGEST_MS + 5.0
"""Sound before the gap that is looked at."""


def conceal(past: Float32, count: int, rate: int) -> Float32:
    """Go on from ``past``.

    Args:
        past: float32 [P], what was heard last; ``HISTORY_MS`` of it is enough.
        count: samples wanted; those beyond ``LIMIT_MS`` are zero.
        rate: Hz.

    Returns:
        float32 [count].
    """
    out = np.zeros(count, np.float32)
    limit = min(count, round(LIMIT_MS * rate / 1000))
    period = _period(past, rate)
    if period == 0:
        return out
    repeated = np.resize(past[-period:], limit)
    keep = round(_KEEP_MS * rate / 1000)
    fade = np.clip(1 - (np.arange(limit) - keep) / (LIMIT_MS * rate / 1000 - keep), 0, 1)
    out[:limit] = repeated * fade
    return out


def blend(going_on: Float32, samples: Float32, rate: int) -> Float32:
    """``samples`` after a gap, led over from what would have gone on."""
    size = min(round(_BLEND_MS * rate / 1000), len(samples), len(going_on))
    ramp = np.linspace(0, 1, size, dtype=np.float32)
    out = samples.copy()
    out[:size] = going_on[:size] * (1 - ramp) + samples[:size] * ramp
    return out


def _period(past: Float32, rate: int) -> int:
    """The lag at which the end of ``past`` is most like what came before; 0 for silence."""
    shortest, longest = (round(ms * rate / 1000) for ms in (_SHORTEST_MS, _LONGEST_MS))
    if len(past) < 2 * longest or not past[-2 * longest :].any():
        return 0
    # Every third sample is enough to find it, and a ninth of the work.
    coarse = past[-2 * longest :: 3].astype(np.float64)
    size = longest // 3
    tail = coarse[-size:]
    lags = np.arange(max(1, shortest // 3), len(coarse) - size + 1)
    windows = np.lib.stride_tricks.sliding_window_view(coarse, size)[len(coarse) - size - lags]
    energy = np.sqrt(np.sum(np.square(windows), 1) * np.sum(np.square(tail)))
    likeness = (windows @ tail) / np.maximum(energy, 1e-12)
    return int(lags[int(np.argmax(likeness))]) * 3
