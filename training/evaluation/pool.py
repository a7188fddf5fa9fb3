"""Performances over the cores, with a progress bar that counts seconds of motion."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from subprocess import SubprocessError

from tqdm import tqdm

from engine.errors import EngineError
from engine.media import FPS
from training.evaluation.performers import Performer, Take, perform
from training.evaluation.sounds import Sound

_FAILURES = (EngineError, OSError, RuntimeError, SubprocessError, TypeError, ValueError)
Takes = dict[tuple[str, str], Take]
"""(performer's name, sound's name) to what was made; what could not be made is missing."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    performers: tuple[Performer, ...]
    sound: Sound


@dataclass(frozen=True, slots=True, eq=False)
class _Done:
    takes: Takes
    seconds: float
    reasons: dict[str, str]


def perform_all(
    performers: Sequence[Performer], sounds: Sequence[Sound], title: str, jobs: int
) -> tuple[Takes, dict[str, str]]:
    """Let everybody perform everything.

    Args:
        performers: with distinct names.
        sounds: with distinct names.
        title: of the progress bar.
        jobs: processes; 1 stays in this one.

    Returns:
        Takes, and the reason in words for every performer that could not do (all of) it.
    """
    work = _jobs(performers, sounds, jobs)
    takes: Takes = {}
    skipped: dict[str, str] = {}
    total = sum(s.frames for s in sounds) / FPS * len(performers)
    with tqdm(total=round(total), desc=title, unit="s", file=sys.stderr, leave=False) as bar:
        for done in _run(work, jobs):
            bar.update(round(done.seconds))
            takes |= done.takes
            skipped |= done.reasons
    return takes, skipped


def _run(work: list[_Job], jobs: int) -> Iterator[_Done]:
    if jobs == 1:
        yield from map(_work, work)
        return
    for future in as_completed([_pool(jobs).submit(_work, job) for job in work]):
        yield future.result()


@cache
def _pool(jobs: int) -> ProcessPoolExecutor:
    """One for the whole run: starting a process and compiling its networks takes seconds.

    Spawned, not forked: inference runtimes do not survive a fork.
    """
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))


def _jobs(performers: Sequence[Performer], sounds: Sequence[Sound], jobs: int) -> list[_Job]:
    """A sound with all performers, so that it is heard once; long ones first.

    With fewer sounds than processes need, performers are apart as well.
    """
    longest = sorted(sounds, key=lambda s: -s.frames)
    together = len(sounds) >= 2 * jobs
    groups = [tuple(performers)] if together else [(p,) for p in performers]
    return [_Job(group, sound) for sound in longest for group in groups]


def _work(job: _Job) -> _Done:
    takes: Takes = {}
    reasons: dict[str, str] = {}
    for performer in job.performers:
        try:
            take = perform(performer, job.sound)
        except _FAILURES as error:
            # A checkpoint of another network, a missing file: the others go on.
            line = (str(error).strip().splitlines() or [""])[0][:200]
            reasons[performer.name] = f"{type(error).__name__}: {line}"
            continue
        if take is None:
            reasons[performer.name] = "not all sounds: phones or a package are missing"
        else:
            takes[performer.name, job.sound.name] = take
    return _Done(takes, job.sound.frames * len(job.performers) / FPS, reasons)
