"""No jumps: what comes next is led over from what was shown last; a mouth is shut in a few frames.

The difference between the last frame shown and the first new one fades out over the following
frames (what games call inertial blending): whatever the network begins with, the picture goes on
from where it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from engine.media import Float32, MotionFrame
from engine.motion.arkit import INDEX, LIPS, MOTION_SIZE
from engine.motion.idle import SPEECH_SHAPES, IdleSettings, limit

CLOSING = 3
"""Frames in which an interrupted mouth is shut."""
_BLEND, _BLEND_FAST = 12, 5
"""Frames over which the difference fades: of head, brows and gaze; of lips and lids."""
_FAST = [*LIPS, INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]
_PRESS = [INDEX["mouthPressLeft"], INDEX["mouthPressRight"]]
_OPEN = 0.02


def _fading(frames: int) -> Float32:
    """Shares 1 to 0 of the frames after the last one shown, without a corner."""
    at = np.arange(1, frames + 1, dtype=np.float32) / (frames + 1)
    share: Float32 = (1.0 - at * at * (3.0 - 2.0 * at)).astype(np.float32)
    return share


def _shares() -> Float32:
    shares = np.zeros((_BLEND, MOTION_SIZE), np.float32)
    shares[:] = _fading(_BLEND)[:, None]
    shares[:, _FAST] = 0.0
    shares[:_BLEND_FAST, _FAST] = _fading(_BLEND_FAST)[:, None]
    return shares


_SHARES = _shares()


def is_open(values: Float32) -> bool:
    """Whether speech has left the mouth open or shaped in motion [58]."""
    return bool(values[list(SPEECH_SHAPES)].max() > _OPEN)


def closing(values: Float32, share: float) -> Float32:
    """Motion [58] with the mouth brought back to rest by ``share`` (1: shut); the rest stays."""
    out = values.copy()
    out[list(SPEECH_SHAPES)] *= 1.0 - share
    out[_PRESS] = np.maximum(out[_PRESS], IdleSettings().press * share)
    return out


class Settle:
    """Stage from ``MotionFrame`` to ``MotionFrame``, without delay: passes frames on unchanged,
    except after ``start``.

    Args:
        mouth: lead the mouth over as well; where speech begins it must be in time instead.
    """

    lookahead = Fraction(0)

    def __init__(self, mouth: bool = True) -> None:
        self._shares = _SHARES.copy()
        if not mouth:
            self._shares[:, list(LIPS)] = 0.0
        self.reset()

    def start(self, shown: Float32) -> None:
        """The next frame follows ``shown``, float32 [58]."""
        self._shown: Float32 | None = shown
        self._frame = 0

    def push(self, item: MotionFrame, /) -> Iterable[MotionFrame]:
        """One frame in, one out."""
        if self._shown is not None:
            self._apart = self._shown - item.values
            self._shown, self._frame = None, 0
        if self._frame >= _BLEND:
            return [item]
        values = limit(item.values + self._apart * self._shares[self._frame])
        self._frame += 1
        return [MotionFrame(values, item.speech, item.pts, item.rate)]

    def flush(self) -> Iterable[MotionFrame]:
        """Nothing is held back."""
        self.reset()
        return []

    def reset(self) -> None:
        """As new: nothing has been shown."""
        self._shown = None
        self._apart = np.zeros(MOTION_SIZE, np.float32)
        self._frame = _BLEND
