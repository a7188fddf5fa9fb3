"""Photos of strangers are worked on after whatever is live."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.face.intake import Intake
from engine.priority import NICENESS, give_way
from tests.badinputs.images import face, saved

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads have no niceness")


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_a_thread_gives_way_and_the_others_do_not() -> None:
    own = niceness()
    with ThreadPoolExecutor(1, initializer=give_way) as pool:
        assert pool.submit(niceness).result() == max(own, NICENESS)
    assert niceness() == own


def test_the_process_that_reads_photos_gives_way() -> None:
    intake = Intake()
    intake.decode(saved(face().resize((64, 64)), "PNG"))
    assert intake.pid is not None
    assert os.getpriority(os.PRIO_PROCESS, intake.pid) >= NICENESS
    intake.close()
