"""Torch to ONNX, for every network of the table, any batch size and precision.

The file is checked against torch before it counts as written, carries no trace of the machine it
was made on, and every weight in it has its module's name (``shipped`` reads them back). Nodes are
named ``module/Operator_number``, which is what profilers show and ``precision`` goes by.
"""

from __future__ import annotations

import ast
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from engine.errors import ArtifactError
from engine.runtime.artifact import WEIGHTS, write_manifest
from engine.runtime.base import Array, TensorSpec
from trt_builders import networks
from trt_builders.motion import example_inputs
from trt_builders.networks import Source
from trt_builders.opset import OLDER, lowered_opset
from trt_builders.precision import lower, widen
from trt_builders.profiles import OPSET, artifact_name, batched
from trt_builders.shipped import SCOPES, STORED, TRANSPOSED, encode

__all__ = ["Traced", "check", "example_inputs", "export", "trace", "write"]

TOLERANCE = 2e-3
"""Largest difference allowed between ONNX Runtime and torch where nothing else is said."""


@dataclass(frozen=True, slots=True, eq=False)
class Traced:
    """A network as FP32 graph of some batch, with what torch says it computes.

    Args:
        name: of the network.
        batch: rows.
        source: where it comes from.
        model: the graph.
        inputs: example, ``batch`` different rows.
        wanted: torch's outputs for them, row by row.
    """

    name: str
    batch: int
    source: Source
    model: onnx.ModelProto
    inputs: Mapping[str, Array]
    wanted: Mapping[str, Array]


def export(
    name: str,
    checkpoint: Path | None = None,
    out: Path = WEIGHTS,
    *,
    batch: int = 1,
    precision: str = "fp32",
    shipped: bool = False,
) -> Path:
    """Write ``NAME.onnx`` and ``NAME.json``; arguments and errors as of ``trace`` and ``write``."""
    return write(trace(name, batch, checkpoint, shipped=shipped), precision, out)


def trace(
    name: str,
    batch: int = 1,
    checkpoint: Path | None = None,
    *,
    shipped: bool = False,
    real: bool = False,
) -> Traced:
    """Export to memory.

    Args:
        name: of a network in ``networks.NETWORKS``.
        batch: rows.
        checkpoint: of its training; None: where training leaves it, else the shipped weights.
        shipped: take the shipped weights even where there is a checkpoint.
        real: compare on inputs as they are served, which take longer to make.

    Raises:
        ArtifactError: unknown network, impossible batch, or weights that do not fit.
    """
    if batch < 1:
        raise ArtifactError(f"batch is {batch}; at least 1")
    source = networks.load(name, checkpoint, shipped)
    inputs = rows_of(source, batch, real=real)
    wanted = reference(source, inputs, batch)
    return Traced(name, batch, source, to_onnx(source, batch, inputs), inputs, wanted)


def write(
    traced: Traced, precision: str, out: Path, *, judged: bool = True, opset: int = OPSET
) -> Path:
    """Write a graph in a precision, with its manifest.

    Args:
        traced: the graph.
        precision: ``fp32``, ``fp16`` or ``bf16``.
        out: folder.
        judged: refuse what is beyond the network's tolerances.
        opset: of ONNX; 18, or 17 for TensorRT 8.6.

    Returns:
        The ONNX file, ``profiles.artifact_name``.

    Raises:
        ArtifactError: the network has no such precision or opset, or the file would compute
            something else than the module.
    """
    entry = networks.network(traced.name)
    source, batch = traced.source, traced.batch
    model = traced.model if precision == "fp32" else lower(traced.model, entry.policy, precision)
    if opset not in (OPSET, OLDER):
        raise ArtifactError(f"no opset {opset}; {OPSET}, or {OLDER} for TensorRT 8.6")
    if opset == OLDER:
        model = lowered_opset(model)
    path = out / f"{artifact_name(traced.name, batch, precision, opset)}.onnx"
    if judged:
        got = run_onnx(widen(model) if precision == "bf16" else model, traced.inputs)
        for output, tolerance in entry.tolerances.items():
            limit = tolerance.fp32 if precision == "fp32" else tolerance.low[precision]
            _compare(path, output, got[output], traced.wanted[output], tolerance.kind, limit)
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    command = f"python -m trt_builders export {traced.name}"
    command += f" --batch {batch}" if batch != 1 else ""
    command += f" --precision {precision}" if precision != "fp32" else ""
    command += f" --opset {opset}" if opset != OPSET else ""
    write_manifest(
        path,
        batched(source.inputs, batch),
        batched(source.outputs, batch),
        dict(source.config) | _descent(traced, path),
        command,
        precision=precision,
        date=datetime.now(UTC).date().isoformat(),
    )
    return path


