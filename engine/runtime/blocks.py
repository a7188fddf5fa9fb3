"""Row networks on a device: tensors laid out in two blocks, each with a mirror in main memory.

    feeds ─▶ mirror ─1 copy─▶ inputs [B,…] ─▶ network ─▶ outputs [B,…] ─1 copy─▶ mirror ─▶ caller
    constants (placed once per session, on the device) ─copied there when a row changes hands─┘

What every such adapter shares is here; how memory is copied and the network run is its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from engine.errors import BackendError
from engine.runtime.base import Array, TensorSpec, check_array
from engine.runtime.rows import Placed, Row, Seating, check_rows

_ALIGNMENT = 256


@dataclass(frozen=True, slots=True)
class Block:
    """Where tensors lie in one block of memory.

    Args:
        specs: by name, batched.
        offsets: bytes from the start, by name, in the order of ``specs``.
        size: bytes in all.
    """

    specs: Mapping[str, TensorSpec]
    offsets: Mapping[str, int]
    size: int

    @classmethod
    def plan(cls, specs: Mapping[str, TensorSpec]) -> Block:
        """Lay tensors out one after the other, each aligned as TensorRT wants it."""
        offsets, end = {}, 0
        for name, spec in specs.items():
            offsets[name] = end
            end = -(-(end + spec_bytes(spec)) // _ALIGNMENT) * _ALIGNMENT
        return cls(dict(specs), offsets, end)

    def ranges(self, names: Iterable[str]) -> list[tuple[int, int]]:
        """Offset and length of the fewest copies that cover ``names`` and nothing else's data."""
        wanted, found = set(names), []
        start: int | None = None
        end = 0
        for name, spec in self.specs.items():
            if name in wanted:
                start = self.offsets[name] if start is None else start
                end = self.offsets[name] + spec_bytes(spec)
            elif start is not None:
                found.append((start, end - start))
                start = None
        return found if start is None else [*found, (start, end - start)]

    def views(self, memory: Array) -> dict[str, Array]:
        """The tensors inside a uint8 array of ``size`` bytes."""
        return {
            name: memory[self.offsets[name] : self.offsets[name] + spec_bytes(spec)]
            .view(spec.dtype)
            .reshape(spec.shape)
            for name, spec in self.specs.items()
        }


def _as_fed(taken: TensorSpec, given: TensorSpec | None) -> TensorSpec:
    """TensorRT 8.6 takes int32 where a network says int64; those are fed what fits."""
    narrowed = given is not None and (taken.dtype, given.dtype) == ("int32", "int64")
    return TensorSpec(taken.shape, "int64") if narrowed else taken


def spec_bytes(spec: TensorSpec) -> int:
    """Size of a tensor in bytes."""
    return prod(spec.shape) * np.dtype(spec.dtype).itemsize


class BlockRows(ABC):
    """``RowNetwork`` without a device. See the module's docstring.

    Args:
        network: name for messages.
        batch: rows.
        inputs: of one row, in the manifest's order: what is fed together then lies together.
        outputs: of one row.
        takes: batched inputs as the network has them.
        gives: batched outputs.

    Raises:
        ArtifactError: the network is not ``batch`` rows of the specs.
    """

    def __init__(
        self,
        network: str,
        batch: int,
        inputs: Mapping[str, TensorSpec],
        outputs: Mapping[str, TensorSpec],
        takes: Mapping[str, TensorSpec],
        gives: Mapping[str, TensorSpec],
    ) -> None:
        check_rows(inputs, {n: _as_fed(spec, inputs.get(n)) for n, spec in takes.items()}, batch)
        check_rows(outputs, gives, batch)
        self.batch = batch
        self.inputs, self.outputs = dict(inputs), dict(outputs)
        self.name = "device"
        self._network = network
        self._in = Block.plan({name: takes[name] for name in inputs})
        self._out = Block.plan({name: gives[name] for name in outputs})
        self._seating = Seating(batch)
        self._feeds: dict[str, Array] = {}
        self._results: dict[str, Array] = {}

    def place(self, name: str, array: Array, /) -> Placed:
        """Copy a constant to the device; its memory is freed with the object."""
        checked = check_array(self._network, name, array, self.inputs)
        fed = checked.astype(self._in.specs[name].dtype, copy=False)
        if fed.dtype != checked.dtype and not np.array_equal(fed, checked):
            raise BackendError(f"{self._network}: '{name}' does not fit into {fed.dtype}")
        return Placed(self._store(fed))

    def run_rows(self, rows: Sequence[Row], /) -> list[dict[str, Array]]:
        """See ``RowNetwork``."""
        with self._scope():
            places = self._seating.seat(rows)
            for row, at in zip(rows, places, strict=True):
                self._fill(at, row.feeds, row.constants)
            for at in set(range(self.batch)) - set(places):
                # Unused rows get numbers that compute: zeros may divide by zero.
                lacks = self._seating.unseated(at, rows[0].constants)
                self._fill(at, rows[0].feeds, rows[0].constants if lacks else {})
            self._seating.overwrite(rows[0].feeds)
            self._compute(self._in.ranges(rows[0].feeds))
        return [{n: values[at].copy() for n, values in self._results.items()} for at in places]

    @property
    def buffer_bytes(self) -> int:
        """Device memory of the two blocks."""
        return self._in.size + self._out.size

    @abstractmethod
    def close(self) -> None:
        """Release everything, placed constants apart."""

    @abstractmethod
    def _store(self, array: Array) -> Any:
        """Copy an array to the device; complete when this returns."""

    @abstractmethod
    def _move(self, offset: int, constant: Any) -> None:
        """Queue a copy of a stored constant into the input block."""

    @abstractmethod
    def _compute(self, ranges: list[tuple[int, int]]) -> None:
        """Copy these parts of the input mirror, run, copy the output block, wait."""

    def _scope(self) -> AbstractContextManager[Any]:
        """What a call runs in."""
        return nullcontext()

    def _mirror(self, feeds: Array, results: Array) -> None:
        """Use these uint8 arrays as the blocks' mirrors; fill the inputs for a warm-up."""
        self._feeds = self._by_row(self._in, feeds, self.inputs)
        self._results = self._by_row(self._out, results, self.outputs)
        rng = np.random.default_rng(0)
        for array in self._feeds.values():
            # Zeros may divide by zero, garbage may index far away.
            array[:] = rng.random(array.shape) if array.dtype.kind == "f" else 0

    def _by_row(
        self, block: Block, memory: Array, single: Mapping[str, TensorSpec]
    ) -> dict[str, Array]:
        views = block.views(memory)
        return {name: view.reshape(self.batch, *single[name].shape) for name, view in views.items()}

    def _fill(self, at: int, feeds: Mapping[str, Array], constants: Mapping[str, Placed]) -> None:
        for name in self._seating.stale(at, constants):
            row = spec_bytes(self._in.specs[name]) // self.batch
            offset = self._in.offsets[name] + at * row
            self._move(offset, constants[name].value)
        for name, value in feeds.items():
            self._feeds[name][at] = value
