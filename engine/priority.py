"""Work that may wait gives way to sessions that may not."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

NICENESS = 5
"""A quarter of the processor time where a normal thread wants the rest (sched(7)): enough for what
has a time limit."""


def give_way() -> None:
    """Lower the calling thread's priority for good; nothing where threads have none of their own.

    On Linux a thread has its own niceness (setpriority(2), "C library/kernel differences").
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            thread = threading.get_native_id()
            lowered = max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread))
            os.setpriority(os.PRIO_PROCESS, thread, lowered)
