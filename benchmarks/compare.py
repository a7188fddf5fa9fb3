"""``python -m benchmarks compare A.json B.json``: is B better, the same, or worse than A?

A figure has changed when the difference is more than its noise, the larger of two things:

* within a run: the 95 % interval of the figure by a moving-block bootstrap (Künsch 1989) of its
  samples, both runs' added as variances. Blocks of neighbours, as neighbouring seconds are alike;
* between runs: a tolerance by kind of figure (``TOLERANCES``), for what one run cannot see.

So a result never differs from itself, and a change turned round has the opposite verdict.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np


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
    (r"_low(_|$)|_high(_|$)|_of_motion|limited_(from|to)|kbps|^start_up|real_halves",
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
    (r"gflop", Tolerance(0.001, 0.0)),
    (r"growth", Tolerance(0.0, 1.0)),
    (r"slope", Tolerance(0.0, 0.1)),
    (r"_p99_ms$", Tolerance(0.40, 2.0)),
    (r"_p95_ms$", Tolerance(0.15, 1.0)),
    (r"_ms$", Tolerance(0.10, 1.0)),
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
_SERIES = {"audio_to_encoder": "age_by_second_ms", "audio_to_encoded": "age_by_second_ms",
           "encoder": "age_by_second_ms", "skew": "skew_by_second_ms",
           "skew_signed": "skew_by_second_ms"}  # fmt: skip
"""Where a figure's samples have another name than its own."""
_QUANTILE = re.compile(r"^(?P<stem>.+)_p(?P<percent>50|95|99)_(?P<unit>ms|s)$")
_RESAMPLES = 400
_FEWEST = 8
"""Samples below which a bootstrap says nothing."""
_MACHINE = ("cpu", "cores", "memory_gb", "system", "python", "packages")


class Unlike(ValueError):
    """Two results that cannot be compared; the message says why."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of two results.

    Args:
        name: of the figure.
        before, after: its values.
        ratio: after ÷ before; NaN where before is 0.
        noise: difference that means nothing, in the figure's unit.
        sampled: whether samples made the noise, else the tolerance.
        verdict: ``better``, ``same``, ``worse``; ``changed`` where no way is better.
    """

    name: str
    before: float
    after: float
    ratio: float
    noise: float
    sampled: bool
    verdict: str


def direction(name: str) -> Direction:
    """Which way a figure should go; ``NONE`` for what no rule knows."""
    return next((way for pattern, way in DIRECTIONS if re.search(pattern, name)), Direction.NONE)


def figures(document: Mapping[str, Any]) -> dict[str, float]:
    """A result's finite figures; of files that have none, all their numbers by dotted path."""
    found = document.get("figures")
    flat = _numbers(document if found is None else found)
    return {name: value for name, value in flat if math.isfinite(value)}


def _numbers(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, float]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{path}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{path}{name}", float(value)


def spread(values: Sequence[float], percent: float) -> float:
    """Half the 95 % interval of a percentile, by bootstrap of blocks of √n neighbours.

    Args:
        values: in the order they were measured.
        percent: 0 to 100.
    """
    series = np.asarray(values, float)
    size = max(1, math.isqrt(len(series)))
    blocks = math.ceil(len(series) / size)
    rng = np.random.default_rng(0)  # the same answer every time
    starts = rng.integers(0, len(series) - size + 1, (_RESAMPLES, blocks, 1))
    rows = series[starts + np.arange(size)].reshape(_RESAMPLES, -1)
    low, high = np.percentile(np.percentile(rows, percent, axis=1), [2.5, 97.5])
    return float(high - low) / 2


def noise(
    name: str, values: tuple[float, float], samples: Sequence[Mapping[str, Sequence[float]]]
) -> tuple[float, bool]:
    """Difference of a figure that means nothing, and whether it comes from the samples.

    Args:
        name: of the figure.
        values: of both runs.
        samples: series of both runs.
    """
    allowed = next(t for pattern, t in TOLERANCES if re.search(pattern, name))
    limit = allowed.relative * max(map(abs, values)) + allowed.absolute
    if _COUNTS.search(name) and direction(name) is Direction.LOWER:
        limit = max(limit, 3 * math.sqrt(sum(map(abs, values))))
    parts = [_within(name, series) for series in samples]
    if None in parts:
        return limit, False
    within = math.hypot(*(part for part in parts if part is not None))
    return max(limit, within), within > limit


