"""Layers of the cMDT. Letters as in ``engine.motion.network``.

Frame-wise adaptive layer norm with one modulation shared by all layers and a learned offset per
layer (AdaLN-single, arXiv 2310.00426); rotary positions (arXiv 2104.09864).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.audio.features import BANDS, SUBFRAMES


class Sinusoid(nn.Module):
    """Scalar -> D: sines and cosines, then a two-layer perceptron."""

    frequencies: Tensor

    def __init__(self, width: int, scale: float = 100.0, bands: int = 32) -> None:
        super().__init__()
        octaves = torch.exp(torch.linspace(0.0, math.log(scale), bands))
        self.register_buffer("frequencies", octaves, persistent=False)
        self.inner = nn.Linear(2 * bands, width)
        self.outer = nn.Linear(width, width)

    def forward(self, value: Tensor) -> Tensor:
        angle = value[..., None] * self.frequencies  # [..,bands]
        wave = torch.cat([angle.cos(), angle.sin()], dim=-1)  # [..,2*bands]
        out: Tensor = self.outer(F.silu(self.inner(wave)))  # [..,D]
        return out


class Spectrum(nn.Module):
    """Convolutions over time and frequency of log-mel: another throat shifts what it says along
    the bands, and a filter that moves along them hears the same (LeCun et al. 1998; as the input
    of speech recognisers, Abdel-Hamid et al., IEEE/ACM TASLP 22(10), 2014).

    Args:
        width: D of the output.
        channels: C of the first layer; the others have 2 C.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, 3, stride=(1, 2), padding=1)
        self.second = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.third = nn.Conv2d(2 * channels, 2 * channels, 3, stride=2, padding=1)
        self.leave = nn.Linear(2 * channels * (BANDS // 8), width)

    def forward(self, audio: Tensor) -> Tensor:
        size, frames = audio.shape[:2]
        x = audio.reshape(size, 1, frames * SUBFRAMES, BANDS)  # [B,1,4F,80]
        for layer in (self.first, self.second, self.third):
            x = F.silu(layer(x))  # [B,C,4F,40], [B,2C,2F,20], [B,2C,F,10]
        out: Tensor = self.leave(x.transpose(1, 2).flatten(2))  # [B,F,D]
        return out


class ConvBlock(nn.Module):
    """Residual depth-wise convolution over time, then a point-wise perceptron."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.depth = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.depth(self.norm(x).transpose(1, 2)).transpose(1, 2)  # [B,F,D]
        added: Tensor = self.down(F.silu(self.up(y)))  # [B,F,D]
        return x + added  # [B,F,D]


def rotary_table(positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [T,size] of the rotary code at ``positions`` [T] (frames), for one head."""
    rates = 1.0 / (1000.0 ** (torch.arange(0, size, 2) / size))  # [size/2]
    angle = positions[:, None] * rates  # [T,size/2]
    angle = torch.cat([angle, angle], dim=-1)  # [T,size]
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply the rotary code to x [B,H,T,size]."""
    first, second = x.chunk(2, dim=-1)  # [B,H,T,size/2]
    turned = torch.cat([-second, first], dim=-1)  # [B,H,T,size]
    return x * cos + turned * sin  # [B,H,T,size]


class Block(nn.Module):
    """Bidirectional self-attention and a perceptron, both modulated per token.

    Args:
        width: D.
        heads: H.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width, elementwise_affine=False)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.table = nn.Parameter(torch.zeros(6 * width))

    def forward(self, x: Tensor, modulation: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (modulation + self.table).chunk(6, -1)
        y = self.norm_attention(x) * (1.0 + scale_a) + shift_a  # [B,T,D]
        x = x + gate_a * self.attend(y, cos, sin)  # [B,T,D]
        y = self.norm_mlp(x) * (1.0 + scale_m) + shift_m  # [B,T,D]
        added: Tensor = gate_m * self.down(F.gelu(self.up(y), approximate="tanh"))  # [B,T,D]
        return x + added  # [B,T,D]

    def attend(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Multi-head self-attention of x [B,T,D]."""
        batch, tokens, width = x.shape
        split = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # 3 x [B,H,T,D/H]
        y = F.scaled_dot_product_attention(
            rotate(query, cos, sin), rotate(key, cos, sin), value
        )  # [B,H,T,D/H]
        out: Tensor = self.mix(y.transpose(1, 2).reshape(batch, tokens, width))  # [B,T,D]
        return out


class Head(nn.Module):
    """One part of the face: a perceptron that starts at zero."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, size)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.outer(F.silu(self.inner(x)))  # [B,T,size]
        return out
