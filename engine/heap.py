"""Settings of the C library's heap for a process that runs for days.

glibc gives every thread that allocates a heap of its own, up to eight for each core, and raises its
threshold for giving memory back (mallopt(3)) to the largest block ever freed. Sessions come with
threads and pictures of a megabyte: without this, a server kept 60 MB more after forty sessions than
after the first one, and gave all of it back when told to trim; with it, none.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

_M_TRIM_THRESHOLD = -1
_M_ARENA_MAX = -8
_ARENAS = 2
_TRIM_BYTES = 1 << 20


def keep_small() -> bool:
    """Few heaps, which give back what they do not need. False where this C library has no say.

    Call it before threads are started. ``MALLOC_ARENA_MAX`` and ``MALLOC_TRIM_THRESHOLD_`` in the
    environment are overridden.
    """
    mallopt = _libc("mallopt")
    if mallopt is None:
        return False
    return bool(mallopt(_M_ARENA_MAX, _ARENAS)) and bool(mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES))


def give_back() -> bool:
    """Free pages between used ones too, which freeing alone never gives back: half a millisecond.

    False where this C library has no say (malloc_trim(3)).
    """
    trim = _libc("malloc_trim")
    return trim is not None and bool(trim(0))


def _libc(name: str) -> Any:
    """A function of glibc's heap; None where there is no such."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), name, None)  # musl has none
