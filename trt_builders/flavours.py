"""TensorRT and TensorRT-RTX behind one builder. What differs between them, and between the
versions of the former, is in this file.

* TensorRT compiles by timing kernels on the GPU it compiles for, so it needs that GPU and its
  driver; without a driver the import itself crashes the process, so the driver is asked first.
* TensorRT-RTX compiles for a compute capability and finishes on the GPU when the engine is opened;
  it needs neither GPU nor driver. It knows no 9.0 (H100).
* TensorRT 10 must be told that the network is strongly typed; 11 and RTX know nothing else.
* A timing cache helps TensorRT; RTX would look for a GPU to make one.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.errors import ArtifactError, BackendError
from engine.runtime import cuda
from engine.runtime.engines import ANY
from engine.runtime.tensorrt import MODULES, OLDEST, import_flavour, make_logger

log = logging.getLogger(__name__)

FLAVOURS = ("tensorrt", "rtx")
RTX_TARGETS = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""Compute capabilities TensorRT-RTX 1.7 compiles for."""
DEFAULT_TARGETS = ("8.6", "8.9", "12.0")
"""GeForce 30, 40 and 50, and the workstation cards of the same chips."""
WORKSPACE = 2 << 30
"""Bytes of device memory a layer may use for itself while it runs."""
SURFACE: Mapping[str, tuple[str, ...]] = {
    "ILogger": ("log",),
    "Builder": ("create_network", "create_builder_config", "build_serialized_network"),
    "INetworkDefinition": ("num_layers",),
    "IBuilderConfig": ("set_memory_pool_limit", "progress_monitor", "create_timing_cache",
                       "set_timing_cache", "get_timing_cache", "clear_flag"),
    "BuilderFlag": ("TF32",),
    "ITimingCache": ("serialize",),
    "OnnxParser": ("parse_from_file", "num_errors", "get_error"),
    "ParserError": ("desc", "node_name"),
    "MemoryPoolType": ("WORKSPACE",),
    "IProgressMonitor": ("phase_start", "step_complete", "phase_finish"),
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "IHostMemory": ("nbytes",),
}  # fmt: skip
"""What is used of the builder's API, by class: in every version, of both flavours."""
SURFACE_RTX: Mapping[str, tuple[str, ...]] = {
    "IBuilderConfig": ("num_compute_capabilities", "set_compute_capability"),
    "ComputeCapability": tuple(f"SM{target.replace('.', '')}" for target in RTX_TARGETS),
}
"""What is used of TensorRT-RTX beyond it."""

Progress = Callable[[str, int, int], None]
"""(phase, steps done, steps in all); steps in all is 0 while unknown."""


