"""The heap of a server that runs for days."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from engine.heap import keep_small
if sys.argv[1] == "small":
    assert keep_small()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
# A block this large, once freed, makes the C library keep up to twice as much.
del (large := [bytearray(24 << 20)])[:]
before = resident()
pictures = [bytearray(1 << 20) for _ in range(40)]
assert resident() - before > 30_000_000
del pictures
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc")
def test_memory_of_pictures_that_are_gone_is_given_back() -> None:
    def grown(how: str) -> int:
        line = [sys.executable, "-c", PROGRAM, how]
        return int(subprocess.run(line, capture_output=True, text=True, check=True).stdout)

    assert grown("small") < 3_000_000
    assert grown("as it comes") > 20_000_000, "then this module is not needed any more"


FRAGMENTS = """
import ctypes, sys
from engine.heap import give_back, keep_small
keep_small()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
before = resident()
# Used blocks between free ones: the top of the heap, which alone is trimmed, never gets free.
blocks = [bytearray(60_000) for _ in range(1000)]
kept = blocks[99::100]
del blocks
if sys.argv[1] == "asked":
    assert give_back()
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc")
def test_what_is_free_between_used_blocks_is_given_back_when_asked() -> None:
    def grown(how: str) -> int:
        line = [sys.executable, "-c", FRAGMENTS, how]
        return int(subprocess.run(line, capture_output=True, text=True, check=True).stdout)

    assert grown("not") > 20_000_000, "then it is not needed any more"
    assert grown("asked") < 5_000_000
