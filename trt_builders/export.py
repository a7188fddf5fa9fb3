"""cMDT export: checkpoint, K steps unrolled, ONNX opset 18, checked against torch."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from engine.errors import ArtifactError
from engine.motion.unrolled import Unrolled, input_specs, output_specs
from engine.runtime.artifact import write_manifest
from training.motion.checkpoint import CACHE, load_network

OPSET = 18
TOLERANCE = 2e-3
"""Largest difference allowed between ONNX Runtime and torch, in motion units."""


def export(name: str, checkpoint: Path | None, out: Path) -> Path:
    """Write ``NAME.onnx`` and ``NAME.json``.

    Args:
        name: ``cmdt_k1``, ``cmdt_k2`` or ``cmdt_k4``.
        checkpoint: of ``python -m training distill``; default: the student of K steps.
        out: folder.

    Raises:
        ArtifactError: the written file computes something else than the checkpoint.
    """
    steps = int(name.removeprefix("cmdt_k"))
    source = checkpoint or CACHE / f"student_k{steps}.pt"
    network, scale, facts = load_network(source)
    module = Unrolled(network, scale, steps, shortcut=bool(facts["shortcut"])).eval()
    specs = input_specs(network.dims)
    example = example_inputs(module)
    path = out / f"{name}.onnx"
    program = torch.onnx.export(
        module,
        tuple(example.values()),
        input_names=list(specs),
        output_names=list(output_specs(network.dims)),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise ArtifactError(f"{name}: the exporter returned nothing")
    program.optimize()
    program.save(str(path), external_data=False)
    check(module, path, example)
    write_manifest(
        path,
        specs,
        output_specs(network.dims),
        {"dims": asdict(network.dims), "steps": steps, "hop": [1, network.dims.new], **facts},
        f"python -m trt_builders export {name}",
        date=datetime.now(UTC).date().isoformat(),
    )
    return path


def example_inputs(module: Unrolled) -> dict[str, Tensor]:
    """Plausible random inputs, by name."""
    generator = torch.Generator().manual_seed(0)
    dims = module.network.dims
    shapes = {name: spec.shape for name, spec in input_specs(dims).items()}
    inputs = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    inputs["past_known"] = torch.ones(shapes["past_known"])
    inputs["audio_known"] = torch.ones(shapes["audio_known"])
    inputs["past"] = inputs["past"] * module.scale.motion_std + module.scale.motion_mean
    inputs["audio"] = inputs["audio"] * module.scale.audio_std + module.scale.audio_mean
    inputs["reference"] = torch.zeros(shapes["reference"])
    inputs["guidance"] = torch.full(shapes["guidance"], 1.5)
    return inputs


def check(module: Unrolled, path: Path, inputs: dict[str, Tensor]) -> None:
    """Compare ONNX Runtime with torch on ``inputs``; raises ArtifactError beyond the tolerance."""
    with torch.no_grad():
        wanted = [value.numpy() for value in module(**inputs)]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    got = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    worst = max(float(np.abs(np.asarray(a) - b).max()) for a, b in zip(got, wanted, strict=True))
    if not worst <= TOLERANCE:
        raise ArtifactError(f"{path.name} differs from its checkpoint by {worst:.2g}; not shipped")
