"""The inside of a person's mouth, learnt from the frames that show it.

The renderer draws teeth, tongue and throat as flat cards behind the lips. Here the cards' colours,
edges and places are moved by gradient descent through the renderer itself, until the drawn mouths
are the filmed ones; what no frame shows stays the average card. The objective is a robust one
(about the median over frames), so a tongue that passes before the teeth does not blur them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.face.topology import INNER_LOWER_LIP, INNER_UPPER_LIP, IRIS_CENTRES, MOUTH_CENTRE
from engine.media import Float32, UInt8
from engine.render.layout import CARD, MOUTH, SIZE
from engine.render.network import RenderNetwork, opening_inputs
from engine.render.warp import Pose, effective
from training.personal.footage import Footage

MIN_OPEN = 40.0
"""Pixels of the inside that both pictures must show; a frame with less teaches nothing."""
MIN_FRAMES = 12
STEPS, BATCH = 240, 6
SOFT = 6.0
"""Levels of error from which on the objective grows linearly."""
COARSE = 2
"""Texels of a card for one learnt one: finer detail than the video's would be noise."""
GAIN_PRIOR, PLACE_PRIOR, COLOUR_PRIOR, EDGE_PRIOR, SMOOTH_PRIOR = 0.5, 2.0, 0.15, 0.02, 0.6
_TOP, _LEFT, _HEIGHT, _WIDTH = MOUTH.inner
_POINTS = [*INNER_UPPER_LIP, *INNER_LOWER_LIP[-2:0:-1]]


@dataclass(frozen=True, eq=False)
class Glimpse:
    """One frame's mouth as far as no card changes it; pixels are those of the window's inner part.

    Args:
        weights: [1,52] relative to the photo.
        motion: [1,58].
        at: [1,2] px, where the window is in the picture.
        hole: [1,1,h,w] share of each pixel that is inside.
        shade: [1,1,h,w] light inside.
        real: [1,3,h,w] as filmed, 0..255.
        sure: [1,1,h,w], where both pictures show the inside.
    """

    weights: Tensor
    motion: Tensor
    at: Tensor
    hole: Tensor
    shade: Tensor
    real: Tensor
    sure: Tensor


class Cards(nn.Module):
    """An avatar's mouth cards with what is learnt about them.

    Args:
        arrays: the avatar's, by the network's input names.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        super().__init__()
        cards = torch.from_numpy(arrays["mouth_cards"].copy())
        self.count = len(cards)
        self.share: Tensor
        self.colour: Tensor
        self.rest: Tensor
        self.axes: Tensor
        self.register_buffer("share", cards[:, 3:])
        self.register_buffer("colour", cards[:, :3] / cards[:, 3:].clamp(min=1e-3))
        self.register_buffer("rest", torch.from_numpy(arrays["mouth_card_rest"].copy()))
        self.register_buffer("axes", torch.from_numpy(arrays["mouth_card_axes"].copy()))
        small = (CARD[0] // COARSE, CARD[1] // COARSE)
        self.gain = nn.Parameter(torch.zeros(self.count, 3, 1, 1))
        self.place = nn.Parameter(torch.zeros(self.count, 2))
        self.detail = nn.Parameter(torch.zeros(self.count, 3, *small))
        self.edge = nn.Parameter(torch.zeros(self.count, 1, *small))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Cards [K,4,h,w] and their places [K,3], as the network takes them."""
        colour = self.colour * torch.exp(self.gain) + 64 * self._wide(self.detail)
        # The throat is behind everything and the tongue has no edge of its own worth learning.
        teeth = torch.tensor([0.0, 0.0, 1.0, 1.0]).view(-1, 1, 1, 1)
        odds = torch.logit(self.share.clamp(0.02, 0.98)) + 4 * teeth * self._wide(self.edge)
        inside = (self.share > 0).float()
        share = torch.where(teeth > 0, torch.sigmoid(odds) * self._near(inside), self.share)
        rest = self.rest + (self.axes @ self.place[..., None])[..., 0]
        return torch.cat([colour.clamp(0, 255) * share, share], 1), rest

    def prior(self) -> Tensor:
        """Cost of what is learnt: small changes, smooth ones, where nothing else is known."""
        smooth = sum(
            (x[..., 1:, :] - x[..., :-1, :]).square().mean()
            + (x[..., 1:] - x[..., :-1]).square().mean()
            for x in (self.detail, self.edge)
        )
        return (
            GAIN_PRIOR * self.gain.square().mean()
            + PLACE_PRIOR * self.place.square().mean()
            + COLOUR_PRIOR * self.detail.square().mean()
            + EDGE_PRIOR * self.edge.square().mean()
            + SMOOTH_PRIOR * smooth
        )

    @staticmethod
    def _wide(values: Tensor) -> Tensor:
        return F.interpolate(values, scale_factor=COARSE, mode="bilinear", align_corners=False)

    @staticmethod
    def _near(inside: Tensor) -> Tensor:
        """Where teeth may grow to: a few texels around those of the average card."""
        near = F.max_pool2d(inside, 9, 1, 4)
        rim = torch.zeros_like(near)
        rim[..., 1:-1, 1:-1] = 1  # a card ends softly where it is cut
        return near * rim


