"""What the window does to the network's raw frames: lips that must touch do, jitter goes.

Smoothing uses the draft frames beyond the hop, so it costs no delay.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from engine.face.rig import Rig
from engine.face.topology import MOUTH_CENTRE
from engine.media import Float32
from engine.motion.arkit import INDEX, LIPS, MOTION_SIZE, POSE

_JAW, _CLOSE = INDEX["jawOpen"], INDEX["mouthClose"]
_CLOSED_JAW = 0.09
"""Most the jaw opens behind closed lips."""
_CONTACT_FROM, _CONTACT_FULL = 0.15, 0.4
_OPENERS = tuple(
    INDEX[f"mouth{what}{side}"] for what in ("LowerDown", "UpperUp") for side in ("Left", "Right")
)
_LEAN = np.zeros(MOTION_SIZE, np.float32)
"""Share of each neighbour in a frame."""
_LEAN[list(LIPS)], _LEAN[list(POSE)] = 0.22, 0.05
_HEAD_PULL, _GAZE_PULL = 100.0, 25.0
"""Frames in which the pull alone would bring the head, and the gaze, to the middle."""
_GAZE_AXES = tuple(
    (INDEX[plus], INDEX[minus])
    for plus, minus in (
        ("eyeLookOutLeft", "eyeLookInLeft"),
        ("eyeLookInRight", "eyeLookOutRight"),
        ("eyeLookUpLeft", "eyeLookDownLeft"),
        ("eyeLookUpRight", "eyeLookDownRight"),
    )
)


@cache
def _gap() -> Float32:
    """Change of the lip gap per unit of each blendshape [52], inter-ocular units."""
    upper, lower = MOUTH_CENTRE
    deltas = Rig.load().deltas
    row: Float32 = deltas[:, upper, 1] - deltas[:, lower, 1]
    return row


def seal(values: Float32, contact: Float32) -> Float32:
    """Close the lips where they must touch.

    The jaw is capped and covered by ``mouthClose``; whatever else parts the lips is cut back to
    what the pressing shapes make up for.

    Args:
        values: float32 [T,58].
        contact: float32 [T], probability that the lips touch; a smooth step from 0.15 to 0.4, as
            a missed closure is seen more than an extra one.

    Returns:
        float32 [T,58], a new array.
    """
    shut = values.copy()
    shut[:, _JAW] = shut[:, _CLOSE] = np.minimum(values[:, _JAW], _CLOSED_JAW)
    shut[:, list(_OPENERS)] = 0.0
    weights = _gap().copy()
    weights[[_JAW, _CLOSE]] = 0.0
    parting = np.flatnonzero(weights > 0)
    apart = shut[:, parting] @ weights[parting]
    together = -(shut[:, :52] @ np.minimum(weights, 0.0))
    shut[:, parting] *= np.clip(together / np.maximum(apart, 1e-6), 0.0, 1.0)[:, None]
    share = np.clip((contact - _CONTACT_FROM) / (_CONTACT_FULL - _CONTACT_FROM), 0.0, 1.0)
    share = (share * share * (3.0 - 2.0 * share))[:, None]
    sealed: Float32 = (values * (1.0 - share) + shut * share).astype(np.float32)
    return sealed


def recentre(past: Float32, values: Float32) -> Float32:
    """Pull head and gaze gently back to the middle.

    A network that continues its own motion wanders: without this it looks aside for half a minute.
    The pull is a speed, so it never jumps, and it is weak against what the sound asks for.

    Args:
        past: float32 [P,58], what came before, P at least 1.
        values: float32 [N,58], about to follow it.

    Returns:
        float32 [N,58], a new array.
    """
    out = values.copy()
    count = np.arange(1, len(values) + 1, dtype=np.float32)
    pose = list(POSE)
    out[:, pose] -= count[:, None] / _HEAD_PULL * past[:, pose].mean(0)
    for plus, minus in _GAZE_AXES:
        where = (past[:, plus] - past[:, minus]).mean()
        place = values[:, plus] - values[:, minus] - count / _GAZE_PULL * where
        out[:, plus], out[:, minus] = np.maximum(place, 0.0), np.maximum(-place, 0.0)
    return out


def steady(past: Float32, values: Float32) -> Float32:
    """Take the jitter out of mouth and head: each frame leans a little on its neighbours.

    The frame after the hop is a draft whose sound has been heard, so this costs no delay. How much
    is measured on the sound of real talkers, against their own jerk.

    Args:
        past: float32 [P,58], what came before, P at least 1.
        values: float32 [N,58], about to follow it.

    Returns:
        float32 [N,58], a new array.
    """
    around = np.concatenate([past[-1:], values, values[-1:]])
    bent = around[:-2] + around[2:] - 2.0 * values
    out: Float32 = (values + _LEAN * bent).astype(np.float32)
    return out
