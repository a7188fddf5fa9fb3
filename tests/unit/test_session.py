"""One session: the thread boundary, barge-in, failure, lateness, closing."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
import pytest

from engine.errors import SessionClosed
from engine.media import AudioChunk, FeatureFrame, MotionFrame, VideoFrame
from engine.metrics import Metrics
from engine.pipeline import Pipeline
from engine.playout import Playout
from engine.session import Session

RATE = 48_000
SLOT = RATE // 25


class _Motion:
    """One motion frame per 40 ms chunk; values hold the first sample, so that frames are known."""

    lookahead = Fraction(0)

    def __init__(self) -> None:
        self.resets = 0
        self.gate = threading.Event()
        self.gate.set()

    def push(self, item: AudioChunk, /) -> Iterable[MotionFrame]:
        self.gate.wait(5)
        if np.isnan(item.samples[0]):
            raise ZeroDivisionError("broken stage")
        values = np.full(58, item.samples[0], np.float32)
        return [MotionFrame(values, 1.0, item.pts // SLOT)]

    def flush(self) -> Iterable[MotionFrame]:
        return []

    def reset(self) -> None:
        self.resets += 1


class _Ear(_Motion):
    """What the window would hear of a chunk."""

    def push(self, item: AudioChunk, /) -> Iterable[FeatureFrame]:  # type: ignore[override]
        return [FeatureFrame(np.zeros(1, np.float32), 1.0, item.pts // SLOT)]


class _Renderer:
    lookahead = Fraction(0)

    def push(self, item: MotionFrame, /) -> Iterable[VideoFrame]:
        return [VideoFrame(np.zeros((2, 2, 3), np.uint8), item, item.pts)]

    def flush(self) -> Iterable[VideoFrame]:
        return []

    def reset(self) -> None:
        pass


class _Window:
    def __init__(self) -> None:
        self.resumed: list[float] = []
        self.heard: list[int] = []

    def hear(self, frame: FeatureFrame) -> None:
        self.heard.append(frame.pts)

    def resume_from(self, values: np.ndarray) -> None:
        self.resumed.append(float(values[0]))


class Rig:
    """A session over known stages, with its frames collected."""

    def __init__(self, inbox_ms: int = 10_000) -> None:
        self.motion, self.window, self.metrics = _Motion(), _Window(), Metrics()
        self.closed: list[Session] = []
        self.frames: list[VideoFrame] = []
        self.arrived = threading.Condition()
        self.ear = _Ear()
        pipeline = Pipeline(
            self.motion, _Renderer(), self.window, self.ear  # type: ignore[arg-type]
        )  # fmt: skip
        self.session = Session(
            "test-session", pipeline, Playout(), self.metrics, inbox_ms, self.closed.append
        )
        self.session.listen(self._collect)

    def _collect(self, frame: VideoFrame) -> None:
        with self.arrived:
            self.frames.append(frame)
            self.arrived.notify_all()

    def say(self, index: int, value: float = 0.5) -> None:
        self.session.push_audio(AudioChunk(np.full(SLOT, value, np.float32), index * SLOT, RATE))

    def wait(self, count: int) -> list[int]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.frames) >= count, 5)
            return [frame.pts for frame in self.frames]


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.session.close()


def test_what_is_said_to_the_avatar_reaches_its_ear_and_not_its_mouth(rig: Rig) -> None:
    for index in range(3):
        rig.session.hear(AudioChunk(np.ones(SLOT, np.float32), index * SLOT, RATE))
        rig.say(index)
    assert rig.wait(3) == [0, 1, 2]
    assert rig.window.heard == [0, 1, 2]
    rig.session.interrupt()
    rig.say(3)
    rig.wait(4)
    assert rig.ear.resets == 1
    rig.session.close()
    with pytest.raises(SessionClosed):
        rig.session.hear(AudioChunk(np.ones(SLOT, np.float32), 0, RATE))


def test_sound_becomes_frames_in_the_playout(rig: Rig) -> None:
    for index in range(5):
        rig.say(index)
    assert rig.wait(5) == [0, 1, 2, 3, 4]
    slots = [rig.session.playout.next_slot(n * 0.04) for n in range(6)]
    content = [slot for slot in slots if slot.content is not None]
    assert content
    for slot in content:
        assert slot.frame is not None
        assert slot.frame.pts == slot.content


def test_interrupt_drops_what_waits_and_resumes_from_the_last_frame(rig: Rig) -> None:
    rig.say(0, 0.25)
    rig.wait(1)
    rig.motion.gate.clear()  # the worker is now busy with the next chunk
    for index in range(1, 20):
        rig.say(index, 0.5)
    rig.session.interrupt()
    rig.say(20, 0.75)
    rig.motion.gate.set()
    rig.wait(2)
    values = {float(frame.motion.values[0]) for frame in rig.frames}
    assert values == {0.25, 0.75}, "sound sent before the interrupt was shown"
    assert rig.motion.resets == 1
    assert rig.window.resumed == [0.25]


def test_a_failing_stage_ends_the_session_and_tells_the_owner(rig: Rig) -> None:
    rig.say(0, float("nan"))
    rig.session._worker.join(5)
    assert rig.session.closed
    assert isinstance(rig.session.error, ZeroDivisionError)
    assert rig.closed == [rig.session]
    with pytest.raises(SessionClosed):
        rig.say(1)


def test_one_failing_session_leaves_another_alone() -> None:
    first, second = Rig(), Rig()
    first.say(0, float("nan"))
    second.say(0)
    assert second.wait(1) == [0]
    assert second.session.error is None
    for rig in (first, second):
        rig.session.close()


def test_a_slow_worker_drops_the_oldest_and_counts() -> None:
    rig = Rig(inbox_ms=200)
    rig.motion.gate.clear()
    for index in range(30):
        rig.say(index)
    assert rig.session.dropped_ms >= 800
    assert rig.session.waiting_ms <= 200
    dropped = rig.metrics.registry.get_sample_value("avatar_audio_dropped_seconds_total")
    assert dropped == pytest.approx(rig.session.dropped_ms / 1000)
    rig.motion.gate.set()
    rig.session.close()


def test_close_is_idempotent_and_reports_once(rig: Rig) -> None:
    rig.session.close()
    rig.session.close()
    assert rig.closed == [rig.session]
    assert not rig.session._worker.is_alive()


def test_sound_at_another_rate_reaches_the_playout_at_48_khz() -> None:
    rig = Rig()
    quiet = np.zeros(16_000, np.float32)
    rig.session.push_audio(AudioChunk(quiet, 0, 16_000))
    assert rig.session.playout.stats().depth_ms == pytest.approx(960, abs=41)
    rig.session.close()
