"""Starts atheris on one target."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path


def fuzz(target: Callable[[bytes], None], seeds: Iterable[bytes]) -> None:
    """Fuzz until time is up or something is found. Does not return.

    Args:
        target: takes bytes and raises only what is a bug.
        seeds: inputs to begin with.
    """
    import atheris

    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, help="folder to keep what is interesting in")
    options = parser.parse_args()
    folder = options.corpus or Path(tempfile.mkdtemp(prefix="fuzz"))
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (folder / f"seed-{number:04}").write_bytes(seed)
    limits = [f"-max_total_time={options.seconds}", "-max_len=65536", "-timeout=10"]
    atheris.Setup([sys.argv[0], *limits, str(folder)], target)
    atheris.Fuzz()
