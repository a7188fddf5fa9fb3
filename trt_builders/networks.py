"""One table of every network that can be exported, compiled and verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from engine.errors import ArtifactError
from engine.runtime.base import Array, TensorSpec
from trt_builders.precision import Keep, Policy


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A network as torch has it.

    Args:
        module: takes its inputs in order; one row.
        inputs: of one row.
        outputs: of one row.
        config: what the manifest tells of it.
        example: plausible inputs of one row for a seed, made fast.
        real: inputs as they are served, for judging precision.
        origin: the file the weights come from, for messages; empty: it has none.
        made_from: SHA-256 of the shipped artifact the weights come from; empty: from elsewhere.
        rows: whether the module takes several rows laid end to end by itself.
    """

    module: nn.Module
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    config: Mapping[str, Any]
    example: Callable[[int], dict[str, Array]]
    real: Callable[[int], dict[str, Array]]
    origin: str
    made_from: str = ""
    rows: bool = False


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What counts as the same output.

    Args:
        kind: ``max`` (largest absolute difference) or ``mean`` (mean absolute difference).
        fp32: allowed between runtimes.
        low: allowed between FP16 or BF16 and FP32.
        unit: of both.
    """

    kind: str
    fp32: float
    low: Mapping[str, float]
    unit: str


@dataclass(frozen=True, slots=True)
class Network:
    """A line of the table.

    Args:
        title: one line for ``list``.
        source: module that has ``load(name, checkpoint, shipped) -> Source``.
        policy: which layers compute in FP16 or BF16.
        tolerances: by output.
        shipped: whether ``engine/weights`` holds it.
    """

    title: str
    source: str
    policy: Policy
    tolerances: Mapping[str, Tolerance]
    shipped: bool = True

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions it can be compiled in."""
        return ("fp32", "fp16", "bf16") if self.policy.low else ("fp32",)


_MOTION = Policy(
    low=r"(network(\..*)?)?",
    keep=(
        Keep(r":.*", "units in and out, and the sampler's state, which adds up over the K steps"),
        Keep(r"network\.(time|step|guidance):.*", "angles up to 100 rad before sine and cosine"),
        Keep(r".*:LayerNormalization", "mean and variance of a row"),
    ),
)
_RENDER = Policy(
    low=r"(module\.)?refiner(\..*)?",
    keep=(
        Keep(
            r"(module\.)?refiner(\.wide)?:.*",
            "the picture itself, 0 to 255, its gains, and what is added to it",
        ),
    ),
    rest="pixel coordinates up to 512, flows, their inversion and the pictures sampled through "
    "them: BF16 has steps of 2 px there, FP16 of 0.25 px",
)
_LOG_MEL = Policy(
    low="", keep=(), rest="power spans nine decades; FP16 ends at 65504, BF16 keeps two digits"
)


def _motion_tolerances() -> dict[str, Tolerance]:
    low = {"fp16": 0.01, "bf16": 0.1}
    return {
        "motion": Tolerance("max", 2e-3, low, "blendshape, rad or head unit"),
        "contact": Tolerance("max", 2e-3, low, "probability"),
    }


NETWORKS: dict[str, Network] = {
    "log_mel": Network(
        "audio features: 640 samples and the 240 before them to 320 log-mel values",
        "trt_builders.audio",
        _LOG_MEL,
        {"features": Tolerance("max", 2e-3, {}, "natural log of power")},
        shipped=False,
    ),
    **{
        f"cmdt_k{steps}": Network(
            f"motion diffusion transformer, {steps} step{'s' * (steps > 1)} unrolled",
            "trt_builders.motion",
            _MOTION,
            _motion_tolerances(),
        )
        for steps in (1, 2, 4)
    },
    "render_512": Network(
        "photo renderer, 512 x 512 (the layout of engine.render is fixed at this size)",
        "trt_builders.render",
        _RENDER,
        {"image": Tolerance("mean", 0.05, {"fp16": 0.02, "bf16": 0.02}, "levels of 255")},
    ),
}
"""By name. A new network is a line here and a module with ``load``."""


def network(name: str) -> Network:
    """Look a name up.

    Raises:
        ArtifactError: there is none of that name.
    """
    if name not in NETWORKS:
        raise ArtifactError(f"no network '{name}'; there are {', '.join(NETWORKS)}")
    return NETWORKS[name]


def load(name: str, checkpoint: Path | None = None, shipped: bool = False) -> Source:
    """The torch module of a network.

    Args:
        name: in ``NETWORKS``.
        checkpoint: of its training; None: where training leaves it, else the shipped weights.
        shipped: take the shipped weights even where there is a checkpoint.

    Raises:
        ArtifactError: unknown name, or weights that do not fit.
    """
    source: Source = import_module(network(name).source).load(name, checkpoint, shipped)
    return source
