"""Where a trained refiner is kept, with the facts of its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from training.refiner.model import Refiner

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "refiner"
DEFAULT = CACHE / "refiner.pt"


def save(path: Path, refiner: Refiner, facts: dict[str, Any]) -> None:
    """Write weights and facts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save({"weights": refiner.state_dict(), "facts": facts}, part)
    part.replace(path)


def load_refiner(path: Path | None) -> tuple[Refiner | None, dict[str, Any]]:
    """Read a refiner and the facts of its training; no refiner where there is no checkpoint.

    Raises:
        FileNotFoundError: a path was given and is not there.
    """
    source = path or DEFAULT
    if path is None and not source.is_file():
        return None, {}
    stored = torch.load(source, map_location="cpu", weights_only=True)
    facts = stored["facts"]
    refiner = Refiner()
    refiner.load_state_dict(stored["weights"])
    return refiner.eval(), facts
