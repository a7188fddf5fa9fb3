"""Avatars of an engine: the default one, the gallery's, and uploaded photos, each prepared once."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ConfigError
from engine.face.analysis import FaceAnalyser
from engine.face.portrait import prepare_portrait
from engine.gallery import Gallery, to_jpeg
from engine.media import MotionFrame, UInt8, VideoFrame
from engine.motion.arkit import MOTION_SIZE
from engine.portraits import own_portraits
from engine.render.avatar import Avatar
from engine.stage import Stage, run
from engine.store import AvatarStore, Consent, Record

DEFAULT_AVATAR = "default"
AVATAR_SUFFIX = ".npz"
_LOADED = 8
"""Avatars held in memory beside the default one, 20 MB each."""


@dataclass(frozen=True, slots=True, eq=False)
class AvatarEntry:
    """An avatar ready to be used.

    Args:
        id: ``default``, a name of the gallery, or an unguessable word.
        avatar: what the renderer binds; shared between sessions, read-only.
        idle: a rendered resting frame, shown before the first one of a session.
    """

    id: str
    avatar: Avatar
    idle: VideoFrame


@dataclass(frozen=True, slots=True)
class Declared:
    """What comes with an upload.

    Args:
        statement: consent, in words; empty when none was given.
        subject: who declares it, free text.
        name: of the avatar, free text.
    """

    statement: str = ""
    subject: str = ""
    name: str = ""


UNDECLARED = Declared()


def default_portrait() -> Path:
    """The portrait shipped with the engine."""
    return own_portraits()[DEFAULT_AVATAR]


def open_avatar(source: Path | NDArray[Any], analyser: FaceAnalyser) -> tuple[Avatar, UInt8]:
    """An avatar and the portrait that it moves, uint8 [512,512,3].

    Args:
        source: a photo (path or RGB array), or the path of an avatar file (``Avatar.save``, .npz).
        analyser: the face networks.

    Raises:
        PortraitError: the photo cannot become an avatar.
        ArtifactError: the avatar file cannot be used.
    """
    if isinstance(source, Path) and source.suffix == AVATAR_SUFFIX:
        avatar = Avatar.load(source)
        person, background = (avatar.arrays[name][0] for name in ("person", "background"))
        picture = (person[:3] + (1 - person[3:]) * background).transpose(1, 2, 0)
        return avatar, np.clip(picture + 0.5, 0, 255).astype(np.uint8)
    portrait = prepare_portrait(source, analyser)
    return Avatar.from_portrait(portrait), portrait.image


class Avatars:
    """The default avatar, the gallery's and the uploaded ones. Thread-safe.

    Args:
        draw: the stages from an avatar's motion to its marked pictures.
        analyser: the face networks.
        portrait: photo, or avatar file, of the default avatar.
        store: where uploads are kept.
        gallery: those that come with the engine beside the default one.
        decode: bytes that somebody uploaded to an RGB picture (engine.face.intake).
        now: seconds since 1970.

    Raises:
        ConfigError: there is no such portrait.
        PortraitError: it cannot become an avatar.
        ArtifactError: it is an avatar file that cannot be used.
    """

    def __init__(
        self,
        draw: Callable[[Avatar], Stage[MotionFrame, VideoFrame]],
        analyser: FaceAnalyser,
        portrait: Path,
        store: AvatarStore,
        gallery: Gallery,
        decode: Callable[[bytes], UInt8],
        now: Callable[[], float],
    ) -> None:
        self._draw = draw
        self._analyser = analyser
        self._store = store
        self._gallery = gallery
        self._decode = decode
        self._now = now
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, AvatarEntry] = OrderedDict()
        if not portrait.is_file():
            raise ConfigError(f"there is no portrait at {portrait}")
        avatar, self._picture = self._prepare(portrait)
        self._default = self._entry(DEFAULT_AVATAR, avatar)

    @property
    def records(self) -> list[Record]:
        """What is known of the default avatar, the gallery's, and uploaded ones, oldest first."""
        digest = hashlib.sha256(self._picture).hexdigest()
        shape = self._default.avatar.digest
        own = Record(DEFAULT_AVATAR, 0.0, "", None, shape, digest, len(self._picture))
        return [own, *self._gallery.records, *self._store.records]

    def get(self, avatar_id: str | None = None) -> AvatarEntry:
        """An avatar by id; the default without one. Reads it from disk if it is not in memory.

        The first time on a machine, one of the gallery is prepared: seconds of computing.

        Raises:
            KeyError: unknown id.
        """
        if avatar_id in (None, DEFAULT_AVATAR):
            return self._default
        wanted = str(avatar_id)
        offered = wanted in self._gallery
        if not offered:
            self._store.use(wanted)
        with self._lock:
            if entry := self._loaded.get(wanted):
                self._loaded.move_to_end(wanted)
                return entry
        avatar = self._gallery.load(wanted, self._prepare) if offered else self._store.load(wanted)
        return self._hold(self._entry(wanted, avatar))

    def picture(self, avatar_id: str) -> bytes:
        """The prepared portrait as JPEG.

        Raises:
            KeyError: unknown id.
        """
        if avatar_id == DEFAULT_AVATAR:
            return self._picture
        kept = self._gallery if avatar_id in self._gallery else self._store
        return kept.picture(avatar_id)

    def add(self, photo: bytes, declared: Declared) -> Record:
        """Prepare an uploaded photo (seconds of computing), or find it prepared already.

        Raises:
            PortraitError: when it cannot become an avatar.
            StorageError: the disk is full or cannot be written.
        """
        consent = self._consent(photo, declared)
        avatar_id = self._store.identify(photo)
        try:
            known = self._store.record(avatar_id)
            return self._store.declare(avatar_id, consent) if consent else known
        except KeyError:
            avatar, picture = self._prepare(self._decode(photo))
        record = self._store.add(avatar_id, avatar, picture, consent, declared.name)
        self._hold(self._entry(avatar_id, avatar))
        return record

    def remove(self, avatar_id: str) -> None:
        """Delete an uploaded avatar and all that is kept of it; open sessions keep what they show.

        Raises:
            KeyError: unknown id.
            StorageError: a file cannot be deleted.
        """
        with self._lock:
            self._loaded.pop(avatar_id, None)
        self._store.remove(avatar_id)

    def _consent(self, photo: bytes, declared: Declared) -> Consent | None:
        if not declared.statement:
            return None
        digest = hashlib.sha256(photo).hexdigest()
        return Consent(declared.statement, declared.subject, self._now(), digest)

    def _hold(self, entry: AvatarEntry) -> AvatarEntry:
        with self._lock:
            self._loaded[entry.id] = entry
            while len(self._loaded) > _LOADED:
                self._loaded.popitem(last=False)
        return entry

    def _entry(self, avatar_id: str, avatar: Avatar) -> AvatarEntry:
        rest = MotionFrame(np.zeros(MOTION_SIZE, np.float32), 0.0, 0)
        idle = next(iter(run(self._draw(avatar), [rest])))
        return AvatarEntry(avatar_id, avatar, idle)

    def _prepare(self, source: Path | NDArray[Any]) -> tuple[Avatar, bytes]:
        avatar, picture = open_avatar(source, self._analyser)
        return avatar, to_jpeg(picture)
