"""Corpus clips as flat arrays, and random training windows out of them.

Letters as in ``engine.motion.network``: B batch, P past, N new, F = P + N frames.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from engine.audio.features import log_mel
from engine.motion.arkit import POSE
from engine.motion.network import Dims
from engine.motion.unrolled import Scale
from training.corpus.augment import augment

Array = NDArray[Any]
Rng = np.random.Generator

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
        start: int64 [C] first frame of each clip.
        length: int64 [C] frames.
        style: float32 [C,16].
        voices: of each clip.
    """

    features: tuple[Array, ...]
    motion: Array
    viseme: Array
    speaking: Array
    closure: Array
    start: Array
    length: Array
    style: Array
    voices: tuple[str, ...]


def clip_files(corpus: Path, split: str) -> list[Path]:
    """Clip files of a split, in order."""
    found = []
    for path in sorted((corpus / "clips").glob("?????.npz")):
        with np.load(path) as clip:
            if json.loads(str(clip["meta"]))["split"] == split:
                found.append(path)
    return found


def load_clips(corpus: Path, split: str, variants: int, cache: Path, seed: int = 0) -> Clips:
    """Read a split; log-mel features of every variant are cached as memory-mapped files.

    Args:
        corpus: folder of ``python -m training corpus``.
        split: ``train`` or ``dev``.
        variants: augmented versions beside the clean one.
        cache: folder for the features.

    Raises:
        FileNotFoundError: the split is empty.
    """
    files = clip_files(corpus, split)
    if not files:
        raise FileNotFoundError(f"no {split} clips in {corpus}; run python -m training corpus")
    rows: dict[str, list[Array]] = {name: [] for name in _LABELS}
    voices = []
    for path in files:
        with np.load(path) as clip:
            for name in _LABELS:
                rows[name].append(clip[name])
            voices.append(str(clip["voice"]))
    length = np.array([len(row) for row in rows["motion"]])
    cache.mkdir(parents=True, exist_ok=True)
    features = tuple(
        _features(files, int(length.sum()), cache / f"{split}_{len(files)}_{v}.npy", v, seed)
        for v in range(variants + 1)
    )
    return Clips(
        features,
        np.concatenate(rows["motion"]).astype(np.float32),
        np.concatenate(rows["viseme"]),
        np.concatenate(rows["speaking"]),
        np.concatenate(rows["closure"]),
        np.cumsum(length) - length,
        length,
        np.stack(rows["style"]).astype(np.float32),
        tuple(voices),
    )


_LABELS = ("motion", "viseme", "speaking", "closure", "style")


def _features(files: list[Path], frames: int, target: Path, variant: int, seed: int) -> Array:
    """Log-mel of all files, clean for variant 0; computed once."""
    if not target.is_file():
        parts = []
        for index, path in enumerate(tqdm(files, f"features {target.stem}")):
            with np.load(path) as clip:
                audio = clip["audio"].astype(np.float32) / 32768.0
            if variant:
                audio = augment(audio, np.random.default_rng([seed, variant, index]))
            parts.append(log_mel(audio).astype(np.float16))
        np.save(target, np.concatenate(parts))
    features: Array = np.load(target, mmap_mode="r")
    if len(features) != frames:
        raise ValueError(f"{target} has {len(features)} frames for {frames}; delete it")
    return features


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
