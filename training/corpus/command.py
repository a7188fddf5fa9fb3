"""``python -m training corpus``: make the corpus, or go on making it."""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import soundfile
from tqdm import tqdm

from engine.media import FPS, SAMPLE_RATE
from training.corpus import clip, recorded, report
from training.corpus.phones import VISEMES
from training.corpus.plan import HELD_OUT, ClipSpec, plan
from training.corpus.recorded import Recording
from training.corpus.speech import SpeechUnavailable

_PROGRAMS = {"flite": "flite", "festival": "festival festvox-us-slt-hts", "espeak-ng": "espeak-ng"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training corpus", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder; an earlier run goes on")
    parser.add_argument("--hours", type=float, default=3.2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--speech",
        type=Path,
        default=Path("..", "shared", "data", "speech"),
        help="folder of recorded speech with transcripts; left out if it does not exist",
    )
    parser.add_argument(
        "--again", action="store_true", help="keep the sound, make every clip's motion anew"
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


def _make(job: clip.Job) -> dict[str, Any] | str:
    try:
        return clip.make(job)
    except SpeechUnavailable as error:
        return f"clip {job.spec.index}: {error}"


def build(
    out: Path, hours: float, seed: int, jobs: int, speech: Path, again: bool = False
) -> dict[str, Any]:
    """Make what is missing and write ``index.json``; return the index.

    Raises:
        SpeechUnavailable: a speech engine is not installed, or ``out`` holds another corpus.
    """
    missing = [package for name, package in _PROGRAMS.items() if shutil.which(name) is None]
    if missing:
        raise SpeechUnavailable(f"install the Debian packages: {' '.join(missing)}")
    (out / "clips").mkdir(parents=True, exist_ok=True)
    # Forked workers would share the state of the C libraries of the parent.
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        takes = [(r, out / "align") for r in recorded.recordings(speech)]
        aligned = tqdm(pool.imap(_usable, takes, 4), "align", len(takes), disable=not takes)
        usable = [found for found in aligned if found]
        specs = plan(hours, seed, usable)
        _check_plan(out, specs, seed)
        work = [clip.Job(spec, out, seed, again) for spec in specs]
        made = list(tqdm(pool.imap(_make, work, 2), "clips", len(work)))
    rows = [row for row in made if not isinstance(row, str)]
    for failure in (row for row in made if isinstance(row, str)):
        sys.stderr.write(f"left out: {failure}\n")
    index = {
        "version": 1,
        "seed": seed,
        "sample_rate": SAMPLE_RATE,
        "fps": FPS,
        "visemes": list(VISEMES),
        "held_out_voices": list(HELD_OUT),
        "recordings": {"listed": len(takes), "aligned": len(usable)},
        "clips": rows,
    }
    part = out / "index.part.json"
    part.write_text(json.dumps(index, ensure_ascii=False), "utf-8")
    part.replace(out / "index.json")
    return index


def _check_plan(out: Path, specs: list[ClipSpec], seed: int) -> None:
    """Refuse to mix two plans in one folder: its clips would not be what the seed says."""
    rows = [(s.index, s.voice, s.split, s.warp, [r.text for r in s.recordings]) for s in specs]
    digest = hashlib.sha256(json.dumps([seed, rows]).encode()).hexdigest()
    note = out / "plan.txt"
    begun = any((out / "clips").iterdir())
    if begun and not (note.is_file() and note.read_text().strip() == digest):
        raise SpeechUnavailable(
            f"{out} holds clips of another plan (seed, hours, recordings or version differ);"
            " choose another --out, or empty it"
        )
    note.write_text(f"{digest}\n")


def main(argv: list[str]) -> int:
    """Run the command; return the exit status."""
    args = _parser().parse_args(argv)
    try:
        index = build(args.out, args.hours, args.seed, args.jobs, args.speech, args.again)
    except SpeechUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if args.report:
        report.write(args.out, index, args.report)
    seconds = sum(row["seconds"] for row in index["clips"])
    sys.stdout.write(f"{len(index['clips'])} clips, {seconds / 3600:.2f} h in {args.out}\n")
    return 0
