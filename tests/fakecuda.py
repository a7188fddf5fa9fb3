"""A CUDA driver in main memory, called through the real ABI, and TensorRT's runtime on top of it.

It shows order and ownership: work on the stream is *queued* and happens at ``cuStreamSynchronize``,
so a copy read too early, a buffer reused too soon or memory freed too soon is found out. It says
nothing about a real GPU.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Mapping
from ctypes import CFUNCTYPE, c_int
from types import SimpleNamespace
from typing import Any

import numpy as np

from engine.runtime.base import Array, TensorSpec
from engine.runtime.blocks import spec_bytes
from engine.runtime.cuda import SIGNATURES

_DEVICE = 1 << 40
"""Device addresses are no main-memory addresses, as on a real GPU."""


class FakeCuda:
    """Give it to ``cuda.Driver``. ``old`` lacks functions; ``fails`` makes some return an error."""

    def __init__(self, devices: int = 1, lacks: tuple[str, ...] = ()) -> None:
        self.devices = devices
        self.fails: dict[str, int] = {}
        self.log: list[str] = []
        self.memory: dict[int, ctypes.Array[Any]] = {}
        self.pinned: dict[int, ctypes.Array[Any]] = {}
        self.queue: list[Callable[[], None]] = []
        self.recording: list[Callable[[], None]] | None = None
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self._numbers = itertools.count(1)
        self._next = _DEVICE
        for name, types in SIGNATURES.items():
            if name not in lacks:
                setattr(self, name, CFUNCTYPE(c_int, *types)(self._function(name)))

    def _function(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self.log.append(name)
            if name in self.fails:
                return self.fails[name]
            getattr(self, f"_{name}", lambda *_: None)(*arguments)
            return 0

        return call

    def bytes(self, address: int, size: int) -> Array:
        """The device's memory at an address that must lie inside one live block."""
        for start, block in self.memory.items():
            if start <= address and address + size <= start + len(block):
                return np.frombuffer(block, np.uint8)[address - start : address - start + size]
        raise AssertionError(f"{address:#x} + {size} is no device memory")

    def add(self, work: Callable[[], None]) -> None:
        """Queue, or record while a capture is on."""
        (self.queue if self.recording is None else self.recording).append(work)

    def _cuDeviceGetCount(self, out: int) -> None:
        _write(out, c_int, self.devices)

    def _cuDriverGetVersion(self, out: int) -> None:
        _write(out, c_int, 13000)

    def _cuDeviceGet(self, out: int, index: int) -> None:
        _write(out, c_int, index)

    def _cuDeviceGetName(self, out: int, _size: int, _device: int) -> None:
        ctypes.memmove(out, b"Fake GPU\0", 9)

    def _cuDeviceGetAttribute(self, out: int, attribute: int, _device: int) -> None:
        _write(out, c_int, {75: 9, 76: 0}[attribute])

    def _cuDeviceTotalMem_v2(self, out: int, _device: int) -> None:
        _write(out, ctypes.c_size_t, 80 << 30)

    def _cuDevicePrimaryCtxRetain(self, out: int, _device: int) -> None:
        _write(out, ctypes.c_uint64, 7)

    def _cuStreamCreate(self, out: int, _flags: int) -> None:
        _write(out, ctypes.c_uint64, 77)

    def _cuMemGetInfo_v2(self, free: int, total: int) -> None:
        used = sum(len(block) for block in self.memory.values())
        _write(free, ctypes.c_size_t, (80 << 30) - used)
        _write(total, ctypes.c_size_t, 80 << 30)

    def _cuMemAlloc_v2(self, out: int, size: int) -> None:
        self.memory[self._next] = (ctypes.c_uint8 * size)(*[0xFF] * min(size, 64))
        _write(out, ctypes.c_uint64, self._next)
        self._next += size + 4096

    def _cuMemFree_v2(self, address: int) -> None:
        del self.memory[address]

    def _cuMemHostAlloc(self, out: int, size: int, _flags: int) -> None:
        block = (ctypes.c_uint8 * size)()
        self.pinned[ctypes.addressof(block)] = block
        _write(out, ctypes.c_uint64, ctypes.addressof(block))

    def _cuMemFreeHost(self, address: int) -> None:
        del self.pinned[address]

    def _cuMemcpyHtoDAsync_v2(self, target: int, source: int, size: int, stream: int) -> None:
        assert stream == 77
        self.add(lambda: ctypes.memmove(self.bytes(target, size).ctypes.data, source, size))

    def _cuMemcpyDtoHAsync_v2(self, target: int, source: int, size: int, stream: int) -> None:
        assert stream == 77
        self.add(lambda: ctypes.memmove(target, self.bytes(source, size).ctypes.data, size))

    def _cuMemcpyDtoDAsync_v2(self, target: int, source: int, size: int, stream: int) -> None:
        assert stream == 77

        def copy() -> None:
            self.bytes(target, size)[:] = self.bytes(source, size)

        self.add(copy)

    def _cuStreamSynchronize(self, _stream: int) -> None:
        assert self.recording is None, "synchronising is not allowed while recording"
        work, self.queue = self.queue, []
        for one in work:
            one()

    def _cuStreamBeginCapture_v2(self, _stream: int, _mode: int) -> None:
        self.recording = []

    def _cuStreamEndCapture(self, _stream: int, out: int) -> None:
        number = next(self._numbers)
        self.graphs[number], self.recording = self.recording or [], None
        _write(out, ctypes.c_uint64, number)

    def _cuGraphInstantiateWithFlags(self, out: int, graph: int, _flags: int) -> None:
        number = next(self._numbers)
        self.graphs[number] = self.graphs[graph]
        _write(out, ctypes.c_uint64, number)

    def _cuGraphLaunch(self, graph: int, _stream: int) -> None:
        for work in self.graphs[graph]:
            self.add(work)

    def _cuGraphDestroy(self, graph: int) -> None:
        del self.graphs[graph]

    def _cuGraphExecDestroy(self, graph: int) -> None:
        del self.graphs[graph]

    def _cuEventElapsedTime(self, out: int, _first: int, _last: int) -> None:
        _write(out, ctypes.c_float, 1.5)

    def _cuGetErrorName(self, code: int, out: int) -> None:
        self._said = ctypes.create_string_buffer(f"CUDA_ERROR_{code}".encode())
        _write(out, ctypes.c_uint64, ctypes.addressof(self._said))


