"""The portraits that come with the engine: shown at once, prepared when one is first wanted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from engine.errors import StorageError
from engine.face.picture import read_picture
from engine.face.portrait import SIZE
from engine.media import UInt8
from engine.render.avatar import Avatar
from engine.store import AvatarStore, Record

log = logging.getLogger(__name__)

Prepare = Callable[[Path], tuple[Avatar, bytes]]
"""A photo file to its avatar and its picture as JPEG: seconds of computing."""


def to_jpeg(image: UInt8) -> bytes:
    """An RGB picture [H,W,3] as a JPEG file."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


class Gallery:
    """Avatars with names, that nobody uploaded and nobody can delete. Thread-safe.

    Args:
        portraits: files by name.
        store: where they are kept once prepared, and nothing else.
    """

    def __init__(self, portraits: Mapping[str, Path], store: AvatarStore) -> None:
        self._portraits = portraits
        self._store = store
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._portraits

    @property
    def records(self) -> list[Record]:
        """What is known of them without preparing any."""
        return [
            Record(name, 0.0, name.capitalize(), None, "", "", path.stat().st_size)
            for name, path in self._portraits.items()
        ]

    def picture(self, name: str) -> bytes:
        """The portrait as JPEG, 512 x 512, as it came: it is framed as its avatar will be.

        Raises:
            KeyError: unknown name.
        """
        image = read_picture(self._portraits[name])
        return to_jpeg(np.asarray(cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)))

    def load(self, name: str, prepare: Prepare) -> Avatar:
        """What the renderer binds.

        Args:
            name: one of them.
            prepare: called if it never was on this machine.

        Raises:
            KeyError: unknown name.
        """
        path = self._portraits[name]
        with self._lock:  # who wants the same one meanwhile finds it prepared
            try:
                return self._kept(name, path, prepare)
            except StorageError as error:
                log.warning("the avatar '%s' is not kept prepared: %s", name, error)
                return prepare(path)[0]

    def _kept(self, name: str, path: Path, prepare: Prepare) -> Avatar:
        key = self._store.identify(path.read_bytes())
        try:
            self._store.use(key)
            return self._store.load(key)
        except KeyError:
            avatar, picture = prepare(path)
            self._store.add(key, avatar, picture, None, name)
            return avatar
