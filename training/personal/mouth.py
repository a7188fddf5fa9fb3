"""The inside of a person's mouth, learnt from the frames that show it.

The renderer draws teeth, tongue and throat as flat cards behind the lips. Here the cards' colours,
edges and places are moved by gradient descent through the renderer itself, until the drawn mouths
are the filmed ones; what no frame shows stays the average card. The objective is a robust one
(about the median over frames), so a tongue that passes before the teeth does not blur them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.media import Float32
from engine.render.layers import fill
from engine.render.layout import CARD, MOUTH
from engine.render.mouth import UPPER
from engine.render.network import RenderNetwork, opening_inputs
from engine.render.warp import Pose
from training.personal.glimpse import Glimpse

MIN_FRAMES = 12
STEPS, BATCH = 300, 6
SOFT = 6.0
"""Levels of error from which on the objective grows linearly."""
COARSE = 2
"""Texels of a card for one learnt one: finer detail than the video's would be noise."""
CERTAIN = 0.005
"""Share up to which a texel of the average card is no tooth yet; so it may become one."""
REACH = 0.25
"""Halves of a card by which teeth may be somewhere else than in the average mouth."""
BRIGHTEST = 0.97
"""Share of the pixels filmed in the mouth that are darker than what counts as the brightest."""
HIGHLIGHT = 1.25
"""By how much a card may exceed that: the renderer shades it again."""
SHADOW = 0.75
"""Of the brightest: what lies below and behind the upper teeth is in their shadow."""
TEETH_PRIOR, GAIN_PRIOR, PLACE_PRIOR = 5.0, 0.5, 4.0
COLOUR_PRIOR, EDGE_PRIOR, SMOOTH_PRIOR = 0.3, 0.02, 0.6
"""Weights of the changes' squares against a tenth of the mean error in levels."""


class Cards(nn.Module):
    """An avatar's mouth cards with what is learnt about them.

    Args:
        arrays: the avatar's, by the network's input names.
        brightest: [3], bound of their colours: nothing may glow in an open mouth, however little
            light the renderer believes to be in one that is hardly open.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], brightest: Tensor) -> None:
        super().__init__()
        given = arrays["mouth_cards"]
        cards = torch.from_numpy(given.copy())
        self.count = len(cards)
        self.share: Tensor
        self.colour: Tensor
        self.rest: Tensor
        self.axes: Tensor
        self.register_buffer("share", cards[:, 3:])
        self.register_buffer("colour", torch.from_numpy(np.stack([_straight(c) for c in given])))
        self.register_buffer("rest", torch.from_numpy(arrays["mouth_card_rest"].copy()))
        self.register_buffer("axes", torch.from_numpy(arrays["mouth_card_axes"].copy()))
        self.most: Tensor
        most = brightest.expand(self.count, 3).clone()
        most[:UPPER] *= SHADOW
        self.register_buffer("most", most[:, :, None, None])
        small = (CARD[0] // COARSE, CARD[1] // COARSE)
        self.gain = nn.Parameter(torch.zeros(self.count, 3, 1, 1))
        self.place = nn.Parameter(torch.zeros(self.count, 2))
        self.detail = nn.Parameter(torch.zeros(self.count, 3, *small))
        self.edge = nn.Parameter(torch.zeros(self.count, 1, *small))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Cards [K,4,h,w] and their places [K,3], as the network takes them."""
        # Only the upper teeth are as rigid as their card: the others would take on the shape of
        # whatever passes before them. Of the lower ones the colour alone is learnt: a row moved up
        # to where the lips hardly part stands in every mouth that is open wide.
        upper, patterned = torch.zeros(self.count, 1, 1, 1), torch.ones(self.count, 1, 1, 1)
        upper[UPPER] = 1
        patterned[UPPER - 1] = 0
        colour = self.colour * torch.exp(self.gain) + 64 * patterned * self._wide(self.detail)
        colour = torch.minimum(colour.clamp(0, 255), self.most)
        odds = torch.logit(self.share.clamp(CERTAIN, 1 - CERTAIN)) + 4 * self._wide(self.edge)
        inside = (self.share > 0).float()
        share = torch.where(upper > 0, torch.sigmoid(odds) * self._near(inside), self.share)
        moved = REACH * upper[:, :, 0, 0] * torch.tanh(self.place / REACH)
        rest = self.rest + (self.axes @ moved[..., None])[..., 0]
        return torch.cat([colour * share, share], 1), rest

    def prior(self) -> Tensor:
        """Cost of what is learnt: small changes, smooth ones, where nothing else is known."""
        smooth = sum(
            (x[..., 1:, :] - x[..., :-1, :]).square().mean()
            + (x[..., 1:] - x[..., :-1]).square().mean()
            for x in (self.detail, self.edge)
        )
        teeth = self.gain[UPPER - 1] - self.gain[UPPER]  # both rows are of one colour
        return (
            TEETH_PRIOR * teeth.square().mean()
            + GAIN_PRIOR * self.gain.square().mean()
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


def _brightest(glimpses: Sequence[Glimpse]) -> Tensor:
    """Bound [3] of the cards' colours, by the brightest that was filmed in the mouth."""
    filmed = torch.cat([seen.real[0][:, seen.sure[0, 0] > 0.9] for seen in glimpses], 1)  # [3,N]
    order = filmed.mean(0).argsort()
    return HIGHLIGHT * filmed[:, order[int(BRIGHTEST * len(order)) :]].mean(1)


def _straight(card: Float32) -> Float32:
    """A card's own colours [3,h,w], gone on with where it is clear."""
    share = card[3]
    colours = (card[:3] / np.maximum(share, 1e-3)).transpose(1, 2, 0)
    return np.asarray(fill(colours, (share > 0.5).astype(np.float32)).transpose(2, 0, 1))


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
    cards = Cards(arrays, _brightest(glimpses))
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
