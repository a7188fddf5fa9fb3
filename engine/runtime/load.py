"""Artifact to backend: the only place that knows which runtimes exist, and their order.

    auto:  tensorrt ▶ rtx ▶ torch (CUDA) ▶ openvino ▶ onnxruntime

The first that can be used here is taken; why the others were not is said in one sentence each, in
the log and to ``watch`` (which puts it into ``/metrics``). Without an NVIDIA driver the first three
are left out unasked. A runtime that was asked for by name and cannot be used is an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from engine.config import RuntimeConfig
from engine.errors import ArtifactError, BackendError, BackendUnavailable
from engine.runtime import cuda, gpu
from engine.runtime.artifact import Artifact, open_artifact
from engine.runtime.base import Backend
from engine.runtime.engines import EngineRefused
from engine.runtime.rows import Alone, HostRows, RowBackend, RowNetwork

log = logging.getLogger(__name__)
T = TypeVar("T")

GPU_KINDS = ("tensorrt", "rtx", "torch")
CPU_KINDS = ("openvino", "onnxruntime")
_GPU_BATCH = 8
"""Default of ``runtime.batch`` on a GPU: from there on an H100 gains little, and waits grow."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A runtime that was not taken.

    Args:
        backend: which.
        reason: stable word: ``no_gpu``, ``not_installed``, ``too_old``, ``no_modules``,
            ``engine_missing``, ``engine_stale``, ``engine_corrupt``, ``artifact``, ``failed``.
        sentence: for people.
    """

    backend: str
    reason: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What became of one network.

    Args:
        network: its name.
        backend: the backend's ``name``.
        refused: what was tried before it.
    """

    network: str
    backend: str
    refused: tuple[Refusal, ...]


Watch = Callable[[Choice], None]


def load_network(
    name: str | Path,
    config: RuntimeConfig | None = None,
    watch: Watch | None = None,
    *,
    cpu: bool = False,
) -> Backend:
    """Open a network for sessions that run side by side.

    Args:
        name: a shipped network's name (``cmdt_k2``) or the path of an ONNX file.
        config: which runtime, threads, precision; the default is the first that works.
        watch: told what was chosen and why.
        cpu: stay on the CPU whatever is configured: for networks too small for a GPU to pay.

    Raises:
        ArtifactError: when the artifact is missing or its inputs are not what the manifest says.
        BackendError: when no runtime, or not the one asked for, can be used.
    """
    config = config or RuntimeConfig()
    artifact = open_artifact(name)

    def attempt(kind: str) -> Backend:
        if kind in CPU_KINDS:
            return _on_cpu(kind, artifact, config)
        return RowBackend(Alone(_on_gpu(kind, artifact, config, (1,))[1]), artifact.name)

    order, refused = kinds(config)
    if cpu and not set(order) <= set(CPU_KINDS):
        order, refused = [*CPU_KINDS], []
    return _first(artifact.name, order, refused, attempt, lambda backend: backend.name, watch)


def load_shared(
    name: str | Path, config: RuntimeConfig, watch: Watch | None = None
) -> Backend | dict[int, RowNetwork]:
    """Open a network for a server's sessions.

    Args:
        name: as for ``load_network``.
        config: likewise; ``batch`` bounds the batch sizes.
        watch: likewise.

    Returns:
        Row networks by batch size, 1 among them, for a batcher; or, where sessions are better run
        side by side (on a CPU, unless ``config.batch`` says otherwise), a backend to fork.

    Raises:
        ArtifactError, BackendError: as ``load_network``.
    """
    artifact = open_artifact(name)

    def attempt(kind: str) -> Backend | dict[int, RowNetwork]:
        if kind in GPU_KINDS:
            return _on_gpu(kind, artifact, config, sizes_up_to(config.batch or _GPU_BATCH))
        return (
            _cpu_rows(kind, artifact, config) if config.batch else _on_cpu(kind, artifact, config)
        )

    def told(opened: Backend | dict[int, RowNetwork]) -> str:
        return opened[1].name if isinstance(opened, dict) else opened.name

    return _first(artifact.name, *kinds(config), attempt, told, watch)


