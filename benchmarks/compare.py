"""``python -m benchmarks compare A.json B.json``: is B better, the same, or worse than A?

A figure has changed when the difference is more than its noise, the larger of two things:

* within a run: the 95 % interval of the figure by a moving-block bootstrap (Künsch 1989) of its
  samples, both runs' added as variances. Blocks of neighbours, as neighbouring seconds are alike;
* between runs: a tolerance by kind of figure (``benchmarks.kinds``), for what one run cannot see.

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
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kinds import Direction, direction, tolerance

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
    limit = tolerance(name, *values)
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