def _write(address: int, kind: Any, value: int | float) -> None:
    kind.from_address(address).value = value


Compute = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def fake_tensorrt(
    cuda: FakeCuda,
    inputs: Mapping[str, TensorSpec],
    outputs: Mapping[str, TensorSpec],
    compute: Compute,
    *,
    capturable: bool = True,
) -> Any:
    """A module with TensorRT's runtime classes; its one engine is ``compute``; plan ``b"bad"``
    is refused. Enqueueing works on the fake device's memory, when the stream gets there."""
    specs = dict(inputs) | dict(outputs)
    modes = SimpleNamespace(INPUT="input", OUTPUT="output")
    kinds = {"float32": "FLOAT", "int64": "INT64", "uint8": "UINT8", "float16": "HALF"}

    class Context:
        def __init__(self) -> None:
            self.addresses: dict[str, int] = {}
            self.enqueued = 0

        def set_tensor_address(self, name: str, address: int) -> bool:
            self.addresses[name] = address
            return name in specs

        def execute_async_v3(self, stream: int) -> bool:
            assert stream == 77
            assert set(self.addresses) == set(specs)
            self.enqueued += 1
            if cuda.recording is not None and not capturable:
                return False

            def work() -> None:
                def tensor(name: str) -> Array:
                    memory = cuda.bytes(self.addresses[name], spec_bytes(specs[name]))
                    return memory.view(specs[name].dtype).reshape(specs[name].shape)

                for name, value in compute({name: tensor(name) for name in inputs}).items():
                    tensor(name)[:] = value

            cuda.add(work)
            return True

    class Engine:
        num_io_tensors = len(specs)
        device_memory_size_v2 = 1000
        # TensorRT's order is its own, not the manifest's.
        get_tensor_name = staticmethod(lambda i: sorted(specs)[i])
        get_tensor_mode = staticmethod(lambda n: modes.INPUT if n in inputs else modes.OUTPUT)
        get_tensor_shape = staticmethod(lambda n: specs[n].shape)
        get_tensor_dtype = staticmethod(lambda n: SimpleNamespace(name=kinds[specs[n].dtype]))

        def create_runtime_config(self) -> Any:
            return SimpleNamespace(cuda_graph_strategy="disabled")

        def create_execution_context(self, settings: Any = None) -> Context:
            module.settings = settings
            module.context = Context()
            return module.context

    class Logger:
        def __init__(self) -> None: ...

        def log(self, severity: Any, message: str) -> None: ...

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            if plan == b"bad":
                self.logger.log(SimpleNamespace(name="ERROR"), "built for\n another GPU")
                return None
            return Engine()

    module = SimpleNamespace(
        __version__="11.4.0.106",
        ILogger=Logger,
        Runtime=Runtime,
        ICudaEngine=Engine,
        IExecutionContext=Context,
        TensorIOMode=modes,
        IRuntimeConfig=SimpleNamespace(cuda_graph_strategy=None),
        CudaGraphStrategy=SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole"),
    )
    return module
