"""Losses of teacher and student, all in normalised units and over the same preconditioning."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.face.rig import Rig
from engine.face.topology import MOUTH_CENTRE
from engine.motion.arkit import INDEX, LIPS, MOTION_SIZE
from engine.motion.diffusion import estimate, smooth_noise
from engine.motion.network import Scores
from engine.motion.unrolled import Scale
from training.motion.windows import Batch

UNHEARD = 0.25
"""Weight of draft frames whose sound is not known yet."""
_LIPS_WEIGHT = 2.0
_DYNAMICS_FROM = 0.3
"""Terms on the implied clean motion count from this time on; before, it is mostly the mean."""


class Weights(NamedTuple):
    """Weights of the auxiliary terms."""

    speed: float = 1.0
    acceleration: float = 0.25
    opening: float = 0.5
    closure: float = 2.0
    viseme: float = 0.3
    contact: float = 0.5
    lips: float = 0.2
    adversarial: float = 0.0


def group_weights() -> Tensor:
    """[58]: lips count double, mean 1."""
    weights = torch.ones(MOTION_SIZE)
    weights[list(LIPS)] = _LIPS_WEIGHT
    return weights / weights.mean()


def draw_times(size: int) -> Tensor:
    """[B] flow times: logit-normal, and a tenth near 0, where few-step samplers start."""
    times = torch.randn(size).sigmoid()
    return torch.where(torch.rand(size) < 0.1, torch.rand(size) * 0.05, times)


def draw_noise(size: int, frames: int) -> Tensor:
    """[B,N,58] noise of the kind ``NoiseTape`` gives."""
    noise: Tensor = smooth_noise(torch.randn(size, frames + 3, MOTION_SIZE))
    return noise


def opening_vector(scale: Scale) -> Tensor:
    """[58] normalised motion -> gap of the inner lips, in units of what one deviation of the jaw
    opens. Linear part of ``Rig.lip_opening``: exact while ``mouthClose`` does not exceed the jaw.
    """
    deltas = Rig.load().deltas[:, list(MOUTH_CENTRE), 1]  # [52,2]
    gap = torch.zeros(MOTION_SIZE)
    gap[:52] = torch.from_numpy(deltas[:, 0] - deltas[:, 1])
    moved: Tensor = gap * scale.motion_std
    return moved / moved[INDEX["jawOpen"]]


def weighted(error: Tensor, batch: Batch, groups: Tensor) -> Tensor:
    """Mean of squared error [B,N,58], by group, draft frames less."""
    frames = batch.heard + UNHEARD * (1.0 - batch.heard)  # [B,N]
    return ((error * groups).mean(-1) * frames).sum() / frames.sum()


def dynamics(
    velocity: Tensor, noisy: Tensor, time: Tensor, batch: Batch, opening: Tensor, groups: Tensor
) -> dict[str, Tensor]:
    """Speed, acceleration (across the seam too) and lip opening of the implied clean motion."""
    frames = batch.heard + UNHEARD * (1.0 - batch.heard)  # [B,N]
    frames = frames * (time > _DYNAMICS_FROM)[:, None]
    total = frames.sum().clamp_min(1.0)
    guess = estimate(noisy, velocity, time[:, None, None])  # [B,N,58]
    error = guess - batch.clean  # [B,N,58]
    # The past is given, so the error is zero there: differences reach across the seam.
    padded = F.pad(error, (0, 0, 2, 0))  # [B,2+N,58]
    speed = padded.diff(dim=1)[:, 1:]  # [B,N,58]
    acceleration = padded.diff(n=2, dim=1)  # [B,N,58]
    joined = torch.ones_like(frames)
    joined[:, :2] = batch.joined[:, None]
    gap = (error @ opening).square()  # [B,N]
    closure = batch.closure[:, -gap.shape[1] :]  # [B,N]
    return {
        "speed": ((speed.square() * groups).mean(-1) * frames * joined).sum() / total,
        "acceleration": ((acceleration.square() * groups).mean(-1) * frames * joined).sum() / total,
        "opening": (gap * frames).sum() / total,
        "closure": (gap * frames * closure).sum() / total,
    }


def audio_branch(heard: Scores, batch: Batch) -> dict[str, Tensor]:
    """Phonetic supervision: visemes, and lips from the sound alone, on every known frame."""
    scores = heard.visemes.flatten(0, 1)  # [B*F,V]
    known = (batch.viseme >= 0).float()  # [B,F]
    lips = (heard.lips - batch.lips).square().mean(-1)  # [B,F]
    contact = F.binary_cross_entropy_with_logits(heard.contact, batch.closure, reduction="none")
    return {
        "contact": (contact * known).sum() / known.sum().clamp_min(1.0),
        "viseme": F.cross_entropy(scores, batch.viseme.flatten(), ignore_index=-1),
        "lips": (lips * known).sum() / known.sum().clamp_min(1.0),
    }


def total(terms: dict[str, Tensor], weights: Weights) -> Tensor:
    """``flow`` plus the weighted auxiliary terms."""
    loss = terms["flow"]
    for name, weight in weights._asdict().items():
        if name in terms:
            loss = loss + weight * terms[name]
    return loss
