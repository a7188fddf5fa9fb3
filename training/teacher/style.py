"""How one person moves in one sentence: drawn once per clip, kept with it as a style vector."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

STYLE_SIZE = 16


@dataclass(frozen=True, slots=True)
class Style:
    """Multipliers around 1 unless said otherwise; ``neutral`` is the middle of every range."""

    open: float = 1.0
    """How wide the jaw and lips open."""
    rounding: float = 1.0
    spread: float = 1.0
    smile: float = 0.06
    """Resting smile, 0..1."""
    mouth_tilt: float = 0.0
    """Left minus right strength of the mouth shapes."""
    brow_tilt: float = 0.0
    hypo: float = 0.10
    """Exponent of the loss of amplitude in short phones (Lindblom's undershoot)."""
    lead: float = 0.015
    """Seconds by which lips and jaw lead the sound, contacts and rounding apart."""
    head: float = 1.0
    nod: float = 1.0
    brow: float = 1.0
    blinks: float = 18.0
    """Blinks per minute."""
    gaze: float = 1.0
    tense: float = 0.5
    """How firmly closed lips press, 0..1."""
    lively: float = 1.0
    """Size of the slow drifts of every expression."""
    squint: float = 0.05
    """Resting squint, 0..1."""

    def vector(self) -> NDArray[np.float32]:
        """Return the 16 numbers, float32, in field order, each brought to about [-1, 1]."""
        values = np.array(astuple(self), np.float32)
        middle = np.array(astuple(_MIDDLE), np.float32)
        return ((values - middle) / _SPREAD).astype(np.float32)


_MIDDLE = Style()
_SPREAD = np.array(
    [0.25, 0.2, 0.3, 0.1, 0.15, 0.3, 0.08, 0.015, 0.6, 0.6, 0.7, 8.0, 0.6, 0.5, 0.5, 0.1],
    np.float32,
)
assert len(fields(Style)) == STYLE_SIZE


def draw(rng: np.random.Generator) -> Style:
    """Draw a person's manner for one clip."""
    return Style(
        open=float(rng.uniform(0.8, 1.2)),
        rounding=float(rng.uniform(0.85, 1.2)),
        spread=float(rng.uniform(0.75, 1.25)),
        smile=float(min(rng.gamma(1.5, 0.05), 0.25)),
        mouth_tilt=float(np.clip(rng.normal(0, 0.06), -0.15, 0.15)),
        brow_tilt=float(np.clip(rng.normal(0, 0.12), -0.3, 0.3)),
        hypo=float(rng.uniform(0.02, 0.18)),
        lead=float(rng.uniform(0.0, 0.03)),
        head=float(np.clip(rng.lognormal(0.0, 0.5), 0.3, 2.4)),
        nod=float(rng.uniform(0.5, 1.5)),
        brow=float(rng.uniform(0.3, 1.6)),
        blinks=float(rng.uniform(13, 24)),
        gaze=float(rng.uniform(0.5, 1.5)),
        tense=float(rng.uniform(0.2, 0.8)),
        lively=float(rng.uniform(0.6, 1.4)),
        squint=float(min(rng.gamma(1.2, 0.04), 0.2)),
    )
