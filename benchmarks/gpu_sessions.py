"""How many sessions a device carries: simulated ones, at real-time pacing, through the Batcher.

A session is the engine's own ``MotionWindow`` and ``Renderer`` in a thread of its own, as in the
server, without transport. Each 80 ms the sound of two frames is there; the frames are on time if
they are ready within the server's preroll (80 ms) of it, the second one 40 ms later. Sessions start
at random moments. A number of sessions passes if at least 99 % of their frames are on time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from engine.config import MotionConfig
from engine.errors import EngineError
from engine.media import FPS, FeatureFrame
from engine.motion.window import MotionWindow
from engine.render.avatar import Avatar
from engine.render.renderer import Renderer
from engine.runtime.batcher import Batcher, Lane
from engine.runtime.rows import RowNetwork

ON_TIME = 0.99
_PREROLL = 0.08
_WARM_UP = 1.0
_MAX_SKIPS = 3


@dataclass(frozen=True, slots=True)
class Point:
    """One number of sessions.

    Args:
        sessions: how many.
        frames: judged.
        on_time: share of them.
        median_ms: from the sound being complete to the picture, first frames of a hop.
        p99_ms: likewise.
        busy: share of the time that the device ran something.
        mean_batch: pictures per call.
        failed: sessions that ended in an error.
    """

    sessions: int
    frames: int
    on_time: float
    median_ms: float
    p99_ms: float
    busy: float
    mean_batch: float
    failed: int = 0

    @property
    def passed(self) -> bool:
        """Whether the device carries them."""
        return self.on_time >= ON_TIME and not self.failed


@dataclass(slots=True)
class _Record:
    late_ms: list[float] = field(default_factory=list)
    """From the sound of a hop to each of its frames, less the frame's place in the hop."""
    error: str = ""


class Load:
    """Sessions on one batcher.

    Args:
        networks: by lane (``motion``, ``render``) and batch size; taken over.
        avatar: shown by every session, placed for each.
        config: hop and look-ahead.
    """

    def __init__(
        self,
        networks: Mapping[str, Mapping[int, RowNetwork]],
        avatar: Avatar,
        config: MotionConfig | None = None,
    ) -> None:
        self._config = config or MotionConfig()
        self._avatar = avatar
        lanes = {"motion": Lane(period=self._config.hop / FPS)}
        self.batcher = Batcher(networks, lanes)
        self._motion = self.batcher.client("motion")
        self._render = self.batcher.client("render")
        rng = np.random.default_rng(0)
        self._features = rng.normal(-4, 2, (4 * FPS, 320)).astype(np.float32)
        self._renderers: list[Renderer] = []

    def point(self, sessions: int, seconds: float) -> Point:
        """Run ``sessions`` for ``seconds`` after a second to warm up."""
        while len(self._renderers) < sessions:
            self._renderers.append(Renderer(self._render, self._avatar))
        records = [_Record() for _ in range(sessions)]
        rng = np.random.default_rng(sessions)
        begin = time.monotonic() + 0.1
        threads = [
            threading.Thread(
                target=self._session,
                args=(record, renderer, begin + rng.uniform(0, self._config.hop / FPS), seconds),
            )
            for record, renderer in zip(records, self._renderers, strict=False)
        ]
        before = {lane: (s.busy_s, s.items, s.batches) for lane, s in self.batcher.stats.items()}
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = {lane: (s.busy_s, s.items, s.batches) for lane, s in self.batcher.stats.items()}
        spent = {k: [b - a for a, b in zip(before[k], after[k], strict=True)] for k in before}
        late = np.array([ms for record in records for ms in record.late_ms])
        wanted = sessions * self._frames(seconds)
        busy = sum(s[0] for s in spent.values()) / (time.monotonic() - begin)
        return Point(
            sessions, len(late), round(float((late <= _PREROLL * 1000).sum()) / wanted, 4),
            round(float(np.median(late)), 2) if len(late) else float("inf"),
            round(float(np.percentile(late, 99)), 2) if len(late) else float("inf"),
            round(busy, 3), round(spent["render"][1] / max(1, spent["render"][2]), 2),
            sum(bool(record.error) for record in records),
        )  # fmt: skip

    def close(self) -> None:
        """Stop the batcher and close the networks."""
        self.batcher.close()

    def _frames(self, seconds: float) -> int:
        """Frames of one session that are judged."""
        hop = self._config.hop
        return hop * int(seconds * FPS / hop)

    def _session(self, record: _Record, renderer: Renderer, begin: float, seconds: float) -> None:
        try:
            self._run(record, renderer, begin, seconds)
        except EngineError as error:
            record.error = str(error)

    def _run(self, record: _Record, renderer: Renderer, begin: float, seconds: float) -> None:
        window = MotionWindow(self._motion.fork(), self._config)
        hop = self._config.hop
        skipped = int(_WARM_UP * FPS / hop)
        end = begin + _WARM_UP + seconds + 1.0
        # The look-ahead is heard before the first hop is complete.
        pts = skips = 0
        for _ in range(self._config.lookahead):
            window.push(self._feature(pts))
            pts += 1
        for number in range(skipped + self._frames(seconds) // hop):
            heard = begin + number * hop / FPS
            time.sleep(max(0.0, heard - time.monotonic()))
            frames = []
            for _ in range(hop):
                frames += window.push(self._feature(pts))
                pts += 1
            for place, motion in enumerate(frames):
                due = heard + place / FPS
                # As the server: a frame that is late already is left out, three in a row at most.
                if skips < _MAX_SKIPS and time.monotonic() > due + _PREROLL:
                    skips += 1
                    continue
                skips = 0
                list(renderer.push(motion))
                late = time.monotonic() - due
                if number >= skipped:
                    record.late_ms.append(late * 1000)
            if time.monotonic() > end:
                return  # hopelessly behind: what is missing counts as late

    def _feature(self, pts: int) -> FeatureFrame:
        return FeatureFrame(self._features[pts % len(self._features)], 1.0, pts)


class Judged(Protocol):
    """A number of sessions that was tried."""

    @property
    def passed(self) -> bool:
        """Whether it was carried."""
        ...


P = TypeVar("P", bound=Judged)


def knee(
    measure: Callable[[int], P], allowed: Callable[[], bool], limit: int = 512
) -> tuple[list[P], int]:
    """Largest number of sessions that passes: doubling until one fails, then bisection.

    Args:
        measure: one point.
        allowed: whether there is time for another.
        limit: never more sessions than this.

    Returns:
        The points in the order measured, and the largest number that passed (0: none did).
    """
    points: list[P] = []
    good, bad, number = 0, limit + 1, 1
    while good < bad - 1 and allowed():
        point = measure(number)
        points.append(point)
        good, bad = (number, bad) if point.passed else (good, number)
        if bad <= limit:
            number = (good + bad) // 2
            if bad - good <= max(1, good // 20):
                break
        else:
            number = min(2 * number, limit)
            if good == limit:
                break
    return points, good
