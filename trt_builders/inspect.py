"""What is inside an ONNX file or an engine: operators, precisions, weights, inputs and outputs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, numpy_helper

from engine.errors import ArtifactError, BackendError
from engine.runtime.engines import EngineEntry, EngineStore
from engine.runtime.tensorrt import deserialize, import_flavour, make_logger
from trt_builders.precision import census, module_of


@dataclass(frozen=True, slots=True)
class Graph:
    """An ONNX file.

    Args:
        name: of the file.
        size: bytes.
        opset: of the standard domain.
        inputs: name to type and shape.
        outputs: name to type and shape.
        operators: how many of each, most first.
        modules: nodes by torch module, two levels deep, most first; empty for old exports.
        precisions: nodes by the type they work in.
        weights: bytes of constants by type.
    """

    name: str
    size: int
    opset: int
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    operators: Mapping[str, int]
    modules: Mapping[str, int]
    precisions: Mapping[str, int]
    weights: Mapping[str, int]


def inspect_onnx(path: Path) -> Graph:
    """Look into an ONNX file.

    Raises:
        ArtifactError: it is not there or is none.
    """
    try:
        model = onnx.load(path)
    except Exception as error:
        # protobuf raises a type of its own for a file that is none
        raise ArtifactError(f"cannot read {path.name} as ONNX: {error}") from error
    graph = model.graph
    named = [module_of(node) for node in graph.node if "/" in node.name]
    modules = Counter(".".join(name.split(".")[:2]) or "(root)" for name in named)
    weights: Counter[str] = Counter()
    for tensor in graph.initializer:
        weights[_type(tensor.data_type)] += numpy_helper.to_array(tensor).nbytes
    return Graph(
        path.name,
        path.stat().st_size,
        next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
        {value.name: _shape(value) for value in graph.input},
        {value.name: _shape(value) for value in graph.output},
        dict(Counter(node.op_type for node in graph.node).most_common()),
        dict(modules.most_common()),
        census(model),
        dict(weights),
    )


def _type(number: int) -> str:
    return str(TensorProto.DataType.Name(number)).lower()


def _shape(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    sizes = [d.dim_value or d.dim_param or "?" for d in tensor.shape.dim]
    return f"{_type(tensor.elem_type)}[{', '.join(map(str, sizes))}]"


def inspect_engine(path: Path) -> dict[str, Any]:
    """Look into an engine of a store: its side-car, and its layers where a GPU can open it.

    Raises:
        ArtifactError: it is not an engine of a store, or not the one its side-car describes.
    """
    entry = _entry(path)
    found: dict[str, Any] = {
        "key": asdict(entry.key),
        "bytes": entry.size,
        "facts": dict(entry.facts),
    }
    EngineStore(path.parent).find(entry.key)
    try:
        trt = import_flavour(entry.key.flavour)
        logger = make_logger(trt)
        runtime, engine = deserialize(trt, path.read_bytes(), logger, path.stem)
    except BackendError as error:
        return found | {"layers": f"not opened: {error}"}
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    del inspector, engine, runtime  # in this order: each needs the next
    return found | {"layers": json.loads(text).get("Layers", [])}


def _entry(path: Path) -> EngineEntry:
    for entry in EngineStore(path.parent).entries():
        if entry.path == path:
            return entry
    raise ArtifactError(f"{path.name} is no engine with a description beside it")


def graph_lines(graph: Graph) -> list[str]:
    """A graph for people."""
    lines = [f"{graph.name}: {graph.size / 1e6:.1f} MB, opset {graph.opset}"]
    for title, part in (("input", graph.inputs), ("output", graph.outputs)):
        lines += [f"  {title:9} {name}: {shape}" for name, shape in part.items()]
    weights = {name: f"{size / 1e6:.2f} MB" for name, size in graph.weights.items()}
    for title, counts in (
        ("works in", graph.precisions),
        ("weights", weights),
        ("operators", graph.operators),
        ("modules", graph.modules),
    ):
        if counts:
            lines.append(f"  {title:9} " + ", ".join(f"{k} {v}" for k, v in counts.items()))
    return lines
