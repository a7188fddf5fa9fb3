"""The renderer for export: geometry, and the refiner as trained or as shipped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import ArtifactError
from engine.face.portrait import prepare_portrait
from engine.motion.arkit import MOTION_SIZE
from engine.render.avatar import Avatar
from engine.render.layout import SIZE, network_inputs, network_outputs
from engine.render.network import RenderNetwork
from engine.runtime.artifact import WEIGHTS, Artifact, open_artifact
from engine.runtime.base import Array, TensorSpec
from training.refiner.checkpoint import DEFAULT, load_refiner
from training.refiner.model import Refiner
from trt_builders.networks import Source
from trt_builders.shipped import read_weights

_PREFIX = "refiner."


def load(name: str, checkpoint: Path | None, shipped: bool) -> Source:
    """``render_512``; see ``networks.load``. Without any refiner the mouth is drawn unrepaired."""
    path = checkpoint or DEFAULT
    facts: dict[str, Any]
    refiner: Refiner | None
    made_from = ""
    if checkpoint or (path.is_file() and not shipped):
        refiner, facts = load_refiner(checkpoint)
    else:
        artifact = open_artifact(name)
        refiner, facts = restore_refiner(artifact)
        path, made_from = artifact.path, artifact.sha256
    config = {"size": SIZE, "computes_in": "f32", "refiner": facts}
    module = RenderNetwork(refiner).eval()
    inputs, outputs = network_inputs(), network_outputs()
    return Source(
        module, inputs, outputs, config, example_inputs, portrait_inputs, str(path), made_from
    )


def restore_refiner(artifact: Artifact) -> tuple[Refiner | None, dict[str, Any]]:
    """Refiner of a shipped renderer and facts of its training.

    Raises:
        ArtifactError: the file holds a refiner of another shape.
    """
    refiner = Refiner()
    constants = {name for name, _ in refiner.named_buffers()}
    named = {
        k.removeprefix(_PREFIX): v
        for k, v in read_weights(artifact.path).items()
        if k.startswith(_PREFIX)
    }
    found = {k: v for k, v in named.items() if k not in constants}
    if not found:
        return None, {}
    try:
        refiner.load_state_dict(found)
    except RuntimeError as error:
        raise ArtifactError(f"{artifact.path.name} holds another refiner: {error}") from error
    return refiner.eval(), dict(artifact.config["refiner"])


def example_inputs(seed: int = 0) -> dict[str, Array]:
    """Inputs that exercise the graph: a smooth picture, small random motion."""
    rng = np.random.default_rng(seed)
    example = {k: _example(k, spec, rng) for k, spec in network_inputs().items()}
    axes = np.zeros(network_inputs()["mouth_card_axes"].shape, np.float32)
    axes[:, 0, 0], axes[:, 1, 1] = 60, -40
    example["mouth_card_axes"] = axes
    example["eyes_card_axes"] = axes
    return example


def portrait_inputs(seed: int = 0) -> dict[str, Array]:
    """The shipped portrait, talking, blinking and turning: edges that synthetic pictures lack."""
    rng = np.random.default_rng(seed)
    motion = np.zeros((1, MOTION_SIZE), np.float32)
    motion[:, :52] = rng.uniform(0, 0.5, 52)
    motion[:, 52:55] = rng.normal(0, 0.12, 3)  # rad
    motion[:, 55:] = rng.normal(0, 0.1, 3)
    arrays = _portrait().arrays
    return {k: motion if k == "motion" else np.array(arrays[k]) for k in network_inputs()}


@cache
def _portrait() -> Avatar:
    from engine.face.analysis import FaceAnalyser

    photo = WEIGHTS / "avatars" / "default.png"
    return Avatar.from_portrait(prepare_portrait(photo, FaceAnalyser()))


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
