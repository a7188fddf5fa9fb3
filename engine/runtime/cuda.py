"""The NVIDIA driver through ctypes: is there a GPU, and the few calls TensorRT's adapter needs.

Only ``libcuda.so.1``, which comes with the driver: nothing to install, no version to match, and it
answers in a millisecond whether there is a GPU at all. That question must be asked before
``tensorrt`` is imported, which crashes the process where there is no driver. The CUDA runtime
library, cuda-python and torch are not needed (docs/decisions/0006-gpu.md says why).

Everything runs in the device's *primary context*, the one TensorRT and torch use too.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import byref, c_char, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_NON_BLOCKING = 1
_RELAXED = 2  # CU_STREAM_CAPTURE_MODE_RELAXED: other threads may allocate meanwhile

SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (c_void_p,),
    "cuDeviceGetCount": (c_void_p,),
    "cuDeviceGet": (c_void_p, c_int),
    "cuDeviceGetName": (c_void_p, c_int, c_int),
    "cuDeviceGetAttribute": (c_void_p, c_int, c_int),
    "cuDeviceTotalMem_v2": (c_void_p, c_int),
    "cuDevicePrimaryCtxRetain": (c_void_p, c_int),
    "cuCtxSetCurrent": (c_void_p,),
    "cuMemGetInfo_v2": (c_void_p, c_void_p),
    "cuMemAlloc_v2": (c_void_p, c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemHostAlloc": (c_void_p, c_size_t, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuStreamCreate": (c_void_p, c_uint),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamSynchronize": (c_void_p,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuMemcpyDtoDAsync_v2": (c_uint64, c_uint64, c_size_t, c_void_p),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, c_void_p),
    "cuGraphInstantiateWithFlags": (c_void_p, c_void_p, ctypes.c_ulonglong),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphDestroy": (c_void_p,),
    "cuGraphExecDestroy": (c_void_p,),
    "cuEventCreate": (c_void_p, c_uint),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventSynchronize": (c_void_p,),
    "cuEventElapsedTime": (c_void_p, c_void_p, c_void_p),
    "cuEventDestroy_v2": (c_void_p,),
    "cuGetErrorName": (c_int, c_void_p),
}
"""Argument types by function; all return CUresult. ``_v2`` and the like are the driver's names for
the 64-bit forms that every driver since CUDA 11.4 has."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """What the driver says of one device.

    Args:
        index: its number.
        name: ``NVIDIA H100 80GB HBM3``.
        capability: compute capability, ``9.0``.
        cuda: newest CUDA version the driver can run, ``13.0``.
        driver: the kernel driver's own version, ``580.95.05``; without one, ``cuda``.
        memory: bytes.
    """

    index: int
    name: str
    capability: str
    cuda: str
    driver: str
    memory: int

    def __str__(self) -> str:
        gib = self.memory / (1 << 30)
        return f"{self.name}, {gib:.0f} GiB, capability {self.capability}, driver {self.driver}"


class Driver:
    """``libcuda`` with checked calls.

    Args:
        library: what ``ctypes.CDLL`` gives, or something with the same functions.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        self._functions: dict[str, Callable[..., int]] = {}

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of ``SIGNATURES``.

        Raises:
            BackendError: it failed, or the driver is too old to have it.
        """
        code = self._function(name)(*arguments)
        if code:
            raise BackendError(f"{name} failed: {self._error(code)}")

    def _function(self, name: str) -> Callable[..., int]:
        if name not in self._functions:
            try:
                function = getattr(self._library, name)
            except AttributeError:
                raise BackendError(f"the GPU driver has no {name}; update the driver") from None
            function.argtypes, function.restype = SIGNATURES[name], c_int
            self._functions[name] = function
        return self._functions[name]

    def _error(self, code: int) -> str:
        text = ctypes.c_char_p()
        self._function("cuGetErrorName")(code, byref(text))
        return f"{(text.value or b'unknown').decode()} ({code})"


def probe(index: int = 0) -> Gpu | None:
    """The GPU, or None where there is none. Never raises, loads nothing but the driver."""
    return _look(index)[0]


def why_not(index: int = 0) -> str:
    """One sentence that says why ``probe`` found nothing; empty if it did."""
    return _look(index)[1]


@cache
def _look(index: int) -> tuple[Gpu | None, str]:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return None, f"no NVIDIA driver ({_LIBRARY} is not here)"
    try:
        return describe(Driver(library), index), ""
    except BackendError as error:
        return None, f"the NVIDIA driver answers: {error}"


def describe(driver: Driver, index: int) -> Gpu:
    """Ask the driver about a device.

    Raises:
        BackendError: there is no such device, or the driver fails.
    """
    driver.call("cuInit", 0)
    count, handle, version = c_int(), c_int(), c_int()
    driver.call("cuDeviceGetCount", byref(count))
    if index >= count.value:
        raise BackendError(f"there are {count.value} device(s), none is number {index}")
    driver.call("cuDeviceGet", byref(handle), index)
    driver.call("cuDriverGetVersion", byref(version))
    name = (c_char * 128)()
    driver.call("cuDeviceGetName", ctypes.cast(name, c_void_p), len(name), handle.value)
    numbers = []
    for attribute in (_MAJOR, _MINOR):
        value = c_int()
        driver.call("cuDeviceGetAttribute", byref(value), attribute, handle.value)
        numbers.append(value.value)
    memory = c_size_t()
    driver.call("cuDeviceTotalMem_v2", byref(memory), handle.value)
    cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return Gpu(
        index,
        name.value.decode(errors="replace"),
        f"{numbers[0]}.{numbers[1]}",
        cuda,
        _kernel_driver() or cuda,
        memory.value,
    )


def _kernel_driver() -> str:
    """The driver's own version; the CUDA version it speaks changes less often than it does."""
    try:
        with open("/sys/module/nvidia/version") as file:  # noqa: PTH123 - one line of sysfs
            return file.read().strip()
    except OSError:
        return ""