def opening(footage: Footage, numbers: Sequence[int]) -> Float32:
    """Gap of the inner lips [T] in frames, as a share of the distance of the pupils."""
    points = footage.landmarks[list(numbers), :, :2]
    gap = np.linalg.norm(points[:, MOUTH_CENTRE[0]] - points[:, MOUTH_CENTRE[1]], axis=1)
    eyes = np.linalg.norm(points[:, IRIS_CENTRES[0]] - points[:, IRIS_CENTRES[1]], axis=1)
    return np.asarray(gap / eyes, np.float32)


def open_frames(footage: Footage, numbers: NDArray[np.int64], most: int) -> list[int]:
    """Frames that show the most of a mouth's inside, the blurred ones left out, in order."""
    sharp = footage.sharpness[numbers]
    clear = numbers[sharp >= np.percentile(sharp, 20)]
    widest = clear[np.argsort(opening(footage, list(clear)))[-most:]]
    return sorted(int(k) for k in widest)


def from_shut_to_open(footage: Footage, numbers: Sequence[int], count: int = 6) -> list[int]:
    """Frames in which the mouth is open in steps from least to most, in order of time."""
    order = np.argsort(opening(footage, numbers))
    chosen = order[np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)]
    return sorted(numbers[k] for k in chosen)


def glimpse(
    network: RenderNetwork,
    constants: Mapping[str, Tensor],
    motion: Float32,
    real: UInt8,
    landmarks: Float32,
) -> Glimpse | None:
    """Draw a frame's mouth without cards; None where the filmed and the drawn one share too little.

    Args:
        network: without a refiner.
        constants: an avatar's arrays.
        motion: [58], as the renderer takes it.
        real: uint8 [512,512,3], the frame in the portrait's picture.
        landmarks: [478,2] of it.
    """
    given = torch.from_numpy(motion[None].copy())
    bare = {**constants, "motion": given, "mouth_cards": torch.zeros_like(constants["mouth_cards"])}
    with torch.no_grad():
        _, _, inside, index = network.draw_mouth(bare)
        hole = inside[..., _TOP : _TOP + _HEIGHT, _LEFT : _LEFT + _WIDTH]
        shade = network.mouth.light(hole)
        shapes = torch.maximum(given[:, :52], constants["floor"])
        weights = effective(shapes, constants["lids"]) - constants["resting"]
    first = int(index[0, 0])
    x, y = first % SIZE, first // SIZE
    lips = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(lips, [np.round(landmarks[_POINTS] * 16).astype(np.int32)], 255, shift=4)
    lips = np.asarray(cv2.erode(lips, np.ones((3, 3), np.uint8)), np.uint8)
    rows, columns = slice(y + _TOP, y + _TOP + _HEIGHT), slice(x + _LEFT, x + _LEFT + _WIDTH)
    filmed = torch.from_numpy(real[rows, columns].transpose(2, 0, 1)[None].astype(np.float32))
    both = hole * torch.from_numpy(lips[rows, columns].astype(np.float32) / 255)
    if float(both.sum()) < MIN_OPEN:
        return None
    at = torch.tensor([[float(x), float(y)]])
    return Glimpse(weights, given, at, hole, shade, filmed, both)


def learn(
    network: RenderNetwork,
    arrays: Mapping[str, NDArray[Any]],
    glimpses: list[Glimpse],
    progress: Callable[[Iterable[int]], Iterator[int]] = iter,
    seed: int = 0,
) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
    """Adapt an avatar's mouth cards to a video.

    Args:
        network: without a refiner.
        arrays: the avatar's.
        glimpses: of at least ``MIN_FRAMES`` frames.
        progress: passes on the steps.
        seed: of the order in which frames are seen.

    Returns:
        the arrays with other cards, and the facts: frames, error inside the mouth before and after.
    """
    torch.manual_seed(seed)
    cards = Cards(arrays)
    constants = opening_inputs({k: torch.from_numpy(v.copy()) for k, v in arrays.items()}, MOUTH)
    pivot, unit = (torch.from_numpy(arrays[name].copy()) for name in ("pivot", "unit"))

    def missed(some: Sequence[Glimpse]) -> Tensor:
        textures, rest = cards()
        inputs = constants | {"cards": textures, "card_rest": rest}
        total, area = torch.zeros(()), torch.zeros(())
        for seen in some:
            pose = Pose(seen.motion, pivot, unit)
            drawn = network.mouth.behind(inputs, seen.weights, pose, seen.at, seen.shade)
            off = (drawn - seen.real).square().mean(1, keepdim=True)
            total = total + (((off + SOFT**2).sqrt() - SOFT) * seen.sure).sum()
            area = area + seen.sure.sum()
        return total / area

    def everywhere() -> float:
        with torch.no_grad():
            return float(missed(glimpses))

    before = everywhere()
    groups = [
        {"params": [cards.gain, cards.place], "lr": 0.03},
        {"params": [cards.detail, cards.edge], "lr": 0.02},
    ]
    optimiser = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    rng = np.random.default_rng(seed)
    for _ in progress(range(STEPS)):
        batch = rng.choice(len(glimpses), min(BATCH, len(glimpses)), replace=False)
        loss = missed([glimpses[k] for k in batch]) / 10 + cards.prior()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        textures, rest = (part.numpy().astype(np.float32) for part in cards())
    learnt = dict(arrays) | {"mouth_cards": textures, "mouth_card_rest": rest}
    facts = {"frames": float(len(glimpses)), "before": before, "after": everywhere()}
    return learnt, facts
