"""``python -m engine.verify VIDEO``: is Vivace's invisible mark in it, and what does it say?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from engine.errors import EngineError
from engine.provenance.code import ENGINE_ID
from engine.provenance.detect import FALSE_ALARM, MAX_SIDE, Detector, Finding
from engine.transport.video import GreyVideo

FOUND, NOT_FOUND, UNREADABLE = 0, 1, 2

_HELP = f"""
Vivace adds an invisible mark to every picture it draws. It stands still while the picture moves, so
a few seconds of video bring it out, even after compression, scaling, cropping at the edges, a
change of brightness, or recording the screen. One picture is enough if it is little compressed.

exit code: {FOUND} the mark is there, {NOT_FOUND} not found, {UNREADABLE} the file cannot be read

What the answer means: a video without the mark is declared marked with a chance of at most
{FALSE_ALARM:g}. A video in which none is found may still be generated: marks can be removed on
purpose, and a picture smaller than about 200 pixels, or turned, or moving over the screen, hides
it. It is a label, not a proof: whoever wants to can also add it (docs/provenance.md).

examples:
  python -m engine.verify talk.mp4
  python -m engine.verify --json call.webm        one JSON object for programs
  python -m engine.verify --seconds 30 long.mkv   look at the first half minute only
  python -m engine.verify frames/                 a folder of pictures, in the order of their names
"""


def verify(path: Path, seconds: float | None = None, progress: bool = False) -> Finding:
    """Look for the mark in a video, a picture or a folder of pictures.

    Args:
        path: what to look at.
        seconds: look at no more than this, from the start; None: all of it.
        progress: show a bar on stderr if it takes longer than a second.

    Raises:
        MediaError: it cannot be read.
    """
    video = GreyVideo(path, MAX_SIDE)
    detector = Detector()
    length = video.duration if seconds is None else min(seconds, video.duration or seconds)
    with _bar(length or None, "reading", "s", progress) as bar:
        for time, grey in video:
            if seconds is not None and time > seconds:
                break
            detector.add(grey, time)
            bar.update(max(0.0, min(time, length or time) - bar.n))
    with _bar(100, "searching", "%", progress) as bar:
        return detector.search(lambda share: bar.update(100 * share - bar.n))


def _bar(total: float | None, what: str, unit: str, progress: bool) -> Any:
    form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}" if total else None
    return tqdm(
        total=total, desc=what, unit=unit, delay=1.0, leave=False, bar_format=form,
        disable=None if progress else True,
    )  # fmt: skip


def sentence(name: str, finding: Finding) -> str:
    """The answer in one line."""
    if not finding.found:
        return (
            f"{name}: no mark found in {finding.seconds:.1f} s. "
            "It may still be generated: marks can be removed."
        )
    payload = finding.payload
    if payload is None:
        says = "its text cannot be read"
    else:
        engine = "Vivace" if payload.engine == ENGINE_ID else f"engine {payload.engine}"
        says = f"{engine}, number {payload.number}, format {payload.version}"
    spans = ", ".join(f"{start:.1f} to {end:.1f} s" for start, end in finding.spans)
    where = f" at {spans}" if spans and finding.spans[-1][1] > 0 else ""
    return (
        f"{name}: marked as generated ({says}){where}. "
        f"Chance of a false alarm below 1e{max(-300, round(finding.log10_chance))}."
    )


def as_json(name: str, finding: Finding) -> dict[str, Any]:
    """The answer for programs."""
    payload, place = finding.payload, finding.place
    return {
        "file": name,
        "found": finding.found,
        "payload": payload
        and {"version": payload.version, "engine": payload.engine, "number": payload.number},
        "log10_false_alarm": round(finding.log10_chance, 1),
        "z": round(finding.z, 2),
        "spans": [[round(start, 2), round(end, 2)] for start, end in finding.spans],
        "seconds": round(finding.seconds, 2),
        "place": place
        and {
            "left": round(place.left, 1), "top": round(place.top, 1),
            "width": round(place.width, 1), "height": round(place.height, 1),
            "mirrored": place.mirrored,
        },
    }  # fmt: skip


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m engine.verify",
        description="Is Vivace's invisible mark in this video, what does it say, and where?",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("video", type=Path, help="any file FFmpeg reads, or a folder of pictures")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, metavar="N", help="look at the first N seconds")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = _arguments()
    options = parser.parse_args(argv)
    if options.seconds is not None and not options.seconds > 0:
        parser.error("--seconds is a length above 0")
    name = options.video.name or str(options.video)
    try:
        finding = verify(options.video, options.seconds, not options.quiet)
    except EngineError as error:
        if options.json:
            sys.stdout.write(json.dumps({"file": name, "error": str(error)}) + "\n")
        sys.stderr.write(f"error: {error}\n")
        return UNREADABLE
    answer = json.dumps(as_json(name, finding)) if options.json else sentence(name, finding)
    sys.stdout.write(answer + "\n")
    return FOUND if finding.found else NOT_FOUND


if __name__ == "__main__":
    sys.exit(main())
