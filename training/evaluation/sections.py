"""The sections of a measurement, and what they share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config import MotionConfig
from engine.media import FPS
from training.evaluation import (
    on_control,
    on_corpus,
    on_drift,
    on_profiles,
    on_quiet,
    on_real,
    pictures,
    real_clips,
)
from training.evaluation.baselines import TOOLS
from training.evaluation.performers import Performer, has_input
from training.evaluation.pool import Takes
from training.evaluation.real_clips import RealClip
from training.evaluation.sounds import WORDLESS, Clip, dev_clips

_LONG = 25  # seconds
SECTIONS = ("corpus", "real", "quiet", "profiles", "control", "drift")
BASELINES = ("rule", "energy", "pylipsync")


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Args:
        per_group: corpus clips per kind of voice.
        held_out: clips per held-out voice.
        quiet: seconds of each kind of silence or noise.
        minutes: of the drift run.
        profiles: corpus clips for hop and look-ahead.
        control: corpus clips for styles and seeds.
    """

    per_group: int = 2
    held_out: int = 2
    quiet: int = 60
    minutes: int = 10
    profiles: int = 6
    control: int = 2


QUICK = Size(per_group=1, held_out=1, quiet=10, minutes=1, profiles=1, control=1)


@dataclass
class Bench:
    """Everything a run needs, and what the sections found."""

    options: argparse.Namespace
    size: Size
    networks: list[Performer]
    report: dict[str, Any]
    _clips: list[Clip] = field(default_factory=list)
    _real: list[RealClip] | None = None

    @property
    def default(self) -> Performer:
        """The network of the default number of steps, else the first one."""
        wanted = f"cmdt_k{MotionConfig().steps}"
        return next((p for p in self.networks if p.name == wanted), self.networks[0])

    @property
    def teacher(self) -> list[Performer]:
        """The undistilled network, compiled here once, before several processes want it."""
        path = self.options.teacher
        unwanted = self.options.no_teacher or self.options.quick
        if unwanted or "teacher" in self.report["about"].get("left_out", {}):
            return []
        teacher = Performer("teacher", "teacher", str(path))
        try:
            has_input(teacher, "audio")
        except (OSError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            self.report["about"]["left_out"] = {"teacher": reason}
            sys.stderr.write(f"no teacher: {reason}\n")
            return []
        return [teacher]

    @property
    def baselines(self) -> list[Performer]:
        foreign = not self.options.quick and (TOOLS / "bin" / "python").is_file()
        usable = [b for b in BASELINES if b != "pylipsync" or foreign]
        return [Performer(name, name) for name in usable]

    @property
    def clips(self) -> list[Clip]:
        if not self._clips:
            size = self.size
            found = dev_clips(self.options.corpus, size.per_group, size.held_out)
            self._clips = found[-4:] if self.options.quick else found
        return self._clips

    @property
    def spoken(self) -> list[Clip]:
        """Clips with speech, the kinds of voices in turn."""
        groups: dict[str, list[Clip]] = {}
        for clip in self.clips:
            if clip.sound.group not in WORDLESS:
                groups.setdefault(clip.sound.group, []).append(clip)
        longest = max((len(g) for g in groups.values()), default=0)
        return [g[i] for i in range(longest) for g in groups.values() if i < len(g)]

    @property
    def real(self) -> list[RealClip]:
        if self._real is None:
            self._real = real_clips.load(self.options.video, self.options.quick)
        return self._real

    def picture(self, name: str) -> Path:
        target: Path = self.options.out
        return target.with_name(f"{target.stem}_{name}.png")


def _corpus(bench: Bench) -> None:
    who = [*bench.networks, *bench.teacher, *bench.baselines]
    found, takes = on_corpus.measure(who, bench.clips, bench.options.jobs)
    bench.report["corpus"] = found
    shown = [bench.default.name, "teacher"]
    pictures.traces_corpus(bench.clips, takes, shown, bench.picture("corpus"))


def _real(bench: Bench) -> None:
    if not bench.real:
        bench.report["real"] = {"reason": f"no clips in {bench.options.video}"}
        return
    who = [*bench.networks, *bench.teacher, *bench.baselines]
    takes: Takes
    found, takes = on_real.measure(who, bench.default.name, bench.real, bench.options.jobs)
    bench.report["real"] = found
    shown = [bench.default.name, "rule", "energy"]
    pictures.traces_real(bench.real, takes, shown, bench.picture("real"))
    pictures.correlations(found, bench.picture("correlations"))


def _quiet(bench: Bench) -> None:
    found, _ = on_quiet.measure(bench.networks, bench.size.quiet, bench.options.jobs)
    bench.report["quiet"] = found


def _drift(bench: Bench) -> None:
    who = [bench.default] if bench.options.quick else bench.networks
    bench.report["drift"] = on_drift.measure(
        who, bench.spoken, bench.size.minutes, bench.options.jobs
    )
    pictures.drift(bench.report["drift"], bench.picture("drift"))


def _profiles(bench: Bench) -> None:
    # The long clip says no more than the others and would double the time.
    real = [c for c in bench.real if not c.seen and c.sound.frames <= _LONG * FPS]
    chosen = bench.spoken[: bench.size.profiles]
    quick = bench.options.quick
    bench.report["profiles"] = on_profiles.measure(
        bench.default, chosen, real[:1] if quick else real, bench.options.jobs, few=quick
    )
    pictures.price(bench.report["profiles"], bench.picture("price"))


def _control(bench: Bench) -> None:
    chosen = bench.spoken[: bench.size.control]
    feels = has_input(bench.default, "emotion")
    bench.report["control"] = on_control.measure(
        bench.default, chosen, bench.options.corpus, feels, bench.options.jobs
    )


RUN: dict[str, Callable[[Bench], None]] = {
    "corpus": _corpus, "real": _real, "quiet": _quiet, "drift": _drift,
    "profiles": _profiles, "control": _control,
}  # fmt: skip
