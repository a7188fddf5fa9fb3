"""From the average head's blendshapes to one person's: same muscles, other proportions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.face.rig import Part, Rig
from engine.face.topology import (
    CHIN,
    IRIS_CENTRES,
    LEFT_LID_PAIRS,
    LEFT_LOWER_LID,
    LEFT_UPPER_LID,
    LIP_PAIRS,
    LIP_RINGS,
    MOUTH_CORNERS,
    RIGHT_LID_PAIRS,
    RIGHT_LOWER_LID,
    RIGHT_UPPER_LID,
)
from engine.motion.arkit import INDEX

Float64 = NDArray[np.float64]
Floats = NDArray[np.float32] | Float64

NOSE_BASE = 2
EYE_REACH, MOUTH_REACH = 0.45, 0.75
"""Radius, in inter-ocular units, within which an eye's or the mouth's proportions hold."""
RATIO_LIMITS = (0.6, 1.6)
DAMPING = 0.01
"""How much there must be of shapes that part lips before they are held responsible for a gap."""

PARTING_SHARES = (0.35, -0.65)
"""Of what is added to a gap, the upper and the lower lip's: the lower one moves more easily."""
RING_FOLLOWS = (0.4, 0.6, 0.8, 1.0)
"""How far a lip goes along with its inner edge, from the outer edge inwards; else it swells."""


def fit_deltas(rig: Rig, observed: Float64, shapes: Float64) -> tuple[Float64, Float64]:
    """This person's neutral face and blendshapes.

    Args:
        rig: the average head.
        observed: [478,3] in the head's frame, with the expression.
        shapes: [52] effective weights of that expression.

    Returns:
        neutral [478,3] and deltas [52,478,3] with ``neutral + shapes @ deltas == observed``.
    """
    neutral = observed - np.tensordot(shapes, rig.deltas, 1)
    deltas = np.asarray(rig.deltas * proportions(rig, neutral), np.float64)
    _close_lips(observed, shapes, deltas)
    _close_lids(observed, shapes, deltas)
    return observed - np.tensordot(shapes, deltas, 1), deltas


def proportions(rig: Rig, neutral: Float64) -> Float64:
    """How much larger than the average head's this person's movements are, [478,3]."""
    scale = np.ones((478, 3))
    lower_face = _ratio(neutral, rig.neutral, NOSE_BASE, CHIN)
    mouth_width = _ratio(neutral, rig.neutral, *MOUTH_CORNERS)
    centre = rig.neutral[list(MOUTH_CORNERS)].mean(0)
    _blend(scale, rig.neutral, centre, MOUTH_REACH, np.array([mouth_width, lower_face, 1]))
    below = np.clip((centre[1] - rig.neutral[:, 1]) / 0.3, 0, 1)
    scale[:, 1] = scale[:, 1] * (1 - below) + lower_face * below
    for upper, lower in (
        (RIGHT_UPPER_LID, RIGHT_LOWER_LID),
        (LEFT_UPPER_LID, LEFT_LOWER_LID),
    ):
        width = _ratio(neutral, rig.neutral, upper[0], upper[-1])
        height = _opening(neutral, upper, lower) / _opening(rig.neutral, upper, lower)
        middle = rig.neutral[list(upper + lower)].mean(0)
        local = np.array([width, np.clip(height, *RATIO_LIMITS), 1])
        _blend(scale, rig.neutral, middle, EYE_REACH, local)
    # Eyeballs are alike; their movement does not follow the lids' proportions.
    scale[468:] = 1
    return scale


def _ratio(person: Floats, average: Floats, first: int, second: int) -> float:
    lengths = [float(np.linalg.norm(p[first] - p[second])) for p in (person, average)]
    return float(np.clip(lengths[0] / lengths[1], *RATIO_LIMITS))


def _opening(points: Floats, upper: tuple[int, ...], lower: tuple[int, ...]) -> float:
    return float((points[list(upper), 1] - points[list(lower), 1]).mean())


def _blend(scale: Float64, points: Floats, centre: Floats, reach: float, local: Floats) -> None:
    """Let a local scale [3] take over around a centre, fading out towards twice the reach."""
    distance = np.linalg.norm((points - centre)[:, :2], axis=1)
    share = np.clip(2 - distance / reach, 0, 1)[:, None]
    scale[:] = scale * (1 - share) + local * share


