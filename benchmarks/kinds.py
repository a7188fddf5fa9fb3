"""What figures are by their names: which way is better, and how far two runs may be apart."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum


class Direction(StrEnum):
    """Which way a figure should go."""

    LOWER = "lower"
    HIGHER = "higher"
    ZERO = "zero"
    NONE = "none"
    """It describes the run and is not judged."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far two runs of the same thing may be apart: ``relative`` × the larger + ``absolute``."""

    relative: float
    absolute: float


# The first pattern found in a name counts.
DIRECTIONS: tuple[tuple[str, Direction], ...] = (
    (r"_low(_|$)|_high(_|$)|_of_motion|limited_(from|to)|kbps|real_halves",
     Direction.NONE),
    (r"^(minutes|slots|frames|clips|portraits|mouths|mirrored|interrupts.*|visits_.*|"
     r"first_frames|reconnects_resumed|overload_(offers|capacity|refused)|.*_windows)$",
     Direction.NONE),
    (r"signed|slope|_lag(_|$)", Direction.ZERO),
    (r"lost|failed|missed|missing|held|late|repeat|silence|skipped|jumped|drop|freeze|hole|not_sent",
     Direction.LOWER),
    (r"on_time|kept|received|shown|found|read$|psnr|ssim|sessions$|capacity|follow_|gain_|_r$|"
     r"recall|precision|sharp|z_min", Direction.HIGHER),
    (r"_(ms|s|mb|gb|px|db|cores)$|gflop|_per_s|_per_session|growth|lpips|identity|distance|flicker|"
     r"background|fds|threads|error|levels", Direction.LOWER),
)  # fmt: skip

TOLERANCES: tuple[tuple[str, Tolerance], ...] = (
    (r"gflop|lookahead", Tolerance(0.001, 0.0)),
    (r"growth", Tolerance(0.0, 1.0)),
    (r"slope", Tolerance(0.0, 0.1)),
    (r"(lost|missing)$", Tolerance(0.0, 0.02)),
    (r"kbps", Tolerance(0.15, 0.0)),
    (r"_p99_ms$", Tolerance(0.40, 1.0)),
    (r"_p95_ms$", Tolerance(0.15, 0.5)),
    (r"_ms$", Tolerance(0.10, 0.3)),
    (r"(freeze|hole).*_s$", Tolerance(0.5, 0.2)),
    (r"_s$", Tolerance(0.15, 0.1)),
    (r"_mb(_|$)", Tolerance(0.05, 1.0)),
    (r"on_time|kept|received|shown|found|read$", Tolerance(0.0, 0.005)),
    (r"cores|_per_s", Tolerance(0.10, 0.01)),
    (r"sessions$|capacity", Tolerance(0.0, 0.5)),
    (r"", Tolerance(0.03, 0.0)),
)
"""Of the first pattern found in a name. Latencies by what a shared virtual machine does to them."""
_COUNTS = re.compile(
    r"(lost|failed|missed|missing_?\w*|held|late|repeated|silence|skipped|jumped|packets)$"
)
"""Rare events: their number wavers by three times its root (Poisson)."""


def direction(name: str) -> Direction:
    """Which way a figure should go; ``NONE`` for what no rule knows."""
    return next((way for pattern, way in DIRECTIONS if re.search(pattern, name)), Direction.NONE)


def tolerance(name: str, before: float, after: float) -> float:
    """Difference of a figure that two runs of the same thing may show, in its unit."""
    allowed = next(t for pattern, t in TOLERANCES if re.search(pattern, name))
    limit = allowed.relative * max(abs(before), abs(after)) + allowed.absolute
    whole = before == round(before) and after == round(after)
    if whole and _COUNTS.search(name) and direction(name) is Direction.LOWER:
        limit = max(limit, 3 * math.sqrt(abs(before) + abs(after)))
    return limit
