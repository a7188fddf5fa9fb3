"""A process of its own for what decodes strangers' bytes, which can do nothing but that.

Decoders of pictures and sound are large C libraries. The child gets bytes and gives back bytes over
pipes; where the system allows it, it has bounded memory and time, can open neither file nor socket,
runs as nobody and gives way to what is live. It is started with the first request, serves one after
the other, and is replaced when it dies or takes too long.

Messages, little-endian: at the start ``u8 length, what could not be taken away``; then requests and
answers, each ``u32 length, bytes``.
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
from collections.abc import Callable
from typing import IO

from engine.errors import EngineError
from engine.priority import give_way

log = logging.getLogger(__name__)

MEMORY = 2 * 2**30
"""Address space of the child."""
REQUESTS = 200
"""After so many the child is replaced: what one left behind in it does not stay for ever."""
_CPU_SECONDS = 10 * REQUESTS
_NOBODY = 65534
_CLONE_NEWNET, _CLONE_NEWUSER = 0x40000000, 0x10000000
_PR_SET_NO_NEW_PRIVS = 38


class ChildFailed(EngineError):
    """The child died over a request, or took too long."""


class Confined:
    """A child that answers requests. Thread-safe; one request at a time.

    Args:
        module: what it runs: a module that calls ``serve``.
        seconds: after which the child is killed and the request fails.
        largest: bytes of the longest answer believed.
    """

    def __init__(self, module: str, seconds: float, largest: int) -> None:
        self._module = module
        self._seconds = seconds
        self._largest = largest
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._served = 0
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The child's, while there is one."""
        return self._child.pid if self._child else None

    def ask(self, request: bytes) -> bytes:
        """The child's answer.

        Raises:
            ChildFailed: it died or took too long; the next request gets a new child.
        """
        with self._lock:
            child = self._running()
            assert child.stdin is not None
            assert child.stdout is not None
            timer = threading.Timer(self._seconds, child.kill)  # ends one that is stopped as well
            timer.start()
            try:
                if not self._served:
                    greet(self._module, child.stdout)
                self._served += 1
                child.stdin.write(struct.pack("<I", len(request)) + request)
                child.stdin.flush()
                (length,) = struct.unpack("<I", _exactly(child.stdout, 4))
                if length > self._largest:
                    raise EOFError("an answer longer than any can be")
                return _exactly(child.stdout, length)
            except (EOFError, OSError) as error:
                self._end()
                self.restarts += 1
                raise ChildFailed(f"{self._module} died or took too long") from error
            finally:
                timer.cancel()

    def close(self) -> None:
        """End the child, whatever it is doing."""
        if child := self._child:
            child.kill()  # whoever waits for it lets go of the lock
        with self._lock:
            self._end()

    def _running(self) -> subprocess.Popen[bytes]:
        worn = self._served >= REQUESTS
        if self._child is None or worn or self._child.poll() is not None:
            self._end()
            self._child = subprocess.Popen(  # noqa: S603 - a module of ours, named by our code
                [sys.executable, "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment(),
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


def greet(name: str, pipe: IO[bytes]) -> None:
    """Read what a child says first, and log what the system could not take away from it."""
    if left := _exactly(pipe, _exactly(pipe, 1)[0]).decode():
        log.warning("%s could not be confined by this system in: %s", name, left)


def environment() -> dict[str, str]:
    """Without the server's secrets; numpy's own threads only cost address space here."""
    kept = ("PATH", "PYTHONPATH", "PYTHONHOME", "SYSTEMROOT", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
    own = {name: os.environ[name] for name in kept if name in os.environ}
    return own | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}


def serve(answer: Callable[[bytes], bytes]) -> None:
    """Be the child: give up all rights and answer until standard input ends.

    Everything ``answer`` imports must be imported before: no file can be opened afterwards.
    """
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    give_way()
    left = ", ".join(_confine()).encode()
    answers.write(struct.pack("<B", len(left)) + left)
    answers.flush()
    while len(head := requests.read(4)) == 4:
        (length,) = struct.unpack("<I", head)
        answered = answer(requests.read(length))
        answers.write(struct.pack("<I", len(answered)) + answered)
        answers.flush()


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    data = pipe.read(count)
    if len(data) < count:
        raise EOFError("the pipe ended")
    return data


def _confine() -> list[str]:
    """Give up what decoding does not need; what this system cannot take away is returned."""
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
        ("time", "RLIMIT_CPU", _CPU_SECONDS),
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
