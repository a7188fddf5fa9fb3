"""OpenVINO adapter: the embedded CPU default. The only module that may import ``openvino``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import BackendError
from engine.runtime.base import Array, TensorSpec, check_array, check_feeds

# `import openvino` tells its vendor about the import through this package (docs/decisions/0003).
# Vivace reports nothing to anybody: with the package out of reach, OpenVINO uses its own stub.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402 - after the line above, or it would be too late


@dataclass(frozen=True, slots=True)
class _Network:
    """What forks share."""

    name: str
    compiled: ov.CompiledModel
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


class OpenVinoBackend:
    """One compiled model and one infer request.

    Args:
        model: path of an ONNX or TFLite file, or a network already compiled (``fork``).
        threads: inference threads; 0 lets OpenVINO choose.
        precision: ``f32``, ``bf16`` or ``auto`` (bf16 where the CPU computes in it).
        timed: keep time of every node, for ``node_times``; costs a little.

    Raises:
        BackendError: when the file cannot be compiled or has dynamic shapes.
    """

    def __init__(
        self,
        model: Path | _Network,
        *,
        threads: int = 0,
        precision: str = "auto",
        timed: bool = False,
    ) -> None:
        if not isinstance(model, _Network):
            model = _open(model, threads, precision, timed)
        self._network = model
        self._request: ov.InferRequest | None = self._network.compiled.create_infer_request()
        self._bound: dict[str, Array] = {}

    @property
    def name(self) -> str:
        """``openvino:CPU bf16``."""
        kind = self._network.compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        return f"openvino:CPU {kind}"

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Inputs by name."""
        return self._network.inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """Outputs by name."""
        return self._network.outputs

    def bind(self, name: str, array: Array, /) -> None:
        """Fix an input for every later run of this instance."""
        request = self._alive()
        # OpenVINO reads the caller's memory: keep a copy of our own alive beside the request.
        kept = check_array(self._network.name, name, array, self.inputs).copy()
        self._bound[name] = kept
        request.set_tensor(name, ov.Tensor(kept, shared_memory=True))

    def run(self, feeds: Mapping[str, Array], /) -> dict[str, Array]:
        """Run once; the outputs are copies."""
        request = self._alive()
        checked = check_feeds(self._network.name, feeds, self._bound, self.inputs)
        for name, array in checked.items():
            request.set_tensor(name, ov.Tensor(array, shared_memory=True))
        try:
            request.infer()
        except RuntimeError as error:
            raise BackendError(f"{self._network.name}: openvino failed: {error}") from error
        return {name: np.array(request.get_tensor(name).data) for name in self.outputs}

    def node_times(self) -> dict[str, float]:
        """Milliseconds of each node in the last run, by its name in the file where it has one.

        Raises:
            BackendError: not opened with ``timed``.
        """
        nodes = self._alive().profiling_info
        if self._network.compiled.get_property("PERF_COUNT") != "YES":
            raise BackendError(f"{self._network.name}: its nodes are not timed")
        return {node.node_name: node.real_time.total_seconds() * 1000 for node in nodes}

    def fork(self) -> OpenVinoBackend:
        """Same weights, own request and bindings."""
        self._alive()
        return OpenVinoBackend(self._network)

    def close(self) -> None:
        """Drop the request and the bound arrays."""
        self._request = None
        self._bound.clear()

    def _alive(self) -> ov.InferRequest:
        if self._request is None:
            raise BackendError(f"{self._network.name}: used after close")
        return self._request


@cache
def _core() -> ov.Core:
    """One for the process: each loads the CPU plugin anew."""
    return ov.Core()


def _open(path: Path, threads: int, precision: str, timed: bool) -> _Network:
    core = _core()
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "PERF_COUNT": timed,
    }
    # On a machine full of encoders and browsers, pinned threads wait for each other's core.
    options["ENABLE_CPU_PINNING"] = False
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    if precision != "auto":
        options["INFERENCE_PRECISION_HINT"] = precision
    try:
        model = core.read_model(path)
        # Names are taken before compiling, which may add aliases of its own.
        inputs, outputs = _specs(model.inputs, path.stem), _specs(model.outputs, path.stem)
        return _Network(path.stem, core.compile_model(model, "CPU", options), inputs, outputs)
    except RuntimeError as error:
        raise BackendError(f"openvino cannot compile {path.name}: {error}") from error


def _specs(ports: list[Any], network: str) -> dict[str, TensorSpec]:
    specs = {}
    for port in ports:
        if port.partial_shape.is_dynamic:
            raise BackendError(f"{network}: '{port.any_name}' has a dynamic shape")
        dtype = np.dtype(port.element_type.to_dtype()).name
        specs[port.any_name] = TensorSpec(tuple(port.shape), dtype)
    return specs
