"""One progress bar over steps of different kinds, with the time left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


class Progress:
    """Counts in milliseconds of expected work, so that the time left is one of all steps.

    Args:
        plan: step to how many items it has and the milliseconds that one is expected to take.
        quiet: draw nothing.
    """

    def __init__(self, plan: dict[str, tuple[int, float]], quiet: bool = False) -> None:
        self._plan = plan
        total = sum(count * cost for count, cost in plan.values())
        form = "{desc:9}{percentage:3.0f}% |{bar}| {elapsed} + {remaining}"
        self._bar = tqdm(total=total, disable=quiet, bar_format=form)

    def __call__(self, step: str, items: Iterable[T]) -> Iterator[T]:
        """Go through the items of a step; the bar takes the step for done at the end."""
        count, cost = self._plan[step]
        self._bar.set_description_str(step)
        left = count * cost
        for item in items:
            yield item
            done = min(cost, left)
            left -= done
            self._bar.update(done)
        self._bar.update(left)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
