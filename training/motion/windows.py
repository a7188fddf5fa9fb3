"""Random training windows out of flat clips, with everything that is hidden or disturbed.

Letters as in ``engine.motion.network``: B batch, P past, N new, F = P + N frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.audio.features import BANDS, SILENCE, SUBFRAMES, mel_filters
from engine.motion.arkit import EXPRESSION, LIPS, MOTION_SIZE, POSE
from engine.motion.condition import IDLE, LISTENING, SPEAKING
from engine.motion.network import Condition, Dims
from engine.motion.unrolled import Scale
from training.motion.data import Array, Clips


def band_warp(factor: float) -> Array:
    """[80,80] matrix that stretches the frequency axis of log-mel rows: band b hears f_b / factor.

    Jaitly and Hinton, "Vocal tract length perturbation improves speech recognition", 2013.
    """
    filters = mel_filters()  # [257,80]
    centres = (np.arange(len(filters)) @ filters) / filters.sum(0)
    place = np.interp(centres / factor, centres, np.arange(BANDS))
    low = np.minimum(place.astype(int), BANDS - 2)
    matrix = np.zeros((BANDS, BANDS), np.float32)
    matrix[low, np.arange(BANDS)] = 1.0 - (place - low)
    matrix[low + 1, np.arange(BANDS)] = place - low
    return matrix


_NATURAL = ("recorded:", "kokoro:", "tracked:")
_POSE_BACK, _FACE_BACK = 50.0, 12.0
"""Frames in which an offset falls to 1/e."""
_ASTRAY = 0.7
"""Deviation of that offset, normalised units."""

_COLOUR = 0.45
"""Deviation of each of the cosines that make up a microphone's colour, nepers of power."""
_GAIN = 0.8
_CURVES = np.cos(np.pi * np.arange(1, 6)[:, None] * (np.arange(BANDS) + 0.5) / BANDS)
_NOISE = (-6.0, 1.0)
"""Level of added noise against the window's mean log power, nepers."""
_HOLE = 12
"""Widest run of bands that may be missing."""

_WARPS = np.stack([band_warp(factor) for factor in np.linspace(0.86, 1.16, 13)])


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
    lips: float = 0.7
    """The mouth is rarely chained to its own past: at run time it never is."""
    reference: float = 0.4
    state: float = 0.15
    style: float = 0.25
    noise: float = 0.15
    usual_known: float = 0.4
    """Share of windows with exactly ``usual`` new frames of sound, the rest uniform 1..N."""
    usual: int = 4
    warp: float = 0.6
    """Share of windows heard through another vocal tract."""
    colour: float = 0.6
    """Share of windows through another microphone."""
    hiss: float = 0.35
    """Share of windows with steady noise of any colour added."""
    hole: float = 0.25
    """Share of windows with some bands missing (Park et al., "SpecAugment", arXiv 1904.08779)."""
    emotion: float = 0.15
    other: float = 0.25
    natural: float = 0.4
    """Share of windows surely by people or neural voices: rule-based voices are many and cheap,
    and sound alike."""
    astray: float = 0.4
    """Share of windows whose past is off the truth, from where the truth leads back."""


