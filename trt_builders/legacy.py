"""TensorRT 8.6 builds, a lean runtime of today runs: a file that stands alone.

TensorRT 8.6.0 is the last full version that can be had as a wheel, for Python 3.10 and older, which
the rest of this repository is not for. So this script imports nothing but TensorRT, and what
differs from ``flavours`` is all here. By path, in that Python:

    python3.10 trt_builders/legacy.py FILE_op17.onnx ... --out DIR

The files come from ``python -m trt_builders export NAME --shipped --precision fp16 --opset 17``.
``python -m trt_builders adopt`` then puts the plans where the server looks for them.

8.6 types networks weakly: with its FP16 flag it computes in FP16 whatever it finds faster, which
the renderer's geometry does not stand. The files say what may be FP16 (they hold the casts), so
every layer that gives FP32 is held to it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

SURFACE: dict[str, tuple[str, ...]] = {
    "Logger": ("WARNING",),
    "Builder": ("create_network", "create_builder_config", "build_serialized_network"),
    "INetworkDefinition": ("num_layers", "get_layer"),
    "ILayer": ("num_outputs", "get_output", "set_output_type", "precision", "name"),
    "ITensor": ("dtype",),
    "IBuilderConfig": ("set_memory_pool_limit", "set_flag", "clear_flag", "set_tactic_sources",
                       "create_timing_cache", "set_timing_cache", "get_timing_cache"),
    "ITimingCache": ("serialize",),
    "OnnxParser": ("parse_from_file", "num_errors", "get_error"),
    "ParserError": ("desc", "node"),
    "NetworkDefinitionCreationFlag": ("EXPLICIT_BATCH",),
    "BuilderFlag": ("FP16", "TF32", "PREFER_PRECISION_CONSTRAINTS", "VERSION_COMPATIBLE",
                    "EXCLUDE_LEAN_RUNTIME"),
    "TacticSource": ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"),
    "MemoryPoolType": ("WORKSPACE",),
    "DataType": ("FLOAT",),
}  # fmt: skip
"""What is used of TensorRT 8.6."""


def build(trt: Any, onnx: Path, workspace: int, timing_cache: bytes) -> tuple[bytes, int, bytes]:
    """Compile one file: plan, number of layers, timing cache for the next.

    Raises:
        RuntimeError: there is no GPU, or the parser or the builder refuses.
    """
    logger = trt.Logger(trt.Logger.WARNING)
    try:
        builder = trt.Builder(logger)
    except TypeError as error:
        raise RuntimeError("TensorRT does not start: it needs a GPU and its driver") from error
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        error = parser.get_error(0) if parser.num_errors else None
        said = f"{error.desc()} (node {error.node()})" if error else "it gives no reason"
        raise RuntimeError(f"cannot parse {onnx.name}: {said}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    # What lean runtimes run, which is not part of the plan.
    config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    config.set_flag(trt.BuilderFlag.EXCLUDE_LEAN_RUNTIME)
    config.set_flag(trt.BuilderFlag.FP16)
    config.set_flag(trt.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)
    # FP32 is to be FP32: TF32 has FP16's ten bits.
    config.clear_flag(trt.BuilderFlag.TF32)
    # Without cuBLAS and cuDNN, for which the machine may hold stand-ins only.
    sources = (trt.TacticSource.EDGE_MASK_CONVOLUTIONS, trt.TacticSource.JIT_CONVOLUTIONS)
    config.set_tactic_sources(sum(1 << int(source) for source in sources))
    config.set_timing_cache(config.create_timing_cache(timing_cache), False)
    hold(trt, network)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeError(f"cannot build {onnx.name}; TensorRT's own words are above")
    return bytes(plan), network.num_layers, bytes(config.get_timing_cache().serialize())


def hold(trt: Any, network: Any) -> int:
    """Hold layers that give FP32 to FP32; how many."""
    held = 0
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        outputs = range(layer.num_outputs)
        if not all(layer.get_output(n).dtype == trt.DataType.FLOAT for n in outputs):
            continue  # FP16, or integers and bytes, whose type is no choice
        layer.precision = trt.DataType.FLOAT
        for n in outputs:
            layer.set_output_type(n, trt.DataType.FLOAT)
        held += 1
    return held


def main(argv: list[str]) -> int:
    """Build every file; returns the exit status."""
    arguments = argparse.ArgumentParser(prog="legacy.py", description="Build with TensorRT 8.6.")
    arguments.add_argument("onnx", type=Path, nargs="+", help="exported with --opset 17")
    arguments.add_argument("--out", type=Path, required=True, help="folder for the plans")
    arguments.add_argument("--workspace", type=int, default=2048, help="MB; default 2048")
    options = arguments.parse_args(argv)
    import tensorrt

    options.out.mkdir(parents=True, exist_ok=True)
    cache = b""
    for onnx in options.onnx:
        began = time.monotonic()
        try:
            plan, layers, cache = build(tensorrt, onnx, options.workspace << 20, cache)
        except RuntimeError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        seconds = round(time.monotonic() - began, 1)
        target = options.out / f"{onnx.stem}.plan"
        target.write_bytes(plan)
        facts = {"builder": tensorrt.__version__, "seconds": seconds, "layers": layers}
        # Not NAME.json, which is the manifest of the file it was built from.
        target.with_suffix(".plan.json").write_text(json.dumps(facts) + "\n")
        sys.stdout.write(f"{target} {len(plan) / 1e6:.1f} MB, {layers} layers, {seconds} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
