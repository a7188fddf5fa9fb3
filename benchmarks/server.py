"""The engine's server in a process of its own, with what it uses and what it counts.

with Server(["server.sessions=1"]) as server:
    requests to server.url; server.scrape(); server.usage()
"""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import psutil

READY_S = 120.0
"""A cold start takes three seconds; a machine busy with other things takes longer."""
_STOP_S = 20.0
_LINES = 400
_ADDRESS = re.compile(r" open (https?://\S+)")


class Unreachable(RuntimeError):
    """The server, or who should speak to it, did not come up; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and all its descendants hold.

    Args:
        rss_mb: resident memory in MiB; pages shared between the processes count in each.
        pss_mb: the same, shared pages divided by those who share them.
        threads: threads.
        fds: open file descriptors.
        processes: how many processes.
        cpu_s: CPU seconds spent so far by those that live.
    """

    rss_mb: float
    pss_mb: float
    threads: int
    fds: int
    processes: int
    cpu_s: float


def usage(pid: int) -> Usage:
    """What a process and its descendants hold now; those that end meanwhile are left out.

    Raises:
        psutil.NoSuchProcess: there is no process ``pid``.
    """
    root = psutil.Process(pid)
    rows = []
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess), process.oneshot():
            memory, times = process.memory_full_info(), process.cpu_times()
            rows.append(
                (memory.rss, getattr(memory, "pss", memory.uss), process.num_threads(),
                 process.num_fds(), times.user + times.system)
            )  # fmt: skip
    if not rows:
        raise psutil.NoSuchProcess(pid)
    rss, pss, threads, fds, cpu = (sum(column) for column in zip(*rows, strict=True))
    return Usage(rss / 2**20, pss / 2**20, int(threads), int(fds), len(rows), float(cpu))


class Server:
    """``python -m engine.serve`` on a free port of this machine; ready when this returns.

    Args:
        settings: ``--set`` of the command line.
        seconds: how long it may take to be ready.
        environment: variables added to this process's own.
        arguments: further words of the command line.

    Raises:
        Unreachable: it ended or was not ready in time.
    """

    def __init__(
        self,
        settings: Sequence[str] = (),
        seconds: float = READY_S,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        line = [sys.executable, "-m", "engine.serve", "--port", "0", *arguments]
        for setting in settings:
            line += ["--set", setting]
        started = time.monotonic()
        self._process = subprocess.Popen(
            line, stderr=subprocess.PIPE, text=True, errors="replace",
            env=os.environ | dict(environment or {}),
            # Ctrl-C is for whoever started this; the server is told to end by ``close``.
            process_group=0,
        )  # fmt: skip
        self._said: deque[str] = deque(maxlen=_LINES)
        self._address = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self._wait(started + seconds)
        except BaseException:
            self.close()
            raise
        self.start_s = time.monotonic() - started
        """Seconds from its first instruction to ready."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return self._address

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    @property
    def said(self) -> list[str]:
        """The last lines of its log, oldest first."""
        return list(self._said)

    def usage(self) -> Usage:
        """What it and the processes it started hold; see ``usage``."""
        return usage(self.pid)

    def scrape(self) -> dict[str, float]:
        """Its metrics, by name with labels as Prometheus writes them.

        Raises:
            OSError: it does not answer.
        """
        status, text = self.get("/metrics")
        if status != 200:
            raise OSError(f"/metrics answered {status}")
        found = {}
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            if name.startswith(("avatar_", "process_")):
                found[name] = float(value)
        return found

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a request without a token.

        Raises:
            OSError: it does not answer.
        """
        connection = http.client.HTTPConnection(urlsplit(self._address).netloc, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except http.client.HTTPException as error:
            raise OSError(f"{path} was not answered: {error!r}") from error
        finally:
            connection.close()

    def close(self) -> float:
        """Ask it to end and wait; what does not end is killed. Returns the seconds it took."""
        started = time.monotonic()
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        took = time.monotonic() - started
        self._reader.join(_STOP_S)
        assert self._process.stderr is not None
        if not self._reader.is_alive():
            self._process.stderr.close()
        return took

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said.append(line.rstrip())
            if (found := _ADDRESS.search(line)) and not self._address:
                self._address = found[1].rstrip("/")

    def _wait(self, end: float) -> None:
        while not (self._address and self._ready()):
            if self._process.poll() is not None:
                self._reader.join(_STOP_S)
                raise Unreachable(f"the server ended: {' / '.join(self.said[-3:])}")
            if time.monotonic() > end:
                raise Unreachable(f"the server was not ready in time: {' / '.join(self.said[-3:])}")
            time.sleep(0.2)

    def _ready(self) -> bool:
        with suppress(OSError):
            return self.get("/readyz")[0] == 200
        return False
