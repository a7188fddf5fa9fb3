"""Prepared avatars on disk: one folder each, written whole or not at all, never pickle.

::

    <data>/avatars/<id>/entry.json     format, when, name, consent, digests of the two below
    <data>/avatars/<id>/avatar.npz     what the renderer binds (engine.render.avatar)
    <data>/avatars/<id>/picture.jpg    the prepared 512 x 512 portrait; the photo itself is not kept
    <data>/avatars/.salt               makes ids unguessable to those who have the photo

A folder is built under a name that starts with a dot and renamed when it is complete, so a crash or
a full disk leaves no half avatar; what such a crash left is cleared at the next start.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.errors import ArtifactError, StorageError
from engine.render.avatar import Avatar

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "VIVACE_DATA"
FORMAT = 1
PREPARATION = 2
"""Raised whenever the same photo would be prepared differently: older entries are not offered."""
_ID = re.compile(r"[0-9a-z]{32}")
_ENTRY, _AVATAR, _PICTURE, _SALT = "entry.json", "avatar.npz", "picture.jpg", ".salt"
_ABANDONED_SECONDS = 3600.0
"""What is being built for longer, nobody builds: another server may share the folder."""
_MAX_ENTRY_BYTES = 64 * 1024
_MAX_FILE_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Consent:
    """What the person who uploaded a photo declared.

    Args:
        statement: in their own or the page's words.
        subject: who declares it, free text; may be empty.
        given: seconds since 1970.
        photo_sha256: hex, of the uploaded bytes: shows which photo was meant without keeping it.
    """

    statement: str
    subject: str
    given: float
    photo_sha256: str


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a stored avatar without loading it.

    Args:
        id: unguessable word, also its folder's name.
        created: seconds since 1970.
        name: free text, may be empty.
        consent: what was declared at upload.
        digest: of the avatar's arrays (``Avatar.digest``).
        picture_sha256: hex, of the picture.
        size: bytes on disk.
    """

    id: str
    created: float
    name: str
    consent: Consent | None
    digest: str
    picture_sha256: str
    size: int


def data_folder(configured: str = "") -> Path:
    """The configured folder, else ``$VIVACE_DATA``, else ``vivace`` in the user's data folder."""
    if chosen := configured or os.environ.get(FOLDER_VARIABLE):
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:  # XDG Base Directory Specification 0.8
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "vivace"


def make_private(folder: Path) -> None:
    """Create a folder that only its owner can look into.

    Raises:
        StorageError: it cannot be created.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(_sentence(error)) from error


def write_private(path: Path, content: bytes) -> None:
    """Write a new file, readable by its owner only, down to the disk.

    Raises:
        OSError: as the system says.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


