"""What the motion is conditioned on beside the sound: reference, state and style."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.media import Float32
from engine.motion.arkit import MOTION_SIZE

STYLE: tuple[str, ...] = (
    "open", "rounding", "spread", "smile", "mouth_tilt", "brow_tilt", "hypo", "lead",
    "head", "nod", "brow", "blinks", "gaze", "tense", "lively", "squint",
)  # fmt: skip
"""A person's manner, each number about [-1, 1] over the training clips, 0 the middle.
The meanings are those of ``training.teacher.style.Style``, field by field."""
SPEAKING, LISTENING, IDLE = range(3)
_SPEECH_THRESHOLD = 0.5


def _rest() -> Float32:
    return np.zeros(MOTION_SIZE, np.float32)


def _average() -> Float32:
    return np.zeros(len(STYLE), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """Conditions of one session.

    Args:
        reference: float32 [58], the portrait's own motion; zeros for a neutral photo.
        style: float32 [16], see ``STYLE``.
        listening: someone else is speaking to the avatar while it is silent.
    """

    reference: Float32 = field(default_factory=_rest)
    style: Float32 = field(default_factory=_average)
    listening: bool = False

    def state(self, speech: float) -> Float32:
        """One-hot [3] speaking, listening, idle, given the speech probability of the window."""
        quiet = LISTENING if self.listening else IDLE
        state = np.zeros(3, np.float32)
        state[SPEAKING if speech > _SPEECH_THRESHOLD else quiet] = 1.0
        return state
