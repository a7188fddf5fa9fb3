"""From an FP32 graph to a strongly typed FP16 or BF16 one.

TensorRT 11 and TensorRT-RTX compute every layer in the type its tensors have; nothing is lowered
behind one's back, and nothing is lowered unless the ONNX file says so. So the file says it: a node
whose place (module and operator) the policy allows gets its inputs cast down and gives low outputs;
every other node gets FP32. Inputs and outputs of the graph keep their types.

``widen`` makes the same roundings out of FP32 arithmetic, for runtimes that lack the type: ONNX
Runtime has no BF16 kernels on a CPU. It is how precision is judged without a GPU.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.errors import ArtifactError

LOW = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
_MOVES = frozenset({
    "Concat", "Expand", "Flatten", "Gather", "GatherND", "Identity", "Pad", "Reshape", "Slice",
    "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
})  # fmt: skip
"""Operators that only move numbers: they take the type of what they move."""
_ALWAYS_FLOAT = {"Resize": (1, 2)}
"""Inputs that ONNX wants in FP32 whatever the data's type."""
_BF16_OPSET = 22
"""First opset whose Conv and its like take BF16."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Layers that stay in FP32.

    Args:
        pattern: matches the whole of ``module:Operator``.
        why: for people, and the table in docs/tensorrt.md.
    """

    pattern: str
    why: str


@dataclass(frozen=True, slots=True)
class Policy:
    """Which nodes compute in low precision.

    Args:
        low: matches the whole module name of nodes that may; empty: none.
        keep: exceptions.
        rest: why everything outside ``low`` stays; empty where that needs no reason.
    """

    low: str
    keep: tuple[Keep, ...]
    rest: str = ""

    def lowers(self, module: str, operator: str) -> bool:
        """Whether a node of this module and operator computes in low precision."""
        if not self.low or not re.fullmatch(self.low, module):
            return False
        place = f"{module}:{operator}"
        return not any(re.fullmatch(keep.pattern, place) for keep in self.keep)

    def without(self, dropped: Keep) -> Policy:
        """The policy with one exception fewer, to see what that exception is worth."""
        return Policy(self.low, tuple(k for k in self.keep if k != dropped), self.rest)


def module_of(node: onnx.NodeProto) -> str:
    """The torch module a node came from; ``export`` names nodes ``module/Operator_number``."""
    return node.name.rpartition("/")[0]


def lower(model: onnx.ModelProto, policy: Policy, precision: str) -> onnx.ModelProto:
    """A strongly typed copy of an FP32 model.

    Args:
        model: FP32, static shapes, nodes named by ``export``.
        policy: which nodes.
        precision: ``fp16`` or ``bf16``.

    Raises:
        ArtifactError: the policy has no low layers.
    """
    if not policy.low:
        raise ArtifactError(f"this network has no {precision} form: {policy.rest}")
    return _Lowering(model, policy, LOW[precision]).run()


