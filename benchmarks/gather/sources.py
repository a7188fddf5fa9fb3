"""The results under docs/results, whatever form they have: what, when, where, by which command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
RESULTS = DOCS / "results"
_COMMANDS = {
    "motion_eval": "python -m training evaluate",
    "teacher": "python -m training calibrate",
    "trt_verify": "python -m trt_builders verify --out docs/results/trt_verify",
}
"""Of results that do not say themselves how they were made."""


@dataclass(frozen=True, slots=True)
class Source:
    """One result.

    Args:
        name: its file's, without ``.json``.
        document: the file's content.
    """

    name: str
    document: Mapping[str, Any]

    @property
    def figures(self) -> Mapping[str, float]:
        """Its flat figures; empty for files of another form."""
        found: Mapping[str, float] = self.document.get("figures", {})
        return found if self.document.get("benchmark") else {}

    @property
    def command(self) -> str:
        """How to make it again."""
        return str(self.document.get("command") or _COMMANDS.get(self.name, "not recorded"))

    @property
    def date(self) -> str:
        """Its day."""
        for place in (self.document, self.document.get("about", {}), self._machine):
            if day := place.get("date"):
                return str(day)[:10]
        return "not recorded"

    @property
    def commit(self) -> str:
        """Of the code that was measured; ``+`` marks changes that were not committed yet."""
        return str(self.document.get("commit", "not recorded"))

    @property
    def machine(self) -> str:
        """Processor, cores, and how loaded it was when the measurement began."""
        known = self._machine
        cpu = known.get("cpu") or known.get("processor") or "not recorded"
        cores = f", {known['cores']} cores" if "cores" in known else ""
        load = known.get("load_average") or []
        return f"{cpu}{cores}" + (f", load {load[0]}" if load else "")

    @property
    def setup(self) -> str:
        """Hardware and software in a line; empty if it does not say."""
        known = self._machine
        if "packages" not in known:
            return ""
        versions = ", ".join(f"{name} {number}" for name, number in known["packages"].items())
        return (
            f"{known['cpu']}, {known['cores']} cores ({', '.join(known['features'])}), "
            f"{known['memory_gb']:g} GB, {known['system']}, Python {known['python']}, {versions}"
        )

    @property
    def failures(self) -> list[str]:
        """Promises that it says itself are broken."""
        return list(self.document.get("failures", []))

    @property
    def _machine(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.document.get("machine", {})
        return found


def load(folder: Path = RESULTS) -> dict[str, Source]:
    """Every result by name, in alphabetical order."""
    return {
        path.stem: Source(path.stem, json.loads(path.read_text()))
        for path in sorted(folder.glob("*.json"))
    }


def value(sources: Mapping[str, Source], address: str) -> float | None:
    """A number by ``source:figure``, or ``source:path.to.number`` in files of another form."""
    name, _, path = address.partition(":")
    source = sources.get(name)
    if source is None:
        return None
    if path in source.figures:
        return float(source.figures[path])
    place: Any = source.document
    for step in path.split("."):
        if not isinstance(place, Mapping) or step not in place:
            return None
        place = place[step]
    return float(place) if isinstance(place, int | float) else None


def row(*cells: object) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def head(*cells: str) -> list[str]:
    """The first two lines of a Markdown table."""
    return [row(*cells), "|" + "---|" * len(cells)]
