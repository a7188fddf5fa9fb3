"""Avatar files: read with the doubt that a file from elsewhere deserves.

An ``.npz`` is a zip archive that may unpack to any size; numbers in it may be none, or point out of
the picture. Nothing is unpacked that an avatar does not have.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ArtifactError
from engine.render.layout import OPENINGS, SIZE, check_inputs, network_inputs

_HEADER = 1024
"""Bytes before an array's content, at most."""
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an avatar file, by the network's input names.

    Raises:
        ArtifactError: the file is missing, damaged, of another version, or no avatar.
    """
    try:
        _check_sizes(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        check_inputs(arrays)
        _check_values(arrays)
    except _UNREADABLE as error:
        raise ArtifactError(f"{path.name} is not an avatar: {error}") from error
    return arrays


def _check_sizes(path: Path) -> None:
    """Before anything is unpacked: an archive never yields more than its directory says."""
    wanted = {
        f"{name}.npy": _HEADER + int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize
        for name, spec in network_inputs().items()
        if name != "motion"
    }
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if sorted(member.filename for member in members) != sorted(wanted):
        raise ValueError("it holds other things than an avatar's")
    for member in members:
        if member.file_size > wanted[member.filename]:
            raise ValueError(f"{member.filename} is larger than any avatar's")


def _check_values(arrays: dict[str, NDArray[Any]]) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has values that are no numbers")
    for opening in OPENINGS:
        room = [SIZE - opening.width, SIZE - opening.height]
        origin = arrays[f"{opening.name}_origin"]
        if (origin < 0).any() or (origin > room).any():
            raise ValueError(f"{opening.name}_origin lies outside of the picture")
