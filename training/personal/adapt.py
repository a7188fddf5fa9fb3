"""From a video to a person's avatar: learnt from its first part, decided on its second, judged on
its last."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.config import RuntimeConfig
from engine.face.analysis import FaceAnalyser
from engine.face.fit import HeadFit
from engine.media import FPS, Float32, UInt8
from engine.render.avatar import Avatar
from engine.render.network import RenderNetwork
from engine.runtime.load import load_network
from training.personal import basis, mouth, still
from training.personal.footage import Footage, length, look
from training.personal.judge import Filmed, Scores, draw, gain, judge
from training.personal.progress import Progress
from training.personal.reenact import Still, commanded, follow, for_renderer

SHARES = (0.6, 0.8)
"""Up to where of the video is learnt from, and up to where is decided; the rest judges."""
STILLS = 3
STILL_FRAMES, DECIDING, JUDGING, LEARNING, MOUTHS = 14, 36, 60, 300, 140
"""Frames that choose the photo, decide, judge, teach the blendshapes, teach the mouth."""
DRIVES = ("followed", "commanded")
"""What moves the avatar in a comparison: the motion that fits the landmarks best, or the
blendshapes that the network sees, as a motion network or a capture commands them."""
STEADY = ("mouth_psnr", "mouth_ssim", "lips")
"""Measures that no kept part may make worse for certain."""

Gains = dict[str, dict[str, tuple[float, float, float]]]


@dataclass(frozen=True, eq=False)
class Variant:
    """An avatar that is compared.

    Args:
        photo: its photo.
        fit: its head.
        avatar: what the renderer binds.
    """

    photo: Still
    fit: HeadFit
    avatar: Avatar

    @classmethod
    def of(cls, photo: Still, fit: HeadFit | None = None) -> Variant:
        """The avatar that the engine makes of a photo, with the head that is given."""
        fit = fit or photo.portrait.fit
        return cls(photo, fit, Avatar.from_portrait(replace(photo.portrait, fit=fit)))


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
        result = _Work(footage, every, analyser, progress).run()
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

    def __init__(
        self, footage: Footage, every: int, analyser: FaceAnalyser, progress: Progress
    ) -> None:
        self.footage, self.every, self.analyser, self.progress = footage, every, analyser, progress
        self.backend = load_network("render_512", RuntimeConfig(backend="openvino"))
        total = len(footage.index)
        ends = [0, *(int(share * total) for share in SHARES), total]
        first, second, third = (np.arange(a, b) for a, b in itertools.pairwise(ends))
        self.learnt = first
        self.shown = {
            "photo": _spread(first, STILL_FRAMES),
            "decide": _spread(second, DECIDING),
            "judge": _spread(third, JUDGING),
        }
        numbers = {k for part in self.shown.values() for k in part}
        self.frames = dict(footage.frames(numbers))
        self.known: dict[tuple[str, str], dict[str, Scores]] = {}
        self.seen: dict[tuple[int, int], Filmed] = {}

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
            gains = self.compare(now, made, "decide", ticks)
            good = improves(gains, *key)
            facts["parts"][part] = {"kept": good, "gains": gains, **learnt}
            now = made if good else now
        gains = self.compare(before, now, "judge", ticks)
        worse = any(gains[drive][name][2] < 0 for drive in DRIVES for name in STEADY)
        facts["judged"] = {"gains": gains, "taken_back": worse}
        now = before if worse else now
        naive = still.first(self.footage, self.learnt, self.analyser)
        named = {"before": before, "after": now}
        if naive is not None:
            named["first_frame"] = Variant.of(naive)
        facts["scores"] = {
            name: {drive: s.means() for drive, s in self.scores(v, "judge").items()}
            for name, v in named.items()
        }
        next(ticks, None)
        rows = self.rows(before, now)
        for _ in ticks:
            pass
        return Result(now.avatar, photo.portrait.image, facts, rows)

    def choose_photo(self) -> tuple[Still, dict[str, Any]]:
        """The frame that gives the best avatar of those that look best."""
        stills = still.candidates(self.footage, self.learnt, STILLS, self.analyser)

        def error(one: Still) -> float:
            means = self.scores(Variant.of(one), "photo", DRIVES[:1])["followed"].means()
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
        torch.set_num_threads(1)
        network = RenderNetwork().eval()
        numbers = mouth.open_frames(self.footage, self.learnt, MOUTHS)
        motion, _ = follow(now.photo, now.fit, self.footage, numbers)
        moved = dict(zip(numbers, for_renderer(now.fit, motion), strict=True))
        constants = {k: torch.from_numpy(v.copy()) for k, v in now.avatar.arrays.items()}
        found = []
        for number, frame in self.footage.frames(numbers):
            real, seen = now.photo.picture(frame), now.photo.landmarks(self.footage, number)
            found.append(mouth.glimpse(network, constants, moved[number], real, seen))
        glimpses = [one for one in found if one is not None]
        if len(glimpses) < mouth.MIN_FRAMES:
            return None, {"frames": len(glimpses), "why": "the mouth hardly opens"}
        ticks = partial(self.progress, "mouth")
        arrays, facts = mouth.learn(network, now.avatar.arrays, glimpses, ticks)
        return replace(now, avatar=Avatar.from_arrays(arrays)), facts

    def motions(self, variant: Variant, numbers: Sequence[int]) -> dict[str, Float32]:
        """Motion [T,58] for the renderer, by drive."""
        motion, _ = follow(variant.photo, variant.fit, self.footage, numbers)
        followed = for_renderer(variant.fit, motion)
        shapes = commanded(variant.photo, self.footage, numbers)
        return dict(zip(DRIVES, (followed, np.hstack([shapes, followed[:, 52:]])), strict=True))

    def scores(
        self, variant: Variant, part: str, drives: Sequence[str] = DRIVES
    ) -> dict[str, Scores]:
        """How near a variant comes to a part of the video, by drive; computed once."""
        key = (variant.avatar.digest, part)
        if key not in self.known:
            numbers = self.shown[part]
            filmed = [self.filmed(variant.photo, k) for k in numbers]
            motions = self.motions(variant, numbers)
            self.known[key] = {
                drive: judge(
                    filmed, draw(self.backend, variant.avatar, motions[drive]), self.analyser
                )
                for drive in drives
            }
        return self.known[key]

    def filmed(self, photo: Still, number: int) -> Filmed:
        """A frame in a portrait's picture."""
        key = (photo.number, number)
        if key not in self.seen:
            seen = photo.landmarks(self.footage, number)
            index, unit = int(self.footage.index[number]), photo.portrait.fit.scale
            picture = photo.picture(self.frames[number])
            self.seen[key] = Filmed.of(index, picture, seen, unit, self.analyser)
        return self.seen[key]

    def compare(self, before: Variant, after: Variant, part: str, ticks: Any) -> Gains:
        """Gains by drive and measure."""
        first = self.scores(before, part)
        next(ticks, None)
        second = self.scores(after, part)
        next(ticks, None)
        return {drive: gain(first[drive], second[drive]) for drive in DRIVES}

    def rows(self, before: Variant, after: Variant) -> dict[str, list[UInt8]]:
        """Some moments of the last part: mouths from shut to widest, in order of time."""
        numbers = mouth.from_shut_to_open(self.footage, self.shown["judge"])
        rows = {"filmed": [self.filmed(before.photo, k).picture for k in numbers]}
        for name, one in (("before", before), ("after", after)):
            rows[name] = draw(self.backend, one.avatar, self.motions(one, numbers)["commanded"])
        return rows


def improves(gains: Gains, drive: str, name: str) -> bool:
    """Whether a part is kept: better by its own measure, and worse for certain by none."""
    certain = any(gains[d][measure][2] < 0 for d in DRIVES for measure in STEADY)
    return gains[drive][name][0] > 0 and not certain


def _spread(numbers: NDArray[np.int64], most: int) -> list[int]:
    """At most so many of them, evenly spread."""
    if len(numbers) <= most:
        return [int(k) for k in numbers]
    return [int(k) for k in numbers[np.linspace(0, len(numbers) - 1, most).round().astype(int)]]