class AvatarStore:
    """Avatars in a folder. Thread-safe; another process's show after a restart.

    The lock is never held while large files are read, written or deleted: the event loop asks for
    ``records``.

    Args:
        folder: created with the first avatar.
        most: avatars kept at once.
        most_bytes: that they may take together; the one not used for longest goes first.
        now: seconds since 1970.
    """

    def __init__(self, folder: Path, most: int, most_bytes: int, now: Callable[[], float]) -> None:
        self._folder = folder
        self._most, self._most_bytes = most, most_bytes
        self._now = now
        self._lock = threading.RLock()
        self._records: dict[str, Record] = {}
        """Least recently used first."""
        self.evicted = 0
        self.damaged = 0
        self._scan()

    @property
    def records(self) -> list[Record]:
        """All of them, oldest first."""
        with self._lock:
            return sorted(self._records.values(), key=lambda record: (record.created, record.id))

    @property
    def size(self) -> int:
        """Bytes that they take on disk."""
        with self._lock:
            return sum(record.size for record in self._records.values())

    def identify(self, photo: bytes) -> str:
        """The id that this photo's avatar has here: the same photo is prepared once.

        Raises:
            StorageError: the salt cannot be written.
        """
        content = PREPARATION.to_bytes(4, "little") + photo
        return hashlib.blake2b(content, digest_size=16, key=self._salt()).hexdigest()

    def record(self, avatar_id: str) -> Record:
        """One of them.

        Raises:
            KeyError: unknown id.
        """
        with self._lock:
            return self._records[avatar_id]

    def add(
        self, avatar_id: str, avatar: Avatar, picture: bytes, consent: Consent | None, name: str
    ) -> Record:
        """Keep an avatar; forgets the least recently used ones to make room.

        Raises:
            StorageError: the disk is full or cannot be written; nothing is left of the attempt.
        """
        make_private(self._folder)
        building = self._folder / f".{avatar_id}.{secrets.token_hex(4)}"
        try:
            building.mkdir(mode=0o700)
            avatar.save(building / _AVATAR)
            write_private(building / _PICTURE, picture)
            size = len(picture) + (building / _AVATAR).stat().st_size
            digest = hashlib.sha256(picture).hexdigest()
            record = Record(avatar_id, self._now(), name, consent, avatar.digest, digest, size)
            write_private(building / _ENTRY, _written(record))
            with self._lock:
                shutil.rmtree(self._folder / avatar_id, ignore_errors=True)
                building.rename(self._folder / avatar_id)
                self._records.pop(avatar_id, None)
                self._records[avatar_id] = record
        except OSError as error:
            shutil.rmtree(building, ignore_errors=True)
            raise StorageError(_sentence(error)) from error
        self.use(avatar_id)
        self._make_room(avatar_id)
        return record

    def declare(self, avatar_id: str, consent: Consent) -> Record:
        """Add what was declared later to an avatar stored without. A declaration is never replaced.

        Raises:
            KeyError: unknown id.
            StorageError: the disk is full or cannot be written.
        """
        with self._lock:
            old = self._records[avatar_id]
            if old.consent is not None:
                return old
            values = {name: getattr(old, name) for name in Record.__slots__}
            record = Record(**{**values, "consent": consent})
            path = self._folder / avatar_id / f".{_ENTRY}"
            try:
                write_private(path, _written(record))
                path.replace(self._folder / avatar_id / _ENTRY)
            except OSError as error:
                path.unlink(missing_ok=True)
                raise StorageError(_sentence(error)) from error
            self._records[avatar_id] = record
            return record

    def use(self, avatar_id: str) -> None:
        """Note that somebody wants this avatar: it is the last one now to make room.

        Raises:
            KeyError: unknown id.
        """
        with self._lock:
            self._records[avatar_id] = self._records.pop(avatar_id)
        try:
            os.utime(self._folder / avatar_id, (self._now(), self._now()))
        except OSError:  # only the order after a restart suffers
            log.debug("the time of use of avatar %s cannot be kept", avatar_id[:6])

    def load(self, avatar_id: str) -> Avatar:
        """What the renderer binds.

        Raises:
            KeyError: unknown id, or its file turned out to be damaged: it is removed then.
        """
        record = self.record(avatar_id)
        try:
            avatar = _read_avatar(self._folder / avatar_id / _AVATAR)
            if avatar.digest != record.digest:
                raise ArtifactError("its content is not what was written")
        except (ArtifactError, OSError) as error:
            self._discard(record, str(error))
            raise KeyError(avatar_id) from error
        return avatar

    def picture(self, avatar_id: str) -> bytes:
        """The prepared portrait as JPEG.

        Raises:
            KeyError: unknown id, or its file turned out to be damaged: it is removed then.
        """
        record = self.record(avatar_id)
        try:
            picture = _read(self._folder / avatar_id / _PICTURE)
            if hashlib.sha256(picture).hexdigest() != record.picture_sha256:
                raise ArtifactError("its picture is not what was written")
        except (ArtifactError, OSError) as error:
            self._discard(record, str(error))
            raise KeyError(avatar_id) from error
        return picture

    def remove(self, avatar_id: str) -> None:
        """Delete everything kept of an avatar.

        Raises:
            KeyError: unknown id.
            StorageError: a file cannot be deleted; the avatar is not offered any more all the same.
        """
        with self._lock:
            del self._records[avatar_id]
            try:
                gone = self._set_aside(avatar_id)
            except OSError as error:
                raise StorageError(_sentence(error)) from error
        try:
            shutil.rmtree(gone)
        except OSError as error:
            raise StorageError(_sentence(error)) from error

    def _set_aside(self, avatar_id: str) -> Path:
        """Rename a folder so that nobody finds it, before it is deleted at leisure.

        What a crash leaves of it is cleared at a later start, not offered.
        """
        gone = self._folder / f".{avatar_id}.{secrets.token_hex(4)}"
        (self._folder / avatar_id).rename(gone)
        return gone

    def _discard(self, record: Record, why: str) -> None:
        with self._lock:
            if self._records.get(record.id) is not record:
                return  # removed or replaced while it was read
            del self._records[record.id]
            self._drop_damaged(record.id, why)

    def _drop_damaged(self, avatar_id: str, why: str) -> None:
        log.warning("stored avatar %s is damaged and removed: %s", avatar_id[:6], why)
        self.damaged += 1
        shutil.rmtree(self._folder / avatar_id, ignore_errors=True)

    def _make_room(self, keep: str) -> None:
        while (oldest := self._excess(keep)) is not None:
            shutil.rmtree(oldest, ignore_errors=True)

    def _excess(self, keep: str) -> Path | None:
        """The folder of the least recently used avatar, set aside, if there are too many."""
        with self._lock:
            if len(self._records) <= self._most and self.size <= self._most_bytes:
                return None
            oldest = next((known for known in self._records if known != keep), None)
            if oldest is None:
                return None
            del self._records[oldest]
            self.evicted += 1
            log.info("stored avatar %s makes room for another", oldest[:6])
            try:
                return self._set_aside(oldest)
            except OSError:
                return self._folder / oldest

    def _salt(self) -> bytes:
        path = self._folder / _SALT
        with self._lock:
            try:
                if path.is_file() and len(salt := path.read_bytes()) == 32:
                    return salt
                make_private(self._folder)
                write_private(path, salt := secrets.token_bytes(32))
            except OSError as error:
                raise StorageError(_sentence(error)) from error
        return salt

    def _scan(self) -> None:
        found: list[tuple[float, Record]] = []
        if not self._folder.is_dir():
            return
        for path in self._folder.iterdir():
            if path.name.startswith(".") and path.is_dir() and not path.is_symlink():
                if path.stat().st_mtime < self._now() - _ABANDONED_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)  # a crash left it
            elif _ID.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                try:
                    found.append((path.stat().st_mtime, _read_record(path)))
                except (ArtifactError, OSError) as error:
                    self._drop_damaged(path.name, str(error))
            elif path.name != _SALT:
                log.warning("'%s' among the avatars is none and is left alone", path.name)
        self._records = {record.id: record for _, record in sorted(found, key=lambda one: one[0])}


