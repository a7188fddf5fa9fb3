"""Head hair: guides fall over the head under simple forces, children follow the guides.

Guides are traced strand by strand: gravity, a styling force field and contact with the skin at a
layer height of their own (hair rooted higher lies further out). Children interpolate the nearest
guides on their side of the parting, are drawn together in locks, and get a little frizz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mathutils.bvhtree import BVHTree
from mathutils.kdtree import KDTree

from training.avatars.anatomy import Floats
from training.avatars.blender import Dense
from training.avatars.skin import Landmarks


@dataclass(frozen=True)
class Style:
    """Shape of a hairstyle; lengths in decimetres.

    ``part`` is where the parting lies in x. ``back`` pulls towards the nape, ``out`` away from
    the parting, ``fall`` is gravity. ``volume`` lifts the top layer, ``wave`` is the amplitude of
    the waves, ``tuck`` holds the hair behind the ears, ``hug`` draws it to the neck.
    ``recede`` lifts the hairline beside the middle, ``top`` is how far above the eyes hair grows,
    ``soft`` the width of its border, ``fade`` shortens it towards ears and nape.
    """

    length: float = 2.0
    part: float = 0.20
    back: float = 0.36
    out: float = 1.0
    fall: float = 0.9
    lift: float = 0.55
    volume: float = 0.13
    wave: float = 0.04
    tuck: float = 0.05
    hug: float = 0.55
    hairline: float = 0.66
    guides: int = 1100
    strands: int = 42000
    locks: int = 900
    radius: float = 0.0021
    steps: int = 56
    recede: float = 0.0
    top: float = np.inf
    soft: float = 0.09
    fade: float = 0.0


def hairline_height(points: Floats, face: Landmarks, ear_z: float, style: Style) -> Floats:
    """Height (n,) above which the skin at ``points`` (n, 3) grows hair."""
    around = np.degrees(np.arctan2(np.abs(points[:, 0]), points[:, 2] - ear_z))
    eye = face.eyes[0, 1]
    angles = [0, 16, 34, 46, 58, 70, 80, 92, 104, 125, 180]
    front = style.hairline
    heights = [front, front - 0.01, front - 0.04, front - 0.09, front - 0.27, front - 0.44,
               front - 0.86, front - 0.80, -0.05, -0.42, -0.60]  # fmt: skip
    lift = style.recede * np.interp(around, [0, 14, 30, 46, 62, 74], [0, 0.35, 1, 0.9, 0.35, 0])
    return np.asarray(eye + np.interp(around, angles, heights) + lift)


def scalp_mask(body: Dense, face: Landmarks, ears: Floats, ear_z: float, style: Style) -> Floats:
    """Hair density (n,) in 0..1 at the dense vertices."""
    above = body.vertices[:, 1] - hairline_height(body.vertices, face, ear_z, style)
    density = np.clip(above / style.soft, 0, 1)
    density *= np.clip((face.eyes[0, 1] + style.top - body.vertices[:, 1]) / style.soft, 0, 1)
    density[(ears > 0.25) | (body.vertices[:, 1] < face.mouth[1])] = 0
    return np.asarray(density)


def sample_roots(
    body: Dense, density: Floats, count: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Random places (count, 3) on the surface in proportion to ``density``, and normals."""
    corners = body.vertices[body.faces]
    first, second = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
    area = 0.5 * np.linalg.norm(np.cross(first, second), axis=1)
    weight = area * density[body.faces].mean(1)
    chosen = rng.choice(len(weight), count, p=weight / weight.sum())
    u, v = rng.uniform(size=(2, count, 1))
    corner = np.stack([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v], 1)
    roots = (corners[chosen] * corner).sum(1)
    normals = (body.normals[body.faces[chosen]] * corner).sum(1)
    return roots, normals / np.linalg.norm(normals, axis=1, keepdims=True)


def side_of_part(roots: Floats, style: Style) -> Floats:
    """-1 or 1 for each root: which way it is combed from the parting."""
    return np.where(roots[:, 0] < style.part, -1.0, 1.0)


def trace(
    roots: Floats, normals: Floats, surface: BVHTree, face: Landmarks, ear_z: float, style: Style
) -> Floats:
    """Guide strands (k, steps, 3)."""
    count, step = len(roots), style.length / (style.steps - 1)
    side = side_of_part(roots, style)
    eye, crown = face.eyes[0, 1], roots[:, 1].max()
    high = np.clip((roots[:, 1] - eye) / (crown - eye), 0, 1)
    crest = 1 - 0.6 * np.exp(-(((roots[:, 0] - style.part) / 0.16) ** 2))
    layer = 0.035 + style.volume * high**1.3 * crest
    front = np.clip((roots[:, 2] - ear_z) / 0.9, 0, 1)
    heading = np.stack([side * style.out * 0.8, 0.2 * front, -style.back * (0.4 + front)], 1)
    heading += normals * (style.lift * (0.35 + high))[:, None]
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    place = roots.copy()
    path = [place.copy()]
    for i in range(1, style.steps):
        near_part = np.exp(-(((place[:, 0] - style.part) / 0.35) ** 2))
        pull = np.zeros_like(place)
        pull[:, 0] = side * style.out * 0.45 * near_part
        low = np.clip((eye - 0.25 - place[:, 1]) / 0.5, 0, 1)
        pull[:, 0] -= style.hug * low * np.tanh(place[:, 0] / 0.2)
        pull[:, 1] = -style.fall
        ahead = np.clip((place[:, 2] - (ear_z - 0.25)) / 0.5, 0, 1)
        level = np.clip((place[:, 1] - (face.mouth[1] - 0.3)) / 0.3, 0, 1)
        pull[:, 2] = -style.back * ahead - style.tuck * 1.6 * ahead * level * np.clip(
            (eye + 0.72 - place[:, 1]) / 0.5, 0, 1
        )
        heading = heading + pull * step * 3.2
        heading /= np.linalg.norm(heading, axis=1, keepdims=True)
        place = place + heading * step
        wanted = layer * min(1.0, i / 5.0) + 0.004
        wanted = wanted + 0.09 * np.clip((face.chin[1] - 0.35 - place[:, 1]) / 0.2, 0, 1)
        for k in range(count):
            hit, normal, _, _ = surface.find_nearest(place[k])
            outward = np.array(normal)
            gap = float((place[k] - np.array(hit)) @ outward)
            if gap < wanted[k]:
                place[k] += outward * (wanted[k] - gap)
                heading[k] -= outward * min(0.0, float(heading[k] @ outward))
        path.append(place.copy())
    line = np.stack(path, 1)
    for _ in range(6):
        line[:, 1:-1] = 0.25 * line[:, :-2] + 0.5 * line[:, 1:-1] + 0.25 * line[:, 2:]
    return line