class _Lowering:
    """One pass over a graph in its order, which is topological."""

    def __init__(self, model: onnx.ModelProto, policy: Policy, low: int) -> None:
        self.low = low
        self.policy = policy
        self.model = _opset(model, _BF16_OPSET) if low == TensorProto.BFLOAT16 else _copy(model)
        self.types = element_types(self.model)
        self.constants = {i.name: i for i in self.model.graph.initializer}
        self.now = dict(self.types)
        """Type each tensor has in the new graph."""
        self.cast_to: dict[tuple[str, int], str] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.added: list[TensorProto] = []

    def run(self) -> onnx.ModelProto:
        graph = self.model.graph
        outputs = {value.name for value in graph.output}
        for node in graph.node:
            self.place(node, outputs)
        del graph.node[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(self.added)
        used = {name for node in graph.node for name in node.input}
        kept = [i for i in graph.initializer if i.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        del graph.value_info[:]
        return onnx.shape_inference.infer_shapes(self.model, check_type=True, strict_mode=True)

    def place(self, node: onnx.NodeProto, outputs: set[str]) -> None:
        floats = [n for n in node.input if self.types.get(n) == TensorProto.FLOAT]
        if not floats or node.op_type == "Cast":
            for name in floats:
                self.swap(node, name, TensorProto.FLOAT)
            self.nodes.append(node)
            return
        to = self.wanted(node, floats)
        if any(name in outputs for name in node.output):
            to = TensorProto.FLOAT
        exempt = {node.input[i] for i in _ALWAYS_FLOAT.get(node.op_type, ()) if i < len(node.input)}
        for name in dict.fromkeys(floats):
            self.swap(node, name, TensorProto.FLOAT if name in exempt else to)
        self.nodes.append(node)
        for name in node.output:
            if self.types.get(name) == TensorProto.FLOAT:
                self.now[name] = to

    def wanted(self, node: onnx.NodeProto, floats: list[str]) -> int:
        """Type in which a node works."""
        if node.op_type in _MOVES:
            moved = [n for n in floats if n not in self.constants]
            if moved:
                same = {self.now[n] for n in moved}
                return self.low if same == {self.low} else TensorProto.FLOAT
        lowers = self.policy.lowers(module_of(node), node.op_type)
        return self.low if lowers else TensorProto.FLOAT

    def swap(self, node: onnx.NodeProto, name: str, to: int) -> None:
        """Make a node read ``name`` in type ``to``."""
        if self.now[name] == to:
            return
        key = (name, to)
        if key not in self.cast_to:
            self.cast_to[key] = self.constant(name, to) or self.cast(name, to)
        for index, one in enumerate(node.input):
            if one == name:
                node.input[index] = self.cast_to[key]

    def constant(self, name: str, to: int) -> str:
        """A low copy of an initializer; empty for anything else."""
        if name not in self.constants:
            return ""
        value = numpy_helper.to_array(self.constants[name])
        tensor = numpy_helper.from_array(
            value.astype(helper.tensor_dtype_to_np_dtype(to)), f"{name}.low"
        )
        self.added.append(tensor)
        return tensor.name

    def cast(self, name: str, to: int) -> str:
        suffix = "low" if to == self.low else "fp32"
        new = f"{name}.{suffix}"
        self.nodes.append(helper.make_node("Cast", [name], [new], f"cast/{new}", to=to))
        return new


def widen(model: onnx.ModelProto) -> onnx.ModelProto:
    """A lowered model in FP32 arithmetic: every low node works in FP32 on rounded inputs and its
    outputs are rounded, as tensor cores do that multiply FP16 or BF16 and add in FP32.
    """
    model = _copy(model)
    types = element_types(model)
    low = set(LOW.values())
    nodes: list[onnx.NodeProto] = []
    wide: dict[str, str] = {}
    for node in model.graph.node:
        inputs = [n for n in node.input if types.get(n) in low]
        outputs = [n for n in node.output if types.get(n) in low]
        if node.op_type == "Cast" or not (inputs or outputs):
            nodes.append(node)
            continue
        for name in dict.fromkeys(inputs):
            if name not in wide:
                wide[name] = f"{name}.wide"
                nodes.append(helper.make_node("Cast", [name], [wide[name]], to=TensorProto.FLOAT))
        for index, name in enumerate(node.input):
            node.input[index] = wide.get(name, name) if name in inputs else name
        rounded = []
        for index, name in enumerate(node.output):
            if name in outputs:
                raw = f"{name}.raw"
                node.output[index] = raw
                rounded.append(helper.make_node("Cast", [raw], [name], to=types[name]))
        nodes += [node, *rounded]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]
    return model


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every tensor of a graph.

    Raises:
        ArtifactError: some tensor's type cannot be told.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    graph = inferred.graph
    types = {i.name: i.data_type for i in graph.initializer}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        types[value.name] = value.type.tensor_type.elem_type
    unknown = [n for node in graph.node for n in node.output if n and not types.get(n)]
    if unknown:
        raise ArtifactError(f"the type of {unknown[0]} and {len(unknown) - 1} more cannot be told")
    return types


def census(model: onnx.ModelProto) -> Mapping[str, int]:
    """Nodes by the type they work in: ``{"fp32": 310, "fp16": 120, "cast": 40, "int": 20}``."""
    types = element_types(model)
    names: dict[int, str] = {
        TensorProto.FLOAT: "fp32",
        TensorProto.FLOAT16: "fp16",
        TensorProto.BFLOAT16: "bf16",
    }
    count: Counter[str] = Counter()
    for node in model.graph.node:
        kinds = {names[types[n]] for n in node.output if types.get(n) in names}
        count["cast" if node.op_type == "Cast" else min(kinds, default="int")] += 1
    return dict(count)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _opset(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """The model in a newer opset, if it is in an older one."""
    (domain,) = [o for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if domain.version >= version:
        return _copy(model)
    return onnx.version_converter.convert_version(model, version)
