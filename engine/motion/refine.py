"""What the window does to the network's raw frames: lips that must touch do, jitter goes.

Smoothing uses the draft frames beyond the hop, so it costs no delay.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from engine.face.rig import Rig
from engine.face.topology import MOUTH_CENTRE
from engine.media import Float32
from engine.motion.arkit import INDEX, LIPS, POSE

_JAW, _CLOSE = INDEX["jawOpen"], INDEX["mouthClose"]
_LIDS = INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]
_CLOSED_JAW = 0.09
"""Most the jaw opens behind closed lips."""
_CONTACT_FROM, _CONTACT_FULL = 0.02, 0.1
_CONTACT_EASE = 0.3
"""How far lips are closed in the frames next to a contact."""
_OPENERS = tuple(
    INDEX[f"mouth{what}{side}"] for what in ("LowerDown", "UpperUp") for side in ("Left", "Right")
)
SMOOTH_PAST = 6
"""Past frames the head's polynomial runs through, beside the new ones."""
_DEGREE = 3
_DRAFT_SHARE = 0.5
_LEAN = 0.28
"""Share of each neighbour in a frame of the mouth."""
DROOP, _SHUT = 0.25, 0.9
"""A lid up to the first may stay so; one beyond the second is in a blink."""
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


def _smooth_step(values: Float32, low: float, high: float) -> Float32:
    """0 up to ``low``, 1 from ``high`` on, with no corner between."""
    share: Float32 = np.clip((values - low) / (high - low), 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def touch(contact: Float32, before: float) -> Float32:
    """How far the lips must be closed, given how likely it is that they touch.

    From 2 % on: p, b and m are a twelfth of speech, so an unsure ear hears them with a small
    probability, and a missed closure is seen more than an extra one. At these limits nine of ten
    are closed on the sound of people never heard, and the share of closures elsewhere is that of
    the people themselves (docs/decisions/0005). Lips come together and part within three frames.

    Args:
        contact: float32 [T], probability that the lips touch.
        before: share in the frame before the first, 0..1.

    Returns:
        float32 [T], 0..1.
    """
    share = _smooth_step(contact, _CONTACT_FROM, _CONTACT_FULL)
    around = np.concatenate([[np.float32(before)], share, share[-1:]])
    beside: Float32 = np.maximum(around[:-2], around[2:])
    eased: Float32 = np.maximum(share, _CONTACT_EASE * beside)
    return eased


def seal(values: Float32, share: Float32) -> Float32:
    """Close the lips where they must touch.

    The jaw is capped and covered by ``mouthClose``; whatever else parts the lips is cut back to
    what the pressing shapes make up for.

    Args:
        values: float32 [T,58].
        share: float32 [T], how far: 0 leaves the frame as it is, 1 closes it.

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
    part = share[:, None]
    sealed: Float32 = (values * (1.0 - part) + shut * part).astype(np.float32)
    return sealed


@cache
def _projection(past: int, new: int) -> Float32:
    """Least-squares polynomial through ``past + new`` frames, read off at the new ones."""
    times = np.linspace(-1.0, 1.0, past + new)
    basis = np.polynomial.legendre.legvander(times, min(_DEGREE, past + new - 1))
    rows: Float32 = (basis @ np.linalg.pinv(basis))[past:].astype(np.float32)
    return rows


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
    """Take the jitter out of the mouth: each frame leans on its neighbours.

    The frame after the hop is a draft whose sound has been heard, so this costs no delay. How much
    is measured on the sound of real talkers, against their own jerk.

    Args:
        past: float32 [P,58], what came before, P at least 1.
        values: float32 [N,58], about to follow it.

    Returns:
        float32 [N,58], a new array.
    """
    out = values.copy()
    lips = list(LIPS)
    around = np.concatenate([past[-1:, lips], values[:, lips], values[-1:, lips]])
    out[:, lips] += _LEAN * (around[:-2] + around[2:] - 2.0 * around[1:-1])
    return out


def decide(values: Float32) -> Float32:
    """Make of every half blink a blink or none.

    Few denoising steps leave the mean of "blinks now" and "does not" behind: lids that dip half
    way, which looks tired. Lids that are a little low stay so.

    Args:
        values: float32 [N,58].

    Returns:
        float32 [N,58], a new array.
    """
    out = values.copy()
    lids = values[:, list(_LIDS)]
    low = np.minimum(lids, DROOP)
    out[:, list(_LIDS)] = low + (lids - low) * _smooth_step(lids, DROOP, _SHUT)
    return out


def scale_head(values: Float32, gain: float) -> Float32:
    """The head's rotation and shift about the photo's own pose, times ``gain``.

    Args:
        values: float32 [..,58].
        gain: 1 leaves it.

    Returns:
        float32 [..,58], a new array.
    """
    out = values.copy()
    out[..., list(POSE)] *= np.float32(gain)
    return out


class HeadFilter:
    """Takes the jitter out of the head's motion, without delay.

    Each frame is predicted by several calls, first as a draft: half of the earlier drafts is kept.
    Then a polynomial through the last frames and the new ones, drafts included, replaces them
    (Savitzky and Golay). With two denoising steps this brings the jerk from 5 to about 2 times
    that of the training motion and leaves its range.
    """

    def __init__(self) -> None:
        self._drafts: Float32 | None = None

    def reset(self) -> None:
        """Forget the drafts."""
        self._drafts = None

    def apply(self, past: Float32, values: Float32, hop: int) -> Float32:
        """Smooth one window.

        Args:
            past: float32 [P,58], what came before; up to ``SMOOTH_PAST`` frames count.
            values: float32 [N,58] of this call, drafts included.
            hop: frames that become final now; the rest are drafts for the next call.

        Returns:
            float32 [N,58], a new array.
        """
        out = values.copy()
        pose = list(POSE)
        head = values[:, pose]
        if self._drafts is not None:
            kept = len(self._drafts)
            head[:kept] += _DRAFT_SHARE * (self._drafts - head[:kept])
        self._drafts = head[hop:].copy()
        past = past[-SMOOTH_PAST:]
        joined = np.concatenate([past[:, pose], head])
        out[:, pose] = _projection(len(past), len(values)) @ joined
        return out
