"""Real people, re-enacted from a frame of their own: the truth that pictures are compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.report import Unavailable
from benchmarks.watermark import SHARED
from engine.face.analysis import FaceAnalyser
from engine.face.portrait import Portrait
from engine.runtime.artifact import WEIGHTS
from training.refiner.track import Step, reenact
from training.tracking.clips import clips

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "quality"
EVERY, BURST = 12, 2
"""Two frames in a row of every twelve: what flickers shows, and six seconds are looked at."""
_SOURCES = ("engine/face/*.py", "training/refiner/track.py", "training/tracking/solve.py")


@dataclass(frozen=True, eq=False)
class Clip:
    """A talker and what the renderer is told to make of the first frame.

    Args:
        name: of the file.
        portrait: of the first frame.
        steps: frames in order, with the motion solved for each; none of the first burst, which is
            the photo itself.
    """

    name: str
    portrait: Portrait
    steps: list[Step]

    def successive(self) -> Iterator[tuple[int, int]]:
        """Positions in ``steps`` of frames that follow each other."""
        for place, (first, second) in enumerate(zip(self.steps, self.steps[1:], strict=False)):
            if second.index == first.index + 1:
                yield place, place + 1


def held_out() -> list[Path]:
    """Videos that nothing has learned from: ``video/dev``, which is for measuring only.

    Raises:
        Unavailable: there is no shared data beside this checkout.
    """
    paths = clips("dev", SHARED / "video")
    if not paths:
        raise Unavailable(
            "no videos: the report needs ../shared/data/video/dev beside this checkout"
        )
    return paths


def load(path: Path, analyser: FaceAnalyser, bursts: int) -> Clip:
    """Re-enact the beginning of a clip; the tracking (slow) is kept in ``.cache/quality``.

    Args:
        path: of the video.
        analyser: the face networks.
        bursts: how many pairs of frames to use.

    Raises:
        PortraitError: the first frame cannot become a portrait.
    """
    kept = CACHE / f"{path.stem}_{_key(path)}_{bursts}.npz"
    items = reenact(path, analyser, 0, EVERY, BURST)
    portrait = next(items, None)
    assert isinstance(portrait, Portrait), f"{path.name} has no frames"
    if not kept.is_file():
        steps = [s for s in islice(items, BURST * (bursts + 1)) if isinstance(s, Step)]
        _save(kept, steps[BURST:])
    return Clip(path.stem, portrait, _read(kept))


def _key(path: Path) -> str:
    """Hash of the clip and of all that determines what is tracked in it."""
    sha = hashlib.sha256(path.read_bytes())
    sha.update((WEIGHTS / "rig.npz").read_bytes())
    for pattern in _SOURCES:
        for source in sorted(ROOT.glob(pattern)):
            sha.update(source.read_bytes())
    return sha.hexdigest()[:16]


def _save(path: Path, steps: list[Step]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stem, _, bursts = path.stem.rsplit("_", 2)
    for stale in path.parent.glob(f"{stem}_*_{bursts}.npz"):
        stale.unlink()
    part = path.with_suffix(".part.npz")
    columns = {f.name: np.stack([getattr(s, f.name) for s in steps]) for f in fields(Step)}
    np.savez(part, **columns)
    part.replace(path)


def _read(path: Path) -> list[Step]:
    with np.load(path) as file:
        columns = [file[f.name] for f in fields(Step)]
    return [
        Step(int(index), picture, motion, float(error), landmarks)
        for index, picture, motion, error, landmarks in zip(*columns, strict=True)
    ]
