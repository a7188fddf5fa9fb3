"""The undistilled teacher as a backend: many Euler steps, guided, in the engine's own precision.

PyTorch needs about ten times as long as a compiled graph for so small a network, so the sampler is
unrolled, exported once per checkpoint and opened like any artifact; failing that, torch runs it.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import EngineError
from engine.motion.arkit import LIPS
from engine.motion.network import Dims
from engine.motion.unrolled import Unrolled, input_specs, output_specs
from engine.runtime.artifact import write_manifest
from engine.runtime.base import Backend
from engine.runtime.load import load_network
from engine.runtime.pytorch import TorchBackend
from training.evaluation.sounds import CACHE
from training.motion.checkpoint import load_network as load_checkpoint

_VERSION = 2  # of what is exported


class Guided(nn.Module):
    """A teacher that samples with audio guidance on the lips, as students learn to imitate it.

    Stands in for the network inside ``Unrolled``: ``encode`` looks twice, with and without sound.
    """

    lips: Tensor

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.dims = network.dims
        mask = torch.zeros(network.dims.motion)
        mask[list(LIPS)] = 1.0
        self.register_buffer("lips", mask, persistent=False)

    def encode(self, condition: Any) -> Any:
        """Context of the sound, with what the same moment is without sound."""
        plain = condition._replace(guidance=torch.ones_like(condition.guidance))
        self._weight = condition.guidance
        self._deaf = self.network.encode(
            plain._replace(audio_known=torch.zeros_like(plain.audio_known))
        )
        return self.network.encode(plain)

    def denoise(self, noisy: Tensor, time: Tensor, step: Tensor, context: Any) -> Tensor:
        """Velocity [B,N,M]: lips moved on from the deaf one by the weight, the rest as heard."""
        heard: Tensor = self.network.denoise(noisy, time, step, context)
        deaf = self.network.denoise(noisy, time, step, self._deaf)
        moved: Tensor = heard + (self._weight[:, None, None] - 1.0) * self.lips * (heard - deaf)
        return moved


def teacher_backend(checkpoint: Path, steps: int) -> Backend:
    """Open a checkpoint of the teacher with so many Euler steps.

    Raises:
        FileNotFoundError: there is none.
        RuntimeError: it is of another network than the engine's.
    """
    # The engine's inputs count: an old export would not fit a newer window.
    facts = f"{steps} {_VERSION} {list(input_specs(Dims()))}".encode()
    digest = hashlib.sha256(checkpoint.read_bytes() + facts).hexdigest()[:16]
    kept = CACHE / f"teacher_{digest}.onnx"
    if not kept.is_file() or not kept.with_suffix(".json").is_file():
        module = teacher_module(checkpoint, steps)
        try:
            _export(module, kept)
        except (EngineError, RuntimeError, OSError) as error:
            sys.stderr.write(f"teacher runs in torch, slowly: {error}\n")
            dims = module.network.dims
            return TorchBackend(module, input_specs(dims), output_specs(dims))
    return load_network(kept)


def teacher_module(checkpoint: Path, steps: int) -> Unrolled:
    """The guided teacher with its sampler."""
    network, scale, _ = load_checkpoint(checkpoint)
    guided: Any = Guided(network)
    return Unrolled(guided, scale, steps, shortcut=False).eval()


def _export(module: Unrolled, target: Path) -> None:
    specs, outputs = input_specs(module.network.dims), output_specs(module.network.dims)
    target.parent.mkdir(parents=True, exist_ok=True)
    example = tuple(torch.randn(spec.shape) for spec in specs.values())
    partial = target.with_suffix(".partial")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The tracing exporter takes seconds, torch.export minutes for so many unrolled steps.
        torch.onnx.export(
            module, example, str(partial), input_names=list(specs), output_names=list(outputs),
            opset_version=18, dynamo=False,
        )  # fmt: skip
    partial.replace(target)
    write_manifest(target, specs, outputs, {"steps": module.steps}, "python -m training evaluate")
