"""The motion networks for export: a trained student or the shipped one, K steps unrolled."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from engine.motion.unrolled import Unrolled, input_specs, output_specs
from engine.runtime.base import Array
from training.motion.checkpoint import CACHE, load_network
from trt_builders.networks import Source
from trt_builders.shipped import restore_motion


def load(name: str, checkpoint: Path | None, shipped: bool) -> Source:
    """The student of ``cmdt_k1``, ``cmdt_k2`` or ``cmdt_k4``; see ``networks.load``."""
    steps = int(name.removeprefix("cmdt_k"))
    path = checkpoint or CACHE / f"student_k{steps}.pt"
    made_from = ""
    if checkpoint or (path.is_file() and not shipped):
        network, scale, facts = load_network(path)
        module = Unrolled(network, scale, steps, shortcut=bool(facts["shortcut"])).eval()
        dims = network.dims
        config = {"dims": asdict(dims), "steps": steps, "hop": [1, dims.new], **facts}
    else:
        restored = restore_motion(name)
        module, path = restored.module, restored.artifact.path
        made_from = restored.artifact.sha256
        dims, config = module.network.dims, dict(restored.artifact.config)

    def example(seed: int) -> dict[str, Array]:
        return {k: v.numpy() for k, v in example_inputs(module, seed).items()}

    inputs, outputs = input_specs(dims), output_specs(dims)
    return Source(
        module, inputs, outputs, config, example, example, str(path), made_from, rows=True
    )


def example_inputs(module: Unrolled, seed: int = 0) -> dict[str, Tensor]:
    """Plausible random inputs of one row, by name."""
    generator = torch.Generator().manual_seed(seed)
    dims = module.network.dims
    shapes = {name: spec.shape for name, spec in input_specs(dims).items()}
    inputs = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    inputs["past_known"] = torch.ones(shapes["past_known"])
    inputs["audio_known"] = torch.ones(shapes["audio_known"])
    inputs["past"] = inputs["past"] * module.scale.motion_std + module.scale.motion_mean
    inputs["audio"] = inputs["audio"] * module.scale.audio_std + module.scale.audio_mean
    inputs["reference"] = torch.zeros(shapes["reference"])
    # What the server allows, the default first; numbers that FP16 does not hold exactly.
    inputs["guidance"] = torch.full(shapes["guidance"], 1.0 + (0.5 + 0.37 * seed) % 1.5)
    return inputs
