"""What the serving install is made of: its packages, their size, what importing them costs."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "engine"
_PROGRAM = "import engine.serve, engine.transport.signaling, engine.runtime.openvino"
"""What the server has imported when it is ready on a CPU."""
_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")
_MB = 1e6


def packages(root: str = "vivace") -> list[str]:
    """Everything that installing a package brings, extras left out; itself first."""
    found: dict[str, None] = {}
    waiting = [root]
    while waiting:
        name = waiting.pop(0)
        if name in found:
            continue
        try:
            wanted = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        found[name] = None
        for requirement in map(Requirement, wanted):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name.lower().replace("_", "-"))
    return list(found)


def files(package: str) -> list[Path]:
    """What an installed package has put on the disk; of an editable one, what is not its source."""
    known = distribution(package)
    paths = (Path(str(known.locate_file(file))) for file in known.files or [])
    return [path for path in paths if path.is_file()]


def tree(folder: Path) -> list[Path]:
    """The files in a folder and below it, compiled Python left out."""
    paths = (path for path in sorted(folder.rglob("*")) if "__pycache__" not in path.parts)
    return [path for path in paths if path.is_file()]


def megabytes(paths: Iterable[Path]) -> float:
    """Size of files in 10^6 bytes."""
    return sum(path.stat().st_size for path in paths) / _MB


def sizes() -> dict[str, float]:
    """Megabytes of every package of the serving install, of the engine and of its weights."""
    weights = ENGINE / "weights"
    own = [path for path in tree(ENGINE) if weights not in path.parents]
    found = {name: megabytes(files(name)) for name in packages()[1:]}
    return found | {"engine": megabytes(own), "weights": megabytes(tree(weights))}


def import_seconds() -> dict[str, float]:
    """Seconds that a new process spends in every imported package itself (``-X importtime``)."""
    line = [sys.executable, "-X", "importtime", "-c", _PROGRAM]
    done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=ROOT)
    return by_package(done.stderr)


def by_package(log: str) -> dict[str, float]:
    """Of what ``-X importtime`` writes: own seconds by package, Python's library as one."""
    spent: dict[str, float] = {}
    for microseconds, module in _LINE.findall(log):
        name = module.partition(".")[0]
        name = "python" if name in sys.stdlib_module_names else name
        spent[name] = spent.get(name, 0.0) + int(microseconds) / 1e6
    return dict(sorted(spent.items(), key=lambda item: -item[1]))


def everything() -> list[Path]:
    """The files that a server may read while it starts."""
    return [*tree(ENGINE), *(path for name in packages()[1:] for path in files(name))]


def forget(paths: Iterable[Path]) -> None:
    """Have the kernel drop files from its cache; what some process maps stays (posix_fadvise)."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def cached(paths: Sequence[Path]) -> float:
    """Share of the files' pages that is in the kernel's cache (mincore)."""
    library = ctypes.CDLL(None, use_errno=True)
    inside = pages = 0
    for path in paths:
        size = path.stat().st_size
        if not size:
            continue
        with path.open("rb") as file, mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE) as room:
            count = -(-size // mmap.PAGESIZE)
            marks = (ctypes.c_ubyte * count)()
            # A private mapping can be written to, as ctypes asks; nothing is.
            first = ctypes.c_char.from_buffer(room)
            failed = library.mincore(ctypes.byref(first), ctypes.c_size_t(size), marks)
            del first
        if not failed:
            inside += sum(mark & 1 for mark in marks)
            pages += count
    return inside / pages if pages else 0.0


def pip_install() -> tuple[float, float]:
    """Seconds and megabytes of the serving install in a new environment, by pip.

    Raises:
        subprocess.CalledProcessError: pip failed; there may be no network.
    """
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        venv.create(folder, with_pip=True)
        pip = [str(Path(folder) / "bin" / "python"), "-m", "pip", "install", "-q",
               "--disable-pip-version-check", "--no-cache-dir", "-e", str(ROOT)]  # fmt: skip
        subprocess.run(pip, check=True)
        return time.monotonic() - started, megabytes(tree(Path(folder)))
