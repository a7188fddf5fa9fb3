"""cMDT: the conditional motion diffusion transformer.

After Dimitra (Chopin et al., arXiv 2502.17198 and 2511.22488): diffusion in a compact 3D motion
space, conditioned on audio and a reference motion, lips, expression and head pose predicted apart,
phoneme supervision of the audio branch. Remade for streaming: one small DiT encoder (Peebles and
Xie, arXiv 2212.09748), a clean history prefix (four past frames to a token) instead of overlapping
windows, velocity output (flow matching, arXiv 2210.02747) and a step-size input (shortcut models,
arXiv 2410.12557).

Letters: B batch, P past frames (32), N new frames (8), F = P + N, T tokens (P / patch + N),
D width, E width of the other speaker's branch, H heads, M motion size (58), S style size,
V visemes. Normalised units throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.motion.arkit import EXPRESSION, LIPS, MOTION_SIZE, POSE
from engine.motion.layers import Block, ConvBlock, Head, Sinusoid, Spectrum, rotary_table

_SMALL_EAR = 2  # convolutions over time of the first networks


@dataclass(frozen=True, slots=True)
class Dims:
    """Everything needed to rebuild the network; travels in the artifact's manifest."""

    width: int = 192
    layers: int = 4
    heads: int = 4
    past: int = 32
    new: int = 8
    patch: int = 4
    audio: int = 320
    motion: int = MOTION_SIZE
    style: int = 16
    emotions: int = 5
    other: int = 48
    states: int = 3
    visemes: int = 19
    kernel: int = 5
    ear: int = 2
    """Convolutions over time of the audio branch: each sees ``kernel`` frames."""
    spectrum: int = 0
    """Channels of the audio branch's convolutions over time and frequency; 0: it has none."""

    @property
    def frames(self) -> int:
        """Past and new frames together."""
        return self.past + self.new

    @property
    def patches(self) -> int:
        """Tokens of the past."""
        return self.past // self.patch


class Condition(NamedTuple):
    """What the motion is conditioned on. Flags are 1 where the value is known, else 0."""

    audio: Tensor
    """[B,F,320] normalised log-mel."""
    audio_known: Tensor
    """[B,F]. All zero: the unconditional branch of guidance."""
    past: Tensor
    """[B,P,M] the motion before the new frames, oldest first."""
    past_known: Tensor
    """[B,P]"""
    lips_known: Tensor
    """[B,P] 0 where the lips of the past are hidden."""
    past_noise: Tensor
    """[B] standard deviation of the noise on ``past``."""
    reference: Tensor
    """[B,M] the portrait's own motion."""
    reference_known: Tensor
    """[B]"""
    state: Tensor
    """[B,3] one-hot speaking, listening, idle; all zero: not told."""
    style: Tensor
    """[B,S] manner (``engine.motion.condition.STYLE``)."""
    style_known: Tensor
    """[B]"""
    guidance: Tensor
    """[B] audio guidance w, 1 = none."""
    emotion: Tensor
    """[B,5] intensities 0..1 (``engine.motion.condition.EMOTIONS``); all zero: neutral."""
    emotion_known: Tensor
    """[B]"""
    other: Tensor
    """[B,F,320] normalised log-mel of who speaks to the avatar."""
    other_known: Tensor
    """[B,F] all zero: nobody is heard, or not told."""


class Scores(NamedTuple):
    """What the audio branch alone makes of the sound."""

    visemes: Tensor
    """[B,F,V] viseme scores."""
    contact: Tensor
    """[B,F] score (logit) that the lips must touch: p, b, m."""
    lips: Tensor
    """[B,F,28] lips as the audio branch alone would have them (training only)."""


class Context(NamedTuple):
    """What stays the same over the denoising steps of one window."""

    heard: Tensor
    """[B,N,D] embedding of the new frames' sound, one's own and the other speaker's."""
    scores: Scores
    """What the audio branch hears in one's own sound."""
    past: Tensor
    """[B,P/patch,D] tokens of the past."""
    past_signal: Tensor
    """[B,P/patch,D] what modulates them."""
    shared: Tensor
    """[B,D] reference, state, style, emotion, guidance."""


