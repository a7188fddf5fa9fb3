"""``python -m training calibrate``: the teacher against real faces saying the same words.

Every clip with a transcript is tracked and force-aligned; the teacher animates the same sound and
phones several times, once in its neutral style and else in drawn ones. Writes
``docs/results/teacher.json``, ``.md`` and ``.png``.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from engine.errors import MediaError
from engine.media import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from engine.motion.arkit import INDEX, MOTION_SIZE
from training.corpus import recorded
from training.corpus.phones import Phone, is_pause
from training.corpus.speech import SpeechUnavailable
from training.motion.metrics import best_lag
from training.teacher import measure
from training.teacher.animate import Performance, animate
from training.teacher.head import Sentence
from training.teacher.measure import Figures, Float32
from training.teacher.style import Style, draw
from training.tracking import clips as videos
from training.tracking.clips import VIDEO, Passage, group, transcript
from training.tracking.track import Tracked, track

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
_NEAR = 2
"""Frames within which the best lag is accepted."""
_SENTENCE_GAP = 0.35  # seconds of silence that end a sentence
_DRAWS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A clip, who it belongs to, what was said when."""

    name: str
    group: str
    real: Tracked
    phones: list[Phone]
    sentences: list[Sentence]

    def perform(self, style: Style, seed: int) -> Performance:
        """Animate the clip's own sound and phones."""
        rng = np.random.default_rng(seed)
        return animate(self.real.audio, self.phones, self.sentences, style, rng)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well the neutral teacher follows one face: correlation at best lag within ±2 frames."""

    name: str
    group: str
    opening: float
    opening_lag: int
    opening_speaking: float
    """Only where something is spoken."""
    width: float
    width_lag: int
    wrong_audio: float
    """The same for lips that say something else: the floor."""


def cases(paths: list[Path], cache: Path) -> list[Case]:
    """Track and align the clips that have transcripts."""
    found = []
    for path in tqdm(paths, "clips"):
        passages = transcript(path)
        if not passages:
            sys.stderr.write(f"{path.name}: left out: no transcript\n")
            continue
        try:
            real = track(path, cache)
            phones = _aligned(real.audio, passages, cache / f"{path.stem}.json")
        except (MediaError, SpeechUnavailable) as error:
            sys.stderr.write(f"{path.name}: left out: {error}\n")
            continue
        found.append(Case(path.stem, group(path), real, phones, sentences_of(phones)))
    return found


def _aligned(audio: Float32, passages: list[Passage], kept: Path) -> list[Phone]:
    text = [asdict(p) for p in passages]
    if kept.is_file():
        saved = json.loads(kept.read_text("utf-8"))
        if saved["text"] == text:
            return [Phone(*row) for row in saved["phones"]]
    phones = []
    for passage in passages:
        end = min(passage.end, len(audio) / SAMPLE_RATE)
        piece = audio[round(passage.start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        try:
            found = recorded.align(piece, passage.text)
        except SpeechUnavailable as error:
            raise SpeechUnavailable(f"at {passage.start:.1f} s: {error}") from error
        phones += [Phone(p.name, p.start + passage.start, p.end + passage.start) for p in found]
    rows = [[p.name, p.start, p.end] for p in phones]
    kept.write_text(json.dumps({"text": text, "phones": rows}), "utf-8")
    return phones


def sentences_of(phones: list[Phone]) -> list[Sentence]:
    """Split at pauses; none of the clips asks a question."""
    found: list[Sentence] = []
    for phone in phones:
        if is_pause(phone.name):
            continue
        if found and phone.start - found[-1].end < _SENTENCE_GAP:
            found[-1] = Sentence(found[-1].start, phone.end, False)
        else:
            found.append(Sentence(phone.start, phone.end, False))
    return found


def agree(case: Case, others: list[Case]) -> Agreement:
    """Compare the neutral teacher with one clip."""
    done = case.perform(Style(), 0)
    opening, width = measure.face(done.motion)
    r, lag = best_lag(opening, case.real.opening, _NEAR)
    spoken = np.flatnonzero(done.speaking)
    part = slice(spoken[0], spoken[-1] + 1)
    inside, _ = best_lag(opening[part], case.real.opening[part], _NEAR)
    w, w_lag = best_lag(width, case.real.width, _NEAR)
    floor = [_against(other, case) for other in others if other.name != case.name]
    wrong = float(np.median(floor)) if floor else float("nan")
    return Agreement(case.name, case.group, r, lag, inside, w, w_lag, wrong)


def _against(speaker: Case, listener: Case) -> float:
    made, _ = measure.face(speaker.perform(Style(), 0).motion)
    size = min(len(made), len(listener.real.opening))
    return best_lag(made[:size], listener.real.opening[:size], _NEAR)[0]


def real_figures(case: Case) -> Figures:
    """Measure a tracked clip."""
    real = case.real
    return measure.figures(real.motion, real.opening, real.width, real.blink)


def teacher_figures(case: Case, draws: int = _DRAWS) -> Figures:
    """Measure the teacher on a clip, in several drawn styles."""
    found = []
    for seed in range(draws):
        done = case.perform(draw(np.random.default_rng([seed, 1])), seed)
        blink = done.motion[:, INDEX["eyeBlinkLeft"]]
        found.append(measure.figures(done.motion, *measure.face(done.motion), blink))
    return measure.mean(found)


def idle_figures() -> Figures:
    """Measure the teacher in a minute of silence."""
    audio = np.zeros(60 * FPS * SAMPLES_PER_FRAME, np.float32)
    motion = animate(audio, [], [], Style(), np.random.default_rng(0)).motion
    assert motion.shape[1] == MOTION_SIZE
    return measure.figures(motion, *measure.face(motion), motion[:, INDEX["eyeBlinkLeft"]])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training calibrate", description=__doc__)
    parser.add_argument("--video", type=Path, default=VIDEO, help="folder with train/ and dev/")
    parser.add_argument("--cache", type=Path, default=Path(".cache/tracking"))
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the report")
    return parser


def main(argv: list[str]) -> int:
    """Run the command; return the exit status."""
    args = _parser().parse_args(argv)
    paths = [*videos("train", args.video), *videos("dev", args.video)]
    found = cases(paths, args.cache)
    if not found:
        sys.stderr.write(f"no clips in {args.video}: give their folder with --video\n")
        return 1
    agreements = [agree(case, found) for case in tqdm(found, "compare")]
    groups: dict[str, dict[str, Figures]] = {}
    for name in dict.fromkeys(case.group for case in found):
        members = [case for case in found if case.group == name]
        groups[name] = {
            "real": measure.mean([real_figures(c) for c in members]),
            "teacher": measure.mean([teacher_figures(c) for c in members]),
        }
    groups["silence"] = {"teacher": idle_figures()}
    # Drawing is imported here: it takes a second and nothing else of this module needs it.
    from training.teacher import report

    report.write(args.out, found, agreements, groups, as_json(agreements, groups))
    sys.stdout.write(report.table(agreements, groups))
    return 0


def as_json(agreements: list[Agreement], groups: dict[str, dict[str, Figures]]) -> str:
    """Everything measured, as JSON text."""
    data = {
        "agreement": [asdict(a) for a in agreements],
        "figures": {g: {k: asdict(f) for k, f in v.items()} for g, v in groups.items()},
    }
    return json.dumps(data, indent=1) + "\n"
