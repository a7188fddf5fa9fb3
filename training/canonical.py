"""MediaPipe's canonical face mesh (Apache-2.0), out of the face landmarker bundle."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MESH = "geometry_pipeline_metadata_landmarks.binarypb"


@dataclass(frozen=True)
class Canonical:
    """The mesh.

    Args:
        points: float32 [468,3], centimetres.
        faces: int [898,3] triangles.
        mirror: int [478]: the landmark on the other side of the face.
    """

    points: NDArray[np.float32]
    faces: NDArray[np.int64]
    mirror: NDArray[np.int64]


def read_canonical(task: bytes) -> Canonical:
    """Read the mesh from ``face_landmarker.task`` (a zip; Mesh3d in face_geometry/protos)."""
    with zipfile.ZipFile(io.BytesIO(task)) as archive:
        fields = _fields(archive.read(MESH))
    mesh = _fields(next(v for number, v in fields if number == 1 and isinstance(v, bytes)))
    raw = b"".join(v for number, v in mesh if number == 3 and isinstance(v, bytes))
    floats = np.frombuffer(raw, "<f4")
    numbers = [v for number, v in mesh if number == 4 and isinstance(v, int)]
    points = floats.reshape(-1, 5)[:, :3]
    flipped = points * [-1, 1, 1]
    mirror = np.linalg.norm(points[:, None] - flipped[None], axis=2).argmin(1)
    irises = [473, 476, 475, 474, 477, 468, 471, 470, 469, 472]
    return Canonical(
        points, np.array(numbers).reshape(-1, 3), np.concatenate([mirror, irises]).astype(np.int64)
    )


def _fields(data: bytes) -> list[tuple[int, bytes | int]]:
    """The fields of one protocol buffer message: number and raw value."""
    place = 0
    fields: list[tuple[int, bytes | int]] = []

    def varint() -> int:
        nonlocal place
        shift = value = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(data):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            fields.append((tag >> 3, varint()))
            continue
        size = {1: 8, 5: 4}[kind] if kind != 2 else varint()
        fields.append((tag >> 3, data[place : place + size]))
        place += size
    return fields
