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
from engine.render.warp import Pose, Upsample, cells, displace, effective, invert, pixels, rotate


class Body(nn.Module):
    """Moves the whole person and lays them over the background."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = (SIZE // BODY_STEP, SIZE // BODY_STEP)
        self.upsample = Upsample(self.nodes, BODY_STEP)
        self.cells: Tensor
        self.grid: Tensor
        self.extent: Tensor
        self.register_buffer("cells", cells(self.nodes, BODY_STEP)[None])
        self.register_buffer("grid", (pixels(SIZE, SIZE)[None] + 0.5) * (2 / SIZE) - 1)
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
        self.register_buffer("cells", cells((h, w), opening.step)[None])
        self.register_buffer("pixels", pixels(opening.height, opening.width)[None])
        self.register_buffer("extent", torch.tensor([float(opening.width), float(opening.height)]))
        size = torch.tensor([float(opening.source[1]), float(opening.source[0])])
        self.register_buffer("source", size)
        ramp_y = _ramp(h)[:, None].expand(h, w)
        self.register_buffer("feather", torch.minimum(ramp_y, _ramp(w)[None])[None, None])
        index = pixels(opening.height, opening.width).long()
        self.register_buffer("index", index.view(1, -1, 2))
        top, left, height, width = opening.inner
        self.rows, self.columns = slice(top, top + height), slice(left, left + width)
        self.rim = (left, opening.width - left - width, top, opening.height - top - height)
        inner = pixels(opening.height, opening.width)[self.rows, self.columns]
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
        # One eye after the other: their windows may touch, and a scatter has no order of its own.
        half = len(places) // 2
        return picture, [(drawn, index), (eyes[:1], places[:half]), (eyes[1:], places[half:])]

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
