"""The one interface behind which every inference runtime lives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape and type of a named input or output. Streaming makes shapes constant."""

    shape: tuple[int, ...]
    dtype: str = "float32"


class Backend(Protocol):
    """A compiled network.

    * Inputs and outputs go by name; shapes are fixed and checked.
    * **Outputs belong to the caller**: a later ``run`` never changes them.
    * ``bind`` fixes an input once for this backend *instance* (per-avatar constants that stay on
      the device); a bound input is then left out of ``run``.
    * ``fork`` gives an instance that shares the weights but has its own bindings and buffers:
      weights are shared, state is per session. One instance is used by one thread at a time.
    """

    @property
    def name(self) -> str:
        """Which runtime and device, for logs: ``openvino:CPU bf16``."""
        ...

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Inputs by name."""
        ...

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """Outputs by name."""
        ...

    def bind(self, name: str, array: Array, /) -> None:
        """Fix an input. Raises BackendError for an unknown name, a wrong shape or type."""
        ...

    def run(self, feeds: Mapping[str, Array], /) -> dict[str, Array]:
        """Run once. Raises BackendError for missing, unknown or ill-shaped inputs."""
        ...

    def fork(self) -> Backend:
        """An instance with the same weights, its own bindings and buffers."""
        ...

    def close(self) -> None:
        """Release the instance; further use raises BackendError."""
        ...


def check_array(network: str, name: str, array: Array, specs: Mapping[str, TensorSpec]) -> Array:
    """Return the array contiguous, or raise BackendError saying what was expected."""
    spec = specs.get(name)
    if spec is None:
        raise BackendError(f"{network}: no input '{name}'; it has {', '.join(specs)}")
    if tuple(array.shape) != spec.shape or array.dtype != np.dtype(spec.dtype):
        raise BackendError(
            f"{network}: input '{name}' is {array.dtype}{list(array.shape)}, "
            f"expected {spec.dtype}{list(spec.shape)}"
        )
    return np.ascontiguousarray(array)


def check_feeds(
    network: str,
    feeds: Mapping[str, Array],
    bound: Mapping[str, Any],
    specs: Mapping[str, TensorSpec],
) -> dict[str, Array]:
    """Check the feeds of one run against the specs and what is already bound."""
    checked = {name: check_array(network, name, array, specs) for name, array in feeds.items()}
    missing = [name for name in specs if name not in checked and name not in bound]
    if missing:
        raise BackendError(f"{network}: missing input(s) {', '.join(missing)}")
    return checked
