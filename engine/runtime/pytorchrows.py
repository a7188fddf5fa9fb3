"""Torch on a GPU as rows of a batch: static tensors, one CUDA graph. A server need not have it.

The same code runs on a CPU, where nothing is recorded: that is what tests without a GPU show.
Modules come from a factory, since ``engine`` ships ONNX and no torch weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from engine.errors import BackendError, BackendUnavailable
from engine.runtime.base import Array, TensorSpec
from engine.runtime.blocks import Block, BlockRows, spec_bytes
from engine.runtime.lowering import lower, traced

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class TorchRows(BlockRows):
    """A module of one batch size as ``RowNetwork``.

    Args:
        module: takes its inputs in the order of ``inputs``, each ``[batch * shape[0], ...]``, and
            returns a tensor or a tuple; on the CPU, in float32. Or what ``lowering.traced`` made
            of one, which is then moved to the device.
        inputs: of one row.
        outputs: of one row.
        batch: rows.
        device: ``cpu`` or ``cuda``.
        precision: ``fp32``, or ``fp16``/``bf16``: matrix products and convolutions in it,
            everything else in fp32.
        compiled: let ``torch.compile`` make kernels of it (a minute or more, needs a compiler).
        wanted: which parts may compute in the lower type, by module path; default: all.
        network: name for messages.

    Raises:
        BackendUnavailable: the device is not there.
        BackendError: the module cannot run on it.
    """

    def __init__(
        self,
        module: nn.Module | torch.export.ExportedProgram,
        inputs: Mapping[str, TensorSpec],
        outputs: Mapping[str, TensorSpec],
        batch: int = 1,
        device: str = "cuda",
        precision: str = "fp32",
        *,
        compiled: bool = False,
        wanted: Callable[[str], bool] = lambda _: True,
        network: str = "network",
    ) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise BackendUnavailable("no_gpu", "torch: this build or machine has no CUDA")
        takes, gives = _batched(inputs, batch), _batched(outputs, batch)
        super().__init__(network, batch, inputs, outputs, takes, gives)
        self._device = torch.device(device)
        self._cuda = device == "cuda"
        self._dtype = DTYPES[precision]
        self._graph: Any = None
        self._stream: Any = torch.cuda.Stream() if self._cuda else None  # type: ignore[no-untyped-call]
        self._input = torch.empty(self._in.size, dtype=torch.uint8, device=self._device)
        self._output = torch.empty(self._out.size, dtype=torch.uint8, device=self._device)
        self._fed = torch.empty(self._in.size, dtype=torch.uint8, pin_memory=self._cuda)
        self._read = torch.empty(self._out.size, dtype=torch.uint8, pin_memory=self._cuda)
        self._mirror(self._fed.numpy(), self._read.numpy())
        self._arguments = list(_views(self._in, self._input).values())
        self._answers = list(_views(self._out, self._output).values())
        self._call = self._prepare(module, compiled, wanted)
        what = torch.cuda.get_device_name() if self._cuda else "CPU"
        kind = f"torch{' compiled' if compiled else ''}:{what} {precision}"
        self.name = kind + (f" x{batch}" if batch > 1 else "")
        with self._scope():
            self._input.copy_(self._fed)
            for _ in range(3):  # kernels are chosen, and compiled, before anything is recorded
                self._step()
            if self._cuda:
                self._record()

    def close(self) -> None:
        """Let go of graph, module and tensors."""
        self._graph = None
        self._feeds, self._results = {}, {}
        self._call = _closed
        self._arguments, self._answers = [], []
        for name in ("_input", "_output", "_fed", "_read"):
            setattr(self, name, torch.empty(0))

    def _prepare(
        self,
        module: nn.Module | torch.export.ExportedProgram,
        compiled: bool,
        wanted: Callable[[str], bool],
    ) -> Any:
        """The module on the device, as a traced graph.

        Traced on the CPU and then moved, since modules make small constants as they run, which on a
        GPU would be copies from main memory that no CUDA graph can hold.
        """
        views = self._in.views(self._fed.numpy())
        example = tuple(torch.from_numpy(view.copy()) for view in views.values())
        if isinstance(module, torch.export.ExportedProgram):
            program = module
        else:
            program = traced(module, example)
        if self._cuda:
            program = move_to_device_pass(program, self._device)
        graph = program.module()
        if self._dtype != torch.float32:
            graph = lower(graph, self._dtype, wanted)
        return torch.compile(graph, fullgraph=True, dynamic=False) if compiled else graph

    def _step(self) -> None:
        """Module on the input block, results into the output block."""
        with torch.no_grad():
            result = self._call(*self._arguments)
        values = (result,) if isinstance(result, Tensor) else tuple(result)
        for target, value in zip(self._answers, values, strict=True):
            target.copy_(value.reshape(target.shape))

    def _record(self) -> None:
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self._step()
        except RuntimeError as error:
            raise BackendError(f"{self._network}: torch cannot record it: {error}") from error
        self._graph = graph

    def _scope(self) -> Any:
        return torch.cuda.stream(self._stream) if self._cuda else nullcontext()

    def _store(self, array: Array) -> Tensor:
        raw = torch.from_numpy(np.array(array)).reshape(-1).view(torch.uint8)
        stored = raw.to(self._device)
        if self._cuda:
            torch.cuda.synchronize()
        return stored

    def _move(self, offset: int, constant: Tensor) -> None:
        self._input[offset : offset + len(constant)].copy_(constant, non_blocking=True)

    def _compute(self, ranges: list[tuple[int, int]]) -> None:
        for offset, size in ranges:
            part = slice(offset, offset + size)
            self._input[part].copy_(self._fed[part], non_blocking=True)
        try:
            if self._graph is not None:
                self._graph.replay()
            else:
                self._step()
            self._read.copy_(self._output, non_blocking=True)
            if self._cuda:
                self._stream.synchronize()
        except RuntimeError as error:
            raise BackendError(f"{self._network}: torch failed: {error}") from error


def _batched(specs: Mapping[str, TensorSpec], batch: int) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec((batch * spec.shape[0], *spec.shape[1:]), spec.dtype)
        for name, spec in specs.items()
    }


def _views(block: Block, memory: Tensor) -> dict[str, Tensor]:
    """The tensors inside a uint8 tensor."""
    return {
        name: memory[offset : offset + spec_bytes(block.specs[name])]
        .view(getattr(torch, block.specs[name].dtype))
        .view(block.specs[name].shape)
        for name, offset in block.offsets.items()
    }


def _closed(*_: Tensor) -> Tensor:
    raise BackendError("torch: used after close")
