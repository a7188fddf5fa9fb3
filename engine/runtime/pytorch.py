"""Torch adapter: any module behind the same interface, for reference and training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from engine.errors import BackendError
from engine.runtime.base import Array, TensorSpec, check_array, check_feeds


class TorchBackend:
    """Wraps a module called with keyword arguments, returning a tensor or a tuple of tensors.

    Args:
        module: evaluated without gradients on its own device.
        inputs: specs by name; the names are the module's keyword arguments.
        outputs: specs by name, in the order the module returns them.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        inputs: Mapping[str, TensorSpec],
        outputs: Mapping[str, TensorSpec],
    ) -> None:
        self._module: torch.nn.Module | None = module.eval()
        self._device = next((p.device for p in module.parameters()), torch.device("cpu"))
        self._inputs = dict(inputs)
        self._outputs = dict(outputs)
        self._bound: dict[str, torch.Tensor] = {}

    @property
    def name(self) -> str:
        """``torch:cpu``."""
        return f"torch:{self._device}"

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
        kept = check_array("torch module", name, array, self._inputs).copy()
        self._bound[name] = torch.from_numpy(kept).to(self._device)

    def run(self, feeds: Mapping[str, Array], /) -> dict[str, Array]:
        """Run once; the outputs are copies."""
        module = self._alive()
        checked = check_feeds("torch module", feeds, self._bound, self._inputs)
        tensors = self._bound | {
            k: torch.from_numpy(np.array(v)).to(self._device) for k, v in checked.items()
        }
        with torch.no_grad():
            result = module(**tensors)
        values = (result,) if isinstance(result, torch.Tensor) else result
        return {
            name: np.array(value.cpu().numpy())
            for name, value in zip(self._outputs, values, strict=True)
        }

    def fork(self) -> TorchBackend:
        """Same module, own bindings."""
        return TorchBackend(self._alive(), self._inputs, self._outputs)

    def close(self) -> None:
        """Drop the module and the bound arrays."""
        self._module = None
        self._bound.clear()

    def _alive(self) -> torch.nn.Module:
        if self._module is None:
            raise BackendError("torch module: used after close")
        return self._module
