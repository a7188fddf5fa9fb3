"""Uploaded photos are decoded in a process of their own, which can do nothing but that.

Image decoders are large C libraries fed with strangers' bytes. The child gets bytes and gives back
pixels over pipes; where the system allows it, it has bounded memory and time, can open neither file
nor socket, and runs as nobody. It is started with the first photo, serves one after the other, and
is replaced when it dies or takes too long.

Messages, little-endian: at the start ``u8 length, what could not be taken away``; request
``u32 length, bytes``; answer ``u8 0, u32 height, u32 width, RGB`` or ``u8 1, u8 length, reason,
u16 length, sentence`` (UTF-8).
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import struct
import subprocess
import sys
import threading
from typing import IO

import numpy as np
from PIL import Image

from engine.errors import PortraitError
from engine.face.picture import DAMAGED, MAX_PIXELS, check_upload, read_upload
from engine.media import UInt8

log = logging.getLogger(__name__)

SECONDS = 10.0
"""A 40-megapixel photo takes about one; what takes ten is made to take long."""
MEMORY = 2 * 2**30
"""Address space of the child. 40 megapixels with transparency need 0.8 GiB."""
PHOTOS = 200
"""After so many the child is replaced: what one left behind in it does not stay for ever."""
CPU_SECONDS = round(PHOTOS * SECONDS)
_NOBODY = 65534
_CLONE_NEWNET, _CLONE_NEWUSER = 0x40000000, 0x10000000
_PR_SET_NO_NEW_PRIVS = 38


class Intake:
    """Decodes photos in a child process. Thread-safe; one photo at a time.

    Args:
        seconds: after which the child is killed and the photo refused.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._served = 0
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The child's, while there is one."""
        return self._child.pid if self._child else None

    def decode(self, photo: bytes) -> UInt8:
        """RGB [H,W,3], upright, of a JPEG, PNG or WebP.

        Raises:
            PortraitError: ``not_an_image``, ``too_large``, ``bad_shape``, or ``undecodable`` when
                the child died over it or took too long.
        """
        check_upload(photo)
        with self._lock:
            child = self._running()
            assert child.stdin is not None
            assert child.stdout is not None
            timer = threading.Timer(self._seconds, child.kill)  # ends one that is stopped as well
            timer.start()
            try:
                if not self._served:
                    _greet(child.stdout)
                self._served += 1
                child.stdin.write(struct.pack("<I", len(photo)) + photo)
                child.stdin.flush()
                return _read_answer(child.stdout)
            except (EOFError, OSError) as error:
                self._end()
                self.restarts += 1
                raise PortraitError(
                    "undecodable",
                    "Reading this photo failed or took too long. Try again, or save the photo "
                    "anew as a JPEG.",
                ) from error
            finally:
                timer.cancel()

    def close(self) -> None:
        """End the child, whatever it is doing."""
        if child := self._child:
            child.kill()  # whoever waits for it lets go of the lock
        with self._lock:
            self._end()

    def _running(self) -> subprocess.Popen[bytes]:
        worn = self._served >= PHOTOS
        if self._child is None or worn or self._child.poll() is not None:
            self._end()
            self._child = subprocess.Popen(
                [sys.executable, "-m", "engine.face.intake"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,  # what a terminal tells the server is not meant for it
            )
            self._served = 0
        return self._child

    def _end(self) -> None:
        if self._child is None:
            return
        self._child.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._child.wait()
        self._child = None


def _environment() -> dict[str, str]:
    """Without the server's secrets; numpy's own threads only cost address space here."""
    kept = ("PATH", "PYTHONPATH", "PYTHONHOME", "SYSTEMROOT", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
    own = {name: os.environ[name] for name in kept if name in os.environ}
    return own | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}


def _greet(pipe: IO[bytes]) -> None:
    if left := _exactly(pipe, _exactly(pipe, 1)[0]).decode():
        log.warning("the photo decoder could not be confined by this system in: %s", left)


def _read_answer(pipe: IO[bytes]) -> UInt8:
    if _exactly(pipe, 1) == b"\0":
        height, width = struct.unpack("<II", _exactly(pipe, 8))
        if not 0 < height * width <= MAX_PIXELS:
            raise EOFError("an answer that no photo has")
        pixels = np.frombuffer(_exactly(pipe, 3 * height * width), np.uint8)
        return pixels.reshape(height, width, 3)
    reason = _exactly(pipe, _exactly(pipe, 1)[0]).decode("utf-8", "replace")
    (length,) = struct.unpack("<H", _exactly(pipe, 2))
    raise PortraitError(reason, _exactly(pipe, length).decode("utf-8", "replace"))


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    data = pipe.read(count)
    if len(data) < count:
        raise EOFError("the pipe ended")
    return data


def _answer(photo: bytes) -> bytes:
    try:
        image = read_upload(photo)
    except PortraitError as error:
        return _refusal(error.reason, str(error))
    except Exception:  # noqa: BLE001 - whatever decoders raise at strangers' bytes, memory included
        return _refusal("not_an_image", DAMAGED)
    return struct.pack("<BII", 0, *image.shape[:2]) + image.tobytes()


def _refusal(reason: str, sentence: str) -> bytes:
    word, text = reason.encode(), sentence.encode()
    return struct.pack("<BB", 1, len(word)) + word + struct.pack("<H", len(text)) + text


def _confine() -> list[str]:
    """Give up what decoding does not need; what this system cannot take away is returned."""
    Image.init()  # every decoder is imported before files are out of reach
    left: list[str] = []
    if sys.platform == "win32":
        return ["memory", "files", "network", "user"]
    import resource

    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        root = os.geteuid() == 0
        if libc.unshare(_CLONE_NEWNET if root else _CLONE_NEWUSER | _CLONE_NEWNET) != 0:
            left.append("network")
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    else:
        left.append("network")
    limits = [
        ("memory", "RLIMIT_AS", MEMORY),
        ("time", "RLIMIT_CPU", CPU_SECONDS),
        ("writing", "RLIMIT_FSIZE", 0),
        ("dumps", "RLIMIT_CORE", 0),
        ("files", "RLIMIT_NOFILE", 3),  # the three that are open: no file or socket can be added
    ]
    for what, name, value in limits:
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (AttributeError, ValueError, OSError):
            left.append(what)
    if os.geteuid() == 0:
        try:
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
        except OSError:
            left.append("user")
    return left


def main() -> None:
    """Serve the pipe on standard input until it ends."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    left = ", ".join(_confine()).encode()
    answers.write(struct.pack("<B", len(left)) + left)
    answers.flush()
    while len(head := requests.read(4)) == 4:
        (length,) = struct.unpack("<I", head)
        answers.write(_answer(requests.read(length)))
        answers.flush()


if __name__ == "__main__":
    main()
