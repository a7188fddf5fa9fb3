"""``python -m benchmarks report``: the page, written or compared with the one that is there."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.gather.sections import SECTIONS, plain
from benchmarks.gather.sources import DOCS, Source, head, load, row
from benchmarks.gather.stack import PICTURE, Stack, draw, stack, table
from benchmarks.gather.targets import Outcome, outcomes, reasons

NAME = "benchmarks.md"
_RETOLD = ("gpu_cpu_dryrun", "trt_verify", "teacher")
"""Results whose own page is all there is to say; the sources link to it."""
_SAID = 8
"""Broken promises of one result that the page repeats; the rest is counted."""
_INTRO = """\
# Measured

Made by `python -m benchmarks report` from the results under `results/`; do not edit. Each line says
which result it is from, the [sources](#sources) say how to repeat it, on which machine it ran and
how busy that was. What each latency means, and where its clock starts: [latency.md](latency.md).
`python -m benchmarks compare A.json B.json` says what two runs differ in by more than noise."""


class Unexplained(ValueError):
    """Targets are missed or not measured and nobody says why; the message names them."""


def page(docs: Path = DOCS) -> tuple[str, Stack | None]:
    """The page, and the latency stack that its picture shows.

    Args:
        docs: the folder with ``results``.

    Raises:
        Unexplained: ``reasons.toml`` lacks a reason.
    """
    results = docs / "results"
    sources = load(results)
    found = outcomes(sources, reasons(results / "reasons.toml"))
    if silent := [one.target.key for one in found if one.needs_reason]:
        raise Unexplained(f"results/reasons.toml has no reason for {', '.join(silent)}")
    whole = stack(sources)
    parts = [
        [_INTRO],
        ["## Targets", "", *_targets(found)],
        ["## Missed, or not measured", "", *_why(found)],
        ["## From click to photon", "", *_stack(whole)],
        *(_section(docs, sources, *section) for section in SECTIONS),
        *_others(docs, sources),
        ["## What the results say is broken", "", *_broken(sources)],
        ["## Sources", "", *_sources(docs, sources)],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n", whole


def _targets(found: Sequence[Outcome]) -> Iterator[str]:
    kept = sum(one.met for one in found)
    missed = sum(one.measured is not None for one in found) - kept
    yield f"Of {len(found)} targets {kept} are kept, {missed} missed, " \
          f"{len(found) - kept - missed} not measured."  # fmt: skip
    yield ""
    yield from head("what", "best known", "wanted", "measured", "", "from")
    for one in found:
        target = one.target
        measured = "not measured" if one.measured is None else f"{one.measured:.4g} {target.unit}"
        verdict = "kept" if one.met else "" if one.measured is None else "**missed**"
        where = "" if one.measured is None else f"`{target.figure}`"
        yield row(target.what, target.known, target.wanted, measured.rstrip(), verdict, where)


def _why(found: Sequence[Outcome]) -> Iterator[str]:
    for one in found:
        if not one.met and one.reason is not None:
            profile = (
                f" ([{one.reason.profile}]({one.reason.profile}))" if one.reason.profile else ""
            )
            yield f"* **{one.target.what}**: {one.reason.why}{profile}"


def _stack(whole: Stack | None) -> Iterator[str]:
    if whole is None:
        yield "Not drawn: `stages` and the `talk` part of `loopback` are needed."
        return
    yield f"![from click to photon](results/{PICTURE})"
    yield ""
    yield from table(whole)


def _section(
    docs: Path, sources: Mapping[str, Source], title: str, names: Sequence[str], make: object
) -> list[str]:
    if names[0] not in sources:
        return [f"## {title}", "", f"Not measured yet: there is no `results/{names[0]}.json`."]
    assert callable(make)
    return [f"## {title}", "", *make(sources), *_pictures(docs, names)]


def _pictures(docs: Path, names: Sequence[str]) -> Iterator[str]:
    """Plots beside results; longer pages and further plots as links."""
    results = docs / "results"
    owners = {path.stem for path in results.glob("*.json")}
    for name in names:
        further = [
            path.name
            for path in sorted(results.glob(f"{name}_*.png"))
            if max((o for o in owners if path.stem.startswith(o)), key=len, default="") == name
        ]
        page = [f"{name}.md"] if (results / f"{name}.md").is_file() else []
        if page or further:
            yield from ("", "More: " + ", ".join(f"[{f}](results/{f})" for f in page + further))
        if (results / f"{name}.png").is_file():
            yield from ("", f"![{name}](results/{name}.png)")


def _others(docs: Path, sources: Mapping[str, Source]) -> Iterator[list[str]]:
    """Results that no section shows, as they are."""
    shown = {name for _, names, _ in SECTIONS for name in names} | set(_RETOLD)
    for name, source in sources.items():
        if name not in shown and source.figures:
            title = f"## {name.replace('_', ' ').capitalize()}"
            notes = source.document.get("notes", [])
            yield [title, "", *notes, "", *plain(sources, name), *_pictures(docs, [name])]


def _broken(sources: Mapping[str, Source]) -> list[str]:
    lines = []
    for name, one in sources.items():
        said = one.failures[:_SAID]
        more = len(one.failures) - len(said)
        said += [f"and {more} more in [{name}.json](results/{name}.json)"] if more else []
        lines += [f"* `{name}`: {'; '.join(said)}"] if said else []
    return lines or ["Nothing."]


def _sources(docs: Path, sources: Mapping[str, Source]) -> Iterator[str]:
    for setup in dict.fromkeys(one.setup for one in sources.values() if one.setup):
        names = ", ".join(name for name, one in sources.items() if one.setup == setup)
        yield f"* {setup}: {names}"
    yield ""
    yield from head("result", "command", "date", "commit", "machine")
    for name, one in sources.items():
        file = name + (".md" if (docs / "results" / f"{name}.md").is_file() else ".json")
        link = f"[{name}](results/{file})"
        yield row(link, f"`{one.command}`", one.date, one.commit, one.machine)


def main(arguments: Sequence[str], docs: Path = DOCS) -> int:
    """Write the page and its picture, or check the page; 1 if it is stale or unexplained."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks report")
    parser.add_argument("--check", action="store_true", help="only say whether the page is stale")
    options = parser.parse_args(arguments)
    path = docs / NAME
    try:
        text, whole = page(docs)
    except Unexplained as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    if options.check:
        if path.is_file() and path.read_text() == text:
            return 0
        sys.stderr.write(f"{path.name} is stale: python -m benchmarks report\n")
        return 1
    if whole is not None:
        draw(whole, docs / "results" / PICTURE)
    path.write_text(text)
    return 0
