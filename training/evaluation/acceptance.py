"""What must hold, checked against the results. Limits are those the project set itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

Tree = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Check:
    """One limit.

    Args:
        who: performer.
        what: in words.
        value: measured.
        low: at least, or None.
        high: at most, or None.
        target: where the limit comes from: ``goal`` of the project or ``teacher`` (student against
            the network it was distilled from).
    """

    who: str
    what: str
    value: float
    low: float | None
    high: float | None
    target: str

    @property
    def passed(self) -> bool:
        """Whether the value is known and within the limits."""
        if not math.isfinite(self.value):
            return False
        above = self.low is None or self.value >= self.low
        return above and (self.high is None or self.value <= self.high)

    @property
    def limit(self) -> str:
        """The limits in words."""
        if self.low is not None and self.high is not None:
            return f"{self.low:g} to {self.high:g}"
        return f"at least {self.low:g}" if self.high is None else f"at most {self.high:g}"

    def row(self) -> dict[str, Any]:
        """For the JSON."""
        return asdict(self) | {"passed": self.passed, "limit": self.limit}


def at(tree: Tree, *path: str) -> float:
    """A number deep in the results; NaN where it is missing."""
    found: Any = tree
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return float(found) if isinstance(found, int | float) else float("nan")


def checks(report: Tree, networks: list[str], default: str) -> list[Check]:
    """All checks for which something was measured."""
    found: list[Check] = []
    for name in networks:
        found += _against_teacher(report.get("corpus", {}), name)
        found += _drift(report.get("drift", {}), name)
        found += _quiet(report.get("quiet", {}), name)
        found += _real(report.get("real", {}).get("unseen", {}), name)
    found += _baselines(report.get("real", {}).get("unseen", {}), default)
    return found


def _against_teacher(corpus: Tree, name: str) -> list[Check]:
    if name not in corpus:
        return []
    out = [Check(name, "seam ratio", at(corpus, name, "whole", "seam_ratio"), None, 1.1, "goal")]
    if "teacher" not in corpus:
        return out

    def share(*path: str) -> float:
        below = at(corpus, "teacher", *path)
        return at(corpus, name, *path) / below if below else float("nan")

    return [
        *out,
        Check(name, "Fréchet distance ÷ teacher", share("whole", "frechet"), None, 1.5, "teacher"),
        Check(name, "lip error ÷ teacher", share("speech", "lip_error"), None, 1.05, "teacher"),
        Check(name, "lip jerk ÷ teacher", share("whole", "lips_jerk_ratio"), 0.8, 1.2, "teacher"),
        Check(name, "head jerk ÷ teacher", share("whole", "head_jerk_ratio"), 0.8, 1.2, "teacher"),
    ]


def _drift(drift: Tree, name: str) -> list[Check]:
    if name not in drift or at(drift, "minutes") < 2:  # one minute cannot drift from itself
        return []
    first, last = at(drift, name, "frechet_first"), at(drift, name, "frechet_last")
    minutes = at(drift, "minutes")
    what = f"Fréchet distance, minute {minutes:.0f} ÷ minute 1"
    return [Check(name, what, last / first if first else math.nan, None, 1.25, "goal")]


def _quiet(quiet: Tree, name: str) -> list[Check]:
    kinds = [k for k, v in quiet.get(name, {}).items() if isinstance(v, Mapping)]
    out = []
    for kind in kinds:
        row = quiet[name][kind]
        out += [
            Check(name, f"{kind}: lip gap, % of range", row["lip_gap_percent"], None, 5.0, "goal"),
            Check(name, f"{kind}: blinks a minute", row["blinks_per_minute"], 8.0, 25.0, "goal"),
            Check(name, f"{kind}: longest freeze, s", row["longest_freeze_s"], None, 2.0, "goal"),
        ]
    return out


def _real(unseen: Tree, name: str) -> list[Check]:
    if name not in unseen:
        return []

    def real(*path: str) -> float:
        return at(unseen, name, *path)

    return [
        Check(name, "real clips: opening, r as filed", real("opening_r", "median"), 0.6, None,
              "goal"),
        Check(name, "real clips: opening, r in sync", real("synced_r", "median"), 0.6, None,
              "goal"),
        Check(name, "real clips: lip velocity ÷ real", real("lip_velocity_ratio"), 0.9, 1.15,
              "goal"),
        Check(name, "real clips: lip jerk ÷ real", real("lip_jerk_ratio"), 0.9, 1.15, "goal"),
        Check(name, "real clips: head velocity ÷ real", real("head_velocity_ratio"), 0.7, 1.3,
              "goal"),
        Check(name, "real clips: closure recall", real("closure_recall"), 0.9, None, "goal"),
    ]  # fmt: skip


def _baselines(unseen: Tree, default: str) -> list[Check]:
    """The lower end of the paired interval must lie above nothing."""
    out = []
    for name in ("energy", "pylipsync", "shuffled"):
        better = unseen.get(name, {}).get("default_better_by_synced", {})
        if better:
            what = f"real clips: r in sync above {name}, lower end of 95 % interval"
            out.append(Check(default, what, float(better["interval"][0]), 0.0, None, "goal"))
    return out
