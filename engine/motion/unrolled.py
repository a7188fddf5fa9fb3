"""The network as it is shipped: raw units in and out, normalisation and all K steps inside."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.motion.diffusion import sample
from engine.motion.network import CMDT, Condition, Dims
from engine.runtime.base import TensorSpec


class Scale(nn.Module):
    """Means and deviations of sound and motion; buffers, so that they travel with the weights."""

    audio_mean: Tensor
    audio_std: Tensor
    motion_mean: Tensor
    motion_std: Tensor

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        for name, size in (("audio", dims.audio), ("motion", dims.motion)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))

    def audio(self, raw: Tensor) -> Tensor:
        """Log-mel [..,320] to normalised units."""
        return (raw - self.audio_mean) / self.audio_std

    def motion(self, raw: Tensor) -> Tensor:
        """Motion [..,58] to normalised units."""
        return (raw - self.motion_mean) / self.motion_std

    def raw_motion(self, normal: Tensor) -> Tensor:
        """Motion [..,58] back to raw units."""
        return normal * self.motion_std + self.motion_mean


class Unrolled(nn.Module):
    """K Euler steps as one graph.

    Args:
        network: teacher or student.
        scale: its units.
        steps: K.
        shortcut: tell the network the step size (students); a teacher always gets 0.
    """

    def __init__(self, network: CMDT, scale: Scale, steps: int, shortcut: bool) -> None:
        super().__init__()
        self.network = network
        self.scale = scale
        self.steps = steps
        self.shortcut = shortcut

    def forward(
        self,
        past: Tensor,
        past_known: Tensor,
        audio: Tensor,
        audio_known: Tensor,
        reference: Tensor,
        state: Tensor,
        style: Tensor,
        guidance: Tensor,
        emotion: Tensor,
        other: Tensor,
        other_known: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Raw motion [B,N,58] and lip contact [B,N]; arguments as in ``input_specs``."""
        one = torch.ones_like(guidance)  # [B]
        condition = Condition(
            self.scale.audio(audio),
            audio_known,
            self.scale.motion(past),
            past_known,
            torch.zeros_like(past_known),  # the mouth follows the sound, never its own past
            torch.zeros_like(guidance),
            self.scale.motion(reference),
            one,
            state,
            style,
            one,
            guidance,
            emotion,
            one,
            self.scale.audio(other),
            other_known,
        )
        context = self.network.encode(condition)

        def denoise(noisy: Tensor, time: float, step: float) -> Tensor:
            meant = step if self.shortcut else 0.0
            return self.network.denoise(noisy, one * time, one * meant, context)

        normal: Tensor = sample(denoise, noise, self.steps)  # [B,N,58]
        contact = context.scores.contact[:, self.network.dims.past :].sigmoid()  # [B,N]
        return self.scale.raw_motion(normal), contact


def input_specs(dims: Dims) -> dict[str, TensorSpec]:
    """Inputs of the shipped graph, in the order of ``Unrolled.forward``."""
    return {
        "past": TensorSpec((1, dims.past, dims.motion)),
        "past_known": TensorSpec((1, dims.past)),
        "audio": TensorSpec((1, dims.frames, dims.audio)),
        "audio_known": TensorSpec((1, dims.frames)),
        "reference": TensorSpec((1, dims.motion)),
        "state": TensorSpec((1, dims.states)),
        "style": TensorSpec((1, dims.style)),
        "guidance": TensorSpec((1,)),
        "emotion": TensorSpec((1, dims.emotions)),
        "other": TensorSpec((1, dims.frames, dims.audio)),
        "other_known": TensorSpec((1, dims.frames)),
        "noise": TensorSpec((1, dims.new, dims.motion)),
    }


def output_specs(dims: Dims) -> dict[str, TensorSpec]:
    """Outputs of the shipped graph: motion, and the probability that the lips must touch."""
    return {
        "motion": TensorSpec((1, dims.new, dims.motion)),
        "contact": TensorSpec((1, dims.new)),
    }
