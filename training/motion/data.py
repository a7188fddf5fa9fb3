"""Corpus clips as flat arrays, and random training windows out of them.

Letters as in ``engine.motion.network``: B batch, P past, N new, F = P + N frames.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine.audio.features import FEATURE_SIZE
from engine.motion.arkit import POSE
from engine.motion.network import Dims
from engine.motion.unrolled import Scale
from training.motion import features
from training.motion.arrays import Array

_SHAPE_FLOOR, _POSE_FLOOR = 0.01, 0.003
"""Motion numbers that hardly move are not blown up beyond these deviations."""


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """All clips of a split, end to end.

    Args:
        features: float16 [N,320] log-mel per variant: the clean sound, then augmented ones.
        motion: float32 [N,58].
        viseme: int8 [N].
        speaking: uint8 [N].
        closure: uint8 [N].
        other: float16 [R,320] log-mel of whoever speaks to this person; only where somebody does.
        other_row: int32 [N] row of ``other``, -1 where nobody speaks to this person.
        start: int64 [C] first frame of each clip.
        length: int64 [C] frames.
        style: float32 [C,16].
        emotion: float32 [C,5].
        voices: of each clip.
    """

    features: tuple[Array, ...]
    motion: Array
    viseme: Array
    speaking: Array
    closure: Array
    other: Array
    other_row: Array
    start: Array
    length: Array
    style: Array
    emotion: Array
    voices: tuple[str, ...]


_LABELS = ("motion", "viseme", "speaking", "closure", "style", "emotion")


def clip_files(corpus: Path, split: str) -> list[Path]:
    """Clip files of a split, in order; those whose motion is still to be made are left out."""
    found = []
    for path in sorted((corpus / "clips").glob("?????.npz")):
        with np.load(path) as clip:
            if "motion" in clip and json.loads(str(clip["meta"]))["split"] == split:
                found.append(path)
    return found


def load_clips(
    corpus: Path, split: str, variants: int, cache: Path, seed: int = 0, jobs: int = 1
) -> Clips:
    """Read a split; what is computed from its sound is cached, one file per clip.

    Args:
        corpus: folder of ``python -m training corpus``.
        split: ``train`` or ``dev``.
        variants: augmented versions beside the clean one.
        cache: folder for the features.
        seed: of the augmentation.
        jobs: processes that compute missing features.

    Raises:
        FileNotFoundError: the split is empty.
    """
    files = clip_files(corpus, split)
    if not files:
        raise FileNotFoundError(f"no {split} clips in {corpus}; run python -m training corpus")
    heard = features.prepare(files, variants, cache / "features", seed, jobs)
    rows: dict[str, list[Array]] = {name: [] for name in _LABELS}
    voices = []
    for path in files:
        with np.load(path) as clip:
            for name in _LABELS:
                rows[name].append(clip[name])
            voices.append(str(clip["voice"]))
    length = np.array([len(row) for row in rows["motion"]])
    sounds = [np.concatenate([h.own[v] for h in heard]) for v in range(variants + 1)]
    other_row = np.full(int(length.sum()), -1, np.int32)
    start = np.cumsum(length) - length
    others, count = [np.zeros((1, FEATURE_SIZE), np.float16)], 1
    for first, h in zip(start, heard, strict=True):
        if h.other is not None:
            other_row[first : first + len(h.other)] = count + np.arange(len(h.other))
            others.append(h.other)
            count += len(h.other)
    return Clips(
        tuple(sounds),
        np.concatenate(rows["motion"]).astype(np.float32),
        np.concatenate(rows["viseme"]),
        np.concatenate(rows["speaking"]),
        np.concatenate(rows["closure"]),
        np.concatenate(others),
        other_row,
        start,
        length,
        np.stack(rows["style"]).astype(np.float32),
        np.stack(rows["emotion"]).astype(np.float32),
        tuple(voices),
    )


def measure_scale(clips: Clips, dims: Dims) -> Scale:
    """Means and deviations of sound (all variants) and motion."""
    scale = Scale(dims)
    sample = np.concatenate([f[::7].astype(np.float32) for f in clips.features])
    scale.audio_mean.copy_(torch.from_numpy(sample.mean(0)))
    scale.audio_std.copy_(torch.from_numpy(sample.std(0)).clamp_min(0.1))
    scale.motion_mean.copy_(torch.from_numpy(clips.motion.mean(0)))
    floor = torch.full((dims.motion,), _SHAPE_FLOOR)
    floor[list(POSE)] = _POSE_FLOOR
    scale.motion_std.copy_(torch.from_numpy(clips.motion.std(0)).maximum(floor))
    return scale
