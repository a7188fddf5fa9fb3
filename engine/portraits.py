"""The portraits that come with the engine, by name. Nothing heavy: ``--help`` lists them."""

from __future__ import annotations

from pathlib import Path

from engine.runtime.artifact import WEIGHTS


def own_portraits() -> dict[str, Path]:
    """The files by name."""
    return {path.stem: path for path in sorted((WEIGHTS / "avatars").glob("*.png"))}


def find_portrait(named: str | Path) -> Path:
    """One of them by its name, else the path that is given."""
    return own_portraits().get(str(named), Path(named))