def _within(name: str, samples: Mapping[str, Sequence[float]]) -> float | None:
    found = _QUANTILE.match(name)
    if found is None:
        return None
    stem, unit = found["stem"], found["unit"]
    known = (f"{stem}_{unit}", f"{stem}_by_second_{unit}", _SERIES.get(stem, ""))
    values = next((samples[series] for series in known if samples.get(series)), ())
    if stem == "skew":
        values = [abs(value) for value in values]
    return spread(values, float(found["percent"])) if len(values) >= _FEWEST else None


def judge(way: Direction, before: float, after: float, limit: float) -> str:
    """``better``, ``same``, ``worse`` or ``changed``."""
    if way is Direction.ZERO:
        before, after = abs(before), abs(after)
    gain = after - before
    if abs(gain) <= limit:
        return "same"
    if way is Direction.NONE:
        return "changed"
    return "better" if (gain > 0) is (way is Direction.HIGHER) else "worse"


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Every figure that both results have, in the order of the first.

    Raises:
        Unlike: they are of different benchmarks, or have no figure in common.
    """
    names = [_benchmark(document) for document in (before, after)]
    if names[0] != names[1]:
        raise Unlike(f"one is a result of '{names[0]}', the other of '{names[1]}'")
    old, new = figures(before), figures(after)
    samples = [document.get("samples", {}) for document in (before, after)]
    found = []
    for name in (name for name in old if name in new):
        a, b = old[name], new[name]
        limit, sampled = noise(name, (a, b), samples)
        verdict = judge(direction(name), a, b, limit)
        found.append(Change(name, a, b, b / a if a else math.nan, limit, sampled, verdict))
    if not found:
        raise Unlike("they have no figure in common")
    return found


def _benchmark(document: Mapping[str, Any]) -> str:
    """Its name; of other files the names of their parts."""
    return str(document.get("benchmark") or ", ".join(sorted(document)))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """One line on what else differs, machine, settings, command, figures; empty if nothing does."""
    one, two = before.get("machine", {}), after.get("machine", {})
    found = [name for name in _MACHINE if one.get(name) != two.get(name)]
    if before.get("config") != after.get("config"):
        found.append("settings")
    commands = [_essence(str(document.get("command", ""))) for document in (before, after)]
    if commands[0] != commands[1]:
        found.append(f"command ({commands[0]} | {commands[1]})")
    only = sorted(figures(before).keys() ^ figures(after).keys())
    if only:
        found.append(f"{len(only)} figure(s) in one only ({', '.join(only[:3])} ...)")
    return f"not alike: {', '.join(found)}" if found else ""


def _essence(command: str) -> str:
    """Without where the result goes."""
    return re.sub(r"\s+--(json|plot|out|sheets)[ =]\S+", "", command)


def table(changes: Sequence[Change]) -> str:
    """For people: every figure; ``*`` marks noise that comes from samples."""
    width = max(len(change.name) for change in changes)
    rows = [f"  {'figure':<{width}} {'before':>11} {'after':>11} {'ratio':>7} {'noise':>10}"]
    for c in changes:
        ratio = "" if math.isnan(c.ratio) else f"{c.ratio:.3f}"
        rows.append(
            f"  {c.name:<{width}} {c.before:>11.4g} {c.after:>11.4g} {ratio:>7} "
            f"{'±' + format(c.noise, '.3g'):>9}{'*' if c.sampled else ' '} {c.verdict}"
        )
    counts = {v: sum(c.verdict == v for c in changes) for v in ("better", "same", "worse")}
    return "\n".join([*rows, ", ".join(f"{count} {verdict}" for verdict, count in counts.items())])


def main(arguments: Sequence[str]) -> int:
    """Compare two files; 1 if something is worse, 2 if they cannot be compared."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare")
    parser.add_argument("before", type=Path, metavar="A.json")
    parser.add_argument("after", type=Path, metavar="B.json")
    parser.add_argument("--json", action="store_true", help="print only JSON")
    options = parser.parse_args(arguments)
    try:
        before, after = (json.loads(p.read_text()) for p in (options.before, options.after))
        changes = compare(before, after)
    except (OSError, json.JSONDecodeError, Unlike) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if warning := differences(before, after):
        sys.stderr.write(f"warning: {warning}\n")
    shown = json.dumps([asdict(change) for change in changes]) if options.json else table(changes)
    sys.stdout.write(shown + "\n")
    return int(any(change.verdict == "worse" for change in changes))
