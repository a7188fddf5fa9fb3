"""Beards: short strands over jaw, chin and upper lip, lying along the skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.avatars.anatomy import Floats
from training.avatars.blender import Dense
from training.avatars.hair import sample_roots
from training.avatars.skin import Landmarks


@dataclass(frozen=True)
class Beard:
    """Shape of a beard; lengths in decimetres.

    ``cheek`` lifts the border on the cheeks, ``lip`` thins the moustache, ``melanin`` and
    ``redness`` are the hair's, ``grey`` is the share of white hair.
    """

    length: float = 0.06
    count: int = 26000
    curl: float = 0.006
    lift: float = 0.35
    cheek: float = 0.0
    lip: float = 1.0
    radius: float = 0.0016
    melanin: float = 0.9
    redness: float = 0.2
    grey: float = 0.0


_STEPS = 7


def density(body: Dense, face: Landmarks, ears: Floats, lips: Floats, style: Beard) -> Floats:
    """How densely (n,) in 0..1 hair grows at the dense vertices."""
    p = body.vertices
    ear_z = float(p[ears > 0.5][:, 2].mean())
    around = np.degrees(np.arctan2(np.abs(p[:, 0]), p[:, 2] - ear_z))
    eye, mouth, base = face.eyes[0, 1], face.mouth[1], face.nose[1] - 0.09
    rise = style.cheek
    top = np.interp(around, [0, 9, 14, 22, 32, 46, 62, 76, 88],
                    [base - 0.02, base, base - 0.01, mouth + 0.07 + rise, mouth + 0.06 + rise,
                     mouth + 0.13 + rise, mouth + 0.32 + rise, eye - 0.15, eye + 0.1])  # fmt: skip
    bottom = np.interp(around, [0, 40, 70, 95], [face.chin[1] - 0.34, face.chin[1] - 0.30,
                                                 mouth - 0.42, mouth - 0.16])  # fmt: skip
    grown = np.clip((top - p[:, 1]) / 0.13, 0, 1) ** 1.5 * np.clip((p[:, 1] - bottom) / 0.16, 0, 1)
    grown *= np.clip((94 - around) / 8, 0, 1) * np.clip(1 - 6 * lips, 0, 1)
    x = np.abs(p[:, 0])
    above = np.clip((p[:, 1] - mouth) / 0.05, 0, 1) * (x < 0.34)
    grown *= 1 - above * (1 - style.lip)
    grown *= 1 - 0.6 * above * np.exp(-((x / 0.028) ** 2))
    bare = np.exp(-(((x - 0.15) / 0.065) ** 2) - (((p[:, 1] - mouth + 0.135) / 0.045) ** 2))
    return np.asarray(grown * (1 - 0.8 * bare) * (ears < 0.2) * (body.normals[:, 2] > -0.5))


def grow(
    style: Beard, body: Dense, face: Landmarks, grown: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Strands (n, steps, 3) and radii (n, steps)."""
    roots, normals = sample_roots(body, grown, style.count, rng)
    side = np.tanh(roots[:, 0] / 0.12)
    moustache = np.clip((roots[:, 1] - face.mouth[1]) / 0.05, 0, 1) * (np.abs(roots[:, 0]) < 0.3)
    comb = np.stack(
        [side * (0.12 + 1.1 * moustache), -np.ones(len(roots)), np.zeros(len(roots))], 1
    )
    comb += rng.normal(0, 0.25, comb.shape)
    comb -= (comb * normals).sum(1, keepdims=True) * normals
    comb /= np.linalg.norm(comb, axis=1, keepdims=True)
    comb += style.lift * rng.uniform(0.6, 1.3, (len(roots), 1)) * normals
    low = np.clip((face.mouth[1] - roots[:, 1]) / 0.3, 0, 1)
    length = style.length * rng.uniform(0.55, 1.2, len(roots)) * (0.55 + 0.45 * low)
    along = np.linspace(0, 1, _STEPS)[None, :, None]
    line = roots[:, None] + along * (length[:, None] * comb)[:, None]
    knots = rng.normal(0, style.curl, line.shape)
    line = line + knots * along
    taper = 1 - 0.85 * np.linspace(0, 1, _STEPS) ** 1.5
    return line, style.radius * taper[None] * rng.uniform(0.75, 1.15, (len(line), 1))
