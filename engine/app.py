"""The engine: networks loaded once, avatars, sessions. Transports and programs talk to this."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from engine.config import EngineConfig
from engine.errors import ConfigError, Overloaded
from engine.face.analysis import FaceAnalyser
from engine.face.portrait import Portrait, prepare_portrait
from engine.media import FPS, SAMPLE_RATE, AudioChunk, MotionFrame, VideoFrame
from engine.metrics import Metrics
from engine.motion.arkit import MOTION_SIZE
from engine.pipeline import Networks, build, load_networks
from engine.playout import SLOT_SECONDS, Playout
from engine.render.avatar import Avatar
from engine.render.renderer import Renderer
from engine.runtime.artifact import WEIGHTS
from engine.session import Session
from engine.stage import run

log = logging.getLogger(__name__)

DEFAULT_AVATAR = "default"
_MAX_UPLOADS = 32
_RETRY_SECONDS = 10
_USABLE = 0.8
"""Share of the machine that sessions may fill: beyond it frames come late."""
_TRANSPORT = 0.25
"""Cores that encoding and sending one session take (research/webrtc.md: 22 to 29 % of one)."""


@dataclass(frozen=True, slots=True, eq=False)
class AvatarEntry:
    """An avatar ready to be used.

    Args:
        id: ``default`` or an unguessable word.
        avatar: what the renderer binds; shared between sessions, read-only.
        picture: the prepared photo, JPEG.
        idle: a rendered resting frame, shown before the first one of a session.
    """

    id: str
    avatar: Avatar
    picture: bytes
    idle: VideoFrame


def default_portrait() -> Path:
    """The portrait shipped with the engine."""
    return next(iter(sorted((WEIGHTS / "avatars").glob("default.*"))))


class Engine:
    """Holds what sessions share. Thread-safe after ``start``.

    Args:
        config: frozen configuration.
    """

    def __init__(self, config: EngineConfig) -> None:
        threads = config.runtime.threads or 1
        self.config = replace(config, runtime=replace(config.runtime, threads=threads))
        self.metrics = Metrics()
        self.ready = False
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._uploads: OrderedDict[str, AvatarEntry] = OrderedDict()
        self._default: AvatarEntry | None = None
        self._networks: Networks | None = None
        self._analyser: FaceAnalyser | None = None
        self._capacity = max(1, config.server.sessions)

    def start(self) -> None:
        """Load the networks, prepare the default avatar, run everything once.

        Raises:
            EngineError: when a network or the portrait cannot be used.
        """
        self._networks = load_networks(self.config, self.metrics.chose)
        if self._networks.batcher is not None:
            self.metrics.observe(self._networks.batcher)
        self._analyser = FaceAnalyser()
        source = Path(self.config.render.portrait or default_portrait())
        if not source.is_file():
            raise ConfigError(f"there is no portrait at {source}")
        self._default = self._prepare(DEFAULT_AVATAR, source)
        self._warm_up()
        self.ready = True

    @property
    def sessions(self) -> list[Session]:
        """Open sessions."""
        with self._lock:
            return list(self._sessions.values())

    @property
    def capacity(self) -> int:
        """Sessions that may be open at once: configured, or measured at start."""
        return self._capacity

    @property
    def avatars(self) -> list[AvatarEntry]:
        """The default avatar and the uploaded ones, oldest first."""
        with self._lock:
            return [*([self._default] if self._default else []), *self._uploads.values()]

    def avatar(self, avatar_id: str | None = None) -> AvatarEntry:
        """An avatar by id; the default without one.

        Raises:
            KeyError: unknown id (uploads live in memory and the oldest are forgotten).
        """
        for entry in self.avatars:
            if entry.id == (avatar_id or DEFAULT_AVATAR):
                return entry
        raise KeyError(avatar_id)

    def add_avatar(self, photo: bytes) -> AvatarEntry:
        """Prepare an uploaded photo (seconds of computing: call from a thread).

        Raises:
            PortraitError: when it cannot become an avatar.
        """
        entry = self._prepare(secrets.token_urlsafe(12), photo)
        with self._lock:
            self._uploads[entry.id] = entry
            while len(self._uploads) > _MAX_UPLOADS:
                self._uploads.popitem(last=False)
        return entry

    def remove_avatar(self, avatar_id: str) -> None:
        """Forget an uploaded avatar; open sessions keep what they show.

        Raises:
            KeyError: unknown id.
        """
        with self._lock:
            del self._uploads[avatar_id]

    def create_session(self, avatar_id: str | None = None) -> Session:
        """Open a session.

        Raises:
            Overloaded: when all places are taken or the engine is not ready.
            KeyError: unknown avatar.
        """
        networks = self._networks
        if not self.ready or networks is None:
            raise Overloaded("The engine is still starting; try again in a moment.", 2)
        entry = self.avatar(avatar_id)
        pipeline = build(self.config, networks, entry.avatar, metrics=self.metrics)
        preroll = max(1, round(self.config.server.preroll_ms / 1000 / SLOT_SECONDS))
        playout = Playout(preroll=preroll, idle=entry.idle)
        with self._lock:
            if len(self._sessions) >= self.capacity:
                raise Overloaded(
                    f"All {self.capacity} places are taken; try again shortly.", _RETRY_SECONDS
                )
            session = Session(
                secrets.token_urlsafe(12),
                pipeline,
                playout,
                self.metrics,
                self.config.audio.inbox_ms,
                self._forget,
            )
            self._sessions[session.id] = session
            self.metrics.sessions.set(len(self._sessions))
        self.metrics.sessions_started.inc()
        return session

    def close(self) -> None:
        """End every session."""
        self.ready = False
        for session in self.sessions:
            session.close()
        if self._networks is not None:
            self._networks.close()

    def _forget(self, session: Session) -> None:
        with self._lock:
            self._sessions.pop(session.id, None)
            self.metrics.sessions.set(len(self._sessions))

    def _prepare(self, avatar_id: str, source: Path | bytes) -> AvatarEntry:
        assert self._analyser is not None
        assert self._networks is not None
        portrait: Portrait = prepare_portrait(source, self._analyser)
        avatar = Avatar.from_portrait(portrait)
        rest = MotionFrame(np.zeros(MOTION_SIZE, np.float32), 0.0, 0)
        idle = next(iter(run(Renderer(self._networks.render, avatar), [rest])))
        bgr = cv2.cvtColor(portrait.image, cv2.COLOR_RGB2BGR)
        jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        return AvatarEntry(avatar_id, avatar, jpeg, idle)

    def _busy(self) -> float:
        """Seconds that the sessions' shared device has worked so far; 0 if there is none."""
        batcher = self._networks.batcher if self._networks else None
        return sum(lane.busy_s for lane in batcher.stats.values()) if batcher else 0.0

    def _warm_up(self) -> None:
        """Run two seconds of silence through a whole pipeline: first calls are slow.

        The second one is timed: it says how many sessions this machine carries.
        """
        assert self._networks is not None
        pipeline = build(self.config, self._networks, self.avatar().avatar, SAMPLE_RATE)
        silence = AudioChunk(np.zeros(SAMPLE_RATE, np.float32), 0, SAMPLE_RATE)
        seconds = device = 0.0
        for _ in range(2):
            start, busy = time.process_time(), self._busy()
            frames = sum(1 for _ in run(pipeline.whole, [silence]))
            seconds, device = time.process_time() - start, self._busy() - busy
            assert frames == FPS
        if not self.config.server.sessions:
            cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
            room = _USABLE * cores / (seconds + _TRANSPORT)
            if device:  # a shared device, measured without batches: with them it carries more
                room = min(room, _USABLE / device)
            self._capacity = max(1, int(room))
        log.info(
            "ready: %.0f ms of look-ahead, %.0f ms of computing a frame, room for %d session(s)",
            float(pipeline.lookahead) * 1000,
            seconds * 1000 / FPS,
            self._capacity,
        )