def _written(record: Record) -> bytes:
    return json.dumps(
        {"format": FORMAT, "preparation": PREPARATION, **asdict(record)}, indent=1
    ).encode()


def _read(path: Path, limit: int = _MAX_FILE_BYTES) -> bytes:
    if path.stat().st_size > limit:
        raise ArtifactError(f"{path.name} is larger than anything written here")
    return path.read_bytes()


def _read_record(folder: Path) -> Record:
    try:
        content = json.loads(_read(folder / _ENTRY, _MAX_ENTRY_BYTES))
        known = (content.pop("format"), content.pop("preparation"))
        consent = content.pop("consent")
        record = Record(**content, consent=consent and Consent(**consent))
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(f"{_ENTRY} cannot be understood") from error
    if known != (FORMAT, PREPARATION):
        raise ArtifactError(f"it was prepared by another version ({known[0]}.{known[1]})")
    texts = (record.name, record.digest, record.picture_sha256)
    numbers = (record.created, record.size)
    if (
        record.id != folder.name
        or not all(isinstance(text, str) for text in texts)
        or not all(isinstance(number, int | float) for number in numbers)
    ):
        raise ArtifactError(f"{_ENTRY} does not belong here")
    for name in (_AVATAR, _PICTURE):
        if not (folder / name).is_file():
            raise ArtifactError(f"{name} is missing")
    return record


def _read_avatar(path: Path) -> Avatar:
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise ArtifactError(f"{path.name} is larger than anything written here")
    return Avatar.load(path)


def _sentence(error: OSError) -> str:
    return (
        f"The avatar cannot be stored: {error.strerror or error}. Free some space, or choose "
        "another folder with server.data."
    )
