"""A person as the rendering network's constants: made once from a portrait, shared by sessions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.face.portrait import Portrait
from engine.face.rig import effective
from engine.face.topology import CHIN
from engine.media import Float32
from engine.motion.arkit import EXPRESSION, INDEX
from engine.render import layers
from engine.render.archive import read_arrays
from engine.render.fields import WHOLE, frame_points, meet, ring, unfold, unroll_lids
from engine.render.layout import BODY_STEP, SIZE, check_inputs, node_positions
from engine.render.openings import Head, eye_inputs, fields, mouth_inputs

SMILE_KEPT = 0.1
NECK = (0.25, 1.55)
"""Inter-ocular units below the chin where the neck starts to lag and where the shoulders rest."""


@dataclass(frozen=True, eq=False)
class Avatar:
    """What a renderer binds. Read-only.

    Args:
        arrays: by the network's input names, all but ``motion``; see ``layout.network_inputs``.
        digest: hex SHA-256 of the arrays: equal avatars have equal digests.
    """

    arrays: Mapping[str, NDArray[Any]]
    digest: str

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Avatar:
        """Check and freeze.

        Raises:
            ValueError: an array is missing, unknown, or of another shape or type.
        """
        check_inputs(arrays)
        frozen = {}
        sha = hashlib.sha256()
        for name in sorted(arrays):
            array = np.ascontiguousarray(arrays[name])
            array = array.copy() if array is arrays[name] else array
            array.setflags(write=False)
            frozen[name] = array
            sha.update(name.encode())
            sha.update(array.tobytes())
        return cls(frozen, sha.hexdigest())

    @classmethod
    def from_portrait(cls, portrait: Portrait) -> Avatar:
        """Compute the constants of a portrait (about two seconds)."""
        head = _head(portrait)
        nodes = SIZE // BODY_STEP
        places = node_positions(nodes, nodes, BODY_STEP)
        basis, rest = fields(head, WHOLE, places)
        person, background = layers.split(head.photo, portrait.matte)
        eyes, light = eye_inputs(head)
        fit = portrait.fit
        arrays: dict[str, NDArray[Any]] = {
            "resting": effective(fit.resting, fit.lids)[None],
            "floor": _floor(fit.resting)[None],
            "lids": fit.lids,
            "pivot": head.camera(fit.pivot[None]).T,
            "unit": np.array([fit.scale]),
            "person": person.transpose(2, 0, 1)[None],
            "background": background.transpose(2, 0, 1)[None],
            "body_basis": basis[None],
            "body_rest": rest[None],
            "body_skin": head.skin(places)[None, None],
        }
        arrays |= eyes | mouth_inputs(head, light)
        whole = {k: v if v.dtype == np.int64 else v.astype(np.float32) for k, v in arrays.items()}
        return cls.from_arrays({k: np.ascontiguousarray(v) for k, v in whole.items()})

    def save(self, path: Path) -> None:
        """Write ``.npz`` without pickle."""
        with path.open("wb") as file:
            arrays: dict[str, Any] = dict(self.arrays)
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> Avatar:
        """Read what ``save`` wrote.

        Raises:
            ArtifactError: the file is missing, damaged, or of another version.
        """
        return cls.from_arrays(read_arrays(path))


def _floor(resting: Float32) -> Float32:
    """Least expression [52] that the avatar shows.

    A photo's eyes and brows are the person: neutral lids opened wide stare. So they start from
    the photo, and movements show from where they exceed it. The mouth has to close, so of it
    only a trace of the smile stays.
    """
    floor = np.full(52, -1, np.float32)
    floor[list(EXPRESSION)] = resting[list(EXPRESSION)]
    for name in ("mouthSmileLeft", "mouthSmileRight"):
        floor[INDEX[name]] = SMILE_KEPT * resting[INDEX[name]]
    return floor


def _head(portrait: Portrait) -> Head:
    fit = portrait.fit
    landmarks = portrait.observation.landmarks[:, :2].astype(np.float32)
    shapes = effective(fit.resting, fit.lids)
    model = fit.scale * (fit.neutral + np.tensordot(shapes, fit.deltas, 1)) @ fit.rotation.T
    rest = np.concatenate([landmarks * [1, -1], model[:, 2:]], 1).astype(np.float32)
    own = (fit.scale * fit.deltas @ fit.rotation.T).astype(np.float32)
    given_up = shapes - effective(np.maximum(_floor(fit.resting), 0), fit.lids)
    basis = unroll_lids(meet(unfold(own, rest), rest, given_up))
    anchors = np.concatenate([ring(landmarks, 1.3, 1.65), frame_points(SIZE)])
    unit = fit.scale
    chin = float(landmarks[CHIN, 1])
    return Head(
        photo=portrait.image.astype(np.float32),
        landmarks=landmarks,
        rest=rest,
        basis=basis,
        fit=fit,
        anchors=anchors.astype(np.float32),
        neck=(chin + NECK[0] * unit, chin + NECK[1] * unit),
    )
