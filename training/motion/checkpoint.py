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


def adopt(network: CMDT, weights: Mapping[str, torch.Tensor]) -> None:
    """Copy weights into a network that may know more conditions than the one they come from.

    Raises:
        ValueError: the weights are of a network of another shape.
    """
    own = network.state_dict()
    for name, value in weights.items():
        if name not in own:
            raise ValueError(f"the network has no {name}")
        if own[name].shape == value.shape:
            own[name] = value
        elif own[name].shape[0] == value.shape[0] and own[name].shape[1] > value.shape[1]:
            own[name] = torch.zeros_like(own[name])  # new inputs come last
            own[name][:, : value.shape[1]] = value
        else:
            raise ValueError(f"{name} is {tuple(value.shape)}, not {tuple(own[name].shape)}")
    network.load_state_dict(own)


def load_network(path: Path, dims: Dims | None = None) -> tuple[CMDT, Scale, dict[str, Any]]:
    """Rebuild a network, its units and its facts (``shortcut``, ``train_steps``, ...).

    Weights of an older network are taken over as far as they go: what it did not have keeps its
    fresh start, which has no influence.

    Args:
        path: checkpoint.
        dims: of the network wanted, where it has more layers than the checkpoint's.
    """
    content = load(path)
    dims = dims or Dims(**content["dims"])
    network, scale = CMDT(dims), Scale(dims)
    adopt(network, content["weights"])
    scale.load_state_dict(content["scale"])
    return network.eval(), scale.eval(), content["facts"]
