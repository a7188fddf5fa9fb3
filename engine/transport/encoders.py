"""Threads that encode, and nothing else does: apart from the event loop's own executor.

aiortc encodes in the loop's default executor, where file reads, name look-ups and everybody's
``asyncio.to_thread`` queue as well. Sound has threads apart from pictures: 0.4 ms of Opus must not
wait for 30 ms of somebody's video. The pool is the process's, as the hooks are; a server that ends
closes it, and whoever encodes after that gets a new one.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_THREADS = {"audio": 2, "video": max(2, os.cpu_count() or 2)}


class EncoderPool:
    """Bounded threads, named ``encode-audio_N`` and ``encode-video_N``. Thread-safe.

    Args:
        threads: most threads for each kind of media.
    """

    def __init__(self, threads: dict[str, int] | None = None) -> None:
        self._threads = dict(_THREADS if threads is None else threads)
        self._lock = threading.Lock()
        self._executors: dict[str, ThreadPoolExecutor] = {}

    async def run(
        self, kind: str, waited: Callable[[float], None], work: Callable[..., T], *args: Any
    ) -> T:
        """Do ``work`` in a thread for ``kind``; ``waited`` is told the seconds until it began."""
        asked = time.perf_counter()

        def begin() -> T:
            waited(time.perf_counter() - asked)
            return work(*args)

        with self._lock:
            if kind not in self._executors:
                self._executors[kind] = ThreadPoolExecutor(
                    self._threads[kind], thread_name_prefix=f"encode-{kind}"
                )
            future = self._executors[kind].submit(begin)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let what runs finish, drop what waits, end the threads. The pool may be used again."""
        with self._lock:
            executors, self._executors = self._executors, {}
        for executor in executors.values():
            executor.shutdown(wait=True, cancel_futures=True)


POOL = EncoderPool()
"""The process's encoder threads."""
