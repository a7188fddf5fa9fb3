"""The rendering network: 58 numbers and an avatar's constants to a picture, in one graph.

Per frame: motion moves fields that were laid over the *photo* (3-D displacement per node, skinned
to the head); the fields are inverted by Newton's method, which gives the backward flow; the person
is sampled through it and laid over a fixed background. Mouth and eyes are drawn again in windows
that follow the head, each from an upper and a lower layer over flat cards (teeth, eyeball).

Letters: B windows, K cards, N nodes, H W pixels, h w nodes. Positions and displacements are in
pixels, x right and y down, except inside the head (``rest``, ``basis``, ``pivot``): x right, y up,
z towards the camera. Operators: 4-D GridSample, MatMul, ScatterND and elementwise; static shapes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.face.rig import MIN_OPEN
from engine.motion.arkit import INDEX
from engine.render.layout import (
    BODY_STEP,
    EYES,
    LIGHT_FLOOR,
    LIGHT_REACH,
    MOUTH,
    OPENINGS,
    SIZE,
    Opening,
    network_inputs,
)

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


def displace(
    weights: Tensor, basis: Tensor, rest: Tensor, skin: Tensor, pose: Pose, nodes: tuple[int, int]
) -> Tensor:
    """Field of displacements [B,2,h,w], px, over the photo.

    Args:
        weights: [1,52] relative to the photo's expression.
        basis: [B,52,3N].
        rest: [B,3,N].
        skin: [B,1,N], 1 where the head carries the node, 0 where it stays.
        pose: of the head.
        nodes: h, w.
    """
    own = (weights @ basis).view(rest.shape)  # [B,3,N]
    moved = own[:, :2] + skin * pose.displacement(rest + own)  # [B,2,N]
    return (moved * torch.tensor([[1.0], [-1.0]])).view(-1, 2, *nodes)


def _gradient(field: Tensor, step: int) -> Tensor:
    """d/dx and d/dy of a field [B,2,h,w] per px: [B,4,h,w] (xx, yx, xy, yy)."""
    wide = F.pad(field, (1, 1, 1, 1), mode="replicate")
    x = (wide[:, :, 1:-1, 2:] - wide[:, :, 1:-1, :-2]) / (2 * step)
    y = (wide[:, :, 2:, 1:-1] - wide[:, :, :-2, 1:-1]) / (2 * step)
    return torch.cat([x, y], 1)


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
    both = torch.cat([field, _gradient(field, step)], 1)  # [B,6,h,w]
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


def _newton_step(flow: Tensor, d: Tensor) -> Tensor:
    """One step of Newton's method on ``v + field(p + v)``; d [B,6,h,w]: field and gradient."""
    rx, ry = flow[:, 0] + d[:, 0], flow[:, 1] + d[:, 1]
    a, b, c, e = 1 + d[:, 2], d[:, 4], d[:, 3], 1 + d[:, 5]
    # Where the field folds (behind a closed lip) any answer is covered by the other layer:
    # the floor only keeps the step finite.
    det = (a * e - b * c).clamp(min=0.4)
    steps = torch.stack([(e * rx - b * ry) / det, (a * ry - c * rx) / det], 1)
    return flow - steps.clamp(-MAX_STEP, MAX_STEP)


def _interpolation(nodes: int, step: int) -> Tensor:
    """Linear interpolation [nodes*step, nodes] from cell centres to pixels, constant outside."""
    place = ((torch.arange(nodes * step) + 0.5) / step - 0.5).clamp(0, nodes - 1)
    return (1 - (place[:, None] - torch.arange(nodes)).abs()).clamp(min=0)


class Upsample(nn.Module):
    """Flow at nodes to flow at pixels, in GridSample's layout: two matrix products, no transpose.

    Args:
        nodes: h, w.
        step: px between nodes.
    """

    def __init__(self, nodes: tuple[int, int], step: int) -> None:
        super().__init__()
        self.rows: Tensor
        self.columns: Tensor
        self.register_buffer("rows", _interpolation(nodes[0], step))
        columns = torch.kron(_interpolation(nodes[1], step).T.contiguous(), torch.eye(2))
        self.register_buffer("columns", columns)

    def forward(self, flow: Tensor) -> Tensor:
        """[B,2,h,w] to [B,H,W,2]."""
        batch, _, h, w = flow.shape
        rows = flow.permute(0, 2, 3, 1).reshape(batch, h, 2 * w) @ self.columns  # [B,h,2W]
        full: Tensor = self.rows @ rows  # [B,H,2W]
        return full.view(batch, full.shape[1], -1, 2)


