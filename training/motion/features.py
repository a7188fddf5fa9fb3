"""What the network hears of each corpus clip, computed once: a file per clip in a cache folder.

One file per clip, so that features can be computed while the corpus still grows:
``python -m training features --corpus DIR``.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from engine.audio.features import log_mel
from engine.media import Float32
from training.corpus.augment import augment
from training.motion.arrays import Array


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """Log-mel of one clip of T frames.

    Args:
        own: float16 [V,T,320], the clean sound first.
        other: float16 [T,320] of the other speaker, or None where nobody else speaks.
    """

    own: Array
    other: Array | None


def prepare(
    files: Sequence[Path], variants: int, cache: Path, seed: int = 0, jobs: int = 1
) -> list[Heard]:
    """Features of all clips, in order; what is missing in ``cache`` is computed first.

    Args:
        files: clips.
        variants: augmented versions beside the clean one.
        cache: folder.
        seed: of the augmentation.
        jobs: processes.
    """
    cache.mkdir(parents=True, exist_ok=True)
    work = partial(_load, variants=variants, cache=cache, seed=seed)
    bar = partial(tqdm, total=len(files), desc="features", mininterval=2.0, unit="clip")
    if jobs == 1:
        return list(bar(map(work, files)))
    with ProcessPoolExecutor(jobs) as pool:
        return list(bar(pool.map(work, files, chunksize=8)))


def _load(path: Path, variants: int, cache: Path, seed: int) -> Heard:
    with np.load(path) as clip:
        own, other = clip["audio"], clip["other"]
    # The sound itself is part of the name: a corpus made anew never meets old features.
    digest = zlib.crc32(own.tobytes(), zlib.crc32(other.tobytes()))
    kept = cache / f"{path.stem}_{digest:08x}_{variants}_{seed}.npz"
    if not kept.is_file():
        made = _compute(_pcm(own), _pcm(other), variants, np.random.default_rng([seed, digest]))
        partial_file = kept.with_suffix(".partial.npz")
        np.savez(partial_file, own=made.own, other=made.other if made.other is not None else ())
        partial_file.replace(kept)
        return made
    with np.load(kept) as saved:
        heard = saved["other"]
        return Heard(saved["own"], heard if len(heard) else None)


def _compute(own: Float32, other: Float32, variants: int, rng: np.random.Generator) -> Heard:
    sounds = [own, *(augment(own, rng) for _ in range(variants))]
    mel = np.stack([log_mel(sound) for sound in sounds]).astype(np.float16)
    if not other.any():
        return Heard(mel, None)
    spoken = augment(other, rng) if rng.random() < 0.5 else other
    return Heard(mel, log_mel(spoken).astype(np.float16))


def _pcm(samples: Array) -> Float32:
    return samples.astype(np.float32) / np.float32(32768)
