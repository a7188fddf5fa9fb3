"""From articulators to the 28 ARKit shapes of the mouth, jaw and tongue."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from engine.face.rig import Rig
from engine.face.topology import MOUTH_CENTRE
from engine.motion.arkit import INDEX
from training.corpus.phones import Unit
from training.teacher import lips
from training.teacher.noise import drift
from training.teacher.prosody import Prosody
from training.teacher.style import Style

Float32 = NDArray[np.float32]

_OPENERS = tuple(
    INDEX[n]
    for n in (
        "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    )
)  # fmt: skip
_CLOSED_JAW = 0.13  # jaw left open behind closed lips
_TEETH_CLOSE = 0.7  # of the jaw's opening is taken back by the lips for f and v
_FAINT, _SLIGHT = 0.002, 0.01  # gap per unit below which a shape hardly parts the lips
_UNSEEN = 0.0018  # inter-ocular units of gap that nobody sees
_SEAL_FUNNEL = 0.06  # a funnel parts the lips: the most that closed lips allow


def shapes(
    spoken: list[Unit],
    stress: Float32,
    prosody: Prosody,
    style: Style,
    count: int,
    rng: np.random.Generator,
) -> dict[str, Float32]:
    """Return the mouth's shapes at 100 Hz by ARKit name, float32 [T] each."""
    curve = lips.blend(spoken, stress, prosody, style, count)
    contact, _ = lips.closures(spoken, count)
    teeth = lips.labiodentals(spoken, count)
    rest = lips.rests(spoken, count)
    shut = np.maximum(contact, rest)
    jaw = curve["jaw"] * (1 - shut) + np.minimum(curve["jaw"], _CLOSED_JAW) * shut
    jaw = jaw * (1 - 0.85 * rest)
    jaw = np.minimum(jaw, jaw * (1 - teeth) + _CLOSED_JAW * teeth)
    near = np.maximum(shut, _TEETH_CLOSE * teeth)
    funnel = curve["funnel"] * (1 - shut) + np.minimum(curve["funnel"], _SEAL_FUNNEL) * shut
    smile = style.smile * (1 + 0.25 * style.lively * drift(rng, count, 2.2))
    smile = np.clip(smile, 0, 1) * (1 - 0.7 * np.clip(curve["pucker"] / 0.5, 0, 1))
    press = contact * (0.10 + 0.28 * style.tense) + rest * (0.03 + 0.05 * style.tense)
    parts = {
        "jawOpen": jaw,
        # mouthClose is ARKit's corrective: equal to jawOpen it brings the lips together.
        "mouthClose": near * jaw,
        "jawForward": 0.10 * curve["funnel"] + 0.08 * curve["roll"],
        "mouthFunnel": funnel,
        "mouthPucker": curve["pucker"] * (1 - 0.25 * contact),
        "mouthRollLower": curve["roll"] * (1 - shut) + contact * (0.04 + 0.12 * style.tense),
        "mouthRollUpper": contact * (0.03 + 0.08 * style.tense),
        "mouthShrugLower": curve["shrug"] + 0.12 * contact,
        "mouthShrugUpper": 0.05 * contact,
        "tongueOut": curve["tongue"] * (1 - shut),
    }
    pairs = {
        "mouthLowerDown": curve["low"] * (1 - np.maximum(shut, teeth)),
        "mouthUpperUp": curve["up"] * (1 - shut),
        "mouthStretch": 0.75 * curve["spread"] * (1 - 0.5 * shut),
        "mouthSmile": smile + 0.35 * curve["spread"] * (1 - 0.5 * shut),
        "mouthDimple": 0.25 * curve["spread"] + 0.05 * contact,
        "mouthPress": press,
        "cheekSquint": 0.35 * smile,
        "noseSneer": 0.10 * curve["up"] * (1 - shut),
    }
    for name, values in pairs.items():
        parts[f"{name}Left"] = values * (1 + style.mouth_tilt)
        parts[f"{name}Right"] = values * (1 - style.mouth_tilt)
    side = 0.012 * style.lively * drift(rng, count, 2.5) + 0.08 * style.mouth_tilt
    parts["mouthLeft"], parts["mouthRight"] = np.clip(side, 0, 1), np.clip(-side, 0, 1)
    return {name: np.asarray(values, np.float32) for name, values in parts.items()}


@cache
def _gap_weights() -> Float32:
    """Signed change of the lip gap per unit of each blendshape, float32 [52]."""
    deltas = Rig.load().deltas
    upper, lower = MOUTH_CENTRE
    return np.asarray(deltas[:, upper, 1] - deltas[:, lower, 1], np.float32)


def lip_gap(motion: Float32) -> Float32:
    """Return the signed gap [F] of the rig's inner lips; below 0 they are pressed together."""
    shapes = motion[:, :52].copy()
    close, jaw = INDEX["mouthClose"], INDEX["jawOpen"]
    shapes[:, close] = np.minimum(shapes[:, close], shapes[:, jaw])
    return (shapes @ _gap_weights()).astype(np.float32)


def seal(motion: Float32, where: NDArray[np.uint8]) -> Float32:
    """Return motion [F, 58] with the rig's lips made to touch where ``where`` [F] is set.

    The jaw is covered by mouthClose; whatever else parts the lips (funnel, upper lip, stretch) is
    cut back to what the pressing shapes make up for.
    """
    sealed = motion.copy()
    rows = np.flatnonzero(where)
    jaw = np.minimum(sealed[rows, INDEX["jawOpen"]], _CLOSED_JAW)
    sealed[rows, INDEX["jawOpen"]] = jaw
    sealed[rows, INDEX["mouthClose"]] = jaw
    sealed[np.ix_(rows, _OPENERS)] = 0.0
    weights = _gap_weights().copy()
    weights[[INDEX["jawOpen"], INDEX["mouthClose"]]] = 0
    together = -(sealed[rows, :52] @ np.minimum(weights, 0))
    # What parts the lips in earnest yields to what presses them. A smile or a frown hardly parts
    # them and stays, as long as nobody could see the gap; the faintest stay longest.
    faint, slight = weights < _FAINT, weights < _SLIGHT
    open_to = np.zeros(len(rows), np.float32)
    for parting, allowed in ((faint, _UNSEEN), (slight & ~faint, _UNSEEN), (~slight, together)):
        chosen = np.flatnonzero(parting & (weights > 0))
        apart = sealed[rows][:, chosen] @ weights[chosen]
        kept = np.clip((allowed - open_to) / np.maximum(apart, 1e-6), 0, 1)
        sealed[np.ix_(rows, chosen)] *= kept[:, None]
        open_to = open_to + apart * kept
    return sealed
