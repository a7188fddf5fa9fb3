"""Which shapes and precisions a network is compiled for, and what the compiled file is called.

Shapes are static, one file per batch size: streaming never changes them, CUDA graphs and
ahead-of-time compilation want them fixed, and a file that fits exactly needs no profile at run
time. A batch is **rows**: every input and output of the network at batch B is B copies of the
single one laid end to end along the first axis, so that a batch is made by ``np.concatenate`` and
taken apart by ``np.split`` whatever the tensor means. Nothing is shared between rows, avatars
included: two sessions with the same face are two rows that hold the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.config import EngineConfig
from engine.runtime.base import TensorSpec

BATCHES = (1, 2, 4, 8, 16)
"""Rows of one call. Doubling wastes at most half a batch; 16 renderers fill an H100."""
OPSET = 18
"""Of ONNX, unless something else is asked for."""
PRECISIONS = ("fp32", "fp16", "bf16")


def batched(specs: Mapping[str, TensorSpec], batch: int) -> dict[str, TensorSpec]:
    """Specs of ``batch`` rows from those of one: [N, ...] to [batch * N, ...]."""
    return {
        name: TensorSpec((batch * spec.shape[0], *spec.shape[1:]), spec.dtype)
        for name, spec in specs.items()
    }


def artifact_name(network: str, batch: int = 1, precision: str = "fp32", opset: int = OPSET) -> str:
    """``cmdt_k2`` as shipped, ``cmdt_k2_b4_fp16`` or ``cmdt_k2_b4_fp16_op17`` otherwise."""
    if (batch, precision, opset) == (1, "fp32", OPSET):
        return network
    return f"{network}_b{batch}_{precision}" + (f"_op{opset}" if opset != OPSET else "")


def served(config: EngineConfig) -> tuple[str, ...]:
    """Networks that a configured server runs and that are worth compiling.

    Motion in one step is what sessions that cannot keep up fall back to (``engine.ladder``).
    """
    names = (f"cmdt_k{config.motion.steps}", "cmdt_k1", config.render.network)
    return tuple(dict.fromkeys(names))
