"""Log-mel features as a network, so that a device can make them from sound already on it.

The same numbers as ``engine.audio.features``, whose filters and window it reads; the Fourier
transform is a product with its matrix, which compilers without a DFT operator know. The only state
is the last 240 samples, and the caller hands them in.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.audio.features import BANDS, FEATURE_SIZE, FFT, HOP, WINDOW, mel_filters
from engine.errors import ArtifactError
from engine.media import SAMPLE_RATE, SAMPLES_PER_FRAME
from engine.runtime.base import Array, TensorSpec
from trt_builders.networks import Source

PAST = WINDOW - HOP
"""Samples before the frame that its first windows reach back to."""
_FLOOR = 1e-5
_HALF = FFT // 2 + 1


class LogMelNetwork(nn.Module):
    """Sound to log-mel: [B,880] to [B,320]."""

    basis: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        # In double precision, since sines of large angles lose digits.
        time = np.arange(WINDOW)
        angle = 2 * np.pi * np.outer(np.arange(_HALF), time) / FFT
        hann = np.hanning(WINDOW + 1)[:-1]
        basis = np.concatenate([np.cos(angle) * hann, -np.sin(angle) * hann])
        self.register_buffer("basis", torch.from_numpy(basis[:, None].astype(np.float32)))
        scale = np.float32(SAMPLE_RATE / FFT)
        self.register_buffer("filters", torch.from_numpy(mel_filters() * scale))

    def forward(self, samples: Tensor) -> Tensor:
        """240 samples of the past and 640 of the frame [B,880] to features [B,320]."""
        spectrum = F.conv1d(samples[:, None], self.basis, stride=HOP)  # [B,514,4]
        real, imaginary = torch.split(spectrum, _HALF, dim=1)  # [B,257,4]
        power = (real * real + imaginary * imaginary).transpose(1, 2)  # [B,4,257]
        mel = (power @ self.filters).clamp(min=_FLOOR).log()  # [B,4,80]
        out: Tensor = mel.reshape(-1, FEATURE_SIZE)  # [B,320]
        return out


def load(name: str, checkpoint: Path | None, shipped: bool) -> Source:
    """``log_mel``; it has no weights, so no checkpoint and nothing shipped."""
    if checkpoint:
        raise ArtifactError(f"{name} is arithmetic and takes no checkpoint")
    del shipped
    inputs = {"samples": TensorSpec((1, PAST + SAMPLES_PER_FRAME))}
    outputs = {"features": TensorSpec((1, FEATURE_SIZE))}
    config = {"bands": BANDS, "hop": HOP, "window": WINDOW, "fft": FFT, "rate": SAMPLE_RATE}
    module = LogMelNetwork().eval()
    return Source(module, inputs, outputs, config, example_inputs, example_inputs, "", rows=True)


def example_inputs(seed: int = 0) -> dict[str, Array]:
    """A harmonic sound at speaking level in a little noise: [1,880]."""
    rng = np.random.default_rng(seed)
    time = np.arange(PAST + SAMPLES_PER_FRAME) / SAMPLE_RATE
    pitch = rng.uniform(90, 250)
    waves = [np.sin(2 * np.pi * pitch * k * time + rng.uniform(0, 6)) / k for k in range(1, 20)]
    sound = 0.1 * np.sum(waves, 0) + rng.normal(0, 1e-3, len(time))
    return {"samples": sound.astype(np.float32)[None]}
