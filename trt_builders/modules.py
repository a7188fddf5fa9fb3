"""Torch modules for the engine's torch backend (``runtime.modules``)."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from trt_builders.export import Rows
from trt_builders.networks import load, network


def make(name: str, batch: int) -> tuple[nn.Module, Callable[[str], bool]]:
    """A shipped network for ``batch`` rows, and which of its parts may compute in FP16 or BF16.

    Args:
        name: in ``networks.NETWORKS``.
        batch: rows, laid end to end.

    Raises:
        ArtifactError: there is no such network.
    """
    source = load(name, shipped=True)
    policy = network(name).policy
    single = batch == 1 or source.rows
    module = source.module if single else Rows(source.module, source.inputs, batch)

    return module.eval(), lambda path: policy.lowers(path, "MatMul")
