"""TensorRT adapter, both flavours: rows of a batch on one GPU, replayed as a CUDA graph.

Everything is allocated once: two blocks on the device and their mirrors in pinned memory (see
``blocks``). ``run_rows`` allocates only what belongs to the callers. Written against the API that
TensorRT 10.x, 11.x and TensorRT-RTX share (``SURFACE``).
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from engine.errors import ArtifactError, BackendError, BackendUnavailable
from engine.runtime import cuda
from engine.runtime.base import Array, TensorSpec
from engine.runtime.blocks import BlockRows

log = logging.getLogger(__name__)

MODULES = {
    "tensorrt": ("tensorrt", "tensorrt_lean", "tensorrt_lean_bindings"),
    "rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
"""Flavour to the modules that hold it, the first one found counts. Lean runs engines only, and is
a wheel under its last name only."""
OLDEST = {"tensorrt": (10, 13), "rtx": (1, 4)}
"""Oldest version of each flavour that the adapter is written for."""
SURFACE: Mapping[str, tuple[str, ...]] = {
    "ILogger": ("log",),
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": (
        "num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_shape",
        "get_tensor_dtype", "create_execution_context", "device_memory_size_v2",
    ),
    "IExecutionContext": ("set_tensor_address", "execute_async_v3"),
    "TensorIOMode": ("INPUT", "OUTPUT"),
}  # fmt: skip
"""What is used of the API, by class."""
SURFACE_RTX: Mapping[str, tuple[str, ...]] = {
    "ICudaEngine": ("create_runtime_config",),
    "IRuntimeConfig": ("cuda_graph_strategy",),
    "CudaGraphStrategy": ("WHOLE_GRAPH_CAPTURE",),
}
"""What is used of TensorRT-RTX beyond it."""

_DTYPES = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64",
           "UINT8": "uint8", "BOOL": "bool", "INT8": "int8"}  # fmt: skip


def missing_api(module: Any, flavour: str) -> list[str]:
    """Names of ``SURFACE`` that a module lacks."""
    surface = [SURFACE, SURFACE_RTX] if flavour == "rtx" else [SURFACE]
    return [
        f"{owner}.{name}"
        for part in surface
        for owner, names in part.items()
        for name in names
        if not hasattr(getattr(module, owner, None), name)
    ]


def import_flavour(flavour: str) -> ModuleType:
    """Import TensorRT or TensorRT-RTX; the driver is asked first.

    Raises:
        BackendUnavailable: no driver, no package, a version too old or without what is used.
    """
    # Without a driver the import, or the exit after it, crashes the process.
    reason = cuda.why_not()
    if reason:
        raise BackendUnavailable("no_gpu", f"{flavour}: {reason}")
    return checked(_import(flavour), flavour)


def _import(flavour: str) -> ModuleType:
    for name in MODULES[flavour]:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        except (ImportError, OSError) as error:
            raise BackendUnavailable(
                "not_installed", f"{flavour}: {name} cannot be loaded: {error}"
            ) from error
    raise BackendUnavailable(
        "not_installed", f"{flavour}: {MODULES[flavour][0]} is not installed; see docs/tensorrt.md"
    )


def checked(module: ModuleType, flavour: str) -> ModuleType:
    """Return the module if the adapter can use it.

    Raises:
        BackendUnavailable: it is too old or lacks something.
    """
    version = tuple(int(part) for part in module.__version__.split(".")[:2])
    if version < OLDEST[flavour]:
        oldest = ".".join(map(str, OLDEST[flavour]))
        raise BackendUnavailable(
            "too_old", f"{flavour}: version {module.__version__} is older than {oldest}"
        )
    missing = missing_api(module, flavour)
    if missing:
        names = ", ".join(missing)
        raise BackendUnavailable(
            "too_old", f"{flavour}: version {module.__version__} has no {names}"
        )
    return module


class TensorRtRows(BlockRows):
    """A compiled engine of one batch size as ``RowNetwork``.

    Args:
        plan: the serialised engine, built on this machine or for its GPU.
        flavour: ``tensorrt`` or ``rtx``.
        device: whose stream it runs on, its own.
        inputs: of one row.
        outputs: of one row.
        batch: rows.
        network: name for messages.
        module: TensorRT itself; default: imported.

    Raises:
        BackendError: TensorRT refuses the engine or its first run fails.
        ArtifactError: the engine is of another network or batch size.
    """

    def __init__(
        self,
        plan: bytes,
        flavour: str,
        device: cuda.Device,
        inputs: Mapping[str, TensorSpec],
        outputs: Mapping[str, TensorSpec],
        batch: int = 1,
        network: str = "network",
        module: ModuleType | None = None,
    ) -> None:
        trt = module or import_flavour(flavour)
        self._device = device
        self._graph: cuda.Graph | None = None
        with device:
            self._logger = make_logger(trt)
            # The runtime has to outlive what it made.
            self._runtime, self._engine = deserialize(trt, plan, self._logger, network)
            takes = _io(trt, self._engine, trt.TensorIOMode.INPUT)
            gives = _io(trt, self._engine, trt.TensorIOMode.OUTPUT)
            super().__init__(network, batch, inputs, outputs, takes, gives)
            self.name = f"{flavour}:{device.gpu.name}" + (f" x{batch}" if batch > 1 else "")
            self._context = self._make_context(trt, flavour)
        self._memory = {
            "in": cuda.Memory(device, self._in.size),
            "out": cuda.Memory(device, self._out.size),
            "feeds": cuda.Memory(device, self._in.size, pinned=True),
            "results": cuda.Memory(device, self._out.size, pinned=True),
        }
        self._mirror(self._memory["feeds"].array(), self._memory["results"].array())
        with device:
            self._connect()
            # TensorRT loads kernels and sets things up in the first run: it cannot be recorded.
            self._enqueue()
            device.synchronize()
            if flavour == "tensorrt":
                self._record()

    @property
    def device_bytes(self) -> int:
        """Device memory of the buffers and TensorRT's own scratch; weights are not counted."""
        return int(self._engine.device_memory_size_v2) + self.buffer_bytes

    def close(self) -> None:
        """Free graph, context, engine and memory."""
        if self._graph is not None:
            self._graph.close()
        with self._device:
            self._context = None
            self._engine = None
            self._runtime = None
        self._feeds, self._results = {}, {}
        for memory in self._memory.values():
            memory.free()

    def _scope(self) -> cuda.Device:
        return self._device

    def _store(self, array: Array) -> cuda.Memory:
        memory = cuda.Memory(self._device, array.nbytes)
        with self._device as device:
            device.upload(memory.address, array.ctypes.data, array.nbytes)
            device.synchronize()
        return memory

    def _move(self, offset: int, constant: cuda.Memory) -> None:
        target = self._memory["in"].address + offset
        self._device.move(target, constant.address, constant.size)

    def _compute(self, ranges: list[tuple[int, int]]) -> None:
        device, memory = self._device, self._memory
        for offset, size in ranges:
            source = memory["feeds"].address + offset
            device.upload(memory["in"].address + offset, source, size)
        if self._graph is not None:
            self._graph.launch()
        else:
            self._enqueue()
        device.download(memory["results"].address, memory["out"].address, self._out.size)
        device.synchronize()

    def _make_context(self, trt: ModuleType, flavour: str) -> Any:
        if flavour == "rtx":
            settings = self._engine.create_runtime_config()
            settings.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = self._engine.create_execution_context(settings)
        else:
            context = self._engine.create_execution_context()
        if context is None:
            raise BackendError(f"{self._network}: no execution context: {self._logger.told()}")
        return context

    def _connect(self) -> None:
        for block, memory in ((self._in, self._memory["in"]), (self._out, self._memory["out"])):
            for name, offset in block.offsets.items():
                if not self._context.set_tensor_address(name, memory.address + offset):
                    raise BackendError(f"{self._network}: '{name}' refused: {self._logger.told()}")
        # The first run must not compute on what the memory happens to hold.
        self._device.upload(
            self._memory["in"].address, self._memory["feeds"].address, self._in.size
        )

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._device.stream):
            raise BackendError(f"{self._network}: TensorRT failed: {self._logger.told()}")

    def _record(self) -> None:
        try:
            self._graph = self._device.capture(self._enqueue)
        except BackendError as error:
            log.warning("%s runs without a CUDA graph: %s", self._network, error)


