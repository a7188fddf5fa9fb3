"""A complete engine without networks: real sessions over stages that draw a test card.

The mouth opens with the loudness of each frame's sound, and every picture carries its frame number
as 16 black or white squares, so that a receiver can tell exactly which picture it sees.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256

import cv2
import numpy as np
from aiohttp import web

from engine.audio.framer import Framer
from engine.avatars import UNDECLARED, Declared
from engine.errors import Overloaded
from engine.face.picture import read_upload
from engine.media import AudioChunk, Float32, MotionFrame, UInt8, VideoFrame
from engine.metrics import Metrics
from engine.motion.arkit import INDEX, MOTION_SIZE
from engine.motion.condition import EMOTIONS, STYLE, mix
from engine.playout import Playout
from engine.session import Session
from engine.stage import Chain, Stage
from engine.store import Consent

REST = MotionFrame(np.zeros(MOTION_SIZE, np.float32), 0.0, 0)
SIZE = 512
BLOCK = 24
BITS = 16


class Meter:
    """Loudness to ``jawOpen``, released in hops as a windowed network would."""

    def __init__(self, hop: int = 2, ahead: int = 2) -> None:
        self._hop, self._ahead = hop, ahead
        self.reset()

    @property
    def lookahead(self) -> Fraction:
        """As declared by the constructor."""
        return Fraction(self._hop - 1 + self._ahead, 25)

    def reset(self) -> None:
        """Forget the frames held."""
        self._held: list[MotionFrame] = []

    def push(self, item: AudioChunk, /) -> Iterable[MotionFrame]:
        """One 640-sample chunk in, ``hop`` frames out now and then."""
        values = np.zeros(MOTION_SIZE, np.float32)
        level = float(np.sqrt(np.mean(np.square(item.samples))))
        values[INDEX["jawOpen"]] = min(1.0, 5 * level)
        self._held.append(MotionFrame(values, float(level > 0.01), item.pts // 640))
        if len(self._held) < self._hop + self._ahead:
            return []
        ready, self._held = self._held[: self._hop], self._held[self._hop :]
        return ready

    def flush(self) -> Iterable[MotionFrame]:
        """What is held."""
        held, self._held = self._held, []
        return held


def draw(motion: MotionFrame) -> UInt8:
    """A face whose mouth does what the motion says; the frame number on top."""
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[:] = np.linspace(60, 120, SIZE, dtype=np.uint8)[:, None, None]
    cv2.ellipse(image, (256, 280), (150, 190), 0, 0, 360, (224, 180, 150), -1, cv2.LINE_AA)
    for x in (200, 312):
        cv2.circle(image, (x, 230), 16, (40, 40, 60), -1, cv2.LINE_AA)
    opening = 4 + round(60 * float(motion.values[INDEX["jawOpen"]]))
    cv2.ellipse(image, (256, 370), (60, opening), 0, 0, 360, (120, 30, 40), -1, cv2.LINE_AA)
    for bit in range(BITS):
        value = 255 * (motion.pts >> bit & 1)
        image[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = value
    return image


def jpeg(image: UInt8) -> bytes:
    """An RGB picture as a JPEG file."""
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def read_number(image: UInt8) -> int:
    """The frame number drawn into a (decoded, possibly scaled) picture."""
    block = BLOCK * image.shape[1] / SIZE
    centre = round(block / 2)
    columns = [round((bit + 0.5) * block) for bit in range(BITS)]
    bright = image[centre, columns].astype(float).mean(axis=-1) > 128
    return int(sum(1 << bit for bit in range(BITS) if bright[bit]))


class Card:
    """Draws motion."""

    @property
    def lookahead(self) -> Fraction:
        """None."""
        return Fraction(0)

    def push(self, item: MotionFrame, /) -> Iterable[VideoFrame]:
        """One motion frame in, one picture out."""
        return [VideoFrame(draw(item), item, item.pts)]

    def flush(self) -> Iterable[VideoFrame]:
        """Nothing is held."""
        return []

    def reset(self) -> None:
        """Nothing to forget."""


class CardPipeline:
    """Stands for ``engine.pipeline.Pipeline``."""

    resumed_from: Float32 | None = None

    def __init__(self) -> None:
        self._meter = Meter()
        self.motion: Stage[AudioChunk, MotionFrame] = Chain(Framer(48_000), self._meter)
        self.renderer: Stage[MotionFrame, VideoFrame] = Card()

    def hear(self, chunk: AudioChunk) -> list[float]:
        """Loud is speech."""
        level = float(np.sqrt(np.mean(np.square(chunk.samples)))) if len(chunk.samples) else 0.0
        return [float(level > 0.01)] * round(len(chunk.samples) * 25 / chunk.rate)

    def configure(self, emotion: str | None = None, style: str | None = None) -> None:
        """Checks the words as the real one does; a card has no mood."""
        mix(EMOTIONS, emotion or "", 0.0, 1.0)
        mix(STYLE, style or "", -2.0, 2.0)

    def use_steps(self, steps: int) -> None:
        """A card needs none."""

    def restart(self, last: Float32 | None) -> None:
        """Start the next segment afresh."""
        self.motion.reset()
        self.renderer.reset()


@dataclass(frozen=True)
class Entry:
    """One avatar of the card engine."""

    id: str
    picture: bytes
    created: float = 0.0
    name: str = ""
    consent: Consent | None = None


class CardEngine:
    """Behaves as ``engine.app.Engine`` towards the transport."""

    def __init__(self, capacity: int = 2, ready: bool = True) -> None:
        self.metrics = Metrics()
        self.ready = ready
        self.capacity = capacity
        self.avatars = [Entry("default", jpeg(draw(REST)))]
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self.app: web.Application | None = None
        self.created: list[Session] = []
        self.pipelines: list[CardPipeline] = []

    @property
    def sessions(self) -> list[Session]:
        """Open sessions."""
        with self._lock:
            return list(self._sessions.values())

    def avatar(self, avatar_id: str | None = None) -> Entry:
        """By id; KeyError for an unknown one."""
        for entry in self.avatars:
            if entry.id == (avatar_id or "default"):
                return entry
        raise KeyError(avatar_id)

    def picture(self, avatar_id: str) -> bytes:
        """By id; KeyError for an unknown one."""
        return self.avatar(avatar_id).picture

    def add_avatar(self, photo: bytes, declared: Declared = UNDECLARED) -> Entry:
        """Any picture will do; others are refused as the real engine does."""
        read_upload(photo)
        said = declared.statement
        consent = Consent(said, declared.subject, 1.0, sha256(photo).hexdigest()) if said else None
        entry = Entry(secrets.token_urlsafe(8), photo, 1.0, declared.name, consent)
        self.avatars.append(entry)
        return entry

    def remove_avatar(self, avatar_id: str) -> None:
        """Forget an upload."""
        self.avatars.remove(self.avatar(avatar_id))

    def create_session(
        self, avatar_id: str | None = None, name: str = "", last: Float32 | None = None
    ) -> Session:
        """A session over the test card."""
        self.avatar(avatar_id)
        if not self.ready:
            raise Overloaded("starting", 2)
        with self._lock:
            if len(self._sessions) >= self.capacity:
                raise Overloaded("full", 7)
            pipeline = CardPipeline()
            pipeline.resumed_from = last
            session = Session(
                name or secrets.token_urlsafe(12),
                pipeline,  # type: ignore[arg-type]
                Playout(idle=VideoFrame(draw(REST), REST, 0)),
                self.metrics,
                400,
                self._forget,
                start=last,
            )
            self._sessions[session.id] = session
            self.created.append(session)
            self.pipelines.append(pipeline)
        return session

    def close(self) -> None:
        """End every session."""
        for session in self.sessions:
            session.close()

    def _forget(self, session: Session) -> None:
        with self._lock:
            self._sessions.pop(session.id, None)
