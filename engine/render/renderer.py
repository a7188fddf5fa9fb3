"""``Stage[MotionFrame, VideoFrame]``: one picture per motion frame."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from engine.media import MotionFrame, VideoFrame
from engine.render.avatar import Avatar
from engine.runtime.base import Backend


class Renderer:
    """Draws an avatar. It has no memory: a frame depends on its own motion only.

    Args:
        backend: the rendering network; forked, so that many renderers share its weights.
        avatar: bound once.

    Raises:
        BackendError: the avatar does not fit the network.
    """

    def __init__(self, backend: Backend, avatar: Avatar) -> None:
        self._backend = backend.fork()
        for name, array in avatar.arrays.items():
            self._backend.bind(name, array)

    @property
    def lookahead(self) -> Fraction:
        """None."""
        return Fraction(0)

    def push(self, item: MotionFrame, /) -> Iterable[VideoFrame]:
        """Draw one frame.

        Raises:
            BackendError: the network failed.
        """
        motion = np.ascontiguousarray(item.values, np.float32)[None]
        outputs = self._backend.run({"motion": motion})
        planes = outputs["planes"][0] if "planes" in outputs else None
        return [VideoFrame(outputs["image"][0], item, item.pts, item.rate, planes)]

    def flush(self) -> Iterable[VideoFrame]:
        """Nothing is pending."""
        return []

    def reset(self) -> None:
        """Nothing to forget."""
