"""Geometry of the rendering network: pose, motion fields over the photo, their inversion.

Torch, and like ``network`` never imported by serving code. Letters as there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.face.rig import MIN_OPEN
from engine.motion.arkit import INDEX

FIXED_STEPS, NEWTON_STEPS = 3, 2
MAX_STEP = 8.0
"""Pixels that one of Newton's steps may go."""
CAMERA_DISTANCE = 10.0
"""Of the head from the camera in inter-ocular units, as portraits are taken (0.6 m)."""


def rotation(angles: Tensor) -> Tensor:
    """yaw, pitch, roll [3] to ``Ry(yaw) @ Rx(pitch) @ Rz(roll)`` [3,3] (engine.motion.arkit)."""
    cos, sin = torch.cos(angles), torch.sin(angles)
    (cy, cx, cz), (sy, sx, sz) = cos.unbind(), sin.unbind()
    entries = [
        cy * cz + sy * sx * sz, sy * sx * cz - cy * sz, sy * cx,
        cx * sz, cx * cz, -sx,
        cy * sx * sz - sy * cz, sy * sz + cy * sx * cz, cy * cx,
    ]  # fmt: skip
    return torch.stack(entries).view(3, 3)


def effective(shapes: Tensor, lids: Tensor) -> Tensor:
    """Blendshapes [1,52] as a face can show them; see ``engine.face.rig.effective``.

    Args:
        shapes: [1,52].
        lids: [2,52], ``HeadFit.lids``.
    """
    left, right = INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]
    close, jaw = INDEX["mouthClose"], INDEX["jawOpen"]
    blinks = torch.zeros(52)
    blinks[[left, right]] = 1
    open_share = (1 + (shapes * (1 - blinks)) @ lids.T).clamp(min=MIN_OPEN)  # [1,2]
    return torch.cat(
        [
            shapes[:, left : left + 1] * open_share[:, 1:],
            shapes[:, left + 1 : right],
            shapes[:, right : right + 1] * open_share[:, :1],
            shapes[:, right + 1 : close],
            torch.minimum(shapes[:, close : close + 1], shapes[:, jaw : jaw + 1].clamp(min=0)),
            shapes[:, close + 1 :],
        ],
        1,
    )  # [1,52]


def rotate(matrix: Tensor, points: Tensor) -> Tensor:
    """Rows of a matrix [2,3] times points [...,3,N]: [...,2,N].

    Elementwise on purpose: runtimes that compute products in bf16 would lose whole pixels.
    """
    x, y, z = points[..., 0:1, :], points[..., 1:2, :], points[..., 2:3, :]
    return matrix[:, 0:1] * x + matrix[:, 1:2] * y + matrix[:, 2:3] * z


class Pose:
    """The head's rigid motion in one frame.

    Args:
        motion: [1,58].
        pivot: [3,1] px, about which the head turns.
        unit: [1] px of one inter-ocular unit.
    """

    def __init__(self, motion: Tensor, pivot: Tensor, unit: Tensor) -> None:
        self.matrix = rotation(motion[0, 52:55])  # [3,3]
        shift = motion[0, 55:58, None]  # [3,1]
        self.zoom = 1 + shift[2:] / CAMERA_DISTANCE  # [1,1]
        self.shift = shift[:2] * unit  # [2,1]
        self.turn = self.matrix[:2] * self.zoom - torch.eye(3)[:2]  # [2,3]
        self.pivot = pivot

    def displacement(self, points: Tensor) -> Tensor:
        """How far points [...,3,N] move in the picture plane, y up: [...,2,N]."""
        return rotate(self.turn, points - self.pivot) + self.shift


class Displaced(nn.Module):
    """The field by which motion moves the photo.

    Args:
        nodes: h, w.
    """

    def __init__(self, nodes: tuple[int, int]) -> None:
        super().__init__()
        self.nodes = nodes

    def forward(
        self, weights: Tensor, basis: Tensor, rest: Tensor, skin: Tensor, pose: Pose
    ) -> Tensor:
        """Displacements [B,2,h,w], px.

        Args:
            weights: [1,52] relative to the photo's expression.
            basis: [B,52,3N].
            rest: [B,3,N].
            skin: [B,1,N], 1 where the head carries the node, 0 where it stays.
            pose: of the head.
        """
        own = (weights @ basis).view(rest.shape)  # [B,3,N]
        moved = own[:, :2] + skin * pose.displacement(rest + own)  # [B,2,N]
        return (moved * torch.tensor([[1.0], [-1.0]])).view(-1, 2, *self.nodes)


def _inverse_jacobian(field: Tensor, step: int) -> Tensor:
    """Inverse of ``1 + d field / d place`` per node [B,4,h,w]: its columns, xx yx, then xy yy."""
    wide = F.pad(field, (1, 1, 1, 1), mode="replicate")
    x = (wide[:, :, 1:-1, 2:] - wide[:, :, 1:-1, :-2]) / (2 * step)
    y = (wide[:, :, 2:, 1:-1] - wide[:, :, :-2, 1:-1]) / (2 * step)
    a, c, b, d = 1 + x[:, :1], x[:, 1:], y[:, :1], 1 + y[:, 1:]
    # Where the field folds (behind a closed lip) any answer is covered by the other layer:
    # the floor only keeps the step finite.
    det = (a * d - b * c).clamp(min=0.4)
    return torch.cat([d, -c, -b, a], 1) / det


