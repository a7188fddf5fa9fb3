"""Opset 18 to 17, for parsers that end there (TensorRT 8.6).

ONNX's own converter does not take Split and Pad back. Of what changed between the two, our
networks contain four operators, and use nothing that 17 cannot say. That is checked node by node: a
network that some day does is refused in a sentence instead of computing something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper, shape_inference

from engine.errors import ArtifactError

OLDER = 17
_IR = 8
"""Version of the file format that belongs to opset 17."""

Values = Mapping[str, np.ndarray[Any, Any]]
Shapes = Mapping[str, tuple[int, ...]]


def lowered_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network in opset 17.

    Raises:
        ArtifactError: it is not of opset 18, or a node says what opset 17 cannot.
    """
    versions = {entry.domain: entry.version for entry in model.opset_import}
    if versions != {"": 18}:
        raise ArtifactError(f"only ONNX opset 18 is taken back to {OLDER}, this is {versions}")
    shapes = _shapes(model)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if defs.get_schema(node.op_type, 18).since_version < 18:
            continue  # defined alike in both
        if node.op_type not in _RULES:
            raise ArtifactError(f"{_called(node)} is another operator in opset {OLDER}")
        added = _RULES[node.op_type](node, constants, shapes)
        graph.initializer.extend(added)
    result.opset_import[0].version = OLDER
    result.ir_version = min(result.ir_version, _IR)
    onnx.checker.check_model(result, full_check=True)
    return result


def _shapes(model: onnx.ModelProto) -> Shapes:
    """Static shapes, inferred anew: exporters note not all of them, and some notes grow stale."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    graph = shape_inference.infer_shapes(bare, strict_mode=True, data_prop=True).graph
    found = {}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            found[value.name] = tuple(dim.dim_value for dim in dims)
    return found


def _called(node: onnx.NodeProto) -> str:
    return f"{node.op_type} ({node.name or 'unnamed'})"


def _drop(node: onnx.NodeProto, name: str) -> Any:
    """Take an attribute away; its value, None where there was none."""
    for attribute in node.attribute:
        if attribute.name == name:
            value = helper.get_attribute_value(attribute)
            node.attribute.remove(attribute)
            return value
    return None


def _split(node: onnx.NodeProto, constants: Values, shapes: Shapes) -> list[onnx.TensorProto]:
    """18 may name a number of parts, the last one smaller; 17 wants their sizes."""
    parts = _drop(node, "num_outputs")
    if parts is None:
        return []
    shape = shapes.get(node.input[0])
    if shape is None:
        raise ArtifactError(
            f"{_called(node)} splits what has no fixed shape, which opset {OLDER} cannot say"
        )
    axis = next((helper.get_attribute_value(a) for a in node.attribute if a.name == "axis"), 0)
    whole = shape[axis]
    part = -(-whole // parts)
    sizes = [part] * (parts - 1) + [whole - part * (parts - 1)]
    if min(sizes) < 0:
        raise ArtifactError(f"{_called(node)} has {parts} parts of {whole}: too many")
    name = f"{node.output[0]}.sizes"
    node.input[:] = [node.input[0], name]
    return [numpy_helper.from_array(np.array(sizes, np.int64), name)]


def _pad(node: onnx.NodeProto, constants: Values, shapes: Shapes) -> list[onnx.TensorProto]:
    """18 may pad chosen axes only; 17 pads all."""
    if len(node.input) > 3 and node.input[3]:
        raise ArtifactError(f"{_called(node)} names axes, which opset {OLDER} cannot")
    return []


def _resize(node: onnx.NodeProto, constants: Values, shapes: Shapes) -> list[onnx.TensorProto]:
    """18 may resize chosen axes, smooth what shrinks, and keep the ratio of the sides."""
    if _drop(node, "antialias"):
        raise ArtifactError(f"{_called(node)} smooths, which opset {OLDER} cannot")
    if _drop(node, "axes") is not None:
        raise ArtifactError(f"{_called(node)} names axes, which opset {OLDER} cannot")
    if _drop(node, "keep_aspect_ratio_policy") not in (None, b"stretch"):
        raise ArtifactError(f"{_called(node)} keeps a ratio, which opset {OLDER} cannot")
    return []


def _scatter(node: onnx.NodeProto, constants: Values, shapes: Shapes) -> list[onnx.TensorProto]:
    """18 knows two more reductions."""
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if attribute.name == "reduction" and value not in (b"none", b"add", b"mul"):
            raise ArtifactError(
                f"{_called(node)} reduces by {value.decode()}, which opset {OLDER} cannot"
            )
    return []


_Rule = Callable[[onnx.NodeProto, Values, Shapes], list[onnx.TensorProto]]
_RULES: Mapping[str, _Rule] = {
    "Pad": _pad,
    "Resize": _resize,
    "ScatterND": _scatter,
    "Split": _split,
}
"""Rewrites a node in place; returns constants that it needs now."""