class Memory:
    """A block of memory, freed with the object.

    Args:
        device: whose.
        size: bytes.
        pinned: in main memory, page-locked, so that copies need no detour; else on the device.
    """

    def __init__(self, device: Device, size: int, *, pinned: bool = False) -> None:
        self.size = size
        self.pinned = pinned
        self.address = 0
        self._device = device
        pointer = c_uint64()
        with device:
            if pinned:
                device.driver.call("cuMemHostAlloc", byref(pointer), size, 0)
            else:
                device.driver.call("cuMemAlloc_v2", byref(pointer), size)
        self.address = pointer.value

    def array(self) -> NDArray[np.uint8]:
        """The pinned bytes as an array, which must not outlive this object."""
        assert self.pinned
        view = (ctypes.c_uint8 * self.size).from_address(self.address)
        return np.ctypeslib.as_array(view)

    def free(self) -> None:
        """Give it back; may be called more than once."""
        address, self.address = self.address, 0
        if address:
            with self._device:
                name = "cuMemFreeHost" if self.pinned else "cuMemFree_v2"
                self._device.driver.call(name, address)

    def __del__(self) -> None:
        # At exit the driver may be gone before its memory is.
        if getattr(self, "address", 0) and not sys.is_finalizing():
            self.free()


class Device:
    """One GPU's primary context and one stream. Used by one thread at a time, any thread.

    As a context manager it makes its CUDA context the calling thread's current one.

    Args:
        index: number of the device.
        driver: the driver; default: this machine's.

    Raises:
        BackendError: there is no driver or no such device.
    """

    def __init__(self, index: int = 0, driver: Driver | None = None) -> None:
        self.driver = driver or _own_driver(index)
        self.gpu = describe(self.driver, index)
        handle, context, stream = c_int(), c_void_p(), c_void_p()
        self.driver.call("cuDeviceGet", byref(handle), index)
        self.driver.call("cuDevicePrimaryCtxRetain", byref(context), handle.value)
        self._context = context.value
        with self:
            self.driver.call("cuStreamCreate", byref(stream), _NON_BLOCKING)
        self.stream = stream.value or 0

    def __enter__(self) -> Device:
        # Cheap, and sessions come from any thread; nothing is restored, since all of this process
        # uses the primary context.
        self.driver.call("cuCtxSetCurrent", self._context)
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def free_memory(self) -> int:
        """Bytes free on the device."""
        free, total = c_size_t(), c_size_t()
        with self:
            self.driver.call("cuMemGetInfo_v2", byref(free), byref(total))
        return free.value

    def upload(self, target: int, source: int, size: int) -> None:
        """Queue a copy from main memory; ``source`` must stay until ``synchronize``."""
        self.driver.call("cuMemcpyHtoDAsync_v2", target, source, size, self.stream)

    def download(self, target: int, source: int, size: int) -> None:
        """Queue a copy to main memory; complete after ``synchronize``."""
        self.driver.call("cuMemcpyDtoHAsync_v2", target, source, size, self.stream)

    def move(self, target: int, source: int, size: int) -> None:
        """Queue a copy on the device."""
        self.driver.call("cuMemcpyDtoDAsync_v2", target, source, size, self.stream)

    def synchronize(self) -> None:
        """Wait for everything queued."""
        self.driver.call("cuStreamSynchronize", self.stream)

    def capture(self, work: Callable[[], None]) -> Graph:
        """Record what ``work`` queues on the stream instead of running it.

        Raises:
            BackendError: something in it cannot be recorded; the stream is usable again.
        """
        handle = c_void_p()
        self.driver.call("cuStreamBeginCapture_v2", self.stream, _RELAXED)
        try:
            work()
        except BaseException:
            self.driver._function("cuStreamEndCapture")(self.stream, byref(handle))
            if handle.value:
                self.driver.call("cuGraphDestroy", handle.value)
            raise
        self.driver.call("cuStreamEndCapture", self.stream, byref(handle))
        if not handle.value:
            raise BackendError("the stream recorded nothing")
        return Graph(self, handle.value)

    @contextmanager
    def timed(self) -> Iterator[Callable[[], float]]:
        """Time what the block queues; call what it yields, after the block, for milliseconds."""
        first, last = c_void_p(), c_void_p()
        for event in (first, last):
            self.driver.call("cuEventCreate", byref(event), 0)
        try:
            self.driver.call("cuEventRecord", first.value, self.stream)
            milliseconds = c_float()
            yield lambda: milliseconds.value
            self.driver.call("cuEventRecord", last.value, self.stream)
            self.driver.call("cuEventSynchronize", last.value)
            self.driver.call("cuEventElapsedTime", byref(milliseconds), first.value, last.value)
        finally:
            for event in (first, last):
                self.driver.call("cuEventDestroy_v2", event.value)

    def close(self) -> None:
        """Destroy the stream; the primary context stays, others may use it."""
        stream, self.stream = self.stream, 0
        if stream:
            with self:
                self.driver.call("cuStreamDestroy_v2", stream)


class Graph:
    """Recorded work that one call launches.

    Args:
        device: whose stream it was recorded on.
        handle: of the recording, which is consumed.
    """

    def __init__(self, device: Device, handle: int) -> None:
        self._device = device
        executable = c_void_p()
        try:
            device.driver.call("cuGraphInstantiateWithFlags", byref(executable), handle, 0)
        finally:
            device.driver.call("cuGraphDestroy", handle)
        self._handle = executable.value or 0

    def launch(self) -> None:
        """Queue all of it."""
        self._device.driver.call("cuGraphLaunch", self._handle, self._device.stream)

    def close(self) -> None:
        """Free it; may be called more than once."""
        handle, self._handle = self._handle, 0
        if handle:
            with self._device:
                self._device.driver.call("cuGraphExecDestroy", handle)


def _own_driver(index: int) -> Driver:
    reason = why_not(index)
    if reason:
        raise BackendError(reason)
    return Driver(ctypes.CDLL(_LIBRARY))
