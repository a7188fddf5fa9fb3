"""Puts the stages of one session together: for serving, offline rendering and benchmarks alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Any

from engine.audio.features import Features
from engine.audio.framer import Framer
from engine.audio.vad import SileroVad, Vad, WebRtcVad
from engine.config import EngineConfig
from engine.media import FPS, AudioChunk, FeatureFrame, Float32, MotionFrame, VideoFrame
from engine.metrics import Measured, Metrics
from engine.motion.condition import EMOTIONS, STYLE, Conditions, mix
from engine.motion.idle import Idle
from engine.motion.settle import Settle
from engine.motion.window import MotionWindow
from engine.provenance.mark import Mark, resting_picture
from engine.render.avatar import Avatar
from engine.render.renderer import Renderer
from engine.runtime.base import Backend
from engine.runtime.batcher import Batcher, Lane
from engine.runtime.load import Watch, load_network, load_shared
from engine.stage import Stage, chain


@dataclass(frozen=True, slots=True)
class Networks:
    """Weights, loaded once and shared by every session.

    Args:
        cmdt: motion.
        render: pictures.
        vad: voice detector, if it is a network.
        light: motion in one step, for sessions that cannot keep up.
        batcher: what runs motion and pictures of all sessions together, where that pays.
    """

    cmdt: Backend
    render: Backend
    vad: Backend | None
    batcher: Batcher | None = None
    light: Backend | None = None

    def close(self) -> None:
        """Stop the batcher; sessions that still wait for it get an error."""
        if self.batcher is not None:
            self.batcher.close()


def load_networks(config: EngineConfig, watch: Watch | None = None) -> Networks:
    """Open the networks the configuration asks for.

    Args:
        config: the engine's configuration.
        watch: told which runtime each network got, and why not another.

    Raises:
        ArtifactError: when one is missing or damaged.
        BackendError: when no runtime, or not the one asked for, can be used.
    """
    names = {"motion": f"cmdt_k{config.motion.steps}", "render": config.render.network}
    if config.motion.steps > 1:
        names["light"] = "cmdt_k1"
    silero = config.audio.vad == "silero"
    vad = load_network("silero_vad", config.runtime, watch, cpu=True) if silero else None
    opened = {lane: load_shared(name, config.runtime, watch) for lane, name in names.items()}
    together = {lane: rows for lane, rows in opened.items() if isinstance(rows, dict)}
    batcher = None
    if together:
        hop = Lane(period=config.motion.hop / FPS)
        batcher = Batcher(together, {"motion": hop, "light": hop})
    backends: dict[str, Backend] = {}
    for lane, found in opened.items():
        if isinstance(found, dict):
            assert batcher is not None
            backends[lane] = batcher.client(lane)
        else:
            backends[lane] = found
    cmdt = backends["motion"]
    return Networks(cmdt, backends["render"], vad, batcher, backends.get("light", cmdt))


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One session's stages: sound to motion, motion to pictures.

    Args:
        motion: framer, features, motion window, idle.
        renderer: motion to marked pictures.
        window: the motion window inside ``motion``, for ``resume_from`` and ``hear``.
        ear: sound of who speaks to the avatar to what the window hears of it.
        settle: the last stage of ``motion``, which leads over from what was shown.
        motion_of: the motion network for a number of denoising steps, as far as there is one.
    """

    motion: Stage[AudioChunk, MotionFrame]
    renderer: Stage[MotionFrame, VideoFrame]
    window: MotionWindow
    ear: Stage[AudioChunk, FeatureFrame]
    settle: Settle | None = None
    motion_of: Callable[[int], Backend] | None = None

    def hear(self, chunk: AudioChunk) -> list[float]:
        """Take sound of who speaks to the avatar; its time axis is that of the avatar's own.

        Returns:
            The speech probability of each frame that has become complete.
        """
        speech = []
        for frame in self.ear.push(chunk):
            self.window.hear(frame)
            speech.append(frame.speech)
        return speech

    def configure(self, emotion: str | None = None, style: str | None = None) -> None:
        """Change how the face acts; None leaves it. From any thread.

        Raises:
            ConfigError: an emotion or style that does not exist; nothing is changed then.
        """
        conditions = self.window.conditions
        if emotion is not None:
            conditions = replace(conditions, emotion=mix(EMOTIONS, emotion, 0.0, 1.0))
        if style is not None:
            conditions = replace(conditions, style=mix(STYLE, style, -2.0, 2.0))
        self.window.conditions = conditions

    def use_steps(self, steps: int) -> None:
        """Go on with as many denoising steps; the motion itself goes on."""
        if self.motion_of is not None:
            self.window.use(self.motion_of(steps))

    @property
    def whole(self) -> Stage[AudioChunk, VideoFrame]:
        """Both parts as one stage."""
        return chain(self.motion, self.renderer)

    @property
    def lookahead(self) -> Fraction:
        """Media seconds from a frame's sound to its picture, computing apart."""
        return self.motion.lookahead + self.renderer.lookahead

    def begin(self, last: Float32) -> None:
        """Start a session that shows ``last``, float32 [58], as if the face had long rested so."""
        self.restart(last)
        self.window.rest(last)

    def restart(self, last: Float32 | None) -> None:
        """Forget the sound; go on moving from ``last`` (float32 [58]), the motion last shown."""
        self.motion.reset()
        self.renderer.reset()
        self.ear.reset()
        if last is not None:
            self.window.resume_from(last)
            if self.settle is not None:
                self.settle.start(last)


