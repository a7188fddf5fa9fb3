"""Torch modules from shipped artifacts: the weights are read back out of the ONNX file.

Checkpoints are not in the repository, the networks are. A weight is found in one of three ways:

* an initializer has its name, or its name and ``TRANSPOSED`` where the exporter turned a linear
  layer's weight around (``export`` names them so);
* the graph says so: files of older exports hold nameless constants, but each node still knows the
  module it came from;
* the file's metadata holds it (``STORED``): weights that the graph has no use for, such as heads
  that only training reads, or has under another's name because the values are equal.

What none of them gives is *missing*: it was never shipped, and the caller is told.
"""

from __future__ import annotations

import ast
import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from engine.errors import ArtifactError
from engine.motion.network import CMDT, Dims
from engine.motion.unrolled import Scale, Unrolled
from engine.runtime.artifact import Artifact, open_artifact
from training.motion.checkpoint import adopt, network_content, save

TRANSPOSED = ".T"
"""Suffix of an initializer that is the named weight turned around."""
STORED = "vivace.weight."
"""Prefix of a metadata key whose value is a weight: shape, a colon, base64 of float32 (C order)."""
SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True, slots=True)
class Restored:
    """A motion network as it was shipped.

    Args:
        module: ready to run.
        found: weights by module name, exactly as shipped.
        missing: names the artifact does not hold; they have no influence on what it computes.
        artifact: where it came from.
    """

    module: Unrolled
    found: Mapping[str, Tensor]
    missing: tuple[str, ...]
    artifact: Artifact


def read_weights(path: Path) -> dict[str, Tensor]:
    """Every weight an ONNX file gives a name to, directly or through its graph."""
    model = onnx.load(path)
    constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    weights = dict(_through_graph(model.graph, constants))
    for name, value in constants.items():
        if name.endswith(TRANSPOSED):
            weights[name.removesuffix(TRANSPOSED)] = value.T
        elif "." in name:
            weights[name] = value
    for entry in model.metadata_props:
        if entry.key.startswith(STORED):
            weights[entry.key.removeprefix(STORED)] = decode(entry.value)
    return {name: torch.from_numpy(value.copy()) for name, value in weights.items()}


def encode(weight: Tensor) -> str:
    """A weight as text for the metadata; ``decode`` reads it."""
    shape = ",".join(map(str, weight.shape))
    raw = weight.detach().numpy().astype("<f4").tobytes()
    return f"{shape}:{base64.b64encode(raw).decode('ascii')}"


def decode(text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Read what ``encode`` wrote."""
    shape, _, raw = text.partition(":")
    sizes = [int(size) for size in shape.split(",") if size]
    return np.frombuffer(base64.b64decode(raw), "<f4").reshape(sizes)


def _through_graph(
    graph: onnx.GraphProto, constants: Mapping[str, np.ndarray[Any, Any]]
) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Weights of linear layers: constants of nodes that say which module they belong to."""
    for node in graph.node:
        module = _module(node)
        held = [constants.get(name) for name in node.input]
        if module is None or len(held) < 2:
            continue
        if node.op_type == "MatMul" and held[1] is not None:
            yield f"{module}.weight", held[1].T
        elif node.op_type == "Gemm" and held[1] is not None:
            turned = any(a.name == "transB" and a.i for a in node.attribute)
            yield f"{module}.weight", held[1] if turned else held[1].T
            if len(held) > 2 and held[2] is not None:
                yield f"{module}.bias", held[2]


def _module(node: onnx.NodeProto) -> str | None:
    """Module name of a linear layer's node, None for any other."""
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            *_, owner, call = ast.literal_eval(entry.value)
            return owner if owner and call.startswith("linear") else None
    return None


def restore_motion(name: str | Path) -> Restored:
    """Rebuild ``cmdt_k*`` from its artifact.

    Raises:
        ArtifactError: the artifact is missing, damaged, or no motion network.
    """
    artifact = open_artifact(name)
    try:
        dims = Dims(**artifact.config["dims"])
        steps, shortcut = int(artifact.config["steps"]), bool(artifact.config["shortcut"])
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{artifact.path.name} is no motion network: {error!r}") from error
    module = Unrolled(CMDT(dims), Scale(dims), steps, shortcut)
    known = module.state_dict()
    found = {k: v for k, v in read_weights(artifact.path).items() if k in known}
    network = {k.removeprefix("network."): v for k, v in found.items() if k.startswith("network.")}
    units = {k.removeprefix("scale."): v for k, v in found.items() if k.startswith("scale.")}
    try:
        adopt(module.network, network)
        module.scale.load_state_dict(units)
    except (ValueError, RuntimeError) as error:
        raise ArtifactError(f"{artifact.path.name} is of another network: {error}") from error
    missing = tuple(sorted(set(known) - set(found)))
    return Restored(module.eval(), found, missing, artifact)


def write_checkpoint(restored: Restored, path: Path) -> None:
    """Write a training checkpoint; weights that were not shipped are left out of it.

    ``training.motion.checkpoint.load_network`` gives those a fresh start.
    """
    config = dict(restored.artifact.config)
    facts = {k: v for k, v in config.items() if k not in ("dims", "steps", "hop")}
    facts |= {"restored_from": restored.artifact.name, "not_shipped": list(restored.missing)}
    prefix = "network."
    weights = {k.removeprefix(prefix): v for k, v in restored.found.items() if k.startswith(prefix)}
    network, scale = restored.module.network, restored.module.scale
    save(path, network_content(network, weights, scale, facts))
