"""From an artifact to row networks on the GPU: engines from the store, or torch modules."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.config import RuntimeConfig
from engine.errors import BackendUnavailable
from engine.runtime import cuda
from engine.runtime.artifact import WEIGHTS, Artifact
from engine.runtime.engines import ANY, EngineKey, EngineRefused, EngineStore
from engine.runtime.rows import RowNetwork

log = logging.getLogger(__name__)

PRECISIONS = {"auto": "fp16", "f16": "fp16", "bf16": "bf16", "f32": "fp32"}
"""What ``runtime.precision`` means on a GPU."""


def engine_key(
    artifact: Artifact, flavour: str, version: str, gpu: cuda.Gpu, precision: str, batch: int
) -> EngineKey:
    """Key of the engine that computes a shipped network here.

    TensorRT-RTX compiles for a compute capability and finishes on the GPU, whichever it is.
    """
    rtx = flavour == "rtx"
    return EngineKey(
        network=artifact.name,
        onnx_sha256=artifact.sha256,
        flavour=flavour,
        version=version,
        gpu=ANY if rtx else gpu.name,
        capability=gpu.capability,
        driver=ANY if rtx else gpu.driver,
        precision=precision,
        batch=batch,
    )


def open_engines(
    flavour: str, artifact: Artifact, config: RuntimeConfig, sizes: Sequence[int]
) -> dict[int, RowNetwork]:
    """Engines of a network at the batch sizes there are; missing ones are compiled if they can be.

    Raises:
        BackendUnavailable: no GPU, or no TensorRT of that flavour.
        ArtifactError: not one engine may be used, and none can be compiled.
        BackendError: TensorRT refuses an engine.
    """
    module = import_module("engine.runtime.tensorrt")
    trt = module.import_flavour(flavour)
    gpu = cuda.probe()
    assert gpu is not None  # import_flavour asked
    store = EngineStore(Path(config.engines).expanduser() if config.engines else None)
    precision = PRECISIONS[config.precision]
    keys = {n: engine_key(artifact, flavour, trt.__version__, gpu, precision, n) for n in sizes}
    plans = find_or_build(store, keys, config, artifact.path.parent == WEIGHTS)
    return {
        size: module.TensorRtRows(
            path.read_bytes(), flavour, cuda.Device(), artifact.inputs, artifact.outputs,
            size, artifact.name, trt,
        )
        for size, path in plans.items()
    }  # fmt: skip


def find_or_build(
    store: EngineStore, keys: dict[int, EngineKey], config: RuntimeConfig, shipped: bool
) -> dict[int, Path]:
    """Plans by batch size. What is missing is compiled, by a program of its own, if allowed.

    Args:
        store: where they are kept.
        keys: by batch size.
        config: whether to build.
        shipped: whether the builders know the network.

    Raises:
        EngineRefused: there is none for the smallest size.
    """
    found, refused = _find(store, keys)
    if refused and shipped and config.build and importlib.util.find_spec("trt_builders"):
        build(store, [keys[size] for size in refused])
        found, refused = _find(store, keys)
    smallest = min(keys)
    for size, error in refused.items():
        if size == smallest:
            raise EngineRefused(error.reason, f"{error} ({command([keys[n] for n in refused])})")
        log.warning("batch %d is left out: %s", size, error)
    return found


def _find(
    store: EngineStore, keys: dict[int, EngineKey]
) -> tuple[dict[int, Path], dict[int, EngineRefused]]:
    found, refused = {}, {}
    for size, key in keys.items():
        try:
            found[size] = store.find(key)
        except EngineRefused as error:
            refused[size] = error
    return found, refused


def command(keys: Sequence[EngineKey], folder: Path | None = None) -> str:
    """The command that compiles engines."""
    first = keys[0]
    parts = ["python -m trt_builders build", f"--flavour {first.flavour}"]
    if first.flavour == "rtx":
        parts.append(f"--targets {first.capability}")
    parts += [
        f"--networks {first.network}",
        f"--batch {','.join(str(key.batch) for key in keys)}",
        f"--precision {first.precision}",
    ]
    return " ".join([*parts, f"--out {folder}"] if folder else parts)


def build(store: EngineStore, keys: Sequence[EngineKey]) -> None:
    """Compile engines in a process of its own, which shows its progress; a failure is logged.

    The builders need torch and gigabytes of memory, which a server should not keep.
    """
    line = command(keys, store.folder)
    log.info("compiling engines, which takes minutes: %s", line)
    # Arguments are ours; the folder may hold spaces, so it goes in as one argument.
    words = command(keys).split()[1:]
    done = subprocess.run(  # noqa: S603
        [sys.executable, *words, "--out", str(store.folder)], check=False
    )
    if done.returncode:
        log.warning("compiling engines failed with status %d: %s", done.returncode, line)


def open_torch(
    artifact: Artifact, config: RuntimeConfig, sizes: Sequence[int], device: str = "cuda"
) -> dict[int, RowNetwork]:
    """Torch modules of a network, recorded as CUDA graphs.

    Raises:
        BackendUnavailable: no GPU, no torch with CUDA, or no modules for torch.
        BackendError: a module cannot be run.
    """
    if device == "cuda" and (reason := cuda.why_not()):
        raise BackendUnavailable("no_gpu", f"torch: {reason}")
    try:
        rows = import_module("engine.runtime.pytorchrows").TorchRows
    except ImportError as error:
        raise BackendUnavailable("not_installed", f"torch: {error}") from error
    make = factory(config.modules)
    opened: dict[int, RowNetwork] = {}
    for size in sizes:
        module, wanted = make(artifact.name, size)
        opened[size] = rows(
            module, artifact.inputs, artifact.outputs, size, device,
            PRECISIONS[config.precision], wanted=wanted, network=artifact.name,
        )  # fmt: skip
    return opened


def factory(path: str) -> Callable[[str, int], Any]:
    """Import ``package.module:function``, ``(network, batch) -> (module, wanted)``.

    By name, since the engine knows nothing of those who build networks for it.

    Raises:
        BackendUnavailable: it is not there.
    """
    package, _, name = path.partition(":")
    with suppress(ImportError, AttributeError):
        found: Callable[[str, int], Any] = getattr(import_module(package), name)
        return found
    raise BackendUnavailable(
        "no_modules", f"torch: {path} cannot be imported, so there are no modules to run"
    )
