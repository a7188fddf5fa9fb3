"""``python -m training people --corpus DIR``: tracked faces as clips of a corpus.

The talkers of the training videos speak with their own faces; everything else in a corpus moves as
the teacher does. Few and short, they are repeated with the sound at other levels.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from engine.media import FPS, SAMPLES_PER_FRAME
from engine.motion.arkit import BLENDSHAPES
from engine.motion.refine import seal
from training.teacher.calibrate import Case, agree, cases
from training.teacher.emotion import EMOTIONS
from training.teacher.measure import face
from training.teacher.style import STYLE_SIZE, Style
from training.tracking.clips import VIDEO, clips
from training.tracking.command import CACHE

FIRST = 95_000
"""Number of the first clip."""
REPEATS = 4
_SMOOTH = 0.7
"""Frames: the tracker's noise is as fast as this, a face is not."""
_NEAR = 0.06  # inter-ocular units
_LEVELS = (0.0, -4.0, -8.0, -12.0)  # dB


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training people", description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="folder of a corpus")
    parser.add_argument("--video", type=Path, default=VIDEO, help="folder with train/ in it")
    return parser


def motion_of(case: Case, late: int) -> NDArray[np.float32]:
    """Tracked motion [T,58], smoothed, and moved to where the sound has it.

    Args:
        case: a clip.
        late: frames by which the file's sound comes after its picture.
    """
    motion = gaussian_filter1d(case.real.motion, _SMOOTH, axis=0, mode="nearest")
    motion[:, : len(BLENDSHAPES)] = motion[:, : len(BLENDSHAPES)].clip(0, 1)
    place = np.clip(np.arange(len(motion)) - late, 0, len(motion) - 1)
    moved: NDArray[np.float32] = motion[place].astype(np.float32)
    return moved


def met(motion: NDArray[np.float32], closure: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The closures [T] at which this face's lips do come near each other within a frame.

    The landmarks of touching lips keep a gap, and an aligned p may be a few frames off.
    """
    near = maximum_filter1d((face(motion)[0] < _NEAR).astype(np.uint8), 3)
    found: NDArray[np.uint8] = (closure & near).astype(np.uint8)
    return found


def write(case: Case, others: list[Case], folder: Path, first: int) -> None:
    """Write a clip ``REPEATS`` times into ``folder``, numbered from ``first``."""
    # GRID's sound is exact, and its median sentence too short for a lag to mean anything.
    late = 0 if case.group == "GRID" else agree(case, others).opening_lag
    labels = case.perform(Style(), 0)
    frames = min(len(labels.motion), len(case.real.motion))
    motion = motion_of(case, late)[:frames]
    closure = met(motion, labels.closure[:frames])
    motion = seal(motion, closure.astype(np.float32))
    for turn in range(REPEATS):
        audio = case.real.audio[: frames * SAMPLES_PER_FRAME] * 10 ** (_LEVELS[turn] / 20)
        row = {"file": f"clips/{first + turn:05d}.npz", "voice": f"tracked:{case.name}",
               "split": "train", "seconds": frames / FPS}  # fmt: skip
        path = folder / f"{first + turn:05d}.npz"
        part = path.with_suffix(".part.npz")
        np.savez(
            part,
            audio=np.round(audio.clip(-1, 1) * 32767).astype(np.int16),
            other=np.zeros(len(audio), np.int16),
            emotion=np.zeros(len(EMOTIONS), np.float32),
            motion=motion.astype(np.float16),
            viseme=labels.viseme[:frames],
            speaking=labels.speaking[:frames],
            closure=closure,
            style=np.zeros(STYLE_SIZE, np.float32),
            voice=np.array(row["voice"]),
            meta=np.array(json.dumps(row)),
        )
        part.replace(path)


def main(argv: list[str]) -> int:
    """Run the command; return the exit status."""
    args = _parser().parse_args(argv)
    folder = args.corpus / "clips"
    if not folder.is_dir():
        sys.stderr.write(f"{args.corpus} is no corpus: run python -m training corpus first\n")
        return 1
    paths = clips("train", args.video)
    if not paths:
        sys.stderr.write(f"no training videos in {args.video}; the corpus stays as it is\n")
        return 0
    found = cases(paths, CACHE)
    for number, case in enumerate(found):
        write(case, found, folder, FIRST + REPEATS * number)
    sys.stdout.write(f"{len(found)} tracked clips, {REPEATS} times each, in {folder}\n")
    return 0
