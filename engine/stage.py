"""Stages: synchronous machines that turn one kind of item into another.

The contract, which ``tests/contracts/test_stages.py`` holds every stage to:

* ``push`` returns what has become certain, possibly nothing. Returned items are final and belong
  to the caller.
* For any cutting of the input, all pushes plus one ``flush`` give the same items.
* ``flush`` says that the input is over: it emits the tail. After ``flush`` or ``reset`` a stage
  equals a new one; it takes its origin from the next item's ``pts``.
* ``lookahead`` is media time (seconds) that must have arrived beyond an item's own start plus its
  own duration before the item comes out, in the worst case. It is arithmetic over the
  configuration and is tested against behaviour.
* Stages never sleep, know no clock, no thread and no asyncio.

Offline use is streaming use fed at once: ``run`` is the only offline mode there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, Generic, Protocol, TypeVar

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


class Stage(Protocol[In, Out]):
    """One step of the chain. See the module's docstring for the contract."""

    @property
    def lookahead(self) -> Fraction:
        """Media seconds this stage waits beyond its input."""
        ...

    def push(self, item: In, /) -> Iterable[Out]:
        """Take one item; return what has become certain."""
        ...

    def flush(self) -> Iterable[Out]:
        """The input is over: emit the tail and become as new."""
        ...

    def reset(self) -> None:
        """Forget everything; emit nothing."""
        ...


class Chain(Generic[A, B, C]):
    """Two stages in a row, which is a stage again. ``Chain(Chain(a, b), c)`` for more."""

    def __init__(self, first: Stage[A, B], second: Stage[B, C]) -> None:
        self.first = first
        self.second = second

    @property
    def lookahead(self) -> Fraction:
        """Sum of the parts."""
        return self.first.lookahead + self.second.lookahead

    def push(self, item: A, /) -> Iterator[C]:
        """Push through both stages. The returned iterator must be drained or the chain reset."""
        for middle in self.first.push(item):
            yield from self.second.push(middle)

    def flush(self) -> Iterator[C]:
        """Flush the first stage into the second, then the second."""
        for middle in self.first.flush():
            yield from self.second.push(middle)
        yield from self.second.flush()

    def reset(self) -> None:
        """Reset both stages."""
        self.first.reset()
        self.second.reset()


def chain(*stages: Stage[Any, Any]) -> Stage[Any, Any]:
    """Join any number of stages.

    Raises:
        ValueError: without a stage.
    """
    if not stages:
        raise ValueError("chain() needs at least one stage")
    joined = stages[0]
    for stage in stages[1:]:
        joined = Chain(joined, stage)
    return joined


def run(stage: Stage[A, B], items: Iterable[A]) -> Iterator[B]:
    """Offline: feed everything, then flush."""
    for item in items:
        yield from stage.push(item)
    yield from stage.flush()
