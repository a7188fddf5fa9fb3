"""Avatars against the filmed frames, and against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.config import RuntimeConfig
from engine.face.analysis import FaceAnalyser
from engine.face.fit import HeadFit
from engine.media import UInt8
from engine.render.avatar import Avatar
from engine.runtime.load import load_network
from training.personal.footage import Footage
from training.personal.judge import Filmed, Scores, draw, gain, judge
from training.personal.reenact import Still, commanded, follow, for_renderer

DRIVES = ("followed", "commanded")
"""What moves the avatar in a comparison: the motion that fits the landmarks best, or the
blendshapes that the network sees, as a motion network or a capture commands them."""

Gains = dict[str, dict[str, tuple[float, float, float]]]
"""Drive, then measure, to mean gain and its 95 % interval."""


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


class Comparison:
    """Draws avatars as the person in frames of the video, and measures them.

    Args:
        footage: the video.
        shown: parts of it, by name: numbers of the frames that are compared.
        analyser: the face networks.
    """

    def __init__(
        self, footage: Footage, shown: dict[str, list[int]], analyser: FaceAnalyser
    ) -> None:
        self._footage, self._shown, self._analyser = footage, shown, analyser
        self._backend = load_network("render_512", RuntimeConfig(backend="openvino"))
        self._frames = dict(footage.frames({k for part in shown.values() for k in part}))
        self._filmed: dict[tuple[int, int], Filmed] = {}
        self._known: dict[tuple[str, str], dict[str, Scores]] = {}

    def gains(self, before: Variant, after: Variant, part: str) -> Gains:
        """By how much one avatar is better than another in a part of the video."""
        first, second = self.scores(before, part), self.scores(after, part)
        return {drive: gain(first[drive], second[drive]) for drive in DRIVES}

    def scores(
        self, variant: Variant, part: str, drives: Sequence[str] = DRIVES
    ) -> dict[str, Scores]:
        """How near an avatar comes to a part of the video, by drive; computed once."""
        key = (variant.avatar.digest, part)
        if key not in self._known:
            numbers = self._shown[part]
            filmed = [self._film(variant.photo, k) for k in numbers]
            drawn = self._draw(variant, numbers, drives)
            self._known[key] = {d: judge(filmed, drawn[d], self._analyser) for d in drives}
        return self._known[key]

    def rows(
        self, photo: Still, shown: dict[str, Variant], numbers: list[int]
    ) -> dict[str, list[UInt8]]:
        """Frames as filmed, and as avatars of the same photo show them on command."""
        rows = {"filmed": [self._film(photo, k).picture for k in numbers]}
        for name, variant in shown.items():
            rows[name] = self._draw(variant, numbers, ["commanded"])["commanded"]
        return rows

    def _draw(
        self, variant: Variant, numbers: Sequence[int], drives: Sequence[str]
    ) -> dict[str, list[UInt8]]:
        motion, _ = follow(variant.photo, variant.fit, self._footage, numbers)
        followed = for_renderer(variant.fit, motion)
        shapes = commanded(variant.photo, self._footage, numbers)
        moved = {"followed": followed, "commanded": np.hstack([shapes, followed[:, 52:]])}
        return {drive: draw(self._backend, variant.avatar, moved[drive]) for drive in drives}

    def _film(self, photo: Still, number: int) -> Filmed:
        """A frame in a portrait's picture."""
        key = (photo.number, number)
        if key not in self._filmed:
            seen, index = photo.landmarks(self._footage, number), int(self._footage.index[number])
            picture = photo.picture(self._frames[number])
            unit = photo.portrait.fit.scale
            self._filmed[key] = Filmed.of(index, picture, seen, unit, self._analyser)
        return self._filmed[key]


def improves(gains: Gains, drive: str, name: str) -> bool:
    """Whether a part is kept: better by its own measure, and on command the mouth no worse."""
    return gains[drive][name][0] > 0 and not worse(gains, ("mouth_psnr", "mouth_ssim"))


def worse(gains: Gains, names: Sequence[str] = ("mouth_psnr", "mouth_ssim", "lips")) -> bool:
    """Whether an avatar is worse for certain (95 %) on command: that is how it is used."""
    return any(gains["commanded"][name][2] < 0 for name in names)
