"""What a feeling does to a face that talks: shifts and modulations on top of speech.

The actions are those of EMFACS (Ekman, Friesen and Hager 2002): joy 6 + 12, sadness 1 + 4 + 15
(+ 17), anger 4 + 5 + 7 + 9 + 24, surprise 1 + 2 + 5; calm is low arousal without an action of its
own. Tempo and size of head movement, gaze and blinks follow arousal (Wallbott 1998: sadness lowers
the head and slows it, joy and anger enlarge and quicken it). Nothing here parts closed lips: what
a feeling adds is sealed together with the rest of the mouth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.teacher.noise import bump, drift
from training.teacher.prosody import RATE
from training.teacher.style import Style

Float32 = NDArray[np.float32]

EMOTIONS: tuple[str, ...] = ("happy", "sad", "angry", "surprised", "calm")
"""What the numbers of an emotion vector are; all zero is neutral."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One emotion at full intensity.

    Args:
        face: added to ARKit shapes; a name without side is for both.
        pose: added to yaw, pitch, roll (radians), x, y, z (inter-ocular units).
        manner: factors on fields of ``Style``.
        tempo: factor on how fast the head changes.
        droop: closure of the upper lids between blinks.
        lowered_gaze: radians.
    """

    face: dict[str, float]
    pose: tuple[float, float, float, float, float, float]
    manner: dict[str, float]
    tempo: float
    droop: float = 0.0
    lowered_gaze: float = 0.0


_EFFECTS: dict[str, Effect] = {
    "happy": Effect(
        {"mouthSmile": 0.48, "mouthDimple": 0.14, "cheekSquint": 0.50, "eyeSquint": 0.26,
         "browOuterUp": 0.10, "browInnerUp": 0.06},
        (0, -0.015, 0, 0, 0, 0.01),
        {"head": 1.25, "nod": 1.2, "brow": 1.2, "blinks": 1.1, "spread": 1.1, "lively": 1.2},
        1.15,
    ),
    "sad": Effect(
        {"browInnerUp": 0.52, "browDown": 0.12, "mouthFrown": 0.42, "mouthShrugLower": 0.16,
         "eyeSquint": 0.08},
        (0, 0.065, 0.015, 0, -0.01, -0.01),
        {"head": 0.6, "nod": 0.55, "brow": 0.6, "open": 0.88, "gaze": 1.3, "lively": 0.7},
        0.65,
        droop=0.14,
        lowered_gaze=0.09,
    ),
    "angry": Effect(
        {"browDown": 0.62, "eyeSquint": 0.24, "eyeWide": 0.16, "noseSneer": 0.26,
         "mouthPress": 0.16, "mouthFrown": 0.14, "mouthStretch": 0.08, "jawForward": 0.06},
        (0, 0.035, 0, 0, 0, 0.03),
        {"head": 1.2, "nod": 1.5, "brow": 0.5, "blinks": 0.7, "gaze": 0.5, "tense": 1.5,
         "open": 1.06},
        1.25,
    ),
    "surprised": Effect(
        {"browInnerUp": 0.58, "browOuterUp": 0.52, "eyeWide": 0.48},
        (0, -0.035, 0, 0, 0, -0.02),
        {"head": 1.05, "blinks": 0.7, "gaze": 0.6, "open": 1.14, "brow": 0.7},
        1.1,
    ),
    "calm": Effect(
        {"mouthSmile": 0.06},
        (0, 0, 0, 0, 0, 0),
        {"head": 0.6, "nod": 0.65, "brow": 0.6, "blinks": 0.85, "gaze": 0.5, "lively": 0.6,
         "tense": 0.6},
        0.65,
        droop=0.05,
    ),
}  # fmt: skip
assert tuple(_EFFECTS) == EMOTIONS
_SIDED = ("Left", "Right")
_UNDER_ROUNDING = 0.65  # share of a smile that a fully puckered mouth takes back
_WAVE = 0.22  # how much the intensity comes and goes
_ON_ACCENT = 0.25  # extra intensity on a stressed syllable


def neutral() -> Float32:
    """No emotion: float32 [5] of zeros."""
    return np.zeros(len(EMOTIONS), np.float32)


def check(emotion: Float32) -> Float32:
    """Return an emotion vector as float32 [5].

    Raises:
        ValueError: wrong size, not within [0, 1], or more than two emotions at once.
    """
    values = np.asarray(emotion, np.float32)
    if values.shape != (len(EMOTIONS),) or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"an emotion is {len(EMOTIONS)} numbers within [0, 1], not {emotion}")
    if np.count_nonzero(values) > 2:
        raise ValueError("at most two emotions at once")
    return values


def manner(style: Style, emotion: Float32) -> Style:
    """Return the style as this feeling changes it."""
    changes: dict[str, float] = {}
    for effect, strength in zip(_EFFECTS.values(), emotion, strict=True):
        for name, factor in effect.manner.items():
            value = changes.get(name, float(getattr(style, name)))
            changes[name] = value * (1 + float(strength) * (factor - 1))
    if "tense" in changes:
        changes["tense"] = min(changes["tense"], 1.0)
    return replace(style, **changes)


def tempo(emotion: Float32) -> float:
    """Return the factor on how fast the head changes."""
    pairs = zip(_EFFECTS.values(), emotion, strict=True)
    return float(np.prod([effect.tempo ** float(strength) for effect, strength in pairs]))


@dataclass(frozen=True, slots=True, eq=False)
class Colour:
    """What an emotion adds, at 100 Hz.

    Args:
        face: float32 [T] by ARKit name.
        pose: float32 [6, T].
        droop: float32 [T], how far the upper lids hang.
        lowered_gaze: float32 [T], radians by which the eyes look down.
    """

    face: dict[str, Float32]
    pose: Float32
    droop: Float32
    lowered_gaze: Float32


def colour(
    rng: np.random.Generator,
    count: int,
    emotion: Float32,
    accents: list[tuple[float, float]],
    pucker: Float32,
    jaw: Float32,
) -> Colour:
    """Return what to add to a talking face.

    Args:
        rng: the clip's generator; drawn from only where there is an emotion.
        count: T.
        emotion: float32 [5].
        accents: (time, strength) of stressed syllables, on which a feeling shows more.
        pucker: float32 [T], the mouth's rounding, which leaves no room for a smile.
        jaw: float32 [T], its opening; only closed lips are pressed.
    """
    times = (np.arange(count, dtype=np.float32) + 0.5) / RATE
    face: dict[str, Float32] = {}
    pose = np.zeros((6, count), np.float32)
    droop, lowered = np.zeros(count, np.float32), np.zeros(count, np.float32)
    near = np.clip(1 - jaw / 0.15, 0, 1)
    room = 1 - _UNDER_ROUNDING * np.clip(pucker / 0.6, 0, 1)
    for effect, strength in zip(_EFFECTS.values(), emotion, strict=True):
        if strength == 0:
            continue
        wave = 1 + _WAVE * np.clip(drift(rng, count, 3.0), -2, 1.5)
        for at, stress in accents:
            wave = wave + _ON_ACCENT * stress * rng.uniform(0, 1) * bump(times, at, 0.2, 0.5)
        curve = float(strength) * np.clip(wave, 0.3, 1.5)
        for name, amount in effect.face.items():
            lips = room if name in ("mouthSmile", "mouthDimple", "mouthStretch") else 1.0
            lips = near if name == "mouthPress" else lips
            # Nobody's face is even: one side shows a little more.
            tilt = float(rng.normal(0, 0.06))
            for side, factor in zip(_sides(name), (1 + tilt, 1 - tilt), strict=False):
                added = (amount * factor * curve * lips).astype(np.float32)
                face[side] = face[side] + added if side in face else added
        pose += np.asarray(effect.pose, np.float32)[:, None] * curve
        droop += (effect.droop * curve).astype(np.float32)
        lowered += (effect.lowered_gaze * curve).astype(np.float32)
    return Colour(face, pose, droop, lowered)


def _sides(name: str) -> tuple[str, ...]:
    if name in ("browInnerUp", "mouthShrugLower", "jawForward"):
        return (name,)
    return tuple(name + side for side in _SIDED)
