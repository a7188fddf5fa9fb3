"""``Stage[VideoFrame, VideoFrame]``: every picture says that it is generated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np

from engine.config import ProvenanceConfig
from engine.media import UInt8, VideoFrame
from engine.provenance.code import Payload
from engine.provenance.disclosure import Disclosure
from engine.provenance.watermark import Watermark
from engine.render.avatar import Avatar


def resting_picture(avatar: Avatar) -> UInt8:
    """uint8 [H, W, 3]: the photo that an avatar was made from, as the renderer composes it."""
    person, background = avatar.arrays["person"][0], avatar.arrays["background"][0]
    picture = person[:3] + (1 - person[3:]) * background
    return np.asarray(np.clip(np.rint(picture.transpose(1, 2, 0)), 0, 255), np.uint8)


class Mark:
    """Adds the watermark, then the visible label, to copies of the pictures.

    It has no memory: what it adds depends on its settings and the resting picture only. A picture
    of another size (a degraded session's) gets the same marks at that size.

    Args:
        config: which marks, and how.
        resting: uint8 [H, W, 3] RGB, the avatar at rest: tells where texture hides the watermark.

    Raises:
        ConfigError: the label cannot be drawn.
    """

    def __init__(self, config: ProvenanceConfig, resting: UInt8) -> None:
        self._config = config
        self._resting = resting
        self._marks = {resting.shape: self._made(resting)}

    def _made(self, resting: UInt8) -> tuple[Watermark | None, Disclosure | None]:
        config = self._config
        shape = (resting.shape[0], resting.shape[1])
        return (
            Watermark(Payload(config.number), resting) if config.watermark else None,
            Disclosure(config.text, config.corner, config.opacity, shape, config.font)
            if config.visible
            else None,
        )

    @property
    def lookahead(self) -> Fraction:
        """None."""
        return Fraction(0)

    def push(self, item: VideoFrame, /) -> Iterable[VideoFrame]:
        """Mark one picture, and its planes if it has them."""
        watermark, disclosure = self._of(item.image)
        image, planes = item.image, item.planes
        image = watermark.apply(image) if watermark else image.copy()
        if disclosure:
            disclosure.draw(image)
        if planes is not None:
            planes = planes.copy()
            if watermark:
                watermark.apply_luma(planes[: image.shape[0]])
            if disclosure:
                disclosure.draw_planes(planes)
        return [replace(item, image=image, planes=planes)]

    def flush(self) -> Iterable[VideoFrame]:
        """Nothing is pending."""
        return []

    def reset(self) -> None:
        """Nothing to forget."""

    def _of(self, image: UInt8) -> tuple[Watermark | None, Disclosure | None]:
        if image.shape not in self._marks:
            height, width = image.shape[:2]
            resting = np.asarray(
                cv2.resize(self._resting, (width, height), interpolation=cv2.INTER_AREA), np.uint8
            )
            self._marks[image.shape] = self._made(resting)
        return self._marks[image.shape]
