"""Where the lips and the jaw want to be for each viseme, and how strongly they insist.

The blending is Cohen and Massaro's (1993): every phone pulls each articulator towards its target
with a dominance that decays exponentially away from the phone; the curve is the weighted mean.
Targets are ARKit values for clear conversational speech. Insistence says which articulators a
phone needs: /s/ the jaw, /w/ the rounding, /k/ none. Unnecessary ones are left to the neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.corpus.phones import VISEMES

CHANNELS: tuple[str, ...] = (
    "jaw", "low", "up", "funnel", "pucker", "spread", "roll", "shrug", "tongue",
)  # fmt: skip
"""jawOpen, mouthLowerDown, mouthUpperUp, mouthFunnel, mouthPucker, mouthStretch with a share of
smile, mouthRollLower, mouthShrugLower, tongueOut."""

GROUPS: dict[str, tuple[str, ...]] = {
    "jaw": ("jaw",),
    "lips": ("low", "up"),
    "round": ("funnel", "pucker"),
    "spread": ("spread",),
    "contact": ("roll", "shrug", "tongue"),
}


@dataclass(frozen=True, slots=True)
class Timing:
    """Decay times of a dominance before and after a phone, in seconds, and its share of the lead.

    Rounding starts early (anticipatory coarticulation), contacts are crisp.
    """

    before: float
    after: float
    lead: float


TIMING: dict[str, Timing] = {
    "jaw": Timing(0.036, 0.050, 0.9),
    "lips": Timing(0.036, 0.042, 1.0),
    "round": Timing(0.095, 0.055, 3.0),
    "spread": Timing(0.060, 0.060, 1.0),
    "contact": Timing(0.022, 0.022, 0.4),
}

# viseme: targets by channel, then insistence by group (jaw lips round spread contact)
_TABLE: dict[str, tuple[dict[str, float], tuple[float, float, float, float, float]]] = {
    "sil": ({}, (0.20, 0.20, 0.50, 0.50, 0.50)),
    "pbm": ({"jaw": 0.08}, (0.80, 0.90, 0.10, 0.10, 0.60)),
    "fv": ({"jaw": 0.04, "up": 0.08, "roll": 0.40, "shrug": 0.10}, (0.90, 1.34, 0.20, 0.25, 1.40)),
    "th": ({"jaw": 0.11, "low": 0.13, "up": 0.06, "tongue": 0.20}, (0.50, 0.50, 0.15, 0.15, 1.20)),
    "td": ({"jaw": 0.14, "low": 0.21, "up": 0.08}, (0.29, 0.23, 0.10, 0.10, 0.50)),
    "l": ({"jaw": 0.17, "low": 0.15, "up": 0.06, "tongue": 0.04}, (0.43, 0.43, 0.10, 0.15, 0.60)),
    "sz": ({"jaw": 0.08, "low": 0.29, "up": 0.13, "spread": 0.14}, (1.64, 1.19, 0.25, 0.35, 0.60)),
    "sh": (
        {"jaw": 0.06, "low": 0.13, "up": 0.10, "funnel": 0.32, "pucker": 0.22},
        (0.68, 0.54, 0.90, 0.50, 0.60),
    ),
    "kg": ({"jaw": 0.29, "low": 0.23, "up": 0.10}, (0.35, 0.32, 0.06, 0.06, 0.50)),
    "r": (
        {"jaw": 0.04, "low": 0.04, "up": 0.03, "funnel": 0.16, "pucker": 0.34},
        (1.64, 1.41, 0.70, 0.35, 0.50),
    ),
    "w": ({"jaw": 0.02, "funnel": 0.07, "pucker": 0.70}, (2.77, 2.61, 1.50, 0.70, 0.60)),
    "aa": ({"jaw": 0.34, "low": 0.21, "up": 0.09, "spread": 0.05}, (1.79, 1.44, 0.60, 0.50, 0.50)),
    "eh": ({"jaw": 0.35, "low": 0.30, "up": 0.13, "spread": 0.17}, (0.91, 0.82, 0.65, 0.70, 0.50)),
    "ee": ({"jaw": 0.21, "low": 0.34, "up": 0.14, "spread": 0.30}, (0.48, 0.48, 0.75, 0.90, 0.50)),
    "oh": (
        {"jaw": 0.14, "low": 0.06, "up": 0.02, "funnel": 0.27, "pucker": 0.30},
        (1.11, 0.98, 1.00, 0.70, 0.50),
    ),
    "oo": (
        {"jaw": 0.07, "low": 0.03, "up": 0.01, "funnel": 0.22, "pucker": 0.58},
        (1.15, 1.15, 1.10, 0.80, 0.50),
    ),
    "er": (
        {"jaw": 0.10, "low": 0.09, "up": 0.04, "funnel": 0.16, "pucker": 0.24},
        (0.75, 0.64, 0.60, 0.40, 0.50),
    ),
    "ax": ({"jaw": 0.22, "low": 0.15, "up": 0.07, "spread": 0.05}, (0.51, 0.51, 0.25, 0.25, 0.50)),
    "ue": (
        {"jaw": 0.07, "low": 0.04, "up": 0.02, "funnel": 0.20, "pucker": 0.52},
        (0.80, 0.80, 1.10, 0.80, 0.50),
    ),
}


def target_matrix() -> NDArray[np.float32]:
    """Return targets, float32 [viseme, channel]."""
    rows = [[_TABLE[v][0].get(c, 0.0) for c in CHANNELS] for v in VISEMES]
    return np.array(rows, np.float32)


def insistence_matrix() -> NDArray[np.float32]:
    """Return insistence, float32 [viseme, group] in the order of ``GROUPS``."""
    return np.array([_TABLE[v][1] for v in VISEMES], np.float32)
