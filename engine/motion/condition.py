"""What the motion is conditioned on beside the sound: reference, state, style and emotion."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from engine.errors import ConfigError
from engine.media import Float32
from engine.motion.arkit import MOTION_SIZE

STYLE: tuple[str, ...] = (
    "open", "rounding", "spread", "smile", "mouth_tilt", "brow_tilt", "hypo", "lead",
    "head", "nod", "brow", "blinks", "gaze", "tense", "lively", "squint",
)  # fmt: skip
"""A person's manner, each number about [-1, 1] over the training clips, 0 the middle.
The meanings are those of ``training.teacher.style.Style``, field by field."""
EMOTIONS: tuple[str, ...] = ("happy", "sad", "angry", "surprised", "calm")
"""Intensities in [0, 1]; none of them is neutral. ``training.teacher.emotion`` has the same."""
SPEAKING, LISTENING, IDLE = range(3)
SPEECH_THRESHOLD = 0.5
_HEAD_GAIN, _HEAD_STYLE = 2.0, 0.4
"""How much larger the head's motion is shown than the network has it, and how many nepers the
style ``head`` adds: the network hardly follows that number, and its smoothed head moves a third as
fast as that of people (docs/decisions/0005)."""


def _rest() -> Float32:
    return np.zeros(MOTION_SIZE, np.float32)


def _average() -> Float32:
    return np.zeros(len(STYLE), np.float32)


def _neutral() -> Float32:
    return np.zeros(len(EMOTIONS), np.float32)


def mix(names: tuple[str, ...], text: str, low: float, high: float) -> Float32:
    """``"happy=0.8, calm=0.2"`` as a vector in the order of ``names``, 0 where not named: float32.

    Raises:
        ConfigError: an unknown name, no number, or one outside ``low`` .. ``high``.
    """
    values = np.zeros(len(names), np.float32)
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = (side.strip() for side in part.partition("="))
        if name not in names:
            raise ConfigError(f"'{name}' is none of {', '.join(names)}")
        try:
            value = float(number)
        except ValueError:
            raise ConfigError(f"'{part}' is not of the form {name}=0.5") from None
        if not low <= value <= high:
            raise ConfigError(f"{name} is {value:g}; {low:g} to {high:g}")
        values[names.index(name)] = value
    return values


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """Conditions of one session.

    Args:
        reference: float32 [58], the portrait's own motion; zeros for a neutral photo.
        style: float32 [16], see ``STYLE``.
        emotion: float32 [5], see ``EMOTIONS``; more than two at once were not trained.
        listening: someone else is speaking to the avatar while it is silent. Known by itself
            where their sound is given (``MotionWindow.hear``).
    """

    reference: Float32 = field(default_factory=_rest)
    style: Float32 = field(default_factory=_average)
    emotion: Float32 = field(default_factory=_neutral)
    listening: bool = False

    @property
    def head_gain(self) -> float:
        """Size of the head's motion as shown while speaking, in units of the network's."""
        return _HEAD_GAIN * math.exp(_HEAD_STYLE * float(self.style[STYLE.index("head")]))

    def state(self, speech: float, other: float = 0.0) -> Float32:
        """One-hot [3] speaking, listening, idle, given the speech probability of the window.

        Args:
            speech: of the avatar's own sound.
            other: of who speaks to it.
        """
        quiet = LISTENING if self.listening or other > SPEECH_THRESHOLD else IDLE
        state = np.zeros(3, np.float32)
        state[SPEAKING if speech > SPEECH_THRESHOLD else quiet] = 1.0
        return state
