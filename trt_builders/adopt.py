"""Engines built elsewhere (``legacy``) into the store that the server reads."""

from __future__ import annotations

import json
from pathlib import Path

from engine.errors import ArtifactError, BackendError
from engine.runtime import cuda
from engine.runtime.artifact import Artifact, open_artifact
from engine.runtime.engines import EngineStore
from engine.runtime.gpu import engine_key
from engine.runtime.tensorrt import import_flavour
from trt_builders.networks import NETWORKS
from trt_builders.opset import OLDER
from trt_builders.profiles import artifact_name


def adopt(plan: Path, graph: Path, store: EngineStore) -> Path:
    """Keep a plan as the engine of this machine's GPU and TensorRT; where it is now.

    It is opened only when it is used: TensorRT refuses what does not fit.

    Args:
        plan: as ``legacy`` wrote it, with its facts beside it.
        graph: the ONNX file it was built from, with its manifest.
        store: where engines are kept.

    Raises:
        ArtifactError: the files do not belong together or to the shipped network, or there is no
            GPU or TensorRT here.
    """
    try:
        trt = import_flavour("tensorrt")
    except BackendError as error:
        raise ArtifactError(f"engines are adopted where they are to run: {error}") from error
    gpu = cuda.probe()
    assert gpu is not None  # import_flavour asked
    artifact = open_artifact(graph)
    network = shipped(artifact)
    if plan.stem != artifact.name:
        raise ArtifactError(f"{plan.name} was not built from {artifact.path.name}")
    try:
        content = plan.read_bytes()
        facts = json.loads(plan.with_suffix(".plan.json").read_text())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{plan.name} or its facts cannot be read: {error}") from error
    batch = int(artifact.config["batch"])
    key = engine_key(network, "tensorrt", trt.__version__, gpu, artifact.precision, batch)
    return store.put(key, content, facts | {"graph": artifact.name})


def shipped(artifact: Artifact) -> Artifact:
    """The shipped network that an exported variant computes.

    Raises:
        ArtifactError: it is no variant for TensorRT 8.6, or of another version of the network.
    """
    batch = int(artifact.config.get("batch", 0))
    for name, entry in NETWORKS.items():
        variant = artifact_name(name, batch, artifact.precision, OLDER)
        if not entry.shipped or variant != artifact.name:
            continue
        network = open_artifact(name)
        if artifact.config.get("made_from") != network.sha256:
            raise ArtifactError(
                f"{artifact.path.name} was made from another {name}; export and build it again"
            )
        return network
    raise ArtifactError(
        f"{artifact.path.name} is no export of a shipped network at opset {OLDER}; make one with "
        f"python -m trt_builders export NAME --shipped --opset {OLDER}"
    )