def invert(field: Tensor, where: Tensor, extent: Tensor, step: int) -> Tensor:
    """Backward flow: v with ``v + field(p + v) = 0`` at every target p.

    Args:
        field: [B,2,h,w] displacements of the photo's points, px.
        where: [B,h',w',2] targets in pixels of the field's box (first pixel's centre is 0).
        extent: [2] width and height of the box, px.
        step: px between nodes.

    Returns:
        v [B,2,h',w'], px.
    """
    both = torch.cat([field, _inverse_jacobian(field, step)], 1)  # [B,6,h,w]
    places = where.permute(0, 3, 1, 2) + 0.5  # [B,2,h',w']
    scale = (2 / extent).view(1, 2, 1, 1)
    flow = torch.zeros_like(places)
    for stage in range(FIXED_STEPS + NEWTON_STEPS):
        grid = ((places + flow) * scale - 1).permute(0, 2, 3, 1)
        # Fixed-point steps follow the field's own continuation over long ways, where Newton's
        # would jump across a lip; Newton's then land.
        newton = stage >= FIXED_STEPS
        d = F.grid_sample(
            both if newton else field, grid, padding_mode="border", align_corners=False
        )
        flow = _newton_step(flow, d) if newton else -d
    return flow


class Inverse(nn.Module):
    """``invert`` in a box of its own.

    Args:
        extent: width and height of the box, px.
        step: px between nodes.
    """

    def __init__(self, extent: tuple[int, int], step: int) -> None:
        super().__init__()
        self.step = step
        self.extent: Tensor
        self.register_buffer("extent", torch.tensor(extent).float())

    def forward(self, field: Tensor, where: Tensor) -> Tensor:
        """See ``invert``."""
        return invert(field, where, self.extent, self.step)


def _newton_step(flow: Tensor, d: Tensor) -> Tensor:
    """One step of Newton's method on ``v + field(p + v)``; d [B,6,h,w]: field, inverse Jacobian."""
    off = flow + d[:, :2]
    steps = d[:, 2:4] * off[:, :1] + d[:, 4:] * off[:, 1:]
    return flow - steps.clamp(-MAX_STEP, MAX_STEP)


def _interpolation(nodes: int, step: int) -> Tensor:
    """Linear interpolation [nodes*step, nodes] from cell centres to pixels, constant outside."""
    place = ((torch.arange(nodes * step) + 0.5) / step - 0.5).clamp(0, nodes - 1)
    return (1 - (place[:, None] - torch.arange(nodes)).abs()).clamp(min=0)


class Sampling(nn.Module):
    """Flow at nodes to the places where GridSample looks, in its layout.

    The last axis holds a line's x and y in turn: on a CPU, runtimes are many times slower over an
    axis of two. A line of pixels lies between two lines of nodes, so the step down the picture is a
    sum of three, not a matrix product.

    Args:
        nodes: h, w.
        step: px between nodes.
        extent: width and height of the picture looked into, px.
    """

    def __init__(self, nodes: tuple[int, int], step: int, extent: tuple[int, int]) -> None:
        super().__init__()
        h, w = nodes
        scale = torch.tensor([2 / extent[0], 2 / extent[1]])
        x = (torch.arange(w * step) + 0.5) * scale[0] - 1
        y = (torch.arange(h) + 0.5) * step * scale[1] - 1
        share = (torch.arange(step) + 0.5) / step - 0.5  # of the way to the next line of nodes
        shares = torch.stack([(-share).clamp(min=0), 1 - share.abs(), share.clamp(min=0)])
        self.scale: Tensor
        self.across: Tensor
        self.home: Tensor
        self.down: Tensor
        self.shares: Tensor
        self.register_buffer("scale", scale.view(1, 2, 1, 1))
        across = torch.kron(_interpolation(w, step).T.contiguous(), torch.eye(2))
        self.register_buffer("across", across)  # [2w,2W]
        home = torch.stack([x.expand(h, -1), y[:, None].expand(-1, w * step)], -1)
        self.register_buffer("home", home.flatten(1))  # [h,2W]
        self.register_buffer("down", torch.tensor([0.0, step * float(scale[1])]).repeat(w * step))
        self.register_buffer("shares", shares[..., None])  # [3,step,1]

    def forward(self, flow: Tensor) -> Tensor:
        """Flow [B,2,h,w], px, to places [B,H,W,2] in -1..1; beyond the outer nodes it goes on."""
        batch, _, h, w = flow.shape
        lines = (flow * self.scale).permute(0, 2, 3, 1).reshape(batch, h, 2 * w) @ self.across
        lines = lines + self.home  # [B,h,2W]
        above = torch.cat([lines[:, :1] - self.down, lines[:, :-1]], 1)[:, :, None]
        below = torch.cat([lines[:, 1:], lines[:, -1:] + self.down], 1)[:, :, None]
        before, here, after = self.shares
        full: Tensor = before * above + here * lines[:, :, None] + after * below  # [B,h,step,2W]
        return full.view(batch, h * len(here), -1, 2)


class Enlarge(nn.Module):
    """Bilinear enlargement of small planes, in matrix products.

    Args:
        size: h, w.
        factor: how many times larger.
    """

    def __init__(self, size: tuple[int, int], factor: int) -> None:
        super().__init__()
        self.rows: Tensor
        self.columns: Tensor
        # Not kept with a network's weights: those trained before have none.
        self.register_buffer("rows", _interpolation(size[0], factor), persistent=False)
        columns = _interpolation(size[1], factor).T.contiguous()
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, planes: Tensor) -> Tensor:
        """[B,C,h,w] to [B,C,H,W]."""
        out: Tensor = self.rows @ planes @ self.columns
        return out


def pixels(height: int, width: int) -> Tensor:
    """Pixel coordinates [H,W,2], x then y."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y], -1).float()


def cells(nodes: tuple[int, int], step: int) -> Tensor:
    """Node coordinates [h,w,2] in pixels."""
    return pixels(*nodes) * step + (step - 1) / 2
