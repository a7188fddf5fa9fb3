"""FP16 or BF16 for the heavy operators of a traced torch module.

As torch's autocast, but decided once in the graph: autocast does not reach inside ``torch.vmap``,
by which modules made for one row run several, and it asks again on every call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

_aten = torch.ops.aten
HEAVY = {
    _aten.linear.default, _aten.matmul.default, _aten.mm.default, _aten.bmm.default,
    _aten.addmm.default, _aten.conv1d.default, _aten.conv2d.default, _aten.conv2d.padding,
    _aten.convolution.default, _aten.scaled_dot_product_attention.default,
}  # fmt: skip
"""Operators that compute in the lower type."""
CARRIERS = {
    _aten.view.default, _aten.reshape.default, _aten.permute.default, _aten.transpose.int,
    _aten.unsqueeze.default, _aten.squeeze.dim, _aten.flatten.using_ints, _aten.contiguous.default,
    _aten.slice.Tensor, _aten.select.int, _aten.expand.default, _aten.unflatten.int,
    _aten.relu.default, _aten.silu.default, _aten.gelu.default, _aten.leaky_relu.default,
    _aten.pixel_shuffle.default, _aten.movedim.int, _aten.dropout.default,
}  # fmt: skip
"""Operators of one tensor that go on in the lower type if their input has it."""


def lower(
    module: fx.GraphModule, dtype: torch.dtype, wanted: Callable[[str], bool] = lambda _: True
) -> fx.GraphModule:
    """Let a traced module compute its heavy operators in a lower type; changed in place.

    Args:
        module: as ``torch.export`` gives it: ATen operators, float32.
        dtype: float16 or bfloat16.
        wanted: told an operator's module path (``network.blocks.0.attention``), says whether.

    Returns:
        The module; its inputs and outputs have the types they had.
    """
    pass_ = _Pass(module, dtype, wanted)
    for node in list(module.graph.nodes):
        pass_.visit(node)
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()
    module.delete_all_unused_submodules()
    return module


class _Pass:
    def __init__(
        self, module: fx.GraphModule, dtype: torch.dtype, wanted: Callable[[str], bool]
    ) -> None:
        self.module = module
        self.graph = module.graph
        self.dtype = dtype
        self.wanted = wanted
        self.low: dict[fx.Node, fx.Node] = {}  # a float32 node to itself in the lower type

    def visit(self, node: fx.Node) -> None:
        if node.op != "call_function" or not _is_float(node):
            return
        if node.target in HEAVY and self.wanted(module_path(node)):
            self._rewrite(node, cast=True)
        elif node.target in CARRIERS and self._made_low(node.args[0]):
            self._rewrite(node, cast=False)

    def _made_low(self, source: Any) -> bool:
        """Whether an operator made it in the lower type: an input is not rounded for a view."""
        return source in self.low and source.target is _aten.to.dtype

    def _rewrite(self, node: fx.Node, *, cast: bool) -> None:
        """Compute the node on lower inputs; who wants float32 gets a cast of it."""
        for source in list(node.all_input_nodes):
            if _is_float(source) and (cast or source is node.args[0]):
                node.replace_input_with(source, self._lowered(source, before=node))
        with self.graph.inserting_after(node):
            wide = self.graph.call_function(_aten.to.dtype, (node, torch.float32))
        wide.meta = {"val": node.meta["val"]}
        node.replace_all_uses_with(wide, delete_user_cb=lambda user: user is not wide)
        self.low[wide] = node

    def _lowered(self, source: fx.Node, before: fx.Node) -> fx.Node:
        if source not in self.low:
            if source.op == "get_attr":
                self.low[source] = self._weight(source)
            else:
                with self.graph.inserting_after(source):
                    self.low[source] = self.graph.call_function(
                        _aten.to.dtype, (source, self.dtype)
                    )
        return self.low[source]

    def _weight(self, source: fx.Node) -> fx.Node:
        """A copy of a constant in the lower type, kept with the module."""
        name = f"low_{str(source.target).replace('.', '_')}"
        value: Any = self.module
        for part in str(source.target).split("."):
            value = getattr(value, part)
        kept = value.detach().to(self.dtype)
        self.module.register_buffer(name, kept)
        with self.graph.inserting_after(source):
            return self.graph.get_attr(name)


def module_path(node: fx.Node) -> str:
    """The module an operator came from, empty for the root."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values()]
    return str(paths[-1]) if paths else ""


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32


def traced(module: nn.Module, example: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    """Trace a module on example inputs, without gradients, ``torch.vmap`` resolved."""
    with torch.no_grad():
        program: torch.export.ExportedProgram = torch.export.export(module.eval(), example)
        flat: torch.export.ExportedProgram = program.run_decompositions({})
    return flat