def _close_lips(observed: Float64, shapes: Float64, deltas: Float64) -> None:
    """Attribute what is left of the photo's lip gap to its expression: neutral is closed."""
    rest = observed - np.tensordot(shapes, deltas, 1)
    upper, lower = (list(side) for side in zip(*LIP_PAIRS, strict=True))
    part_lips(deltas, shapes, rest[upper] - rest[lower])
    close_over_jaw(deltas)


def part_lips(deltas: Floats, shapes: Floats, gap: Floats) -> None:
    """Let an expression part the lips by more than it does, in place.

    The smallest change of the shapes in use (least squares), those that part lips anyhow first: a
    smile that shows teeth is a smile and raised lips, and has to be able to close.

    Args:
        deltas: [52,478,3].
        shapes: [52], weights of the expression.
        gap: [9,3], what is added to the distance of each of ``LIP_PAIRS``, upper minus lower.
    """
    upper, lower = (list(side) for side in zip(*LIP_PAIRS, strict=True))
    parting = np.clip((deltas[:, upper, 1] - deltas[:, lower, 1]).mean(1), 0, None)
    parting /= parting.max()
    strength = shapes * parting
    strength /= strength @ shapes + DAMPING
    change = strength[:, None, None] * gap
    for rings, side, share in zip(LIP_RINGS, (upper, lower), PARTING_SHARES, strict=True):
        order = [side.index(point) for point in rings[-1]]
        for ring, follows in zip(rings, RING_FOLLOWS, strict=True):
            deltas[:, list(ring)] += share * follows * change[:, order]


def close_over_jaw(deltas: Floats) -> None:
    """Make ``mouthClose`` [in 52,478,3] bring the lips together over an equally open jaw."""
    upper, lower = (list(side) for side in zip(*LIP_PAIRS, strict=True))
    jaw, close = deltas[INDEX["jawOpen"]], deltas[INDEX["mouthClose"]]
    apart = (jaw[upper] + close[upper]) - (jaw[lower] + close[lower])
    close[upper] -= apart / 2
    close[lower] += apart / 2


def _close_lids(observed: Float64, shapes: Float64, deltas: Float64) -> None:
    """Make both lids' margins meet at a blink of 1.

    With the blink ``b`` of the photo and the opening ``A`` that the other shapes leave in it, the
    neutral opening is ``A / (1 - b)``: that much the blink must close.
    """
    sides = (("eyeBlinkRight", RIGHT_LID_PAIRS), ("eyeBlinkLeft", LEFT_LID_PAIRS))
    for name, pairs in sides:
        blink = deltas[INDEX[name]]
        weight = shapes[INDEX[name]]
        others = observed - np.tensordot(shapes, deltas, 1) + weight * blink
        upper, lower = (list(side) for side in zip(*pairs, strict=True))
        wanted = (others[upper] - others[lower]) / (1 - weight)
        share = np.linalg.norm(blink[upper], axis=1) + 1e-6
        share = (share / (share + np.linalg.norm(blink[lower], axis=1)))[:, None]
        excess = wanted - (blink[lower] - blink[upper])
        blink[upper] -= excess * share
        blink[lower] += excess * (1 - share)


def fit_parts(rig: Rig, neutral: Float64) -> dict[str, Part]:
    """Teeth, tongue and eyeballs moved to and scaled for a neutral face [478,3]."""
    corners = list(MOUTH_CORNERS)
    width = _ratio(neutral, rig.neutral, *MOUTH_CORNERS)
    here, there = (p[[13, 14]].mean(0) for p in (rig.neutral, neutral))
    middle = neutral[corners, 0].mean() - rig.neutral[corners, 0].mean()
    there = np.array([here[0] + middle, *there[1:]])
    parts = {}
    for name, part in rig.parts.items():
        if name.endswith("eye"):
            iris = IRIS_CENTRES[name == "left_eye"]
            shift = neutral[iris] - rig.neutral[iris]
            parts[name] = Part((part.points + shift).astype(np.float32), part.faces, part.deltas)
        else:
            points = (part.points - here) * width + there
            deltas = (part.deltas * width).astype(np.float32)
            parts[name] = Part(points.astype(np.float32), part.faces, deltas)
    return parts
