"""Checkpoints: tensors and plain numbers only, written atomically."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from engine.motion.network import CMDT, Dims
from engine.motion.unrolled import Scale

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "motion"
"""Where training leaves checkpoints, logs and cached features."""


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(dict(content), partial)
    partial.replace(path)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint; refuses anything but tensors and plain values."""
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def network_content(
    network: CMDT, weights: Mapping[str, torch.Tensor], scale: Scale, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """What ``load_network`` needs: dims, weights (usually the EMA), units, and facts."""
    return {
        "dims": asdict(network.dims),
        "weights": dict(weights),
        "scale": scale.state_dict(),
        "facts": dict(facts),
    }


def load_network(path: Path) -> tuple[CMDT, Scale, dict[str, Any]]:
    """Rebuild a network, its units and its facts (``shortcut``, ``train_steps``, ...)."""
    content = load(path)
    dims = Dims(**content["dims"])
    network, scale = CMDT(dims), Scale(dims)
    network.load_state_dict(content["weights"])
    scale.load_state_dict(content["scale"])
    return network.eval(), scale.eval(), content["facts"]
