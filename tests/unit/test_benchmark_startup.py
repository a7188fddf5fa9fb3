"""What ``benchmarks startup`` says of the install, and how its figures are made."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks.install import ENGINE, by_package, cached, files, forget, megabytes, packages, tree
from benchmarks.report import Result
from benchmarks.startup import median, named, note, plot


def test_the_serving_install_is_what_the_engine_asks_for_and_nothing_of_the_extras() -> None:
    found = packages()
    assert found[0] == "vivace"
    assert {"openvino", "aiortc", "numpy", "pyee", "cffi"} <= set(found), "and what those ask for"
    assert not {"torch", "matplotlib", "pytest"} & set(found)


def test_packages_and_folders_have_their_size() -> None:
    assert megabytes(files("numpy")) > 10
    weights = tree(ENGINE / "weights")
    assert megabytes(weights) == pytest.approx(sum(p.stat().st_size for p in weights) / 1e6)
    assert all(path.suffix != ".pyc" for path in tree(ENGINE))


def test_imports_are_added_up_by_package() -> None:
    log = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:      1000 |       1000 |   json.decoder\n"
        "import time:       500 |       1500 | json\n"
        "import time:     20000 |      20000 |     numpy._core\n"
        "import time:     30000 |      50000 |   numpy\n"
        "a warning of somebody\n"
    )
    assert by_package(log) == {"numpy": pytest.approx(0.05), "python": pytest.approx(0.0015)}


def test_only_what_every_run_imported_counts() -> None:
    runs = [{"a": 1.0, "b": 5.0}, {"a": 3.0}, {"a": 2.0, "b": 1.0}]
    assert median(runs) == {"a": 2.0}


def test_a_breakdown_names_the_largest_and_adds_up() -> None:
    figures = named("install_{}_mb", {f"part-{n}": float(n) for n in range(12)}, 1)
    assert figures["install_all_mb"] == 66
    assert figures["install_part_11_mb"] == 11
    assert figures["install_rest_mb"] == 0 + 1 + 2 + 3
    assert sum(figures.values()) == 2 * 66


@pytest.mark.skipif(sys.platform != "linux", reason="posix_fadvise and mincore are Linux's")
def test_what_is_forgotten_is_not_in_the_cache_any_more(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(1 << 20))
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)  # pages that are not on the disk yet cannot be dropped
    os.close(descriptor)
    path.read_bytes()
    assert cached([path]) == 1.0
    forget([path])
    after = cached([path])
    if after == 1.0 and not _disk(tmp_path):
        pytest.skip("this folder is in memory, where files have no other place")
    assert after < 0.1
    (tmp_path / "empty").touch()
    assert cached([tmp_path / "empty"]) == 0.0


def _disk(folder: Path) -> bool:
    """Whether a folder is on a disk."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    inside = [m for m in mounts if folder.resolve().is_relative_to(m[1])]
    return bool(inside) and max(inside, key=lambda m: len(m[1]))[2] not in ("tmpfs", "ramfs")


def test_starts_are_kept_and_drawn(tmp_path: Path) -> None:
    samples: dict[str, list[float]] = {}
    for kind, seconds in (("cold", 5.0), ("cold", 6.0), ("warm", 3.0), ("warm", 3.5)):
        note(samples, kind, {"ready_s": seconds, "first_frame_s": seconds + 1.00049})
    assert samples["cold_first_frame_s"] == [6.0, 7.0]
    figures = {name: values[0] for name, values in samples.items()}
    figures |= named("import_{}_s", {"numpy": 0.1}, 3) | named("install_{}_mb", {"av": 90.0}, 1)
    plot(Result("startup", "c", {}, samples, figures), tmp_path / "startup.png")
    assert (tmp_path / "startup.png").stat().st_size > 10_000
