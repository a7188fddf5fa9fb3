"""Rows: one network at a fixed batch size, fed and read row by row.

A batched network takes every input of the single one with a leading batch size: ``[B, *shape]``,
or ``[B * shape[0], *shape[1:]]``, which is the same memory. Row *i* is one session's item. What a
session binds (its avatar) is *placed* once where the network runs, and copied into a row only when
the row changes hands.

    Backend (one session)  ──▶  RowHost (lock, or Batcher)  ──▶  RowNetwork (one size, one device)
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

import numpy as np

from engine.errors import ArtifactError, BackendError
from engine.runtime.base import Array, Backend, TensorSpec, check_array, check_feeds

_tokens = itertools.count(1)


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """One session's constant, where the network runs.

    Args:
        value: what the network that placed it understands: an array, a tensor, device memory.
        token: never used twice in a process, so a row can tell whose constants it holds.
    """

    value: Any
    token: int = field(default_factory=lambda: next(_tokens))


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One session's item. Checked: together they are all inputs of the network.

    Args:
        feeds: by input name, in one row's shape.
        constants: by input name.
    """

    feeds: Mapping[str, Array]
    constants: Mapping[str, Placed]


class RowNetwork(Protocol):
    """A network of one batch size on one device. Used by one thread at a time, any thread.

    What one instance placed may be used by every instance of its class on its device.
    """

    @property
    def name(self) -> str:
        """Runtime, device, precision."""
        ...

    @property
    def batch(self) -> int:
        """Rows of one call."""
        ...

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Inputs of one row."""
        ...

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """Outputs of one row."""
        ...

    def place(self, name: str, array: Array, /) -> Placed:
        """Put a constant of one row where the network runs; the array is copied."""
        ...

    def run_rows(self, rows: Sequence[Row], /) -> list[dict[str, Array]]:
        """Run 1 to ``batch`` rows that feed the same names; outputs belong to the caller.

        Raises:
            BackendError: the runtime failed; no row has an answer.
        """
        ...

    def close(self) -> None:
        """Release everything, placed constants apart."""
        ...


class Seating:
    """Who sits in which row, and whose constants it therefore still holds.

    Args:
        batch: rows.
    """

    def __init__(self, batch: int) -> None:
        self._held: list[dict[str, int]] = [{} for _ in range(batch)]

    def seat(self, rows: Sequence[Row]) -> list[int]:
        """A row number for each item: the one that holds its constants already, if it is free."""
        free = dict.fromkeys(range(len(self._held)))
        places: list[int | None] = []
        for row in rows:
            wanted = {name: placed.token for name, placed in row.constants.items()}
            at = next((r for r in free if wanted and wanted.items() <= self._held[r].items()), None)
            places.append(at)
            if at is not None:
                del free[at]
        # Empty rows first: a row that holds somebody's constants may be asked for again.
        spare = sorted(free, key=lambda r: bool(self._held[r]))
        return [at if at is not None else spare.pop(0) for at in places]

    def stale(self, at: int, constants: Mapping[str, Placed]) -> list[str]:
        """Constants that row ``at`` does not hold; from now on it does."""
        held = self._held[at]
        names = [name for name, placed in constants.items() if held.get(name) != placed.token]
        held.update({name: constants[name].token for name in names})
        return names

    def unseated(self, at: int, names: Mapping[str, Any]) -> bool:
        """Whether row ``at`` never got one of the constants ``names``."""
        return any(name not in self._held[at] for name in names)

    def overwrite(self, names: Mapping[str, Any]) -> None:
        """Every row's values of ``names`` were overwritten by feeds."""
        for held in self._held:
            for name in names:
                held.pop(name, None)


