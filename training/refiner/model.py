"""The refiner: a small network that puts right the light inside a drawn mouth.

It multiplies the picture by a smooth field of gains, a quarter up or down at most. Stronger ones
were trained on the same nine clips and looked worse, though their numbers on unseen people were
better: painting pixels freely (PSNR inside the mouth +1.2 dB) gave the mean of tongue and teeth, a
beige blur; gains per colour up to 2.5 (+1.0 dB) overexposed teeth and made them yellow.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.render.layout import MOUTH
from engine.render.warp import Enlarge

TOP, LEFT, HEIGHT, WIDTH = MOUTH.inner
SCALE = 4
COARSE = 8
"""Pixels of one gain."""
STRONGEST = 0.22
"""Largest gain, as a logarithm."""


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
        out: Tensor = x + self.second(F.relu(self.first(F.relu(x))))
        return out


class Refiner(nn.Module):
    """Changes the light inside the mouth. What the photo shows is never touched.

    Args:
        width: channels at quarter resolution.
        deep: channels at an eighth.
    """

    def __init__(self, width: int = 32, deep: int = 48) -> None:
        super().__init__()
        self.enter = nn.Conv2d(5 * SCALE * SCALE, width, 3, padding=1)
        self.shallow = Block(width)
        self.down = nn.Conv2d(width, deep, 3, stride=2, padding=1)
        self.low = nn.Sequential(Block(deep), Block(deep))
        self.leave = nn.Conv2d(deep, 1, 3, padding=1)
        self.wide = Enlarge((HEIGHT // COARSE, WIDTH // COARSE), COARSE)
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
        x = self.shallow(self.enter(F.pixel_unshuffle(seen, SCALE)))  # [B,C,28,32]
        x = self.low(self.down(F.relu(x)))  # [B,D,14,16]
        gains = torch.exp(STRONGEST * torch.tanh(self.leave(F.relu(x))))  # [B,1,14,16]
        change = picture * (self.wide(gains) - 1) * hole
        edge = (LEFT, drawn.shape[3] - LEFT - WIDTH, TOP, drawn.shape[2] - TOP - HEIGHT)
        return drawn + F.pad(change, edge)