def make_stages(
    config: EngineConfig, networks: Networks, avatar: Avatar, rate: int = 48_000
) -> dict[str, Stage[Any, Any]]:
    """The stages of one session by name, in order.

    Args:
        config: the engine's configuration.
        networks: shared weights.
        avatar: who to show.
        rate: expected rate of the incoming sound in Hz.

    Raises:
        ConfigError: an emotion or style that does not exist, a visible mark that cannot be drawn.
    """
    conditions = Conditions(
        emotion=mix(EMOTIONS, config.motion.emotion, 0.0, 1.0),
        style=mix(STYLE, config.motion.style, -2.0, 2.0),
    )
    return {
        "framer": Framer(rate),
        "features": Features(_vad(networks)),
        "motion": MotionWindow(networks.cmdt.fork(), config.motion, conditions),
        "idle": Idle(config.motion.seed),
        "settle": Settle(),
        **make_picture_stages(config, networks, avatar),
    }


def make_picture_stages(
    config: EngineConfig, networks: Networks, avatar: Avatar
) -> dict[str, Stage[Any, Any]]:
    """Motion to pictures: the renderer, and what marks them as generated unless that is off.

    Raises:
        ConfigError: a visible mark that cannot be drawn.
    """
    stages: dict[str, Stage[Any, Any]] = {"render": Renderer(networks.render, avatar)}
    if config.provenance.visible or config.provenance.watermark:
        stages["mark"] = Mark(config.provenance, resting_picture(avatar))
    return stages


def _vad(networks: Networks) -> Vad:
    return SileroVad(networks.vad) if networks.vad is not None else WebRtcVad()


def build(
    config: EngineConfig,
    networks: Networks,
    avatar: Avatar,
    rate: int = 48_000,
    metrics: Metrics | None = None,
) -> Pipeline:
    """Make one session's stages, timed if there are ``metrics`` to report to."""
    stages = make_stages(config, networks, avatar, rate)
    window, settle = stages["motion"], stages["settle"]
    assert isinstance(window, MotionWindow)
    assert isinstance(settle, Settle)
    if metrics is not None:
        stages = {name: Measured(stage, name, metrics) for name, stage in stages.items()}
    pictures = chain(*(stages.pop(name) for name in ("render", "mark") if name in stages))
    ear = chain(Framer(rate), Features(_vad(networks)))
    full = window.backend

    @cache
    def motion_of(steps: int) -> Backend:
        if steps < config.motion.steps and networks.light is not None:
            return networks.light.fork()
        return full

    return Pipeline(chain(*stages.values()), pictures, window, ear, settle, motion_of)
