"""The exception tree. Catch at the level you care about. A message says what, why and what to do.

EngineError
├── ConfigError          unknown key, impossible value
├── MediaError           audio or a file that cannot be used (empty, unreadable, unknown format)
├── PortraitError        a photo that cannot become an avatar; ``reason`` is a stable word
├── StorageError         an avatar cannot be kept: disk full or not writable
├── ArtifactError        a network file is missing, damaged, or made for something else
├── BackendError         a network refused its inputs or failed while running
│   └── BackendUnavailable   a runtime that cannot be used here; ``reason`` is a stable word
└── SessionError
    ├── SessionClosed    used after close
    └── Overloaded       no free session; ``retry_after`` seconds
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of every error meant for a user."""


class ConfigError(EngineError):
    """A configuration key is unknown or its value is impossible."""


class MediaError(EngineError):
    """Audio or a media file cannot be used."""


class PortraitError(EngineError):
    """A photo cannot become an avatar.

    Args:
        reason: stable machine-readable word: ``not_an_image``, ``too_large``, ``no_face``,
            ``several_faces``, ``face_too_small``, ``turned_too_far``, ``bad_shape``,
            ``undecodable``.
        message: one sentence for the person who chose the photo.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class StorageError(EngineError):
    """An avatar cannot be kept: the disk is full or cannot be written."""


class ArtifactError(EngineError):
    """A network file is missing, damaged, or made for something else."""


class BackendError(EngineError):
    """A network refused its inputs or failed while running."""


class BackendUnavailable(BackendError):
    """A runtime cannot be used on this machine.

    Args:
        reason: stable machine-readable word: ``no_gpu``, ``not_installed``, ``too_old``,
            ``no_modules``.
        message: one sentence.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SessionError(EngineError):
    """Base of what can go wrong with one user's session."""


class SessionClosed(SessionError):
    """The session was used after it closed."""


class Overloaded(SessionError):
    """No session is free.

    Args:
        message: one sentence.
        retry_after: seconds after which asking again makes sense.
    """

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after
