"""Ways to run the renderer: a runtime, its threads, sessions at once, another instruction set."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.render_parts import profile, timed
from engine.config import EngineConfig, RuntimeConfig
from engine.media import Float32, MotionFrame
from engine.render.avatar import Avatar
from engine.render.renderer import Renderer
from engine.runtime.base import Backend
from engine.runtime.load import load_network

NETWORK = EngineConfig().render.network
ISA = "AVX2"
"""Instruction set of laptops: no bf16, no AVX-512."""


class Way(Protocol):
    """Something that draws."""

    name: str
    backend: str
    """The runtime as it calls itself."""

    def draw(self, motion: Float32, period: float) -> list[float]:
        """Draw motion [N,58], one frame every ``period`` s (0: flat out).

        Returns:
            Milliseconds of each picture, of all its sessions.
        """
        ...


class Here:
    """Draws in this process.

    Args:
        name: of the way.
        backend: the network; every session gets a fork.
        avatar: who is drawn.
        sessions: how many draw at once, each in a thread, as the server's do.
    """

    def __init__(self, name: str, backend: Backend, avatar: Avatar, sessions: int = 1) -> None:
        self.name, self.backend = name, backend.name
        self._renderers = [Renderer(backend, avatar) for _ in range(sessions)]

    def draw(self, motion: Float32, period: float) -> list[float]:
        """See ``Way``."""
        with ThreadPoolExecutor(len(self._renderers)) as pool:
            runs = pool.map(lambda one: _draw(one, motion, period), self._renderers)
            return [milliseconds for run in runs for milliseconds in run]


def _draw(renderer: Renderer, motion: Float32, period: float) -> list[float]:
    begin, times = time.perf_counter(), []
    for index, values in enumerate(motion):
        if period:
            time.sleep(max(0.0, begin + index * period - time.perf_counter()))
        start = time.perf_counter()
        renderer.push(MotionFrame(values, 0.0, index))
        times.append((time.perf_counter() - start) * 1000)
    return times


class Elsewhere:
    """Ways in a process in which runtimes see a lesser CPU.

    Args:
        avatar: who is drawn.
        threads: of each way.
    """

    def __init__(self, avatar: Avatar, threads: Sequence[int]) -> None:
        context = get_context("spawn")
        self._pipe, far = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(far, dict(avatar.arrays), tuple(threads)), daemon=True
        )
        before = os.environ.get("ONEDNN_MAX_CPU_ISA")
        os.environ["ONEDNN_MAX_CPU_ISA"] = ISA  # read once, when the runtime is loaded
        try:
            self._process.start()
        finally:
            del os.environ["ONEDNN_MAX_CPU_ISA"]
            if before is not None:
                os.environ["ONEDNN_MAX_CPU_ISA"] = before
        backends: list[str] = self._pipe.recv()
        self.ways = [
            _Remote(f"avx2_t{count}", f"{backend} {ISA}", count, self._pipe)
            for count, backend in zip(threads, backends, strict=True)
        ]

    def parts(self, motion: Float32) -> dict[str, list[float]]:
        """``render_parts.profile`` of one thread there."""
        self._pipe.send((0, motion, 0.0))
        parts: dict[str, list[float]] = self._pipe.recv()
        return parts

    def close(self) -> None:
        """End the process."""
        self._pipe.send(None)
        self._process.join(10)


class _Remote:
    """A way of ``Elsewhere``."""

    def __init__(self, name: str, backend: str, threads: int, pipe: Connection) -> None:
        self.name, self.backend = name, backend
        self._threads, self._pipe = threads, pipe

    def draw(self, motion: Float32, period: float) -> list[float]:
        """See ``Way``."""
        self._pipe.send((self._threads, motion, period))
        times: list[float] = self._pipe.recv()
        return times


def _serve(pipe: Connection, arrays: Mapping[str, NDArray[Any]], threads: Sequence[int]) -> None:
    """What the other process does: draw what is asked for, or profile (no threads)."""
    avatar = Avatar.from_arrays(arrays)
    ways = {count: Here("", openvino("f32", count), avatar) for count in threads}
    clock = timed(avatar, "f32", 1)
    pipe.send([way.backend for way in ways.values()])
    while (asked := pipe.recv()) is not None:
        count, motion, period = asked
        pipe.send(ways[count].draw(motion, period) if count else profile(clock, motion))


def openvino(precision: str, threads: int, network: str = NETWORK) -> Backend:
    """The renderer on a CPU."""
    config = RuntimeConfig(backend="openvino", precision=precision, threads=threads)
    return load_network(network, config)


def torch_way(avatar: Avatar, threads: int) -> Here | None:
    """Torch on the CPU, None where it is not installed."""
    try:
        import torch

        from engine.runtime.pytorchrows import TorchRows
        from trt_builders.modules import make
    except ImportError:
        return None
    from engine.runtime.artifact import open_artifact
    from engine.runtime.rows import Alone, RowBackend

    torch.set_num_threads(threads)
    artifact = open_artifact(NETWORK)
    rows = TorchRows(make(NETWORK, 1)[0], artifact.inputs, artifact.outputs, 1, "cpu")
    return Here(f"torch_t{threads}", RowBackend(Alone(rows), NETWORK), avatar)


def moving(motion: Float32, start: int, count: int) -> Float32:
    """``count`` frames of motion [N,58] from ``start`` on, over again where it ends."""
    return np.ascontiguousarray(motion[np.arange(start, start + count) % len(motion)])
