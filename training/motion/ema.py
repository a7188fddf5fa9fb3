"""Exponential moving average of a network's weights."""

from __future__ import annotations

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


class Ema(Generic[Module]):
    """Keeps an averaged copy.

    Args:
        network: its weights are the starting point.
        decay: per update; the first updates average faster, by (1 + n) / (10 + n).
    """

    def __init__(self, network: Module, decay: float) -> None:
        self.network = deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards the current weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        pairs = zip(self.network.parameters(), network.parameters(), strict=True)
        for average, current in pairs:
            average.lerp_(current, 1.0 - decay)
