"""ONNX Runtime adapter (CPU): the second opinion, and a fallback where OpenVINO has no build."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from engine.errors import BackendError
from engine.runtime.base import Array, TensorSpec, check_array, check_feeds

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


class OnnxRuntimeBackend:
    """One inference session; forks share it (``run`` is thread-safe and stateless).

    Args:
        model: path of an ONNX file, or a session already made (``fork``).
        threads: inference threads; 0 means one, since more only spin at these sizes.
        network: name for messages.

    Raises:
        BackendError: when the file cannot be opened or has dynamic shapes.
    """

    name = "onnxruntime:CPU fp32"

    def __init__(
        self, model: Path | ort.InferenceSession, *, threads: int = 0, network: str = ""
    ) -> None:
        self._network = network or (model.stem if isinstance(model, Path) else "network")
        self._session: ort.InferenceSession | None = (
            _open(model, threads) if isinstance(model, Path) else model
        )
        self._inputs = _specs(self._session.get_inputs(), self._network)
        self._outputs = _specs(self._session.get_outputs(), self._network)
        self._bound: dict[str, Array] = {}

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Inputs by name."""
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """Outputs by name."""
        return self._outputs

    def bind(self, name: str, array: Array, /) -> None:
        """Fix an input for every later run of this instance."""
        self._alive()
        self._bound[name] = check_array(self._network, name, array, self._inputs).copy()

    def run(self, feeds: Mapping[str, Array], /) -> dict[str, Array]:
        """Run once; ONNX Runtime allocates the outputs anew each time."""
        session = self._alive()
        checked = check_feeds(self._network, feeds, self._bound, self._inputs)
        try:
            values = session.run(list(self._outputs), self._bound | checked)
        except RuntimeError as error:
            raise BackendError(f"{self._network}: onnxruntime failed: {error}") from error
        return {name: np.asarray(v) for name, v in zip(self._outputs, values, strict=True)}

    def fork(self) -> OnnxRuntimeBackend:
        """Same session, own bindings."""
        return OnnxRuntimeBackend(self._alive(), network=self._network)

    def close(self) -> None:
        """Drop the session and the bound arrays."""
        self._session = None
        self._bound.clear()

    def _alive(self) -> ort.InferenceSession:
        if self._session is None:
            raise BackendError(f"{self._network}: used after close")
        return self._session


def _open(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 1
    # Spinning workers steal the core from the encoder (measured 2-4x slower under load).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BackendError(f"onnxruntime cannot open {path.name}: {error}") from error


def _specs(nodes: list[Any], network: str) -> dict[str, TensorSpec]:
    specs = {}
    for node in nodes:
        if not all(isinstance(size, int) for size in node.shape):
            raise BackendError(f"{network}: '{node.name}' has a dynamic shape {node.shape}")
        specs[node.name] = TensorSpec(tuple(node.shape), _DTYPES[node.type])
    return specs
