"""Corpus clips as flat arrays, and random training windows out of them.

Letters as in ``engine.motion.network``: B batch, P past, N new, F = P + N frames.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from engine.audio.features import log_mel
from engine.motion.arkit import LIPS, POSE
from engine.motion.condition import IDLE, LISTENING, SPEAKING
from engine.motion.network import Condition, Dims
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


class Batch(NamedTuple):
    """Training windows, normalised."""

    condition: Condition
    clean: Tensor
    """[B,N,58] the motion to be produced."""
    joined: Tensor
    """[B] 1 where the two frames just before are known."""
    heard: Tensor
    """[B,N] 1 where the new frame's sound is known."""
    closure: Tensor
    """[B,F] 1 where lips must meet."""
    viseme: Tensor
    """[B,F] int64, -1 where the sound is not known."""
    lips: Tensor
    """[B,F,28] clean lips."""


@dataclass(frozen=True, slots=True)
class Drops:
    """How often what is hidden from the network, and how noisy its past is."""

    sound: float = 0.1
    no_past: float = 0.05
    short_past: float = 0.12
    lips: float = 0.3
    reference: float = 0.4
    state: float = 0.15
    style: float = 0.25
    noise: float = 0.15
    usual_known: float = 0.4
    """Share of windows with exactly ``usual`` new frames of sound, the rest uniform 1..N."""
    usual: int = 4


class Windows:
    """Draws random windows.

    Args:
        clips: of a split.
        scale: units.
        dims: window sizes.
        drops: dropout rates.
        seed: of the draws.
    """

    def __init__(
        self, clips: Clips, scale: Scale, dims: Dims, drops: Drops | None = None, seed: int = 0
    ) -> None:
        self.clips, self.scale, self.dims = clips, scale, dims
        self.drops = drops or Drops()
        self.rng = np.random.default_rng(seed)
        self.motion = scale.motion(torch.from_numpy(clips.motion)).numpy()
        self.clip_of = np.repeat(np.arange(len(clips.length)), clips.length)
        last = clips.start + clips.length - dims.new
        self.firsts = np.concatenate(
            [np.arange(a, b + 1) for a, b in zip(clips.start, last, strict=True)]
        )
        quiet = [
            np.flatnonzero(clips.speaking[a : a + n] == 0) + a
            for a, n in zip(clips.start, clips.length, strict=True)
        ]
        self.quiet = [
            q if len(q) else np.array([a]) for q, a in zip(quiet, clips.start, strict=True)
        ]

    def draw(self, size: int) -> Batch:
        """A batch of ``size`` windows."""
        dims, rng, clips = self.dims, self.rng, self.clips
        first = rng.choice(self.firsts, size)
        clip = self.clip_of[first]
        frames = first[:, None] + np.arange(-dims.past, dims.new)  # [B,F]
        inside = frames >= clips.start[clip][:, None]
        frames = np.where(inside, frames, clips.start[clip][:, None])
        motion = self.motion[frames]  # [B,F,58]
        audio_known, past_known = self._known(inside)
        condition = self._condition(clip, frames, motion, audio_known, past_known)
        new = slice(dims.past, None)
        viseme = np.where(audio_known > 0, clips.viseme[frames], -1)
        return Batch(
            condition,
            _tensor(motion[:, new]),
            _tensor(past_known[:, dims.past - 2 :].min(1)),
            _tensor(audio_known[:, new]),
            _tensor(clips.closure[frames]),
            torch.from_numpy(viseme.astype(np.int64)),
            _tensor(motion[:, :, list(LIPS)]),
        )

    def _known(self, inside: Array) -> tuple[Array, Array]:
        """Which sound [B,F] and which past [B,P] the network gets to know."""
        dims, rng, drops = self.dims, self.rng, self.drops
        size = len(inside)
        heard = np.where(
            rng.random(size) < drops.usual_known, drops.usual, rng.integers(1, dims.new + 1, size)
        )
        audio = inside.astype(np.float32)
        audio[:, dims.past :] = np.arange(dims.new) < heard[:, None]
        past = inside[:, : dims.past].astype(np.float32)
        kind = rng.random(size)
        short = np.where(rng.random(size) < 0.6, 1, rng.integers(1, dims.past, size))
        length = np.where(kind < drops.short_past, short, dims.past)
        length = np.where(kind > 1 - drops.no_past, 0, length)
        kept = np.arange(dims.past) >= dims.past - length[:, None]
        past *= kept
        # A stream that just began has heard nothing before either; a resumed one has.
        mute = (length < dims.past) & (rng.random(size) < 0.5)
        audio[:, : dims.past] *= np.where(mute[:, None], kept, 1)
        audio *= rng.random((size, 1)) >= drops.sound
        return audio, past

    def _condition(
        self, clip: Array, frames: Array, motion: Array, audio_known: Array, past_known: Array
    ) -> Condition:
        dims, rng, drops, clips = self.dims, self.rng, self.drops, self.clips
        size = len(clip)
        variant = rng.integers(len(clips.features), size=size)
        audio = np.stack(
            [clips.features[v][row] for v, row in zip(variant, frames, strict=True)]
        ).astype(np.float32)
        noise = rng.uniform(0, drops.noise, size).astype(np.float32)
        noise *= rng.random(size) < 0.8
        past = motion[:, : dims.past]
        past = past + noise[:, None, None] * rng.standard_normal(past.shape, dtype=np.float32)
        lips = np.repeat(rng.random((size, 1)) >= drops.lips, dims.past, 1)
        poses = np.array([rng.choice(self.quiet[c]) for c in clip])
        return Condition(
            self.scale.audio(torch.from_numpy(audio)),
            _tensor(audio_known),
            _tensor(past),
            _tensor(past_known),
            _tensor(lips),
            _tensor(noise),
            _tensor(self.motion[poses]),
            _tensor(rng.random(size) >= drops.reference),
            _tensor(self._state(frames, audio_known)),
            _tensor(clips.style[clip]),
            _tensor(rng.random(size) >= drops.style),
            torch.ones(size),
        )

    def _state(self, frames: Array, audio_known: Array) -> Array:
        """One-hot [B,3] as the engine derives it from speech detection; 5 % are wrong."""
        dims, rng, drops = self.dims, self.rng, self.drops
        size = len(frames)
        spoken = self.clips.speaking[frames[:, dims.past :]] * audio_known[:, dims.past :]
        speaking = (spoken.max(1) > 0) ^ (rng.random(size) < 0.05)
        quiet = np.where(rng.random(size) < 0.5, LISTENING, IDLE)
        state = np.eye(3, dtype=np.float32)[np.where(speaking, SPEAKING, quiet)]
        kept: Array = state * (rng.random((size, 1)) >= drops.state)
        return kept


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
