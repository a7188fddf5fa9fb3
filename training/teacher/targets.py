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
    "jaw": Timing(0.042, 0.048, 0.9),
    "lips": Timing(0.036, 0.042, 1.0),
    "round": Timing(0.095, 0.055, 3.0),
    "spread": Timing(0.060, 0.060, 1.0),
    "contact": Timing(0.022, 0.022, 0.4),
}

# viseme: targets by channel, then insistence by group (jaw lips round spread contact)
_TABLE: dict[str, tuple[dict[str, float], tuple[float, float, float, float, float]]] = {
    "sil": ({}, (0.8, 0.8, 0.5, 0.5, 0.5)),
    "pbm": ({"jaw": 0.09}, (0.8, 0.9, 0.10, 0.10, 0.6)),
    "fv": ({"jaw": 0.08, "up": 0.14, "roll": 0.40, "shrug": 0.10}, (1.0, 1.5, 0.20, 0.25, 1.4)),
    "th": ({"jaw": 0.17, "low": 0.20, "up": 0.08, "tongue": 0.20}, (0.6, 0.6, 0.15, 0.15, 1.2)),
    "td": ({"jaw": 0.12, "low": 0.18, "up": 0.07}, (0.50, 0.40, 0.10, 0.10, 0.5)),
    "l": ({"jaw": 0.19, "low": 0.18, "up": 0.07, "tongue": 0.04}, (0.35, 0.35, 0.10, 0.15, 0.6)),
    "sz": ({"jaw": 0.06, "low": 0.25, "up": 0.12, "spread": 0.14}, (1.1, 0.8, 0.25, 0.35, 0.6)),
    "sh": (
        {"jaw": 0.08, "low": 0.20, "up": 0.16, "funnel": 0.32, "pucker": 0.22},
        (1.0, 0.8, 0.90, 0.50, 0.6),
    ),
    "kg": ({"jaw": 0.18, "low": 0.14, "up": 0.06}, (0.20, 0.18, 0.06, 0.06, 0.5)),
    "r": (
        {"jaw": 0.10, "low": 0.10, "up": 0.06, "funnel": 0.16, "pucker": 0.34},
        (0.7, 0.6, 0.70, 0.35, 0.5),
    ),
    "w": (
        {"jaw": 0.02, "funnel": 0.07, "pucker": 0.70},
        (1.6, 1.5, 1.50, 0.70, 0.6),
    ),
    "aa": ({"jaw": 0.41, "low": 0.26, "up": 0.11, "spread": 0.05}, (1.0, 0.8, 0.60, 0.5, 0.5)),
    "eh": ({"jaw": 0.36, "low": 0.31, "up": 0.14, "spread": 0.17}, (0.9, 0.8, 0.65, 0.7, 0.5)),
    "ee": ({"jaw": 0.16, "low": 0.26, "up": 0.12, "spread": 0.30}, (0.8, 0.8, 0.75, 0.9, 0.5)),
    "oh": (
        {"jaw": 0.28, "low": 0.14, "up": 0.05, "funnel": 0.27, "pucker": 0.30},
        (0.9, 0.8, 1.0, 0.7, 0.5),
    ),
    "oo": (
        {"jaw": 0.12, "low": 0.05, "up": 0.02, "funnel": 0.22, "pucker": 0.58},
        (0.8, 0.8, 1.1, 0.8, 0.5),
    ),
    "er": (
        {"jaw": 0.20, "low": 0.18, "up": 0.07, "funnel": 0.16, "pucker": 0.24},
        (0.7, 0.6, 0.6, 0.4, 0.5),
    ),
    "ax": ({"jaw": 0.25, "low": 0.17, "up": 0.07, "spread": 0.05}, (0.45, 0.45, 0.25, 0.25, 0.5)),
    "ue": (
        {"jaw": 0.12, "low": 0.06, "up": 0.03, "funnel": 0.20, "pucker": 0.52},
        (0.8, 0.8, 1.1, 0.8, 0.5),
    ),
}


def target_matrix() -> NDArray[np.float32]:
    """Return targets, float32 [viseme, channel]."""
    rows = [[_TABLE[v][0].get(c, 0.0) for c in CHANNELS] for v in VISEMES]
    return np.array(rows, np.float32)


def insistence_matrix() -> NDArray[np.float32]:
    """Return insistence, float32 [viseme, group] in the order of ``GROUPS``."""
    return np.array([_TABLE[v][1] for v in VISEMES], np.float32)
