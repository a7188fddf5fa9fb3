"""From a video to a person's avatar: learnt from its first part, decided on its second, judged on
its last."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.face.analysis import FaceAnalyser
from engine.media import FPS, UInt8
from engine.render.avatar import Avatar
from engine.render.network import RenderNetwork
from training.personal import basis, mouth, still
from training.personal.compare import (
    DRIVES,
    Comparison,
    Gains,
    Variant,
    improves,
    worse,
)
from training.personal.footage import Footage, length, look
from training.personal.glimpse import from_shut_to_open, glimpse, open_frames
from training.personal.progress import Progress
from training.personal.reenact import Still, commanded, follow, for_renderer

SHARES = (0.6, 0.8)
"""Up to where of the video is learnt from, and up to where is decided; the rest judges."""
STILLS = 5
STILL_FRAMES, DECIDING, JUDGING, LEARNING, MOUTHS = 16, 50, 80, 360, 200
"""Frames that choose the photo, decide, judge, teach the blendshapes, teach the mouth."""


@dataclass(frozen=True, eq=False)
class Result:
    """What came of a video.

    Args:
        avatar: the person's.
        photo: uint8 [512,512,3], the frame that it is made of.
        facts: for the report, see ``docs/personal.md``.
        rows: the same moments filmed and drawn: name to pictures uint8 [512,512,3].
    """

    avatar: Avatar
    photo: UInt8
    facts: dict[str, Any]
    rows: dict[str, list[UInt8]] = field(default_factory=dict)


def adapt(video: Path, kept: Path, quiet: bool = False) -> Result:
    """Make a person's avatar.

    Args:
        video: of one person who talks.
        kept: file that keeps what was seen in it.
        quiet: no progress bar.

    Raises:
        MediaError: the video cannot be used.
        PortraitError: no frame of it can become a portrait.
    """
    computed, began = time.process_time(), time.monotonic()
    seconds, every = length(video)
    frames = round(seconds * FPS / every)
    plan = {
        "look": (frames, 20.0),
        "photo": (STILLS, 3000.0),
        "basis": (min(round(SHARES[0] * frames), LEARNING), 15.0),
        "mouth": (mouth.STEPS, 120.0),
        "judge": (8, 4000.0),
    }
    progress = Progress(plan, quiet)
    try:
        analyser = FaceAnalyser()
        footage = look(video, every, analyser, kept, partial(progress, "look"))
        result = _Work(footage, analyser, progress).run()
    finally:
        progress.close()
    result.facts["video"] = {"seconds": seconds, "frames": len(footage.index), "every": every}
    result.facts["minutes"] = {
        "cpu": (time.process_time() - computed) / 60,
        "wall": (time.monotonic() - began) / 60,
    }
    return result


class _Work:
    """One adaptation: what its steps share."""

    def __init__(self, footage: Footage, analyser: FaceAnalyser, progress: Progress) -> None:
        self.footage, self.analyser, self.progress = footage, analyser, progress
        total = len(footage.index)
        ends = [0, *(int(share * total) for share in SHARES), total]
        first, second, third = (np.arange(a, b) for a, b in pairwise(ends))
        self.learnt = first
        self.shown = {
            "photo": _spread(first, STILL_FRAMES),
            "decide": _spread(second, DECIDING),
            "judge": _spread(third, JUDGING),
        }
        self.comparison = Comparison(footage, self.shown, analyser)

    def run(self) -> Result:
        """All steps."""
        photo, facts = self.choose_photo()
        before = Variant.of(photo)
        facts |= {"parts": {}}
        ticks = iter(self.progress("judge", range(8)))
        now = before
        for part, make, key in (
            ("blendshapes", self.learn_basis, ("commanded", "lips")),
            ("mouth", self.learn_mouth, ("followed", "mouth_psnr")),
        ):
            made, learnt = make(now)
            if made is None:
                facts["parts"][part] = {"kept": False, **learnt}
                continue
            gains = self.gains(now, made, "decide", ticks)
            good = improves(gains, *key)
            facts["parts"][part] = {"kept": good, "gains": gains, **learnt}
            now = made if good else now
        gains = self.gains(before, now, "judge", ticks)
        taken_back = worse(gains)
        facts["judged"] = {"gains": gains, "taken_back": taken_back}
        now = before if taken_back else now
        naive = still.first(self.footage, self.learnt, self.analyser)
        named = {"before": before, "after": now}
        if naive is not None:
            named["first_frame"] = Variant.of(naive)
        facts["scores"] = {
            name: {drive: s.means() for drive, s in self.comparison.scores(v, "judge").items()}
            for name, v in named.items()
        }
        next(ticks, None)
        moments = from_shut_to_open(self.footage, self.shown["judge"])
        rows = self.comparison.rows(photo, {"before": before, "after": now}, moments)
        for _ in ticks:
            pass
        return Result(now.avatar, photo.portrait.image, facts, rows)

    def gains(self, before: Variant, after: Variant, part: str, ticks: Iterator[int]) -> Gains:
        """A comparison, as two steps of progress."""
        self.comparison.scores(before, part)
        next(ticks, None)
        found = self.comparison.gains(before, after, part)
        next(ticks, None)
        return found

    def choose_photo(self) -> tuple[Still, dict[str, Any]]:
        """The frame that gives the best avatar of those that look best."""
        stills = still.candidates(self.footage, self.learnt, STILLS, self.analyser)

        def error(one: Still) -> float:
            means = self.comparison.scores(Variant.of(one), "photo", DRIVES[:1])["followed"].means()
            return 2 - means["ssim"] - means["mouth_ssim"]

        photo, errors = still.best(stills, error, partial(self.progress, "photo"))
        tried = [
            {"frame": int(self.footage.index[one.number]), "error": round(value, 4)}
            for one, value in zip(stills, errors, strict=True)
        ]
        return photo, {"photo": {"frame": int(self.footage.index[photo.number]), "tried": tried}}

    def learn_basis(self, now: Variant) -> tuple[Variant, dict[str, Any]]:
        """Blendshapes of this person."""
        numbers = _spread(self.learnt, LEARNING)
        ticks = partial(self.progress, "basis")
        motion, _ = follow(now.photo, now.fit, self.footage, numbers, ticks)
        seen = np.stack([now.photo.landmarks(self.footage, k) for k in numbers])
        shapes = commanded(now.photo, self.footage, numbers)
        fit, facts = basis.learn(now.fit, seen, shapes, motion)
        return Variant.of(now.photo, fit), facts

    def learn_mouth(self, now: Variant) -> tuple[Variant | None, dict[str, Any]]:
        """Teeth, tongue and throat of this person; nothing where the mouth hardly opens."""
        torch.set_num_threads(1)  # its tensors are small: a second thread would only wait
        network = RenderNetwork().eval()
        numbers = open_frames(self.footage, self.learnt, MOUTHS)
        motion, _ = follow(now.photo, now.fit, self.footage, numbers)
        moved = dict(zip(numbers, for_renderer(now.fit, motion), strict=True))
        constants = {k: torch.from_numpy(v.copy()) for k, v in now.avatar.arrays.items()}
        found = []
        for number, frame in self.footage.frames(numbers):
            real, seen = now.photo.picture(frame), now.photo.landmarks(self.footage, number)
            found.append(glimpse(network, constants, moved[number], real, seen))
        glimpses = [one for one in found if one is not None]
        if len(glimpses) < mouth.MIN_FRAMES:
            return None, {"frames": len(glimpses), "why": "the mouth hardly opens"}
        ticks = partial(self.progress, "mouth")
        arrays, facts = mouth.learn(network, now.avatar.arrays, glimpses, ticks)
        return replace(now, avatar=Avatar.from_arrays(arrays)), facts


def _spread(numbers: NDArray[np.int64], most: int) -> list[int]:
    """At most so many of them, evenly spread."""
    if len(numbers) <= most:
        return [int(k) for k in numbers]
    return [int(k) for k in numbers[np.linspace(0, len(numbers) - 1, most).round().astype(int)]]
