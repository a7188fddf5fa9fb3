"""Self-reenactment measured: a talker's own later frames against what is made of the first one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.quality import mouth
from benchmarks.quality.baselines import piecewise_affine
from benchmarks.quality.clips import Clip
from benchmarks.quality.pictures import (
    change,
    face_mask,
    mouth_box,
    nearness,
    outside,
    sharpness,
    warping_error,
)
from engine.media import Float32, UInt8

METHODS = ("ours", "affine", "frozen")
"""The renderer; the bent photo with a dark mouth; the photo as it is."""
Draw = Callable[[Float32], UInt8]


@dataclass(eq=False)
class Reenacted:
    """One clip's measures. The series are over frames, the flicker over successive pairs.

    Args:
        near: measure (``psnr``, ``mouth_ssim``, ...) and method to values.
        sharp: method to sharpness relative to the real frame's.
        flicker: method or ``real`` to the warping error within the face, levels.
        background: the same names to change from frame to frame beyond the person, levels.
        mouths: method or ``real`` to descriptions of open mouths.
        scores: blendshapes [52] that the network reads in every real frame.
    """

    near: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    sharp: dict[str, list[float]] = field(default_factory=dict)
    flicker: dict[str, list[float]] = field(default_factory=dict)
    background: dict[str, list[float]] = field(default_factory=dict)
    mouths: dict[str, list[mouth.Features]] = field(default_factory=dict)
    scores: list[Float32] = field(default_factory=list)


def measure(clip: Clip, draw: Draw) -> Reenacted:
    """Measure ours and the baselines on one clip.

    Args:
        clip: with tracked motion.
        draw: motion [58] to the renderer's picture.
    """
    found = Reenacted()
    photo = clip.portrait.image
    ours = [draw(step.motion) for step in clip.steps]
    pairs = list(clip.successive())
    for place in range(0, len(clip.steps), 2):
        step = clip.steps[place]
        affine = piecewise_affine(clip.portrait, step.motion)
        made = {"ours": ours[place], "affine": affine, "frozen": photo}
        _compare(found, made, step.picture, step.landmarks)
    real = [step.picture for step in clip.steps]
    beyond = outside(clip.portrait.matte)
    for first, second in pairs:
        where = face_mask(clip.steps[second].landmarks, photo.shape[:2])
        for name, pictures in (("ours", ours), ("real", real)):
            pair = pictures[first], pictures[second]
            found.flicker.setdefault(name, []).append(warping_error(*pair, where))
            if beyond.any():
                found.background.setdefault(name, []).append(change(*pair, beyond))
    return found


def _compare(found: Reenacted, made: Mapping[str, UInt8], real: UInt8, landmarks: Float32) -> None:
    box = mouth_box(landmarks)
    face = face_mask(landmarks, real.shape[:2])
    for method, picture in made.items():
        whole, part = nearness(picture, real), nearness(picture[box], real[box])
        for name, value in [*whole.items(), *((f"mouth_{k}", v) for k, v in part.items())]:
            found.near.setdefault((name, method), []).append(value)
        ratio = sharpness(picture, face) / sharpness(real, face)
        found.sharp.setdefault(method, []).append(ratio)
    for method, picture in [*made.items(), ("real", real)]:
        if (features := mouth.describe(picture, landmarks)) is not None:
            found.mouths.setdefault(method, []).append(features)


def means(found: Sequence[Reenacted], name: str, method: str) -> list[float]:
    """One measure's mean over the frames of every clip."""
    return [float(np.mean(clip.near[name, method])) for clip in found]
