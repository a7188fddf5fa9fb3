"""Flat pictures behind a hole: teeth and tongue, the eyeball.

Torch, and like ``network`` never imported by serving code. Letters as there.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.render.layout import Opening
from engine.render.warp import Pose, rotate


class Cards(nn.Module):
    """Draws the cards of one kind of opening, in the part of the window where its hole can be.

    Args:
        opening: its sizes.
    """

    def __init__(self, opening: Opening) -> None:
        super().__init__()
        self.opening = opening
        top, left, height, width = opening.inner
        self.x: Tensor
        self.y: Tensor
        self.register_buffer("x", (torch.arange(width) + left).float().view(1, -1, 1))
        self.register_buffer("y", (torch.arange(height) + top).float().view(1, -1, 1))

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        weights: Tensor,
        pose: Pose,
        at: Tensor,
        shade: Tensor | None,
    ) -> Tensor:
        """Cards, back to front [B,3,H,W], 0..255.

        Args:
            inputs: the opening's constants without their prefix.
            weights: [1,52] relative to the photo.
            pose: of the head.
            at: [B,2] px, where the windows are in the picture.
            shade: [B,1,H,W] light inside, or None.
        """
        batch, layers = self.opening.count, self.opening.cards
        _, _, height, width = self.opening.inner
        across, down, first = self._axes(inputs, weights, pose, at.repeat_interleave(layers, 0))
        # Lines hold x and y in turn, as in ``warp.Sampling``.
        line = (first + self.x * across).view(-1, 1, 2 * width)
        places = (line + self.y * down.repeat(1, 1, width)).view(-1, height, width, 2)
        seen = F.grid_sample(inputs["cards"], places, padding_mode="zeros", align_corners=False)
        seen = seen.view(batch, layers * 4, height, width)
        parts = torch.split_with_sizes(seen, [3, 1] * layers, 1)
        out: Tensor = parts[0]
        for colour, alpha in zip(parts[2::2], parts[3::2], strict=True):
            out = colour + (1 - alpha) * out
        return out if shade is None else out * shade

    def _axes(
        self, inputs: Mapping[str, Tensor], weights: Tensor, pose: Pose, at: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Way in a card per pixel across and down, and its place at pixel 0, each [BK,1,2]."""
        place = inputs["card_rest"] + (weights @ inputs["card_basis"])[:, 0]  # [BK,3]
        moved = place[:, :2] + pose.displacement(place[..., None])[..., 0]  # [BK,2]
        axes = rotate(pose.matrix[:2], inputs["card_axes"]) * pose.zoom  # [BK,2,2]: px/half card
        a, b, c, d = axes[:, 0, 0], axes[:, 0, 1], -axes[:, 1, 0], -axes[:, 1, 1]
        det = a * d - b * c
        across = torch.stack([d / det, -c / det], 1)[:, None]
        down = torch.stack([-b / det, a / det], 1)[:, None]
        centre = torch.stack([moved[:, 0], -moved[:, 1]], 1)  # [BK,2] px, y down
        off = (at - centre)[:, :, None]
        return across, down, off[:, :1] * across + off[:, 1:] * down
