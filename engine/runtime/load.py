"""Artifact to backend: the only place that knows which runtimes exist."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from engine.config import RuntimeConfig
from engine.errors import ArtifactError
from engine.runtime.artifact import Artifact, open_artifact
from engine.runtime.base import Backend


def _openvino(artifact: Artifact, config: RuntimeConfig) -> Backend:
    module = import_module("engine.runtime.openvino")
    backend: Backend = module.OpenVinoBackend(
        artifact.path, threads=config.threads, precision=config.precision
    )
    return backend


def _onnxruntime(artifact: Artifact, config: RuntimeConfig) -> Backend:
    module = import_module("engine.runtime.onnxruntime")
    backend: Backend = module.OnnxRuntimeBackend(artifact.path, threads=config.threads)
    return backend


KINDS: dict[str, Callable[[Artifact, RuntimeConfig], Backend]] = {
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
}
"""Runtimes that open a shipped ONNX file. The torch adapter wraps modules, not files."""


def load_network(name: str | Path, config: RuntimeConfig | None = None) -> Backend:
    """Open a network with the configured runtime and check it against its manifest.

    Args:
        name: a shipped network's name (``cmdt_k2``) or the path of an ONNX file.
        config: which runtime, threads, precision; the default is OpenVINO.

    Raises:
        ArtifactError: when the artifact is missing or its inputs are not what the manifest says.
        BackendError: when the runtime cannot compile it.
    """
    config = config or RuntimeConfig()
    artifact = open_artifact(name)
    backend = KINDS[config.backend](artifact, config)
    if dict(backend.inputs) != dict(artifact.inputs):
        raise ArtifactError(
            f"{artifact.path.name} has other inputs than its manifest says; export it again"
        )
    return backend