def _pixels(height: int, width: int) -> Tensor:
    """Pixel coordinates [H,W,2], x then y."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y], -1).float()


def _cells(nodes: tuple[int, int], step: int) -> Tensor:
    """Node coordinates [h,w,2] in pixels."""
    return _pixels(*nodes) * step + (step - 1) / 2


class Body(nn.Module):
    """Moves the whole person and lays them over the background."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = (SIZE // BODY_STEP, SIZE // BODY_STEP)
        self.upsample = Upsample(self.nodes, BODY_STEP)
        self.cells: Tensor
        self.grid: Tensor
        self.extent: Tensor
        self.register_buffer("cells", _cells(self.nodes, BODY_STEP)[None])
        self.register_buffer("grid", (_pixels(SIZE, SIZE)[None] + 0.5) * (2 / SIZE) - 1)
        self.register_buffer("extent", torch.tensor([float(SIZE), float(SIZE)]))

    def forward(self, field: Tensor, person: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
        """Field [1,2,h,w] to picture [1,3,512,512] in 0..255 and backward flow [1,2,h,w]."""
        flow = self.flow(field)
        grid = self.grid + self.upsample(flow * (2 / SIZE))
        seen = F.grid_sample(person, grid, padding_mode="border", align_corners=False)
        picture = seen[:, :3] + (1 - seen[:, 3:]) * background
        return picture.clamp(0, 255), flow

    def flow(self, field: Tensor) -> Tensor:
        """Backward flow [1,2,h,w] of a field."""
        return invert(field, self.cells, self.extent, BODY_STEP)


class Window(nn.Module):
    """Draws one kind of opening: two skin layers over cards.

    Args:
        opening: its sizes.
        shaded: whether what is inside lies in the shadow of the rim (mouth).
    """

    def __init__(self, opening: Opening, shaded: bool) -> None:
        super().__init__()
        self.opening, self.shaded = opening, shaded
        h, w = opening.nodes
        self.upsample = Upsample(opening.nodes, opening.step)
        self.cells: Tensor
        self.pixels: Tensor
        self.feather: Tensor
        self.extent: Tensor
        self.source: Tensor
        self.index: Tensor
        self.register_buffer("cells", _cells((h, w), opening.step)[None])
        self.register_buffer("pixels", _pixels(opening.height, opening.width)[None])
        self.register_buffer("extent", torch.tensor([float(opening.width), float(opening.height)]))
        size = torch.tensor([float(opening.source[1]), float(opening.source[0])])
        self.register_buffer("source", size)
        ramp_y = _ramp(h)[:, None].expand(h, w)
        self.register_buffer("feather", torch.minimum(ramp_y, _ramp(w)[None])[None, None])
        index = _pixels(opening.height, opening.width).long()
        self.register_buffer("index", index.view(1, -1, 2))
        top, left, height, width = opening.inner
        self.rows, self.columns = slice(top, top + height), slice(left, left + width)
        self.rim = (left, opening.width - left - width, top, opening.height - top - height)
        inner = _pixels(opening.height, opening.width)[self.rows, self.columns]
        self.inner: Tensor
        self.register_buffer("inner", inner.contiguous()[None])

    def place(self, field: Tensor, centre: Tensor, origin: Tensor) -> Tensor:
        """Whole pixels [B,2] by which the windows follow the head, kept inside the picture."""
        grid = ((centre + 0.5) * (2 / SIZE) - 1).view(1, 1, -1, 2)
        moved = F.grid_sample(field, grid, padding_mode="border", align_corners=False)
        shift = moved[0, :, 0].T.round().long()  # [B,2]
        room = SIZE - torch.tensor([self.opening.width, self.opening.height])
        return torch.minimum(torch.maximum(shift, -origin), room - origin)

    def flows(self, fields: Tensor, around: Tensor, origin: Tensor, shift: Tensor) -> Tensor:
        """Backward flows [2B,H,W,2], px, of the upper and lower layers, the body's at the rim."""
        batch = self.opening.count
        local = self.cells + shift.float().view(batch, 1, 1, 2)  # [B,h,w,2]
        places = (local + origin.float().view(batch, 1, 1, 2) + 0.5) * (2 / SIZE) - 1
        rim = around.expand(batch, -1, -1, -1)
        rim = F.grid_sample(rim, places, padding_mode="border", align_corners=False)
        flow = invert(fields, torch.cat([local, local]), self.extent, self.opening.step)
        rim = torch.cat([rim, rim])
        out: Tensor = self.upsample(rim + self.feather * (flow - rim))
        return out

    def behind(self, inputs: Mapping[str, Tensor], weights: Tensor, pose: Pose, at: Tensor,
               shade: Tensor | None) -> Tensor:  # fmt: skip
        """Cards, back to front [B,3,H,W], 0..255, in the window's inner part.

        Args:
            inputs: the opening's constants without their prefix.
            weights: [1,52] relative to the photo.
            pose: of the head.
            at: [B,2] px, where the windows are in the picture.
            shade: [B,1,H,W] light inside, or None.
        """
        batch, layers = self.opening.count, self.opening.cards
        place = inputs["card_rest"] + (weights @ inputs["card_basis"])[:, 0]  # [BK,3]
        moved = place[:, :2] + pose.displacement(place[..., None])[..., 0]  # [BK,2]
        axes = rotate(pose.matrix[:2], inputs["card_axes"]) * pose.zoom  # [BK,2,2]: px/half card
        a, b, c, d = axes[:, 0, 0], axes[:, 0, 1], -axes[:, 1, 0], -axes[:, 1, 1]
        det = a * d - b * c
        across = torch.stack([d / det, -c / det], 1).view(-1, 1, 1, 2)  # card per px of x
        down = torch.stack([-b / det, a / det], 1).view(-1, 1, 1, 2)
        centre = torch.stack([moved[:, 0], -moved[:, 1]], 1)  # [BK,2] px, y down
        offset = (at.repeat_interleave(layers, 0) - centre).view(-1, 1, 1, 2)
        points = self.inner + offset  # [BK,H,W,2]
        grid = points[..., :1] * across + points[..., 1:] * down
        seen = F.grid_sample(inputs["cards"], grid, padding_mode="zeros", align_corners=False)
        seen = seen.view(batch, layers, 4, *seen.shape[2:])
        out = seen[:, 0, :3]
        for layer in range(1, layers):
            out = seen[:, layer, :3] + (1 - seen[:, layer, 3:]) * out
        return out if shade is None else out * shade

    def light(self, opened: Tensor) -> Tensor:
        """Light [B,1,H,W] inside a hole: the share of the surroundings that is open."""
        low = F.avg_pool2d(opened, 4)
        for _ in range(2):
            low = F.avg_pool2d(low, 3, 1, 1)
        low = (low * LIGHT_REACH).clamp(0, 1)
        wide = F.interpolate(low, scale_factor=4, mode="bilinear", align_corners=False)
        return LIGHT_FLOOR + (1 - LIGHT_FLOOR) * wide

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        weights: Tensor,
        pose: Pose,
        body_field: Tensor,
        body_flow: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw the windows.

        Returns:
            picture [B,3,H,W] 0..255; its share of upper skin and of inside [B,1,H,W]; indices
            [B*H*W,1] of its pixels in the picture.
        """
        rest, skin = inputs["rest"], inputs["skin"]
        nodes, origin = self.opening.nodes, inputs["origin"]
        upper = displace(weights, inputs["upper_basis"], rest, skin, pose, nodes)
        lower = displace(weights, inputs["lower_basis"], rest, skin, pose, nodes)
        shift = self.place(body_field, inputs["centre"], origin)
        flow = self.flows(torch.cat([upper, lower]), body_flow, origin, shift)
        local = self.pixels + shift.float().view(-1, 1, 1, 2)  # [B,H,W,2]
        grid = torch.cat([local, local]) + flow + (self.opening.margin + 0.5)
        layers = torch.cat([inputs["upper"], inputs["lower"]])
        seen = F.grid_sample(
            layers, grid * (2 / self.source) - 1, padding_mode="border", align_corners=False
        )
        top, bottom = seen[: self.opening.count], seen[self.opening.count :]
        above = top[:, 3:]
        below = torch.minimum(bottom[:, 3:], 1 - above)
        inside = 1 - above - below
        hole = inside[..., self.rows, self.columns]
        shade = self.light(hole) if self.shaded else None
        at = (origin + shift).float()
        content = self.behind(inputs, weights, pose, at, shade)
        picture = above * top[:, :3] + below * bottom[:, :3] + F.pad(hole * content, self.rim)
        index = self.index + (origin + shift)[:, None]  # [B,HW,2]
        flat = index[..., 1] * SIZE + index[..., 0]
        return picture.clamp(0, 255), above, inside, flat.view(-1, 1)


def _ramp(count: int) -> Tensor:
    """0 at the ends, 1 from an eighth of the way on, smooth."""
    place = torch.arange(count).float()
    edge = torch.minimum(place, count - 1 - place) / (count / 8)
    t = edge.clamp(0, 1)
    return t * t * (3 - 2 * t)


class RenderNetwork(nn.Module):
    """Motion and an avatar's constants to a picture.

    Args:
        refiner: repairs the mouth's window: (picture, share of upper skin, share of inside) to
            picture; None leaves it as drawn.
    """

    def __init__(self, refiner: nn.Module | None = None) -> None:
        super().__init__()
        self.body = Body()
        self.mouth = Window(MOUTH, shaded=True)
        self.eyes = Window(EYES, shaded=False)
        self.refiner = refiner

    def forward(self, *args: Tensor, **named: Tensor) -> Tensor:
        """Inputs in the order, or by the names, of ``network_inputs()``.

        Returns:
            uint8 [1,512,512,3].
        """
        inputs = dict(zip(network_inputs(), args, strict=False)) | named
        picture, windows = self.draw(inputs)
        flat = picture.permute(0, 2, 3, 1).reshape(-1, 3)
        for part, index in windows:
            # One after the other: the eyes' windows may overlap, and a single paste that names a
            # pixel twice has no defined winner.
            for one, where in zip(part, index.view(len(part), -1), strict=True):
                flat = flat.index_put((where,), one.permute(1, 2, 0).reshape(-1, 3))
        return (flat + 0.5).view(1, SIZE, SIZE, 3).to(torch.uint8)

    def draw(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Picture [1,3,512,512] and the windows to paste into it with their pixel indices."""
        weights, pose, field = self._move(inputs)
        picture, flow = self.body(field, inputs["person"], inputs["background"])
        drawn, above, inside, index = self.mouth(
            opening_inputs(inputs, MOUTH), weights, pose, field, flow
        )
        if self.refiner is not None:
            drawn = self.refiner(drawn, above, inside).clamp(0, 255)
        eyes, _, _, places = self.eyes(opening_inputs(inputs, EYES), weights, pose, field, flow)
        return picture, [(drawn, index), (eyes, places)]

    def draw_mouth(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The mouth's window alone, not refined: what ``Window.forward`` returns."""
        weights, pose, field = self._move(inputs)
        flow = self.body.flow(field)
        window: tuple[Tensor, Tensor, Tensor, Tensor] = self.mouth(
            opening_inputs(inputs, MOUTH), weights, pose, field, flow
        )
        return window

    def _move(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Pose, Tensor]:
        """Weights [1,52] relative to the photo, head pose, and the body's field [1,2,h,w]."""
        motion = inputs["motion"]
        shapes = torch.maximum(motion[:, :52], inputs["floor"])
        weights = effective(shapes, inputs["lids"]) - inputs["resting"]
        pose = Pose(motion, inputs["pivot"], inputs["unit"])
        rest, skin = inputs["body_rest"], inputs["body_skin"]
        field = displace(weights, inputs["body_basis"], rest, skin, pose, self.body.nodes)
        return weights, pose, field


def opening_inputs(inputs: Mapping[str, Tensor], opening: Opening) -> dict[str, Tensor]:
    """The constants of one opening, without their prefix."""
    prefix = f"{opening.name}_"
    assert opening in OPENINGS
    return {k.removeprefix(prefix): v for k, v in inputs.items() if k.startswith(prefix)}