class AudioBranch(nn.Module):
    """Log-mel frames -> audio embedding; frames that are not known yet become a learned vector.

    Args:
        dims: sizes.
        width: of the embedding.
        blocks: convolutions over time.
        channels: of the convolutions over time and frequency before them; 0: none.
    """

    def __init__(self, dims: Dims, width: int, blocks: int, channels: int = 0) -> None:
        super().__init__()
        self.enter = nn.Linear(dims.audio, width)
        self.spectrum = Spectrum(width, channels) if channels else None
        self.unknown = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(ConvBlock(width, dims.kernel) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)

    def forward(self, audio: Tensor, known: Tensor) -> Tensor:
        mask = known[..., None]  # [B,F,1]
        x = self.enter(audio)  # [B,F,D]
        if self.spectrum is not None:
            x = x + self.spectrum(audio * mask)  # [B,F,D]
        x = x * mask + self.unknown * (1.0 - mask)  # [B,F,D]
        for block in self.blocks:
            x = block(x)  # [B,F,D]
        out: Tensor = self.norm(x)  # [B,F,D]
        return out


class CMDT(nn.Module):
    """Noisy new frames and conditions -> velocity.

    Args:
        dims: sizes.
    """

    cos: Tensor
    sin: Tensor
    order: Tensor
    lip_index: Tensor

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.dims = dims
        width = dims.width
        self.audio = AudioBranch(dims, width, dims.ear, dims.spectrum)
        # A nod answers a phrase, not a phone: who is listened to gets a much smaller ear.
        self.other = AudioBranch(dims, dims.other, blocks=1)
        self.other_new = nn.Linear(dims.other, width)
        self.other_old = nn.Linear(dims.patch * dims.other, width)
        self.visemes = nn.Linear(width, dims.visemes)
        self.contact = nn.Linear(width, 1)
        self.audio_lips = nn.Linear(width, len(LIPS))
        self.enter = nn.Linear(dims.motion, width)
        self.patch = nn.Linear(dims.patch * (dims.motion + 2), width)
        self.patch_audio = nn.Linear(dims.patch * width, width)
        self.reference = nn.Linear(dims.motion, width)
        self.manner = nn.Linear(dims.states + dims.style + dims.emotions + 3, width)
        self.time = Sinusoid(width)
        self.step = Sinusoid(width)
        self.guidance = Sinusoid(width)
        self.modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(Block(width, dims.heads) for _ in range(dims.layers))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.final = nn.Linear(width, 2 * width)
        self.lips = Head(width, len(LIPS))
        self.expression = Head(width, len(EXPRESSION))
        self.pose = Head(width, len(POSE))
        old = torch.arange(dims.patches) * dims.patch + (dims.patch - 1) / 2 - dims.past
        positions = torch.cat([old, torch.arange(dims.new, dtype=torch.float32)])
        cos, sin = rotary_table(positions, width // dims.heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        order = torch.argsort(torch.tensor([*LIPS, *EXPRESSION, *POSE]))
        self.register_buffer("order", order, persistent=False)
        hidden = torch.zeros(dims.motion)
        hidden[list(LIPS)] = 1.0
        self.register_buffer("lip_index", hidden, persistent=False)
        self.initialise()

    def initialise(self) -> None:
        """Xavier everywhere; modulation, heads, step and guidance start at zero (adaLN-Zero)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        silent = [
            self.modulation, self.final, self.step.outer, self.guidance.outer,
            self.other_new, self.other_old,
        ]  # fmt: skip
        silent += [head.outer for head in (self.lips, self.expression, self.pose)]
        # The larger ear begins as the small one: weights of that can be continued (``adopt``).
        if self.audio.spectrum is not None:
            silent.append(self.audio.spectrum.leave)
        for block in list(self.audio.blocks)[_SMALL_EAR:]:
            assert isinstance(block, ConvBlock)
            silent.append(block.down)
        for layer in silent:
            nn.init.zeros_(layer.weight)

    def forward(
        self, noisy: Tensor, time: Tensor, step: Tensor, condition: Condition
    ) -> tuple[Tensor, Context]:
        """Velocity [B,N,M] of ``noisy`` [B,N,M], and the context (for its auxiliary scores).

        Args:
            time: [B] flow time, 0 noise .. 1 clean.
            step: [B] size of the Euler step the velocity is meant for; 0 = infinitesimal.
        """
        context = self.encode(condition)
        return self.denoise(noisy, time, step, context), context

    def encode(self, condition: Condition) -> Context:
        """Everything that does not depend on the noisy frames."""
        past = self.dims.past
        heard, scores = self.listen(condition.audio, condition.audio_known)  # [B,F,D]
        old, recent = heard[:, :past], heard[:, past:]  # [B,P,D], [B,N,D]
        other = self.other(condition.other, condition.other_known)  # [B,F,E]
        before, now = other[:, :past], other[:, past:]  # [B,P,E], [B,N,E]
        recent = recent + self.other_new(now)  # [B,N,D]
        shared = self.embed_globals(condition)  # [B,D]
        pooled = self.patch_audio(self.fold(old)) + self.other_old(self.fold(before))
        level = self.time(1.0 - condition.past_noise)[:, None]  # [B,1,D]
        signal = F.silu(pooled + shared[:, None] + level)  # [B,P/patch,D]
        tokens = self.patch(self.fold(self.visible_past(condition))) + pooled  # [B,P/patch,D]
        return Context(recent, scores, tokens, signal, shared)

    def listen(self, audio: Tensor, known: Tensor) -> tuple[Tensor, Scores]:
        """Embedding [B,F,D] of log-mel [B,F,320] where ``known`` [B,F], and its scores."""
        heard = self.audio(audio, known)  # [B,F,D]
        contact = self.contact(heard)[..., 0]  # [B,F]
        return heard, Scores(self.visemes(heard), contact, self.audio_lips(heard))

    def denoise(self, noisy: Tensor, time: Tensor, step: Tensor, context: Context) -> Tensor:
        """One evaluation: velocity [B,N,M]."""
        level = self.time(time) + self.step(step) + context.shared  # [B,D]
        each = F.silu(context.heard + level[:, None])  # [B,N,D]
        x = torch.cat([context.past, self.enter(noisy) + context.heard], dim=1)  # [B,T,D]
        modulation = self.modulation(torch.cat([context.past_signal, each], dim=1))  # [B,T,6D]
        for block in self.blocks:
            x = block(x, modulation, self.cos, self.sin)  # [B,T,D]
        x = x[:, self.dims.patches :]  # [B,N,D]
        shift, scale = self.final(each).chunk(2, dim=-1)  # [B,N,D]
        x = self.norm(x) * (1.0 + scale) + shift  # [B,N,D]
        parts = torch.cat([self.lips(x), self.expression(x), self.pose(x)], dim=-1)  # [B,N,M]
        ordered: Tensor = parts[..., self.order]  # [B,N,M]
        return ordered

    def fold(self, x: Tensor) -> Tensor:
        """[B,P,C] -> [B,P/patch,patch*C]."""
        return x.reshape(x.shape[0], self.dims.patches, -1)

    def visible_past(self, condition: Condition) -> Tensor:
        """The past with hidden values zeroed, and its flags: [B,P,M+2]."""
        known = condition.past_known[..., None]  # [B,P,1]
        lips_known = condition.lips_known[..., None] * known  # [B,P,1]
        shown = known + (lips_known - known) * self.lip_index  # [B,P,M]
        return torch.cat([condition.past * shown, known, lips_known], dim=-1)  # [B,P,M+2]

    def embed_globals(self, condition: Condition) -> Tensor:
        """Reference, state, style, emotion and guidance as one vector [B,D]."""
        known = condition.reference_known[:, None]  # [B,1]
        style_known = condition.style_known[:, None]  # [B,1]
        felt = condition.emotion_known[:, None]  # [B,1]
        manner = torch.cat(
            [
                condition.state, condition.style * style_known, style_known, known,
                condition.emotion * felt, felt,
            ],
            dim=-1,
        )  # [B,3+S+2+5+1]  # fmt: skip
        embedded: Tensor = self.reference(condition.reference * known) + self.manner(manner)
        embedded = embedded + self.guidance(condition.guidance - 1.0)  # [B,D]
        return embedded