@dataclass(frozen=True, slots=True)
class Target:
    """What an engine is compiled for, as in ``EngineKey``.

    Args:
        gpu: name, or ``ANY``.
        capability: compute capability.
        driver: version, or ``ANY``.
    """

    gpu: str
    capability: str
    driver: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled network.

    Args:
        plan: the engine.
        layers: of the network as parsed.
        seconds: parsing and building.
        timing_cache: to hand in next time; empty where the flavour has none.
    """

    plan: bytes
    layers: int
    seconds: float
    timing_cache: bytes


class Flavour:
    """A builder. Make one with ``open_flavour``.

    Args:
        name: ``tensorrt`` or ``rtx``.
        module: the package.
        targets: what it compiles for.
    """

    def __init__(self, name: str, module: ModuleType, targets: Sequence[Target]) -> None:
        self.name = name
        self.version: str = module.__version__
        self.targets = tuple(targets)
        self._trt = module

    def compile(
        self,
        onnx: Path,
        targets: Sequence[Target],
        *,
        timing_cache: bytes = b"",
        workspace: int = WORKSPACE,
        progress: Progress | None = None,
    ) -> Compiled:
        """Compile an ONNX file.

        Args:
            onnx: with static shapes.
            targets: one; TensorRT-RTX takes several and makes one engine for all of them.
            timing_cache: of an earlier build.
            workspace: bytes.
            progress: called as the build goes on.

        Raises:
            ArtifactError: the parser or the builder refuses; in its words.
        """
        trt = self._trt
        started = time.monotonic()
        logger = make_logger(trt)
        try:
            builder = trt.Builder(logger)
        except TypeError as error:
            raise ArtifactError(
                f"{self.name} does not start: {logger.told()}; is this process allowed to use the "
                "GPU?"
            ) from error
        network = builder.create_network(self.network_flags())
        parser = trt.OnnxParser(network, logger)
        if not parser.parse_from_file(str(onnx)):
            raise ArtifactError(f"{self.name} cannot parse {onnx.name}: {_first_error(parser)}")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
        # What the file leaves in FP32 needs it; TF32, the default, has FP16's ten bits.
        config.clear_flag(trt.BuilderFlag.TF32)
        if self.name == "rtx":
            self._aim(config, targets)
        else:
            config.set_timing_cache(config.create_timing_cache(timing_cache), False)
        if progress is not None:
            config.progress_monitor = _monitor(trt, progress)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise ArtifactError(f"{self.name} cannot build {onnx.name}: {logger.told()}")
        cache = b"" if self.name == "rtx" else bytes(config.get_timing_cache().serialize())
        return Compiled(bytes(plan), network.num_layers, time.monotonic() - started, cache)

    def network_flags(self) -> int:
        """Creation flags: TensorRT 10 has weakly typed networks too, and they are its default."""
        if self.name == "tensorrt" and int(self.version.split(".")[0]) < 11:
            return 1 << int(self._trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return 0

    def _aim(self, config: Any, targets: Sequence[Target]) -> None:
        config.num_compute_capabilities = len(targets)
        for index, target in enumerate(targets):
            name = f"SM{target.capability.replace('.', '')}"
            capability = getattr(self._trt.ComputeCapability, name)
            if not config.set_compute_capability(capability, index):
                raise ArtifactError(f"{self.name} refuses compute capability {target.capability}")


def open_flavour(name: str, capabilities: Sequence[str] = ()) -> Flavour:
    """Import a flavour.

    Args:
        name: ``tensorrt`` or ``rtx``.
        capabilities: what to compile for. TensorRT compiles for this machine's GPU only, which
            need not be named; for RTX the default is ``DEFAULT_TARGETS``.

    Raises:
        ArtifactError: not installed, no GPU where one is needed, or a target it cannot serve.
    """
    if name == "rtx":
        wanted = tuple(capabilities) or DEFAULT_TARGETS
        for capability in wanted:
            if capability not in RTX_TARGETS:
                raise ArtifactError(
                    f"TensorRT-RTX does not compile for {capability}; it does for "
                    f"{', '.join(RTX_TARGETS)}"
                )
        return Flavour(name, _import_rtx(), [Target(ANY, one, ANY) for one in wanted])
    if name != "tensorrt":
        raise ArtifactError(f"no flavour '{name}'; tensorrt or rtx")
    try:
        module = import_flavour(name)
    except BackendError as error:
        raise ArtifactError(
            f"TensorRT compiles on the GPU it compiles for: {error}; run this there, or use "
            "--flavour rtx"
        ) from error
    gpu = cuda.probe()
    assert gpu is not None  # import_flavour asked
    if set(capabilities) - {gpu.capability}:
        raise ArtifactError(
            f"TensorRT compiles for this machine's GPU ({gpu.name}, {gpu.capability}), not for "
            f"{', '.join(capabilities)}; leave --targets out"
        )
    if not hasattr(module, "Builder"):
        raise ArtifactError(f"{module.__name__} only runs engines; install tensorrt-cu13 to build")
    return Flavour(name, module, [Target(gpu.name, gpu.capability, gpu.driver)])


def _import_rtx() -> ModuleType:
    """TensorRT-RTX, which may be imported without a driver."""
    package = MODULES["rtx"][0]
    try:
        module = importlib.import_module(package)
    except (ImportError, OSError) as error:
        raise ArtifactError(
            f"TensorRT-RTX is not usable here ({error}); install it with pip install 'vivace[rtx]'"
        ) from error
    version = tuple(int(part) for part in module.__version__.split(".")[:2])
    if version < OLDEST["rtx"]:
        raise ArtifactError(f"TensorRT-RTX {module.__version__} is too old; update it")
    return module


def _first_error(parser: Any) -> str:
    if not parser.num_errors:
        return "it gives no reason"
    error = parser.get_error(0)
    return f"{' '.join(error.desc().split())} (node {error.node_name() or 'unnamed'})"


def _monitor(trt: ModuleType, progress: Progress) -> Any:
    """TensorRT's progress interface around a function."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.totals: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
            self.totals[phase_name] = num_steps
            progress(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress(phase_name, step + 1, self.totals.get(phase_name, 0))
            return True  # go on

        def phase_finish(self, phase_name: str) -> None:
            total = self.totals.pop(phase_name, 0)
            progress(phase_name, total, total)

    return Monitor()


@contextmanager
def progress_bar(title: str, shown: bool) -> Iterator[Progress | None]:
    """A progress bar on stderr that shows the phase TensorRT is in; None where not ``shown``."""
    if not shown:
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=title, unit="step", leave=False) as bar:

        def advance(phase: str, done: int, total: int) -> None:
            bar.total = total or None
            bar.n = done
            bar.set_postfix_str(phase, refresh=False)
            bar.refresh()

        yield advance
