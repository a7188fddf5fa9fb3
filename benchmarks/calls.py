"""What the parts of ``loopback`` and ``soak`` share: peers that come and go, counters, a bar."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from tqdm import tqdm

from benchmarks.peer import LoopbackPeer

FIRST_PICTURE_S = 20.0
_POLL_S = 0.02
PLAYOUT = ("slots", "missed", "silence", "held", "repeated", "late", "skipped", "jumped")


@dataclass(slots=True)
class Part:
    """What one part of a benchmark found; see ``benchmarks.report.Result``.

    Args:
        figures: name to number.
        samples: series by name, in the unit their name ends with.
        notes: sentences.
        failures: promises broken.
    """

    figures: dict[str, float] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


async def until(condition: Callable[[], Any], seconds: float, what: str) -> None:
    """Wait for something.

    Raises:
        TimeoutError: it did not happen; the message says what.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} within {seconds:.0f} s")
        await asyncio.sleep(_POLL_S)


async def pause(seconds: float, bar: tqdm[Any] | None = None) -> None:
    """Sleep, and move the bar, which counts seconds."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        step = min(left, 0.5)
        await asyncio.sleep(step)
        if bar is not None:
            bar.update(step)


@asynccontextmanager
async def joined(peer: LoopbackPeer, **extra: str) -> AsyncIterator[LoopbackPeer]:
    """A peer that sees pictures, and leaves politely in the end.

    Raises:
        ConnectionRefusedError: the server's refusal.
        TimeoutError: no picture came.
    """
    try:
        await peer.connect(**extra)
        await until(peer.seen.is_set, FIRST_PICTURE_S, "the first picture")
        yield peer
    finally:
        await peer.close()


async def json_of(
    http: aiohttp.ClientSession, method: str, url: str, **request: Any
) -> tuple[int, Any]:
    """Status and JSON body (None if there is none) of a request."""
    async with http.request(method, url, **request) as response:
        kind = response.content_type
        body = await response.json() if kind == "application/json" else None
        return response.status, body


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What the playout's counters counted between two scrapes of the metrics."""
    keys = {name: f"avatar_playout_{name}_total" for name in PLAYOUT}
    return {name: after[key] - before[key] for name, key in keys.items() if key in after}


def on_time(counted: Mapping[str, float]) -> float:
    """Share of the slots due that left at their time with their own sound and picture."""
    due = counted["slots"] + counted["missed"]
    good = counted["slots"] - counted["silence"] - counted["repeated"] - counted["late"]
    return max(0.0, good) / due if due else 0.0


def kept(counted: Mapping[str, float]) -> float:
    """Share of the slots due that lost nothing; silence counts as good where nobody speaks."""
    due = counted["slots"] + counted["missed"]
    good = counted["slots"] - counted["held"] - counted["repeated"] - counted["late"]
    return max(0.0, good) / due if due else 0.0