def _descent(traced: Traced, path: Path) -> dict[str, object]:
    """What a variant's manifest tells beyond its network's: rows, and the shipped file it equals.

    The plain file tells neither: it is the shipped file, or is about to become it.
    """
    if path.stem == traced.name:
        return {}
    made_from = traced.source.made_from
    return {"batch": traced.batch} | ({"made_from": made_from} if made_from else {})


def rows_of(source: Source, batch: int, *, real: bool = False) -> dict[str, Array]:
    """Inputs of ``batch`` different rows, laid end to end."""
    make = source.real if real else source.example
    rows = [make(seed) for seed in range(batch)]
    return {name: np.concatenate([row[name] for row in rows]) for name in source.inputs}


def reference(source: Source, inputs: Mapping[str, Array], batch: int) -> dict[str, Array]:
    """What torch computes, one row after the other: batching must change nothing."""
    parts = {name: np.split(value, batch) for name, value in inputs.items()}
    outputs: list[tuple[Array, ...]] = []
    with torch.no_grad():
        for row in range(batch):
            feeds = [torch.from_numpy(parts[name][row].copy()) for name in source.inputs]
            result = source.module(*feeds)
            values = (result,) if isinstance(result, Tensor) else result
            outputs.append(tuple(value.numpy() for value in values))
    joined = [np.concatenate(values) for values in zip(*outputs, strict=True)]
    return dict(zip(source.outputs, joined, strict=True))


