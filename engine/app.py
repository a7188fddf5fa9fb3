"""The engine: networks loaded once, avatars, sessions. Transports and programs talk to this."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import threading
import time
from dataclasses import replace

import numpy as np

from engine.avatars import (
    DEFAULT_AVATAR,
    UNDECLARED,
    AvatarEntry,
    Avatars,
    Declared,
    default_portrait,
)
from engine.config import EngineConfig
from engine.errors import Overloaded
from engine.face.analysis import FaceAnalyser
from engine.face.intake import Intake
from engine.gallery import Gallery
from engine.media import FPS, SAMPLE_RATE, AudioChunk, Float32
from engine.metrics import Metrics
from engine.motion.arkit import MOTION_SIZE
from engine.motion.settle import closing
from engine.pipeline import Networks, build, load_networks, make_picture_stages
from engine.playout import SLOT_SECONDS, Playout
from engine.portraits import find_portrait, own_portraits
from engine.session import Session
from engine.stage import chain, run
from engine.store import AvatarStore, Record, data_folder

log = logging.getLogger(__name__)

_RETRY_SECONDS = 10
_USABLE = 0.8
"""Share of the machine that sessions may fill: beyond it frames come late."""
_TRANSPORT = 0.25
"""Cores that encoding and sending one session take (research/webrtc.md: 22 to 29 % of one)."""


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
        self._avatars: Avatars | None = None
        self._intake = Intake()
        self._networks: Networks | None = None
        self._capacity = max(1, config.server.sessions)

    def start(self) -> None:
        """Load the networks, prepare the default avatar, run everything once.

        Raises:
            EngineError: when a network or the portrait cannot be used.
        """
        self._networks = load_networks(self.config, self.metrics.chose)
        if self._networks.batcher is not None:
            self.metrics.observe(self._networks.batcher)
        server = self.config.server
        folder = data_folder(server.data) / "avatars"
        store = AvatarStore(folder, server.avatars, server.avatars_mb * 10**6, time.time)
        self.metrics.observe_avatars(store)
        portrait = self.config.render.portrait
        others = {name: file for name, file in own_portraits().items() if name != DEFAULT_AVATAR}
        prepared = AvatarStore(folder.with_name("gallery"), len(others), sys.maxsize, time.time)
        networks = self._networks
        self._avatars = Avatars(
            lambda avatar: chain(*make_picture_stages(self.config, networks, avatar).values()),
            FaceAnalyser(),
            find_portrait(portrait) if portrait else default_portrait(),
            store,
            Gallery(others, prepared),
            self._intake.decode,
            time.time,
        )
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
    def avatars(self) -> list[Record]:
        """What is known of the default avatar and the uploaded ones, oldest first."""
        return self._avatars.records if self._avatars else []

    def avatar(self, avatar_id: str | None = None) -> AvatarEntry:
        """An avatar ready to be used; the default without an id.

        Raises:
            KeyError: unknown id.
        """
        if self._avatars is None:
            raise KeyError(avatar_id)
        return self._avatars.get(avatar_id)

    def picture(self, avatar_id: str) -> bytes:
        """An avatar's prepared portrait as JPEG.

        Raises:
            KeyError: unknown id.
        """
        if self._avatars is None:
            raise KeyError(avatar_id)
        return self._avatars.picture(avatar_id)

    def add_avatar(self, photo: bytes, declared: Declared = UNDECLARED) -> Record:
        """Prepare an uploaded photo (seconds of computing: call from a thread).

        Raises:
            PortraitError: when it cannot become an avatar.
            StorageError: the disk is full or cannot be written.
        """
        assert self._avatars is not None
        return self._avatars.add(photo, declared)

    def remove_avatar(self, avatar_id: str) -> None:
        """Delete an uploaded avatar; open sessions keep what they show.

        Raises:
            KeyError: unknown id.
            StorageError: a file cannot be deleted.
        """
        if self._avatars is None:
            raise KeyError(avatar_id)
        self._avatars.remove(avatar_id)

    def create_session(
        self, avatar_id: str | None = None, name: str = "", last: Float32 | None = None
    ) -> Session:
        """Open a session.

        Args:
            avatar_id: who is shown; None is the default avatar.
            name: the session's id; empty makes an unguessable one.
            last: motion to go on from, float32 [58]; None starts at rest.

        Raises:
            Overloaded: when all places are taken or the engine is not ready.
            KeyError: unknown avatar.
        """
        networks = self._networks
        if not self.ready or networks is None:
            raise Overloaded("The engine is still starting; try again in a moment.", 2)
        entry = self.avatar(avatar_id)
        pipeline = build(self.config, networks, entry.avatar, metrics=self.metrics)
        # From the resting picture, which is shown first, without a jump.
        start = None if last is None else closing(last, 1.0)
        pipeline.begin(np.zeros(MOTION_SIZE, np.float32) if start is None else start)
        preroll = max(1, round(self.config.server.preroll_ms / 1000 / SLOT_SECONDS))
        playout = Playout(preroll=preroll, idle=entry.idle)
        with self._lock:
            if len(self._sessions) >= self.capacity:
                raise Overloaded(
                    f"All {self.capacity} places are taken; try again shortly.", _RETRY_SECONDS
                )
            session = Session(
                name or secrets.token_urlsafe(12),
                pipeline,
                playout,
                self.metrics,
                self.config.audio.inbox_ms,
                self._forget,
                start=start,
                steps=self.config.motion.steps,
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
        self._intake.close()
        if self._networks is not None:
            self._networks.close()

    def _forget(self, session: Session) -> None:
        with self._lock:
            self._sessions.pop(session.id, None)
            self.metrics.sessions.set(len(self._sessions))

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
