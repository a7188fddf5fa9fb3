"""Renderer export: geometry and refiner in one ONNX file, checked against torch."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from engine.errors import ArtifactError
from engine.render.layout import network_inputs, network_outputs
from engine.render.network import RenderNetwork
from engine.runtime.artifact import write_manifest
from engine.runtime.base import Array, TensorSpec
from training.refiner.checkpoint import load_refiner

OPSET = 18
TOLERANCE = 0.05
"""Largest mean difference allowed between ONNX Runtime and torch, in levels of 255."""


def export(name: str, checkpoint: Path | None, out: Path) -> Path:
    """Write ``render_512.onnx`` and ``render_512.json``.

    Args:
        name: ``render_512``.
        checkpoint: of ``training refiner``; default: where it leaves it. Without one the mouth
            is drawn without repair.
        out: folder.

    Raises:
        ArtifactError: the written file computes something else than the module.
    """
    refiner, facts = load_refiner(checkpoint)
    module = RenderNetwork(refiner).eval()
    example = example_inputs()
    path = out / f"{name}.onnx"
    _write(module, example, path)
    _check(module, example, path)
    write_manifest(
        path,
        network_inputs(),
        network_outputs(),
        {"size": 512, "refiner": facts},
        f"python -m trt_builders export {name}",
        date=datetime.now(UTC).date().isoformat(),
    )
    return path


def example_inputs() -> dict[str, Array]:
    """Inputs that exercise the graph: a smooth picture, small random motion."""
    rng = np.random.default_rng(0)
    example = {k: _example(k, spec, rng) for k, spec in network_inputs().items()}
    axes = np.zeros(network_inputs()["mouth_card_axes"].shape, np.float32)
    axes[:, 0, 0], axes[:, 1, 1] = 60, -40
    example["mouth_card_axes"] = axes
    example["eyes_card_axes"] = axes
    return example


def _example(name: str, spec: TensorSpec, rng: np.random.Generator) -> Array:
    if spec.dtype == "int64":
        return rng.integers(100, 200, spec.shape)
    if name.endswith("basis"):
        return rng.normal(0, 0.2, spec.shape).astype(np.float32)
    if name.endswith(("person", "upper", "lower", "cards", "background")):
        return _smooth_picture(spec.shape)
    return rng.uniform(0, 0.5, spec.shape).astype(np.float32)


def _smooth_picture(shape: tuple[int, ...]) -> Array:
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    wave = 0.5 + 0.5 * np.sin(x / 17) * np.cos(y / 23)
    picture = np.broadcast_to(wave * 200, shape).astype(np.float32).copy()
    if shape[1] == 4:
        picture[:, 3] = wave
    return picture


def _write(module: nn.Module, example: dict[str, Array], path: Path) -> None:
    tensors = tuple(torch.from_numpy(v) for v in example.values())
    program = torch.onnx.export(
        module,
        tensors,
        None,
        input_names=list(example),
        output_names=list(network_outputs()),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise ArtifactError("torch wrote no ONNX program")
    onnx.save(program.model_proto, path)


def _check(module: nn.Module, example: dict[str, Array], path: Path) -> None:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        ours = module(*(torch.from_numpy(v) for v in example.values())).numpy()
    (theirs,) = session.run(None, example)
    difference = np.abs(ours.astype(np.float32) - theirs.astype(np.float32)).mean()
    if difference > TOLERANCE:
        raise ArtifactError(f"{path.name} differs from torch by {difference:.3f} levels on average")
