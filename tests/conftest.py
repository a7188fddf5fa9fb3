"""Shared by all tests. In CI a missing component is a failure; only a missing GPU may skip."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
IN_CI = os.environ.get("CI") == "true"


def require_program(name: str) -> str:
    """Path of a program a test uses; skips without it, except in CI, where that is a failure."""
    path = shutil.which(name)
    if path is None:
        message = f"{name} is not installed; `make test` as root installs it"
        if IN_CI:
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="session", autouse=True)
def _own_data_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Uploads of tests, and of servers they start, stay out of the user's data folder."""
    os.environ["VIVACE_DATA"] = str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The shared data folder beside the checkout; skips where there is none, except in CI."""
    if not SHARED.is_dir():
        message = "no ../shared/data beside this checkout"
        if IN_CI:
            pytest.fail(message)
        pytest.skip(message)
    return SHARED
