"""Where a trained refiner is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

DEFAULT = Path(__file__).resolve().parents[2] / ".cache" / "refiner" / "refiner.pt"


def load_refiner(path: Path | None) -> tuple[nn.Module | None, dict[str, Any]]:
    """Read a refiner and the facts of its training; no refiner where there is no checkpoint."""
    path = path or DEFAULT
    if not path.is_file():
        return None, {}
    torch.load(path, map_location="cpu", weights_only=True)
    raise NotImplementedError