def to_onnx(source: Source, batch: int, inputs: Mapping[str, Array]) -> onnx.ModelProto:
    """The FP32 graph of ``batch`` rows: named, stripped, the cast to bytes last."""
    module = source.module
    if batch > 1 and not source.rows:
        module = Rows(module, source.inputs, batch).eval()
    tensors = tuple(torch.from_numpy(inputs[name]) for name in source.inputs)
    with _quiet():
        program = torch.onnx.export(
            module,
            tensors,
            None,
            input_names=list(source.inputs),
            output_names=list(source.outputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ArtifactError("the exporter returned nothing")
    program.optimize()
    model = program.model_proto
    name_nodes(model.graph)
    name_weights(model, module)
    floor_inside(model.graph)
    cast_last(model.graph)
    floor_inside(model.graph)  # again, for what read the bytes behind the reshapes
    strip(model)
    onnx.checker.check_model(model)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of its own plans; what goes wrong, it raises."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


class Rows(nn.Module):
    """Several rows through a module made for one: every operator works on all of them at once.

    Args:
        module: takes and returns tensors of one row.
        inputs: its inputs, in order.
        batch: rows.
    """

    def __init__(self, module: nn.Module, inputs: Mapping[str, TensorSpec], batch: int) -> None:
        super().__init__()
        self.module = module
        self.shapes = [spec.shape for spec in inputs.values()]
        self.batch = batch

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Rows laid end to end in, rows laid end to end out."""
        rows = [
            value.reshape(self.batch, *shape)
            for value, shape in zip(inputs, self.shapes, strict=True)
        ]
        out: Tensor | tuple[Tensor, ...] = torch.vmap(self.module)(*rows)
        if isinstance(out, Tensor):
            return out.flatten(0, 1)
        return tuple(one.flatten(0, 1) for one in out)


def name_nodes(graph: onnx.GraphProto) -> None:
    """Name nodes ``module/Operator_number``; the root module's name is empty."""
    for number, node in enumerate(graph.node):
        scopes = [e.value for e in node.metadata_props if e.key == SCOPES]
        modules = ast.literal_eval(scopes[0])[:-1] if scopes else []
        node.name = f"{modules[-1] if modules else 'unnamed'}/{node.op_type}_{number}"


def name_weights(model: onnx.ModelProto, module: nn.Module) -> None:
    """Give every weight of the module its name in the file, one way or another.

    The optimiser turns linear weights around under names of its own, merges equal constants and
    drops what the outputs do not need; see ``shipped`` for how each is kept.
    """
    constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    renamed: dict[str, str] = {}
    for name, weight in module.state_dict().items():
        value = weight.numpy()
        if name in constants and np.array_equal(constants[name], value):
            continue
        turned = [
            other
            for other, held in constants.items()
            if value.ndim == 2 and other not in renamed and np.array_equal(held, value.T)
        ]
        if turned:
            renamed[turned[0]] = name + TRANSPOSED
        elif value.dtype == np.float32:
            model.metadata_props.add(key=STORED + name, value=encode(weight))
    for tensor in model.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)


def cast_last(graph: onnx.GraphProto) -> None:
    """Move a cast to bytes behind the reshapes after it: TensorRT has bytes at its edges only."""
    makers = {name: node for node in graph.node for name in node.output}
    for output in graph.output:
        last = makers[output.name]
        if output.type.tensor_type.elem_type != TensorProto.UINT8 or last.op_type == "Cast":
            continue
        moved = [last]
        while moved[-1].op_type in ("Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten"):
            moved.append(makers[moved[-1].input[0]])
        cast = moved.pop()
        if cast.op_type != "Cast":
            raise ArtifactError(f"'{output.name}' is made of bytes by {cast.op_type}")
        moved[-1].input[0] = cast.input[0]
        floating = f"{output.name}.float"
        last.output[0] = floating
        graph.node.remove(cast)
        graph.node.append(
            helper.make_node("Cast", [floating], [output.name], cast.name, to=TensorProto.UINT8)
        )
        stale = {name for node in moved for name in node.output}
        kept = [value for value in graph.value_info if value.name not in stale]
        del graph.value_info[:]
        graph.value_info.extend(kept)


def floor_inside(graph: onnx.GraphProto) -> None:
    """Where the graph goes on with bytes it gives out, let it go on with the whole numbers.

    ``float(uint8(x))`` is ``floor(x)`` for the 0 to 255 that become bytes, and TensorRT has no
    bytes inside.
    """
    casts = [node for node in graph.node if node.op_type == "Cast"]
    kind = {node.output[0]: node.attribute[0].i for node in casts}
    sources = {n.output[0]: n.input[0] for n in casts if kind[n.output[0]] == TensorProto.UINT8}
    for node in casts:
        if node.input[0] in sources and kind[node.output[0]] == TensorProto.FLOAT:
            node.op_type = "Floor"
            node.name = node.name.replace("/Cast_", "/Floor_")
            node.input[0] = sources[node.input[0]]
            del node.attribute[:]


def strip(model: onnx.ModelProto) -> None:
    """Remove what only the exporter's authors need, paths of this machine among it."""
    graph = model.graph
    for holder in [graph, *graph.node, *graph.input, *graph.output, *graph.value_info,
                   *graph.initializer, *model.functions]:  # fmt: skip
        holder.doc_string = ""
        if hasattr(holder, "metadata_props"):
            del holder.metadata_props[:]


def run_onnx(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What ONNX Runtime computes, by output name; nothing is fused, so every rounding stays."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def check(module: nn.Module, path: Path, inputs: Mapping[str, Tensor]) -> None:
    """Compare ONNX Runtime with torch on ``inputs``; raises ArtifactError beyond the tolerance."""
    with torch.no_grad():
        wanted = [value.numpy() for value in module(**inputs)]
    got = run_onnx(onnx.load(path), {name: value.numpy() for name, value in inputs.items()})
    for (name, ours), theirs in zip(got.items(), wanted, strict=True):
        _compare(path, name, ours, theirs, "max", TOLERANCE)


def _compare(path: Path, name: str, got: Array, wanted: Array, kind: str, limit: float) -> None:
    difference = np.abs(got.astype(np.float64) - wanted.astype(np.float64))
    error = float(difference.max() if kind == "max" else difference.mean())
    if not error <= limit:  # NaN too
        raise ArtifactError(
            f"{path.name} differs from its checkpoint by {error:.2g} in '{name}', more than "
            f"{limit:g}; not shipped"
        )
