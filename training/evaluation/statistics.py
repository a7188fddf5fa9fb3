"""Medians with quartiles and bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_DRAWS = 2000


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles of what is finite; NaN when nothing is."""
    kept = np.asarray([v for v in values if np.isfinite(v)], np.float64)
    if not len(kept):
        return dict.fromkeys(("median", "q25", "q75"), float("nan"))
    low, middle, high = np.percentile(kept, (25, 50, 75))
    return {"median": float(middle), "q25": float(low), "q75": float(high)}


def bootstrap(
    values: Sequence[float],
    what: Callable[[Floats], float] = lambda x: float(np.median(x)),
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of a statistic of independent values (Efron 1979)."""
    kept = np.asarray([v for v in values if np.isfinite(v)], np.float64)
    if len(kept) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    drawn = [what(kept[rng.integers(0, len(kept), len(kept))]) for _ in range(_DRAWS)]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def paired_difference(
    first: Sequence[float], second: Sequence[float]
) -> tuple[float, tuple[float, float]]:
    """Mean of first - second over the pairs where both are finite, with its 95 % interval."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if np.isfinite(a + b)]
    if not pairs:
        return float("nan"), (float("nan"), float("nan"))
    gaps = [a - b for a, b in pairs]
    return float(np.mean(gaps)), bootstrap(gaps, lambda x: float(x.mean()))
