"""What keeps a face alive and civil whatever the network does: blinks, glances, sway, a shut mouth.

Everything continuous is a function of the absolute frame index and the seed; what remembers (the
blink clock, the mouth's latch) steps once per frame. So any chunking gives the same output.

Rates and sizes: about 17 blinks a minute of 120 to 250 ms (Bentivoglio et al., 1997), closing
faster than opening; fixations of 0.4 to 2 s between saccades that last under a frame; breathing
near 0.25 Hz.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from engine.media import FPS, Float32, MotionFrame
from engine.motion.arkit import INDEX, MOTION_SIZE, ROTATION, TRANSLATION
from engine.motion.refine import DROOP


@dataclass(frozen=True, slots=True)
class IdleSettings:
    """How much life.

    Args:
        blink_after: shortest and longest time without a blink before one is added, in seconds.
        blink_rest: shortest time between two blinks, in seconds; a network that decides every few
            frames whether to blink does so too often again at once.
        gaze: size of added glances, in eyeLook units.
        sway: size of the added head motion; 1 is about a third of a degree.
        speech_on: the mouth is released above this speech probability.
        speech_off: it counts as quiet below this one.
        quiet: seconds of quiet before the mouth is shut.
        shutting: seconds it takes to shut.
        releasing: seconds it takes to release.
        press: how firmly a shut mouth is held, ``mouthPress`` at least.
    """

    blink_after: tuple[float, float] = (5.0, 9.0)
    blink_rest: float = 0.8
    gaze: float = 0.035
    sway: float = 1.0
    speech_on: float = 0.5
    speech_off: float = 0.3
    quiet: float = 0.2
    shutting: float = 0.2
    releasing: float = 0.08
    press: float = 0.12


_BLINKS = tuple(INDEX[f"eyeBlink{side}"] for side in ("Left", "Right"))
SPEECH_SHAPES = tuple(
    INDEX[name]
    for name in (
        "jawOpen", "jawForward", "jawLeft", "jawRight", "mouthClose", "mouthFunnel", "mouthPucker",
        "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight",
        "mouthStretchLeft", "mouthStretchRight", "mouthRollLower", "mouthRollUpper",
        "mouthShrugLower", "mouthShrugUpper", "tongueOut",
    )
)  # fmt: skip
"""What speech does to the mouth; smiles and frowns are not touched by the latch."""
_JAW, _CLOSE = INDEX["jawOpen"], INDEX["mouthClose"]
_LIMITS = np.array([0.45, 0.30, 0.25, 0.25, 0.25, 0.25], np.float32)
"""Largest |yaw|, |pitch|, |roll| (rad), |x|, |y|, |z| (inter-ocular units)."""
_PRESS = INDEX["mouthPressLeft"], INDEX["mouthPressRight"]
_SHUT_EYE = 0.5  # blink weight above which the lids count as shut
_OPENING = 2  # frames that lids take to open again
_LID_CURVES = (
    np.array([0.55, 1.0, 0.7, 0.25], np.float32),
    np.array([0.5, 1.0, 0.85, 0.45, 0.15], np.float32),
    np.array([0.4, 0.95, 1.0, 0.75, 0.4, 0.12], np.float32),
)
"""Lid closure per frame: 160, 200 and 240 ms."""
_SLOT = 2 * FPS // 3  # frames per fixation slot; the saccade falls anywhere in it
_BREATH_HZ = 0.25
_SWAY_HZ = np.array([0.11, 0.23, 0.41])
_SWAY_WEIGHT = np.array([0.6, 0.3, 0.1])
_SWAY_SIZE = np.array([0.009, 0.006, 0.005, 0.008, 0.004, 0.006])
_BREATH_SIZE = np.array([0.0, 0.003, 0.0, 0.0, 0.006, 0.0])


def _rng(seed: int, stream: int, counter: int) -> np.random.Generator:
    words = [0, 0, stream, counter % 2**63]
    return np.random.Generator(np.random.Philox(key=seed, counter=words))


class Idle:
    """Stage from ``MotionFrame`` to ``MotionFrame``, without delay.

    Args:
        seed: of the session.
        settings: how much of what.
    """

    lookahead = Fraction(0)

    def __init__(self, seed: int = 0, settings: IdleSettings | None = None) -> None:
        self._seed = seed
        self._settings = settings or IdleSettings()
        phases = _rng(seed, 1, 0).uniform(0, 2 * np.pi, (6, len(_SWAY_HZ)))
        self._phases = np.concatenate([phases, _rng(seed, 1, 1).uniform(0, 6.28, (6, 1))], axis=1)
        self.reset()

    def push(self, item: MotionFrame, /) -> Iterable[MotionFrame]:
        """One frame in, one out."""
        values = item.values.astype(np.float32)  # a copy
        self._shut_mouth(values, item.speech)
        self._blink(values, item.pts)
        self._glance(values, item.pts)
        values[ROTATION.start : TRANSLATION.stop] += self._sway(item.pts)
        return [MotionFrame(limit(values), item.speech, item.pts, item.rate)]

    def flush(self) -> Iterable[MotionFrame]:
        """Nothing is held back."""
        self.reset()
        return []

    def reset(self) -> None:
        """As new: the mouth counts as quiet already, the eyes as just opened."""
        self._latch = 0.0
        self._quiet = self._settings.quiet
        self._lid: Float32 | None = None
        self._lid_frame = 0
        self._open_since: int | None = None
        self._patience = 0

    def _shut_mouth(self, values: Float32, speech: float) -> None:
        """Close the mouth smoothly once it has been quiet for a while."""
        settings, frame = self._settings, 1.0 / FPS
        if speech >= settings.speech_on:
            self._quiet = 0.0
        elif speech < settings.speech_off:
            self._quiet += frame
        if self._quiet >= settings.quiet:
            self._latch = min(1.0, self._latch + frame / settings.shutting)
        elif self._quiet == 0.0:
            self._latch = max(0.0, self._latch - frame / settings.releasing)
        eased = self._latch * self._latch * (3.0 - 2.0 * self._latch)
        values[list(SPEECH_SHAPES)] *= 1.0 - eased
        # A photo that smiles keeps a hair's breadth between lips at rest: a light press takes it.
        values[list(_PRESS)] = np.maximum(values[list(_PRESS)], settings.press * eased)

    def _blink(self, values: Float32, pts: int) -> None:
        """Add a blink when there was none for a while, take one away that comes too soon."""
        if self._open_since is not None:
            rested = pts - self._open_since
            if _OPENING < rested < self._settings.blink_rest * FPS:
                lids = list(_BLINKS)
                values[lids] = np.minimum(values[lids], DROOP)
        if self._open_since is None or values[list(_BLINKS)].mean() > _SHUT_EYE:
            self._wait_from(pts)
        if self._lid is None and pts - (self._open_since or 0) >= self._patience:
            self._lid = _LID_CURVES[_rng(self._seed, 2, pts).integers(len(_LID_CURVES))]
            self._lid_frame = 0
        if self._lid is None:
            return
        for index in _BLINKS:
            values[index] = max(values[index], self._lid[self._lid_frame])
        self._lid_frame += 1
        if self._lid_frame == len(self._lid):
            self._lid = None
            self._wait_from(pts)

    def _wait_from(self, pts: int) -> None:
        low, high = self._settings.blink_after
        self._open_since = pts
        self._patience = round(FPS * _rng(self._seed, 3, pts).uniform(low, high))

    def _glance(self, values: Float32, pts: int) -> None:
        """Shift the gaze to this moment's fixation point."""
        slot = pts // _SLOT
        jump = int(_rng(self._seed, 4, slot).integers(_SLOT))
        where = slot if pts % _SLOT >= jump else slot - 1
        right, up = _rng(self._seed, 5, where).standard_normal(2) * self._settings.gaze
        # The picture's right is the person's left: out for the left eye, in for the right one.
        _shift(values, "eyeLookOutLeft", "eyeLookInLeft", right)
        _shift(values, "eyeLookInRight", "eyeLookOutRight", right)
        for side in ("Left", "Right"):
            _shift(values, f"eyeLookUp{side}", f"eyeLookDown{side}", 0.5 * up)

    def _sway(self, pts: int) -> Float32:
        """Slow head sway and breathing [6], continuous in time."""
        seconds = pts / FPS
        waves = np.sin(2 * np.pi * _SWAY_HZ * seconds + self._phases[:, :-1]) @ _SWAY_WEIGHT
        breath = np.sin(2 * np.pi * _BREATH_HZ * seconds + self._phases[0, -1])
        total = self._settings.sway * (_SWAY_SIZE * waves + _BREATH_SIZE * breath)
        added: Float32 = total.astype(np.float32)
        return added


def _shift(values: Float32, plus: str, minus: str, amount: float) -> None:
    """Move along an axis that two blendshapes share."""
    up, down = INDEX[plus], INDEX[minus]
    place = values[up] - values[down] + amount
    values[up], values[down] = max(place, 0.0), max(-place, 0.0)


def limit(values: Float32) -> Float32:
    """Clamp motion [58] to what a face can do: shapes 0..1, lips not past closed, pose limits."""
    out = np.empty(MOTION_SIZE, np.float32)
    shapes, pose = ROTATION.start, slice(ROTATION.start, TRANSLATION.stop)
    out[:shapes] = values[:shapes].clip(0.0, 1.0)
    out[_CLOSE] = min(out[_CLOSE], out[_JAW])
    out[pose] = values[pose].clip(-_LIMITS, _LIMITS)
    return out
