"""The picture as I420 planes, made where it is rendered: what encoders take.

Torch, and like ``network`` never imported by serving code. Appended to the renderer before it is
exported or run on a GPU, so that the planes leave in the same copy as the picture and no CPU core
converts frames (0.3 ms each). The numbers are OpenCV's ``COLOR_RGB2YUV_I420``: BT.601, limited
range, colour taken from the upper left of each four pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.render.layout import SIZE, network_outputs
from engine.runtime.base import TensorSpec

_MATRIX = (
    (269484, 528482, 102760),
    (-155188, -305135, 460324),
    (460324, -385875, -74448),
)
"""OpenCV's fixed-point weights, 20 bits."""
_OFFSET = (16.0, 128.0, 128.0)


class Planes(nn.Module):
    """RGB pictures uint8 [B,H,W,3], even sides, to I420 uint8 [B,3H/2,W]."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix: Tensor
        self.offset: Tensor
        self.register_buffer("matrix", torch.tensor(_MATRIX) / 2.0**20)
        self.register_buffer("offset", torch.tensor(_OFFSET) + 0.5)

    def forward(self, picture: Tensor) -> Tensor:
        """See the class. All is positive, so a half and a cast round."""
        batch, height, width, _ = picture.shape
        rgb = picture.float()
        corner = rgb[:, ::2, ::2]  # [B,H/2,W/2,3]
        parts = [self._plane(rgb, 0), self._plane(corner, 1), self._plane(corner, 2)]
        flat = torch.cat([part.reshape(batch, -1) for part in parts], 1)
        return flat.to(torch.uint8).reshape(batch, height * 3 // 2, width)

    def _plane(self, rgb: Tensor, index: int) -> Tensor:
        # Elementwise, since runtimes may compute products in lower precision.
        weights = self.matrix[index]
        red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
        mixed: Tensor = weights[0] * red + weights[1] * green + weights[2] * blue
        return mixed + self.offset[index]


class WithPlanes(nn.Module):
    """A renderer that gives its picture and its I420 planes.

    Args:
        renderer: gives a picture uint8 [B,H,W,3].
    """

    def __init__(self, renderer: nn.Module) -> None:
        super().__init__()
        self.renderer = renderer
        self.planes = Planes()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The renderer's inputs to picture and planes."""
        picture = self.renderer(*inputs)
        return picture, self.planes(picture)


def outputs_with_planes() -> dict[str, TensorSpec]:
    """Outputs of a renderer with planes."""
    return network_outputs() | {"planes": TensorSpec((1, SIZE * 3 // 2, SIZE), "uint8")}
