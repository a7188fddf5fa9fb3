"""The refiner: a small U-Net at quarter resolution that repairs the inside of a drawn mouth."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

TOP, LEFT, HEIGHT, WIDTH = 24, 32, 112, 128
"""The part of the mouth's window that is looked at: where lips can part."""
SCALE = 4
LEVEL = 128.0
"""Levels of 255 that one unit of the network's output is worth."""


class Block(nn.Module):
    """Two convolutions around a skip.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,h,w] to the same."""
        return x + self.second(F.relu(self.first(F.relu(x))))


class Refiner(nn.Module):
    """Adds a residual inside the mouth. What the photo shows outside is never touched.

    Args:
        width: channels at quarter resolution.
        deep: channels at an eighth.
        gain: how much of the residual is added.
    """

    def __init__(self, width: int = 48, deep: int = 64, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.enter = nn.Conv2d(5 * SCALE * SCALE, width, 3, padding=1)
        self.shallow = Block(width)
        self.down = nn.Conv2d(width, deep, 3, stride=2, padding=1)
        self.low = nn.Sequential(Block(deep), Block(deep))
        self.up = nn.Conv2d(deep, width * 4, 1)
        self.out = Block(width)
        self.leave = nn.Conv2d(width, 3 * SCALE * SCALE, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        if self.leave.bias is not None:
            nn.init.zeros_(self.leave.bias)

    def forward(self, drawn: Tensor, above: Tensor, inside: Tensor) -> Tensor:
        """Repair windows.

        Args:
            drawn: [B,3,160,192] in 0..255.
            above: [B,1,160,192], share of the upper lip's layer.
            inside: [B,1,160,192], share of the mouth's inside.

        Returns:
            [B,3,160,192] in 0..255.
        """
        rows, columns = slice(TOP, TOP + HEIGHT), slice(LEFT, LEFT + WIDTH)
        picture = drawn[:, :, rows, columns]
        hole = inside[:, :, rows, columns]
        seen = torch.cat([picture / 255, above[:, :, rows, columns], hole], 1)
        x = self.enter(F.pixel_unshuffle(seen, SCALE))  # [B,C,28,32]
        x = self.shallow(x)
        low = self.low(self.down(x))  # [B,D,14,16]
        x = self.out(x + F.pixel_shuffle(self.up(low), 2))
        residual = F.pixel_shuffle(self.leave(F.relu(x)), SCALE)  # [B,3,112,128]
        change = residual * (LEVEL * self.gain) * reach(hole)
        edge = (LEFT, drawn.shape[3] - LEFT - WIDTH, TOP, drawn.shape[2] - TOP - HEIGHT)
        return drawn + F.pad(change, edge)


def reach(hole: Tensor) -> Tensor:
    """Where the refiner may paint [B,1,H,W]: the inside and two pixels of the lips around it."""
    return (F.avg_pool2d(hole, 5, 1, 2) * 2.5).clamp(0, 1)
