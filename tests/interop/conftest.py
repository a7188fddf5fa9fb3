"""Peers from npm, installed once into ``build/interop``, which git ignores."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import IN_CI, ROOT, require_program

HERE = Path(__file__).resolve().parent
INSTALL = [
    "install",
    "--no-audit",
    "--no-fund",
    "--package-lock=false",
    "--progress=false",
    "--loglevel=error",
]


@pytest.fixture(scope="session")
def packages() -> Path:
    """Folder with the npm packages of ``package.json``; skips without them, except in CI."""
    require_program("node")
    npm = require_program("npm")
    folder = ROOT / "build" / "interop"
    wanted = (HERE / "package.json").read_bytes()
    done = folder / "installed.json"
    if done.is_file() and done.read_bytes() == wanted:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "package.json", folder)
    try:
        subprocess.run([npm, *INSTALL], cwd=folder, check=True, capture_output=True, timeout=180)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        message = f"the npm packages cannot be installed: {error} {error.stderr!r}"
        if IN_CI:
            pytest.fail(message)
        pytest.skip(message)
    done.write_bytes(wanted)
    return folder


async def seen_by_program(
    *command: str, cwd: Path | None = None, seconds: float = 40
) -> dict[str, Any]:
    """Run a peer; the object it prints."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, log = await asyncio.wait_for(process.communicate(), seconds)
    except TimeoutError:
        pytest.fail(f"{command} had not seen enough after {seconds} s")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, log.decode()
    seen: dict[str, Any] = json.loads(out)
    return seen


async def node(folder: Path, script: str, *arguments: str, seconds: float = 40) -> dict[str, Any]:
    """Run a script beside this file with the packages of ``folder``; the object it prints."""
    return await seen_by_program(
        "node", str(HERE / script), *arguments, cwd=folder, seconds=seconds
    )
