"""Sizes shared by the network, the avatar that feeds it and the exporter. No torch, no pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.media import Float32
from engine.motion.arkit import MOTION_SIZE
from engine.runtime.base import TensorSpec

SIZE = 512
"""Side of the picture in pixels."""
BODY_STEP = 8
"""Pixels between the nodes of the field that moves the whole person."""
LIGHT_FLOOR, LIGHT_REACH = 0.2, 1.6
"""Light inside a hole: ``floor + (1 - floor) * min(1, reach * share open around)``."""
CARD = (96, 160)
"""Height and width of a mouth card's texture."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A kind of hole in the face: what is in front of it, behind it, and where it is drawn.

    The picture is cut along the hole's seam into an upper and a lower layer, each with a motion
    field of its own, so that lips part and lids meet without stretching what is between them.

    Args:
        name: prefix of its inputs.
        count: how many of them a face has.
        height: of its window in the picture, pixels.
        width: of its window in the picture, pixels.
        step: pixels between the nodes of its fields.
        margin: pixels by which its source pictures are larger than the window, on every side.
        cards: flat pictures behind the hole, back to front.
        card: height and width of a card's texture.
        inner: top, left, height, width of the part of the window in which the hole can be.
    """

    name: str
    count: int
    height: int
    width: int
    step: int
    margin: int
    cards: int
    card: tuple[int, int]
    inner: tuple[int, int, int, int]

    @property
    def nodes(self) -> tuple[int, int]:
        """Rows and columns of its fields."""
        return self.height // self.step, self.width // self.step

    @property
    def source(self) -> tuple[int, int]:
        """Height and width of its source pictures."""
        return self.height + 2 * self.margin, self.width + 2 * self.margin

    def inputs(self) -> dict[str, TensorSpec]:
        """What an avatar has to provide for it."""
        count, nodes = self.count, self.nodes[0] * self.nodes[1]
        cards = self.count * self.cards
        shapes: dict[str, tuple[int, ...]] = {
            "centre": (count, 2),
            "upper_basis": (count, 52, 3 * nodes),
            "lower_basis": (count, 52, 3 * nodes),
            "rest": (count, 3, nodes),
            "skin": (count, 1, nodes),
            "upper": (count, 4, *self.source),
            "lower": (count, 4, *self.source),
            "cards": (cards, 4, *self.card),
            "card_rest": (cards, 3),
            "card_axes": (cards, 3, 2),
            "card_basis": (cards, 52, 3),
        }
        specs = {f"{self.name}_{key}": TensorSpec(shape) for key, shape in shapes.items()}
        return specs | {f"{self.name}_origin": TensorSpec((count, 2), "int64")}


MOUTH = Opening("mouth", 1, 160, 192, 4, 24, 4, CARD, (24, 32, 112, 128))
"""Cards: cavity, tongue, lower teeth, upper teeth."""
EYES = Opening("eyes", 2, 64, 80, 2, 16, 2, (96, 112), (8, 8, 48, 64))
"""Person's right eye, then left. Cards: white, iris. A card is as large as the source picture."""
OPENINGS = (MOUTH, EYES)


def network_inputs() -> dict[str, TensorSpec]:
    """Inputs of the rendering network: ``motion`` each frame, the rest once per avatar."""
    nodes = (SIZE // BODY_STEP) ** 2
    specs = {
        "motion": TensorSpec((1, MOTION_SIZE)),
        "resting": TensorSpec((1, 52)),
        "floor": TensorSpec((1, 52)),
        "lids": TensorSpec((2, 52)),
        "pivot": TensorSpec((3, 1)),
        "unit": TensorSpec((1,)),
        "person": TensorSpec((1, 4, SIZE, SIZE)),
        "background": TensorSpec((1, 3, SIZE, SIZE)),
        "body_basis": TensorSpec((1, 52, 3 * nodes)),
        "body_rest": TensorSpec((1, 3, nodes)),
        "body_skin": TensorSpec((1, 1, nodes)),
    }
    for opening in OPENINGS:
        specs |= opening.inputs()
    return specs


def network_outputs() -> dict[str, TensorSpec]:
    """Outputs of the rendering network."""
    return {"image": TensorSpec((1, SIZE, SIZE, 3), "uint8")}


def node_positions(
    rows: int, columns: int, step: int, origin: tuple[float, float] = (0, 0)
) -> Float32:
    """Picture coordinates [rows*columns,2] of a field's nodes: the centres of ``step`` px cells.

    A pixel's centre is a whole number, so the first node of 8 px cells is at 3.5.
    """
    y, x = np.mgrid[:rows, :columns]
    offset = (step - 1) / 2
    nodes = np.stack([x.ravel(), y.ravel()], 1) * step + offset + np.asarray(origin)
    return np.asarray(nodes, np.float32)


def check_inputs(arrays: Mapping[str, np.ndarray]) -> None:
    """Check what an avatar provides.

    Raises:
        ValueError: an array is missing, unknown, or of another shape or type.
    """
    wanted = {k: v for k, v in network_inputs().items() if k != "motion"}
    if set(arrays) != set(wanted):
        raise ValueError(f"arrays differ from the network's: {sorted(set(arrays) ^ set(wanted))}")
    for name, spec in wanted.items():
        array = arrays[name]
        if tuple(array.shape) != spec.shape or array.dtype != np.dtype(spec.dtype):
            raise ValueError(f"{name} is {array.dtype}{list(array.shape)}, not {spec}")