def sizes_up_to(limit: int) -> tuple[int, ...]:
    """Batch sizes 1, 2, 4, ... that are compiled, up to a limit."""
    return tuple(size for size in (1, 2, 4, 8, 16) if size <= limit)


def kinds(config: RuntimeConfig) -> tuple[list[str], list[Refusal]]:
    """Runtimes to try, in order, and those left out unasked."""
    if config.backend != "auto":
        return [config.backend], []
    reason = cuda.why_not()
    if not reason:
        return [*GPU_KINDS, *CPU_KINDS], []
    return [*CPU_KINDS], [Refusal(kind, "no_gpu", reason) for kind in GPU_KINDS]


def _first(
    network: str,
    order: Sequence[str],
    refused: list[Refusal],
    attempt: Callable[[str], T],
    name: Callable[[T], str],
    watch: Watch | None,
) -> T:
    if refused:
        log.debug("%s: %s", network, refused[0].sentence)
    for kind in order:
        try:
            opened = attempt(kind)
        except (ArtifactError, BackendError) as error:
            if kind == order[-1]:
                raise
            refused.append(Refusal(kind, reason_of(error), str(error)))
            log.warning("%s does without %s: %s", network, kind, error)
            continue
        log.info("%s runs on %s", network, name(opened))
        if watch is not None:
            watch(Choice(network, name(opened), tuple(refused)))
        return opened
    raise AssertionError("there is always a kind to try")


def reason_of(error: Exception) -> str:
    """A stable word for a refusal."""
    if isinstance(error, EngineRefused):
        return f"engine_{error.reason}"
    if isinstance(error, BackendUnavailable):
        return error.reason
    return "artifact" if isinstance(error, ArtifactError) else "failed"


def _on_gpu(
    kind: str, artifact: Artifact, config: RuntimeConfig, sizes: Sequence[int]
) -> dict[int, RowNetwork]:
    if kind == "torch":
        return gpu.open_torch(artifact, config, sizes)
    return gpu.open_engines(kind, artifact, config, sizes)


def _on_cpu(kind: str, artifact: Artifact, config: RuntimeConfig) -> Backend:
    precision = config.precision
    if precision == "auto":
        precision = artifact.config.get("computes_in", precision)
    if precision == "f16":
        raise BackendError("runtime.precision f16 is for GPUs; a CPU is several times slower in it")
    try:
        module = import_module(f"engine.runtime.{kind}")
    except ImportError as error:
        raise BackendUnavailable("not_installed", f"{kind}: {error}") from error
    backend: Backend
    if kind == "openvino":
        backend = module.OpenVinoBackend(artifact.path, threads=config.threads, precision=precision)
    else:
        backend = module.OnnxRuntimeBackend(artifact.path, threads=config.threads)
    if dict(backend.inputs) != dict(artifact.inputs):
        raise ArtifactError(
            f"{artifact.path.name} has other inputs than its manifest says; export it again"
        )
    return backend


def _cpu_rows(kind: str, artifact: Artifact, config: RuntimeConfig) -> dict[int, RowNetwork]:
    """Batch 1 from the artifact itself, others from exports beside it, where there are any."""
    rows: dict[int, RowNetwork] = {1: HostRows(_on_cpu(kind, artifact, config))}
    for size in sizes_up_to(config.batch)[1:]:
        path = artifact.path.with_name(f"{artifact.name}_b{size}_fp32.onnx")
        if not path.is_file():
            continue
        batched = open_artifact(path)
        if batched.config.get("made_from") != artifact.sha256:
            raise ArtifactError(f"{path.name} was made from another {artifact.path.name}")
        backend = _on_cpu(kind, batched, config)
        rows[size] = HostRows(backend, size, artifact.inputs, artifact.outputs)
    return rows
