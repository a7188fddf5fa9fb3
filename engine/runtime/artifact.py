"""Artifacts: a network file and the manifest that says what it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import ArtifactError
from engine.runtime.base import TensorSpec

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
"""Where the shipped networks live."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A network file with its manifest.

    Args:
        name: network name, ``cmdt_k2``.
        path: the ONNX file.
        sha256: of the file.
        inputs: by name.
        outputs: by name.
        precision: of the stored weights.
        config: what the network was built for (window lengths, steps, resolution).
    """

    name: str
    path: Path
    sha256: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    precision: str
    config: Mapping[str, Any]


def file_sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(
    path: Path,
    inputs: Mapping[str, TensorSpec],
    outputs: Mapping[str, TensorSpec],
    config: Mapping[str, Any],
    created_by: str,
    precision: str = "fp32",
    date: str = "",
) -> Path:
    """Write ``NAME.json`` beside ``NAME.onnx`` and return its path."""
    manifest = {
        "name": path.stem,
        "file": path.name,
        "sha256": file_sha256(path),
        "inputs": {k: {"shape": list(v.shape), "dtype": v.dtype} for k, v in inputs.items()},
        "outputs": {k: {"shape": list(v.shape), "dtype": v.dtype} for k, v in outputs.items()},
        "precision": precision,
        "config": dict(config),
        "created_by": created_by,
        "date": date,
    }
    target = path.with_suffix(".json")
    target.write_text(json.dumps(manifest, indent=2) + "\n")
    return target


def _specs(section: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {k: TensorSpec(tuple(v["shape"]), v["dtype"]) for k, v in section.items()}


def open_artifact(name: str | Path) -> Artifact:
    """Read and check an artifact.

    Args:
        name: a shipped network's name, or the path of an ONNX file with a manifest beside it.

    Raises:
        ArtifactError: when a file is missing, unreadable, or not the one the manifest describes.
    """
    path = WEIGHTS / f"{name}.onnx" if isinstance(name, str) else name
    manifest_path = path.with_suffix(".json")
    if not path.is_file() or not manifest_path.is_file():
        raise ArtifactError(f"{path.name} or its manifest is missing in {path.parent}; reinstall")
    try:
        manifest = json.loads(manifest_path.read_text())
        artifact = Artifact(
            manifest["name"],
            path,
            manifest["sha256"],
            _specs(manifest["inputs"]),
            _specs(manifest["outputs"]),
            manifest["precision"],
            manifest["config"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{manifest_path.name} is not a manifest: {error!r}") from error
    if file_sha256(path) != artifact.sha256:
        raise ArtifactError(
            f"{path.name} is not the file its manifest describes (sha256 differs); reinstall, or "
            "export it again"
        )
    return artifact