def make_logger(trt: ModuleType) -> Any:
    """A logger that hands warnings on and remembers the last errors, for exceptions."""

    class Logger(trt.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity.name in ("ERROR", "INTERNAL_ERROR"):
                self.errors = [*self.errors[-2:], " ".join(message.split())]
            elif severity.name == "WARNING":
                log.info("tensorrt: %s", message)

        def told(self) -> str:
            """The last errors in one line, which are then forgotten."""
            said, self.errors = "; ".join(self.errors) or "it gives no reason", []
            return said

    return Logger()


def deserialize(trt: ModuleType, plan: bytes, logger: Any, network: str) -> tuple[Any, Any]:
    """Open a serialised engine: runtime and engine.

    Raises:
        BackendError: TensorRT refuses it.
    """
    try:
        runtime = trt.Runtime(logger)
        engine = runtime.deserialize_cuda_engine(plan)
    except (RuntimeError, TypeError) as error:
        raise BackendError(f"{network}: TensorRT does not start: {error}") from error
    if engine is None:
        raise BackendError(f"{network}: TensorRT refuses the engine: {logger.told()}")
    return runtime, engine


def _io(trt: ModuleType, engine: Any, mode: Any) -> dict[str, TensorSpec]:
    """Inputs or outputs of an engine; shapes must be fixed."""
    specs = {}
    for name in (engine.get_tensor_name(i) for i in range(engine.num_io_tensors)):
        if engine.get_tensor_mode(name) != mode:
            continue
        shape = tuple(engine.get_tensor_shape(name))
        dtype = engine.get_tensor_dtype(name).name
        if -1 in shape or dtype not in _DTYPES:
            raise ArtifactError(f"'{name}' is {dtype}{list(shape)}, which the adapter cannot feed")
        specs[name] = TensorSpec(shape, _DTYPES[dtype])
    return specs
