"""Mouth windows as drawn and as they really were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from engine.errors import PortraitError
from engine.face.analysis import FaceAnalyser
from engine.face.portrait import Portrait
from engine.media import UInt8
from engine.render.avatar import Avatar
from engine.render.layout import MOUTH
from engine.render.network import RenderNetwork
from training.refiner.track import Step, reenact

MAX_ERROR = 3.0
"""Pixels by which the lips' landmarks may be missed; beyond, the pair teaches misalignment."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Pairs of windows.

    Args:
        drawn: uint8 [N,3,160,192], by the renderer without a refiner.
        masks: uint8 [N,2,160,192]: share of the upper layer and of the inside, x 255.
        real: uint8 [N,3,160,192].
        clip: int [N], which clip.
    """

    drawn: UInt8
    masks: UInt8
    real: UInt8
    clip: NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Write ``.npz``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, drawn=self.drawn, masks=self.masks, real=self.real, clip=self.clip)

    @classmethod
    def load(cls, path: Path) -> Windows:
        """Read what ``save`` wrote."""
        with np.load(path) as file:
            return cls(file["drawn"], file["masks"], file["real"], file["clip"])

    def select(self, keep: NDArray[np.bool_]) -> Windows:
        """Those for which ``keep`` [N] is true."""
        return Windows(self.drawn[keep], self.masks[keep], self.real[keep], self.clip[keep])


def collect(clips: Iterable[Path], photos: tuple[int, ...], every: int) -> Windows:
    """Reenact every clip from several of its own frames.

    Args:
        clips: videos of one person each.
        photos: indices of the frames that serve as photo.
        every: use every so many frames.
    """
    analyser, network = FaceAnalyser(), RenderNetwork().eval()
    rows: list[tuple[UInt8, UInt8, UInt8, int]] = []
    work = [(number, path, first) for number, path in enumerate(clips) for first in photos]
    for number, path, first in tqdm(work, desc="reenact", unit="photo"):
        try:
            rows += [
                (*row, number) for row in _pairs(network, reenact(path, analyser, first, every))
            ]
        except PortraitError as error:
            tqdm.write(f"{path.name} frame {first}: {error}")
    drawn, masks, real, clip = (np.stack(x) for x in zip(*rows, strict=True))
    return Windows(drawn, masks, real, clip)


def _pairs(
    network: RenderNetwork, items: Iterator[Portrait | Step]
) -> Iterator[tuple[UInt8, UInt8, UInt8]]:
    constants: dict[str, Tensor] = {}
    for item in items:
        if isinstance(item, Portrait):
            arrays = Avatar.from_portrait(item).arrays
            constants = {k: torch.from_numpy(v.copy()) for k, v in arrays.items()}
        elif item.error < MAX_ERROR:
            yield _pair(network, constants, item)


@torch.no_grad()
def _pair(
    network: RenderNetwork, constants: dict[str, Tensor], step: Step
) -> tuple[UInt8, UInt8, UInt8]:
    inputs = constants | {"motion": torch.from_numpy(step.motion[None])}
    drawn, above, inside, index = network.draw_mouth(inputs)
    masks = (torch.cat([above, inside], 1)[0] * 255).round()
    flat = step.picture.reshape(-1, 3)[index[:, 0].numpy()]
    real = flat.reshape(MOUTH.height, MOUTH.width, 3).transpose(2, 0, 1)
    return drawn[0].round().to(torch.uint8).numpy(), masks.to(torch.uint8).numpy(), real
