"""Flow matching, its samplers and its noise, independent of the array library.

Path from noise to motion: ``z_t = (1 - t) noise + t clean`` with velocity ``clean - noise``
(Lipman et al., arXiv 2210.02747). The network predicts the velocity; ``estimate`` turns it into
the clean motion it implies. The same three functions serve the training losses and the samplers.
Few-step sampling by shortcut models (Frans et al., arXiv 2410.12557): the network is told the size
of the step it is meant for, and one step of size d equals two of size d/2.

The functions take NumPy arrays or torch tensors: only ``+``, ``-`` and ``*`` are used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.media import Float32

Denoise = Callable[[Any, float, float], Any]
"""(noisy, time, step) -> velocity. ``time`` runs from 0 (noise) to 1 (clean)."""

_SMOOTHING = np.array([1.0, 3.0, 3.0, 1.0]) / np.sqrt(20.0)
"""Unit-energy kernel over frames: no power at 12.5 Hz, where a face has none either."""


def interpolate(clean: Any, noise: Any, time: Any) -> Any:
    """Point of the path at ``time`` (broadcast against both)."""
    return noise + (clean - noise) * time


def velocity(clean: Any, noise: Any) -> Any:
    """Velocity of the path, the same at every time."""
    return clean - noise


def estimate(noisy: Any, velocity: Any, time: Any) -> Any:
    """Clean motion implied by a velocity at ``time``; at time 1 it is ``noisy`` itself."""
    return noisy + velocity * (1.0 - time)


def sample(denoise: Denoise, noise: Any, steps: int) -> Any:
    """Euler steps of equal size from noise (time 0) to motion (time 1). Deterministic.

    Args:
        denoise: network, backend or any callable.
        noise: any shape.
        steps: K.

    Raises:
        ValueError: steps below 1.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; at least 1")
    z = noise
    for index in range(steps):
        z = z + denoise(z, index / steps, 1.0 / steps) * (1.0 / steps)
    return z


def two_half_steps(
    denoise: Callable[[Any, Any, Any], Any], noisy: Any, time: Any, step: Any
) -> Any:
    """Mean velocity of two steps of ``step / 2``: the shortcut target for one step of ``step``.

    ``time`` and ``step`` broadcast against ``noisy``; ``denoise`` receives them as they are.
    """
    half = step * 0.5
    first = denoise(noisy, time, half)
    second = denoise(noisy + first * half, time + half, half)
    return (first + second) * 0.5


def smooth_noise(white: Any) -> Any:
    """Unit-variance noise [.., T, M] from white noise [.., T + 3, M], smooth over frames.

    Weak correlation over three frames removes what would come out as jitter.
    """
    frames = white.shape[-2] - len(_SMOOTHING) + 1
    parts = [white[..., k : k + frames, :] * float(w) for k, w in enumerate(_SMOOTHING)]
    return sum(parts[1:], parts[0])


class NoiseTape:
    """Noise that belongs to absolute frames: a frame sampled twice meets the same noise.

    Args:
        seed: of the session; equal seeds give equal tapes (Philox, counter-based).
        size: numbers per frame.
    """

    def __init__(self, seed: int, size: int) -> None:
        self._seed = seed
        self._size = size

    def window(self, first: int, count: int) -> Float32:
        """Noise of ``count`` frames from ``first`` on: float32 [count, size], unit variance."""
        reach = len(_SMOOTHING) - 1
        rows = [self._white(frame) for frame in range(first - reach, first + count)]
        smooth: Float32 = smooth_noise(np.stack(rows)).astype(np.float32)
        return smooth

    def _white(self, frame: int) -> Float32:
        counter = [0, 0, 0, frame % 2**63]
        generator = np.random.Generator(np.random.Philox(key=self._seed, counter=counter))
        return generator.standard_normal(self._size, dtype=np.float32)
