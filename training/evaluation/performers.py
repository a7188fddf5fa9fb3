"""Everything that turns sound into motion: networks through the engine's stages, and baselines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from engine.audio.features import Features
from engine.audio.vad import SileroVad
from engine.config import MotionConfig
from engine.media import SAMPLE_RATE, SAMPLES_PER_FRAME, AudioChunk, FeatureFrame, Float32
from engine.media import MotionFrame as Frame
from engine.motion.condition import Conditions
from engine.motion.idle import Idle
from engine.motion.window import MotionWindow
from engine.runtime.base import Backend
from engine.runtime.load import load_network
from engine.stage import run
from training.evaluation import baselines
from training.evaluation.sounds import Sound

TEACHER_STEPS = 10


@dataclass(frozen=True, slots=True)
class Performer:
    """Who performs, with all settings.

    Args:
        name: in tables.
        kind: ``network`` (an artifact), ``teacher`` (a checkpoint), or one of
            ``baselines.BASELINES``.
        source: artifact name or path, or the checkpoint's path.
        hop: new frames per call; 0 is the engine's default.
        lookahead: frames heard beyond the hop; -1 is the engine's default.
        seed: of noise and idle.
    """

    name: str
    kind: str = "network"
    source: str = ""
    hop: int = 0
    lookahead: int = -1
    seed: int = 0

    @property
    def config(self) -> MotionConfig:
        """The engine's configuration of this performer."""
        base = MotionConfig()
        hop = self.hop or base.hop
        ahead = base.lookahead if self.lookahead < 0 else self.lookahead
        return replace(base, hop=hop, lookahead=ahead, seed=self.seed)


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """What was made of a sound.

    Args:
        made: float32 [T,58] as it comes from the motion window (or the baseline).
        shown: float32 [T,58] after the idle stage: what is rendered.
        speech: float32 [T], speech probability.
    """

    made: Float32
    shown: Float32
    speech: Float32


def perform(performer: Performer, sound: Sound) -> Take | None:
    """Perform a sound; None when the performer cannot (rules without phones).

    Raises:
        EngineError: the network cannot be opened or run.
    """
    if performer.kind in ("network", "teacher"):
        frames = _network_frames(performer, sound)
    else:
        made = baselines.BASELINES[performer.kind](sound)
        if made is None:
            return None
        heard = hear(sound.audio)
        frames = [
            Frame(row, frame.speech, frame.pts) for row, frame in zip(made, heard, strict=True)
        ]
    shown = list(run(Idle(performer.seed), frames))
    return Take(
        np.stack([frame.values for frame in frames]),
        np.stack([frame.values for frame in shown]),
        np.array([frame.speech for frame in frames], np.float32),
    )


def hear(audio: Float32) -> list[FeatureFrame]:
    """Sound [T * 640] through the engine's feature stage, with the real voice detector."""
    pieces = audio.reshape(-1, SAMPLES_PER_FRAME)
    chunks = [AudioChunk(p, i * SAMPLES_PER_FRAME, SAMPLE_RATE) for i, p in enumerate(pieces)]
    return list(run(Features(SileroVad(_vad())), chunks))


def conditions(sound: Sound) -> Conditions:
    """A sound's own manner, as far as the engine's conditions know it."""
    known = {field.name for field in fields(Conditions)}
    wanted = {"style": sound.style, "emotion": sound.emotion}
    given: dict[str, Any] = {
        name: value for name, value in wanted.items() if value is not None and name in known
    }
    return Conditions(**given)


def _network_frames(performer: Performer, sound: Sound) -> list[Frame]:
    backend = _backend(performer.kind, performer.source).fork()
    window = MotionWindow(backend, performer.config, conditions(sound))
    hear_other: Callable[[FeatureFrame], None] | None = getattr(window, "hear", None)
    if sound.other is not None and hear_other is not None:
        other = hear(sound.other)
        frames: list[Frame] = []
        for mine, theirs in zip(hear(sound.audio), other, strict=True):
            hear_other(theirs)
            frames += window.push(mine)
        return [*frames, *window.flush()]
    return list(run(window, _heard(sound)))


@lru_cache(maxsize=4)
def _heard(sound: Sound) -> list[FeatureFrame]:
    """Features of the latest sounds; the same object is performed by many."""
    return hear(sound.audio)


@cache
def _vad() -> Backend:
    return load_network("silero_vad")


@cache
def _backend(kind: str, source: str) -> Backend:
    if kind == "teacher":
        from training.evaluation.reference import teacher_backend  # torch takes seconds to import

        return teacher_backend(Path(source), TEACHER_STEPS)
    return load_network(Path(source) if source.endswith(".onnx") else source)


def has_input(performer: Performer, name: str) -> bool:
    """Whether the performer's network takes an input of that name."""
    return name in _backend(performer.kind, performer.source).inputs


def networks(names: list[str]) -> list[Performer]:
    """Performers of artifacts, labelled by name or file stem."""
    return [Performer(Path(name).stem, "network", name) for name in names]
