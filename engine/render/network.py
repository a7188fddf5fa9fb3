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

from engine.render.cards import Cards
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
from engine.render.warp import Displaced, Enlarge, Inverse, Pose, Sampling, cells, effective

_LIGHT_STEP = 4
"""Pixels over which the light inside a hole is the same before it is smoothed."""


class Body(nn.Module):
    """Moves the whole person and lays them over the background."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = (SIZE // BODY_STEP, SIZE // BODY_STEP)
        self.displaced = Displaced(self.nodes)
        self.inverse = Inverse((SIZE, SIZE), BODY_STEP)
        self.sampling = Sampling(self.nodes, BODY_STEP, (SIZE, SIZE))
        self.cells: Tensor
        self.register_buffer("cells", cells(self.nodes, BODY_STEP)[None])

    def forward(self, field: Tensor, person: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
        """Field [1,2,h,w] to picture [1,3,512,512] in 0..255 and backward flow [1,2,h,w]."""
        flow = self.flow(field)
        seen = F.grid_sample(
            person, self.sampling(flow), padding_mode="border", align_corners=False
        )
        picture = seen[:, :3] + (1 - seen[:, 3:]) * background
        return picture.clamp(0, 255), flow

    def flow(self, field: Tensor) -> Tensor:
        """Backward flow [1,2,h,w] of a field."""
        flow: Tensor = self.inverse(field, self.cells)
        return flow


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
        self.displaced = Displaced(opening.nodes)
        self.inverse = Inverse((opening.width, opening.height), opening.step)
        self.sampling = Sampling(opening.nodes, opening.step, opening.source[::-1])
        self.cells: Tensor
        self.feather: Tensor
        self.index: Tensor
        self.register_buffer("cells", cells((h, w), opening.step)[None])
        ramp_y = _ramp(h)[:, None].expand(h, w)
        self.register_buffer("feather", torch.minimum(ramp_y, _ramp(w)[None])[None, None])
        rows, columns = torch.arange(opening.height)[:, None], torch.arange(opening.width)
        self.register_buffer("index", (rows * SIZE + columns).view(1, -1))
        top, left, height, width = opening.inner
        self.rows, self.columns = slice(top, top + height), slice(left, left + width)
        self.rim = (left, opening.width - left - width, top, opening.height - top - height)
        self.wide = Enlarge((height // _LIGHT_STEP, width // _LIGHT_STEP), _LIGHT_STEP)
        self.behind = Cards(opening)

    def place(self, field: Tensor, centre: Tensor, origin: Tensor) -> Tensor:
        """Whole pixels [B,2] by which the windows follow the head, kept inside the picture."""
        grid = ((centre + 0.5) * (2 / SIZE) - 1).view(1, 1, -1, 2)
        moved = F.grid_sample(field, grid, padding_mode="border", align_corners=False)
        shift = moved[0, :, 0].T.round().long()  # [B,2]
        room = SIZE - torch.tensor([self.opening.width, self.opening.height])
        return torch.minimum(torch.maximum(shift, -origin), room - origin)

    def flows(self, fields: Tensor, around: Tensor, origin: Tensor, shift: Tensor) -> Tensor:
        """Backward flows [2B,2,h,w], px, of the upper and lower layers, the body's at the rim."""
        batch = self.opening.count
        local = self.cells + shift.float().view(batch, 1, 1, 2)  # [B,h,w,2]
        places = (local + origin.float().view(batch, 1, 1, 2) + 0.5) * (2 / SIZE) - 1
        rim = around.expand(batch, -1, -1, -1)
        rim = F.grid_sample(rim, places, padding_mode="border", align_corners=False)
        flow: Tensor = self.inverse(fields, torch.cat([local, local]))
        rim = torch.cat([rim, rim])
        return rim + self.feather * (flow - rim)

    def light(self, opened: Tensor) -> Tensor:
        """Light [B,1,H,W] inside a hole: the share of the surroundings that is open."""
        low = F.avg_pool2d(opened, _LIGHT_STEP)
        for _ in range(2):
            low = F.avg_pool2d(low, 3, 1, 1)
        low = (low * LIGHT_REACH).clamp(0, 1)
        wide: Tensor = self.wide(low)
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
        origin = inputs["origin"]
        upper = self.displaced(weights, inputs["upper_basis"], rest, skin, pose)
        lower = self.displaced(weights, inputs["lower_basis"], rest, skin, pose)
        shift = self.place(body_field, inputs["centre"], origin)
        flow = self.flows(torch.cat([upper, lower]), body_flow, origin, shift)
        moved = shift.float() + self.opening.margin
        places = self.sampling(flow + torch.cat([moved, moved])[..., None, None])
        top, bottom = (
            F.grid_sample(inputs[layer], where, padding_mode="border", align_corners=False)
            for layer, where in zip(("upper", "lower"), places.chunk(2), strict=True)
        )
        above = top[:, 3:]
        below = torch.minimum(bottom[:, 3:], 1 - above)
        inside = 1 - above - below
        hole = inside[..., self.rows, self.columns]
        shade = self.light(hole) if self.shaded else None
        at = (origin + shift).float()
        content = self.behind(inputs, weights, pose, at, shade)
        picture = above * top[:, :3] + below * bottom[:, :3] + F.pad(hole * content, self.rim)
        place = origin + shift
        index = self.index + (place[:, 1:] * SIZE + place[:, :1])  # [B,HW]
        return picture.clamp(0, 255), above, inside, index.view(-1, 1)


def _rows(picture: Tensor) -> Tensor:
    """A picture [1,3,H,W] as rows of colours [HW,3] that a cast to bytes rounds.

    Rounded here, over whole planes: over an axis of three it took a fifth of the frame's time.
    """
    return (picture + 0.5).permute(0, 2, 3, 1).reshape(-1, 3)


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
        flat = _rows(picture)
        for part, index in windows:
            # One after the other: the eyes' windows may overlap, and a single paste that names a
            # pixel twice has no defined winner.
            for one, where in zip(part, index.view(len(part), -1), strict=True):
                flat = flat.index_put((where,), _rows(one[None]))
        return flat.view(1, SIZE, SIZE, 3).to(torch.uint8)

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
        field = self.body.displaced(weights, inputs["body_basis"], rest, skin, pose)
        return weights, pose, field


def opening_inputs(inputs: Mapping[str, Tensor], opening: Opening) -> dict[str, Tensor]:
    """The constants of one opening, without their prefix."""
    prefix = f"{opening.name}_"
    assert opening in OPENINGS
    return {k.removeprefix(prefix): v for k, v in inputs.items() if k.startswith(prefix)}