def children(
    guides: Floats, roots: Floats, style: Style, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Strands (n, steps, 3) for ``roots`` (n, 3) and their share 0..1 of being flyaway."""
    sides = side_of_part(guides[:, 0], style)
    mine = side_of_part(roots, style)
    out = np.zeros((len(roots), guides.shape[1], 3))
    for side in (-1.0, 1.0):
        members, own = np.flatnonzero(sides == side), np.flatnonzero(mine == side)
        if len(members) < 3 or not len(own):
            continue
        index, weight = _nearest(guides[members, 0], roots[own], 3)
        offset = guides[members] - guides[members, :1]
        out[own] = roots[own, None] + (offset[index] * weight[..., None, None]).sum(1)
    return out, (rng.uniform(size=len(roots)) < 0.02).astype(float)


def _nearest(places: Floats, queries: Floats, count: int) -> tuple[np.ndarray, Floats]:
    tree = KDTree(len(places))
    for i, place in enumerate(places):
        tree.insert(place, i)
    tree.balance()
    index, weight = np.zeros((len(queries), count), int), np.zeros((len(queries), count))
    for i, query in enumerate(queries):
        for j, (_, found, distance) in enumerate(tree.find_n(query, count)):
            index[i, j], weight[i, j] = found, 1.0 / (distance + 0.01)
    return index, weight / weight.sum(1, keepdims=True)


def style_strands(
    strands: Floats, flyaway: Floats, style: Style, rng: np.random.Generator
) -> Floats:
    """Draw strands into locks, wave the locks, add frizz."""
    count, steps = strands.shape[:2]
    along = np.linspace(0, 1, steps)
    heads = rng.choice(count, style.locks, replace=False)
    index, _ = _nearest(strands[heads, steps // 4], strands[:, steps // 4], 1)
    lock = heads[index[:, 0]]
    pull = 0.62 * np.clip((along - 0.04) / 0.5, 0, 1) ** 0.8
    pull = pull[None] * rng.uniform(0.65, 1.0, (count, 1)) * (1 - 0.8 * flyaway[:, None])
    far = np.linalg.norm(strands[lock, steps // 3] - strands[:, steps // 3], axis=1) > 0.4
    pull[far] = 0
    mixed = strands + pull[..., None] * (strands[lock] - strands)
    number = index[:, 0]
    phase = rng.uniform(0, 2 * np.pi, (style.locks, 1))[number] * 0.35 + 2.2 * mixed[:, :1, 0]
    pace = rng.uniform(0.85, 1.15, (style.locks, 1))[number]
    turn = 2 * np.pi * pace * along[None] * style.length / 0.95 + phase
    size = style.wave * np.clip((along - 0.18) / 0.35, 0, 1)[None]
    side = np.sign(mixed[:, -1:, 0])
    mixed[..., 0] += side * size * np.sin(turn)
    mixed[..., 2] += size * 0.8 * np.cos(turn + 0.4)
    knots = rng.normal(0, 1, (count, 7, 3)) * (0.006 + 0.03 * flyaway[:, None, None])
    between = np.stack([np.interp(along, np.linspace(0, 1, 7), one) for one in np.eye(7)], 1)
    frizz = np.einsum("sk,nka->nsa", between, knots)
    return np.asarray(mixed + frizz * np.clip(along * 4, 0, 1)[None, :, None])


def grow(
    style: Style,
    body: Dense,
    face: Landmarks,
    ears: Floats,
    surface: BVHTree,
    rng: np.random.Generator,
) -> tuple[Floats, Floats, Floats]:
    """All strands (n, steps, 3), their radii (n, steps) and the scalp's density (vertices,)."""
    ear_z = float(body.vertices[ears > 0.5][:, 2].mean())
    density = scalp_mask(body, face, ears, ear_z, style)
    roots, normals = sample_roots(body, density > 0.05, style.guides, rng)
    guides = trace(roots, normals, surface, face, ear_z, style)
    roots, _ = sample_roots(body, density, style.strands, rng)
    strands, flyaway = children(guides, roots, style, rng)
    strands = style_strands(strands, flyaway, style, rng)
    if style.fade:
        rise = np.clip((roots[:, 1] - face.eyes[0, 1] + 0.25) / 0.75, 0, 1)
        keep = (1 - style.fade * (1 - rise))[:, None, None]
        strands = strands[:, :1] + keep * (strands - strands[:, :1])
    along = np.linspace(0, 1, style.steps)
    taper = np.clip((1 - along) / 0.25, 0.12, 1) * np.clip(0.45 + along * 12, 0, 1)
    radius = style.radius * taper[None] * rng.uniform(0.75, 1.15, (len(strands), 1))
    return strands, radius, density