def way_back(frames: int) -> Tensor:
    """[frames,58] share of an offset of the past that is left in each new frame.

    At run time the past is the network's own motion, which is off any truth. Continuing from it at
    once to the truth would be a jump, and continuing with the offset would be drift: it fades
    within about two seconds for the head and half a second for the face. The mouth has no past.
    """
    fades = torch.zeros(MOTION_SIZE)
    fades[list(POSE)] = 1 / _POSE_BACK
    fades[list(EXPRESSION)] = 1 / _FACE_BACK
    share = torch.exp(-torch.arange(1, frames + 1)[:, None] * fades)
    share[:, list(LIPS)] = 0.0
    return share


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
        people = np.array([voice.startswith(_NATURAL) for voice in clips.voices])
        self.natural = self.firsts[people[self.clip_of[self.firsts]]]
        quiet = [
            np.flatnonzero(clips.speaking[a : a + n] == 0) + a
            for a, n in zip(clips.start, clips.length, strict=True)
        ]
        self.back = way_back(dims.new).numpy()
        self.last = np.repeat(last, clips.length)
        self.quiet = [
            q if len(q) else np.array([a]) for q, a in zip(quiet, clips.start, strict=True)
        ]

    def draw(self, size: int) -> Batch:
        """A batch of ``size`` windows."""
        return self.at(self._firsts(size))

    def of_voices(self, beginnings: tuple[str, ...], size: int) -> Batch | None:
        """A batch of voices whose names begin so; None where there are none."""
        theirs = np.array([voice.startswith(beginnings) for voice in self.clips.voices])
        firsts = self.firsts[theirs[self.clip_of[self.firsts]]]
        return self.at(self.rng.choice(firsts, size)) if len(firsts) else None

    def _firsts(self, size: int) -> Array:
        first = self.rng.choice(self.firsts, size)
        if not len(self.natural):
            return first
        natural = self.rng.random(size) < self.drops.natural
        chosen: Array = np.where(natural, self.rng.choice(self.natural, size), first)
        return chosen

    def draw_string(self, size: int, count: int, hop: int) -> list[Batch]:
        """Windows that follow each other at ``hop`` frames: ``count`` batches of ``size``."""
        first = self._firsts(size)
        clip_end = self.last[first]
        first = np.maximum(
            np.minimum(first, clip_end - (count - 1) * hop),
            self.clips.start[self.clip_of[first]],
        )
        return [self.at(np.minimum(first + i * hop, clip_end)) for i in range(count)]

    def at(self, first: Array) -> Batch:
        """The windows whose first new frames are ``first`` [B], in the flat clips."""
        dims, clips = self.dims, self.clips
        clip = self.clip_of[first]
        frames = first[:, None] + np.arange(-dims.past, dims.new)  # [B,F]
        inside = frames >= clips.start[clip][:, None]
        frames = np.where(inside, frames, clips.start[clip][:, None])
        motion = self.motion[frames]  # [B,F,58]
        motion = motion + self._astray(len(first))
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
            _tensor(viseme).long(),
            _tensor(motion[:, :, list(LIPS)]),
        )

    def _astray(self, size: int) -> Array:
        """Offsets [B,F,58] of the past, fading over the new frames."""
        dims, rng = self.dims, self.rng
        offset = rng.normal(0, _ASTRAY, (size, 1, dims.motion)) * (
            rng.random((size, 1, 1)) < self.drops.astray
        )
        offset[..., list(LIPS)] = 0.0
        shares = np.concatenate([np.ones((dims.past, dims.motion)), self.back])
        faded: Array = (offset * shares).astype(np.float32)
        return faded

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
        audio = self._other_rooms(self._other_throats(audio))
        noise = rng.uniform(0, drops.noise, size).astype(np.float32)
        noise *= rng.random(size) < 0.8
        past = motion[:, : dims.past]
        past = past + noise[:, None, None] * rng.standard_normal(past.shape, dtype=np.float32)
        lips = np.repeat(rng.random((size, 1)) >= drops.lips, dims.past, 1)
        poses = np.array([rng.choice(self.quiet[c]) for c in clip])
        other, other_known = self._others(frames, audio_known)
        return Condition(
            self.scale.audio(_tensor(audio)),
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
            _tensor(clips.emotion[clip]),
            _tensor(rng.random(size) >= drops.emotion),
            self.scale.audio(_tensor(other)) * _tensor(other_known)[..., None],
            _tensor(other_known),
        )

    def _others(self, frames: Array, audio_known: Array) -> tuple[Array, Array]:
        """The other speaker [B,F,320] and where known [B,F]: no further ahead than one's own."""
        rng, drops, clips = self.rng, self.drops, self.clips
        row = clips.other_row[frames]  # [B,F], -1: nobody speaks to this person
        known = (row >= 0) & (audio_known > 0)
        known &= rng.random((len(frames), 1)) >= drops.other
        return clips.other[np.maximum(row, 0)].astype(np.float32), known.astype(np.float32)

    def _other_throats(self, audio: Array) -> Array:
        """Vocal tract length perturbation: each window [B,F,320] as a larger or smaller speaker."""
        size, frames = audio.shape[:2]
        matrix = _WARPS[self.rng.integers(len(_WARPS), size=size)]  # [B,80,80]
        matrix = np.where(self.rng.random((size, 1, 1)) < self.drops.warp, matrix, np.eye(BANDS))
        bands = audio.reshape(size, frames * SUBFRAMES, BANDS)
        warped: Array = (bands @ matrix.astype(np.float32)).reshape(audio.shape)
        return warped

    def _other_rooms(self, audio: Array) -> Array:
        """Each window [B,F,320] through another microphone, in noise, with bands missing.

        On log power, so that every window differs: the corpus holds each clip in three versions.
        """
        rng, drops = self.rng, self.drops
        size, frames = audio.shape[:2]
        bands = audio.reshape(size, frames, SUBFRAMES, BANDS)
        colour = rng.normal(0, _COLOUR, (size, len(_CURVES))) @ _CURVES  # [B,80]
        colour += rng.normal(0, _GAIN, (size, 1))
        colour *= rng.random((size, 1)) < drops.colour
        bands = bands + colour.astype(np.float32)[:, None, None]
        noisy = np.flatnonzero(rng.random(size) < drops.hiss)
        bands[noisy] = np.logaddexp(bands[noisy], self._hiss(bands[noisy]))
        first = rng.integers(0, BANDS - _HOLE, size)[:, None]
        width = rng.integers(1, _HOLE + 1, size)[:, None] * (rng.random((size, 1)) < drops.hole)
        here = np.arange(BANDS)
        hole = (here >= first) & (here < first + width)  # [B,80]
        bands = np.where(hole[:, None, None], bands.mean((1, 2, 3), keepdims=True), bands)
        heard: Array = np.maximum(bands, SILENCE).reshape(audio.shape).astype(np.float32)
        return heard

    def _hiss(self, bands: Array) -> Array:
        """Log power of steady noise of any colour beside sound [B,F,4,80]."""
        rng, size = self.rng, len(bands)
        level = bands.mean((1, 2, 3)) + rng.uniform(*_NOISE, size)
        tint = rng.normal(0, 2 * _COLOUR, (size, len(_CURVES))) @ _CURVES + level[:, None]
        # The power of noise under one band and 25 ms is gamma distributed: a few independent bins.
        ripple = np.log(rng.standard_gamma(3.0, bands.shape, np.float32) / 3.0)
        noise: Array = tint.astype(np.float32)[:, None, None] + ripple
        return noise

    def _state(self, frames: Array, audio_known: Array) -> Array:
        """One-hot [B,3] as the engine derives it from speech detection; 5 % are wrong."""
        dims, rng, drops = self.dims, self.rng, self.drops
        size = len(frames)
        spoken = self.clips.speaking[frames[:, dims.past :]] * audio_known[:, dims.past :]
        speaking = (spoken.max(1) > 0) ^ (rng.random(size) < 0.05)
        past = self.clips.other_row[frames[:, dims.past - 20 :]] >= 0
        told = past.any(1) | (rng.random(size) < 0.1)
        quiet = np.where(told, LISTENING, IDLE)
        state = np.eye(3, dtype=np.float32)[np.where(speaking, SPEAKING, quiet)]
        kept: Array = state * (rng.random((size, 1)) >= drops.state)
        return kept


def _tensor(values: Array) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    return tensor.to(torch.get_default_device())