class HostRows:
    """Any ``Backend`` of batched shapes as rows in main memory. Takes over the backend.

    Args:
        backend: compiled for ``batch`` rows, nothing bound.
        batch: rows.
        inputs: of one row; default: the backend's own (batch 1).
        outputs: of one row; likewise.

    Raises:
        ArtifactError: the backend's shapes are not ``batch`` rows of the specs.
    """

    def __init__(
        self,
        backend: Backend,
        batch: int = 1,
        inputs: Mapping[str, TensorSpec] | None = None,
        outputs: Mapping[str, TensorSpec] | None = None,
    ) -> None:
        self.batch = batch
        self.inputs = dict(inputs or backend.inputs)
        self.outputs = dict(outputs or backend.outputs)
        check_rows(self.inputs, backend.inputs, batch)
        check_rows(self.outputs, backend.outputs, batch)
        self._backend = backend
        self._seating = Seating(batch)
        # One row needs no staging: its arrays go to the runtime as they are.
        staged = backend.inputs if batch > 1 else {}
        self._staging = {k: np.zeros(s.shape, s.dtype) for k, s in staged.items()}
        self._rows = {k: v.reshape(batch, *self.inputs[k].shape) for k, v in self._staging.items()}

    @property
    def name(self) -> str:
        """``openvino:CPU bf16``, with ``x4`` for a batch of four."""
        return self._backend.name + (f" x{self.batch}" if self.batch > 1 else "")

    def place(self, name: str, array: Array, /) -> Placed:
        """A copy of the array."""
        return Placed(check_array(self._backend.name, name, array, self.inputs).copy())

    def run_rows(self, rows: Sequence[Row], /) -> list[dict[str, Array]]:
        """See ``RowNetwork``."""
        if self.batch == 1:
            (row,) = rows
            constants = {name: placed.value for name, placed in row.constants.items()}
            return [self._backend.run(constants | dict(row.feeds))]
        places = self._seating.seat(rows)
        for row, at in zip(rows, places, strict=True):
            self._fill(at, row)
        for at in set(range(self.batch)) - set(places):
            self._pad(at, rows[0])
        self._seating.overwrite(rows[0].feeds)
        results = self._backend.run(self._staging)
        parts = {k: v.reshape(self.batch, *self.outputs[k].shape) for k, v in results.items()}
        # Copies: a kept picture must not keep the whole batch's memory.
        return [{name: part[at].copy() for name, part in parts.items()} for at in places]

    def _fill(self, at: int, row: Row) -> None:
        for name in self._seating.stale(at, row.constants):
            self._rows[name][at] = row.constants[name].value
        for name, value in row.feeds.items():
            self._rows[name][at] = value

    def _pad(self, at: int, row: Row) -> None:
        """Give an unused row numbers that compute: zeros may divide by zero or index far away."""
        for name, value in row.feeds.items():
            self._rows[name][at] = value
        if self._seating.unseated(at, row.constants):
            for name in self._seating.stale(at, row.constants):
                self._rows[name][at] = row.constants[name].value

    def close(self) -> None:
        """Close the backend."""
        self._backend.close()


def check_rows(
    single: Mapping[str, TensorSpec], batched: Mapping[str, TensorSpec], batch: int
) -> None:
    """Check that ``batched`` is ``batch`` rows of ``single``.

    Raises:
        ArtifactError: other names, types, or shapes that are not rows one after the other.
    """
    if set(single) != set(batched):
        raise ArtifactError(
            f"names differ between batch 1 and {batch}: {set(single) ^ set(batched)}"
        )
    for name, spec in single.items():
        many = batched[name]
        fits = prod(many.shape) == batch * prod(spec.shape) and many.shape[0] % batch == 0
        if many.dtype != spec.dtype or not fits:
            raise ArtifactError(f"'{name}' is {many}, which is not {batch} rows of {spec}")


class RowHost(Protocol):
    """Runs rows of many sessions. Thread-safe."""

    @property
    def name(self) -> str:
        """Runtime, device, precision."""
        ...

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Inputs of one row."""
        ...

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """Outputs of one row."""
        ...

    def place(self, name: str, array: Array, /) -> Placed:
        """Put a constant where the network runs."""
        ...

    def submit(self, session: int, row: Row, /) -> dict[str, Array]:
        """Run a row of a session; blocks until it is answered.

        Raises:
            BackendError: it could not be.
        """
        ...


class Alone:
    """A row network behind a lock: sessions take turns in the order in which they come.

    Args:
        network: of batch 1; not closed with the sessions, which share it.
    """

    def __init__(self, network: RowNetwork) -> None:
        self._network = network
        self._lock = threading.Lock()
        self.name = network.name
        self.inputs = network.inputs
        self.outputs = network.outputs

    def place(self, name: str, array: Array, /) -> Placed:
        """See ``RowHost``."""
        with self._lock:
            return self._network.place(name, array)

    def submit(self, _session: int, row: Row, /) -> dict[str, Array]:
        """See ``RowHost``."""
        with self._lock:
            return self._network.run_rows([row])[0]


class RowBackend:
    """``Backend`` of one session: shapes of one row, its own constants, a shared host.

    Args:
        host: where its rows are run.
        network: name for messages.
    """

    def __init__(self, host: RowHost, network: str) -> None:
        self._host = host
        self._network = network
        self._session = next(_tokens)
        self._bound: dict[str, Placed] = {}
        self._closed = False

    @property
    def name(self) -> str:
        """The host's."""
        return self._host.name

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Inputs by name."""
        return self._host.inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """Outputs by name."""
        return self._host.outputs

    def bind(self, name: str, array: Array, /) -> None:
        """Place a constant on the device, for this session."""
        self._alive()
        checked = check_array(self._network, name, array, self.inputs)
        self._bound[name] = self._host.place(name, checked)

    def run(self, feeds: Mapping[str, Array], /) -> dict[str, Array]:
        """Run one item; blocks until the host has answered."""
        self._alive()
        # Checked before it meets other sessions: an ill-shaped item fails alone.
        checked = check_feeds(self._network, feeds, self._bound, self.inputs)
        constants = {k: v for k, v in self._bound.items() if k not in checked}
        return self._host.submit(self._session, Row(checked, constants))

    def fork(self) -> RowBackend:
        """Another session on the same host."""
        self._alive()
        return RowBackend(self._host, self._network)

    def close(self) -> None:
        """Let go of the constants."""
        self._closed = True
        self._bound.clear()

    def _alive(self) -> None:
        if self._closed:
            raise BackendError(f"{self._network}: used after close")
