"""One session: the thread boundary, barge-in, failure, lateness, closing."""

from __future__ import annotations

import gc
import threading
import time
import types
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
import pytest

from engine.audio.framer import Framer
from engine.clock import ManualClock
from engine.errors import SessionClosed
from engine.events import Event
from engine.media import AudioChunk, FeatureFrame, MotionFrame, VideoFrame
from engine.metrics import Metrics
from engine.motion.arkit import INDEX
from engine.pipeline import Pipeline
from engine.playout import Playout
from engine.session import Played, Session, _Overheard
from engine.slots import Slot

RATE = 48_000
SLOT = RATE // 25
JAW = INDEX["jawOpen"]


class _Motion:
    """One motion frame per 40 ms chunk; values hold the first sample, so that frames are known."""

    lookahead = Fraction(0)

    def __init__(self) -> None:
        self.resets = 0
        self.pushes = 0
        self.speech = 1.0
        self.patience = 5.0
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self._framer = Framer(RATE, RATE)

    def push(self, item: AudioChunk, /) -> Iterable[MotionFrame]:
        self.entered.set()
        self.gate.wait(self.patience)
        self.pushes += 1
        if np.isnan(item.samples[0]):
            raise ZeroDivisionError("broken stage")
        return [self._move(frame) for frame in self._framer.push(item)]

    def _move(self, frame: AudioChunk) -> MotionFrame:
        values = np.full(58, frame.samples[0], np.float32)
        return MotionFrame(values, self.speech, frame.pts // SLOT)

    def flush(self) -> Iterable[MotionFrame]:
        return []

    def reset(self) -> None:
        self.resets += 1
        self._framer.reset()


class _Ear(_Motion):
    """What the window would hear of a chunk."""

    LAST = AudioChunk(np.zeros(0, np.float32), 0, RATE)

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()

    def push(self, item: AudioChunk, /) -> Iterable[FeatureFrame]:  # type: ignore[override]
        if item is self.LAST:
            self.reached.set()
            return []
        return [FeatureFrame(np.zeros(1, np.float32), self.speech, item.pts // SLOT)]


class _Renderer:
    lookahead = Fraction(0)

    def push(self, item: MotionFrame, /) -> Iterable[VideoFrame]:
        return [VideoFrame(np.zeros((512, 512, 3), np.uint8), item, item.pts)]

    def flush(self) -> Iterable[VideoFrame]:
        return []

    def reset(self) -> None:
        pass


class _Window:
    def __init__(self) -> None:
        self.resumed: list[float] = []
        self.heard: list[int] = []

    def use(self, backend: object) -> None:
        pass

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


class Agent:
    """A session that says what it is given, with time in the test's hands.

    ``step`` is 20 ms: a tick, and every second one a slot that leaves once the worker has done
    what it can; so what happens does not depend on how fast this machine is.
    """

    def __init__(self, hop: int = 1) -> None:
        self.clock = ManualClock()
        self.motion, self.window, self.metrics = _Motion(), _Window(), Metrics()
        self.motion.speech = 0.9
        self.ear = _Ear()
        self.steps: list[int] = []
        self.events: list[Event] = []
        self.slots: list[Slot] = []
        self.halves: list[np.ndarray] = []
        self.closed: list[Session] = []
        pipeline = Pipeline(
            self.motion, _Renderer(), self.window, self.ear,  # type: ignore[arg-type]
            motion_of=self._network,
        )  # fmt: skip
        idle = VideoFrame(np.zeros((512, 512, 3), np.uint8), MotionFrame(REST, 0.0, 0), 0)
        self.session = Session(
            "agent-session", pipeline, Playout(idle=idle), self.metrics, 10_000,
            self.closed.append, self.clock,
        )  # fmt: skip
        self.session.on_event(self.events.append)
        self._odd = False

    def _network(self, steps: int) -> object:
        self.steps.append(steps)
        return object()

    def settle(self) -> None:
        """Let the worker do all it has."""
        self.ear.reached.clear()
        self.session._inbox.send(_Overheard(_Ear.LAST))
        assert self.ear.reached.wait(10), "the worker does not come back"
        self.ear.reached.clear()
        # A voice may have interrupted: the epoch that this began is taken up as well.
        self.session._inbox.send(_Overheard(_Ear.LAST))
        assert self.ear.reached.wait(10), "the worker does not come back"

    def step(self, count: int = 1) -> None:
        """20 ms each."""
        for _ in range(count):
            self.session.tick()
            self.settle()
            self._leave()
            self.clock.advance(0.02)

    def _leave(self) -> None:
        if self._odd:
            self.halves.append(self.session.playout.second_half(self.slots[-1]))
        else:
            slot = self.session.playout.next_slot(self.clock.now())
            self.slots.append(slot)
            self.halves.append(slot.audio[: SLOT // 2])
            self.session.slot_left(slot)
        self._odd = not self._odd

    def say(self, seconds: float, name: str, value: float = 0.5, final: bool = True) -> None:
        self.session.say(np.full(int(seconds * RATE), value, np.float32), RATE, name, final)

    @property
    def line(self) -> np.ndarray:
        """All sound that has been sent."""
        return np.concatenate(self.halves)

    def told(self, *kinds: str) -> list[dict]:
        return [{"kind": e.kind, **e.fields} for e in self.events if e.kind in kinds]


REST = np.zeros(58, np.float32)


@pytest.fixture
def agent() -> Iterator[Agent]:
    agent = Agent()
    yield agent
    agent.session.close()


def test_what_is_given_to_say_leaves_whole_and_is_told_as_it_leaves(agent: Agent) -> None:
    agent.step(20)
    assert agent.session.state == "idle"
    agent.say(0.5, "one", 0.25)
    agent.say(0.3, "two", 0.5)
    agent.step(80)
    line = agent.line
    spoken = line[np.flatnonzero(line)[0] : np.flatnonzero(line)[-1] + 1]
    wanted = np.repeat([0.25, 0.5], [RATE // 2, 3 * RATE // 10]).astype(np.float32)
    np.testing.assert_array_equal(spoken, wanted)
    assert agent.told("utterance_started", "utterance_finished") == [
        {"kind": "utterance_started", "utterance": "one"},
        {"kind": "utterance_finished", "utterance": "one", "played_ms": 500, "interrupted": False},
        {"kind": "utterance_started", "utterance": "two"},
        {"kind": "utterance_finished", "utterance": "two", "played_ms": 300, "interrupted": False},
    ]
    assert agent.told("state") == [
        {"kind": "state", "state": "speaking"}, {"kind": "state", "state": "idle"}
    ]  # fmt: skip


def test_the_first_sound_leaves_with_the_next_slot_whatever_waits_before_it(agent: Agent) -> None:
    """The stages here take no time: then speech does not queue behind silence."""
    agent.step(50)
    before = len(agent.slots)
    agent.say(1.0, "now")
    agent.step(4)
    assert any(slot.audio.any() for slot in agent.slots[before : before + 2])
    agent.step(100)
    assert not any(slot.missed or slot.underrun for slot in agent.slots[10:])


def test_the_delay_does_not_grow_with_the_number_of_utterances(agent: Agent) -> None:
    agent.step(50)
    depths = []
    for number in range(30):
        agent.say(0.37, f"u{number}")
        agent.step(33 + number % 7)
        depths.append(agent.session.playout.stats().depth_ms)
    assert max(depths[10:]) <= max(depths[:10]) + 1
    assert max(depths) <= 400
    finished = agent.told("utterance_finished")
    assert [f["played_ms"] for f in finished] == [370] * len(finished)
    assert len(finished) >= 29


def test_streamed_pieces_are_one_utterance(agent: Agent) -> None:
    agent.step(20)
    for _ in range(10):
        agent.say(0.1, "stream", final=False)
        agent.step(2)
    agent.say(0.0, "stream")
    agent.step(60)
    assert agent.told("utterance_finished") == [
        {"kind": "utterance_finished", "utterance": "stream", "played_ms": 1000,
         "interrupted": False}
    ]  # fmt: skip
    line = agent.line
    assert np.count_nonzero(line) == RATE
    assert np.ptp(np.flatnonzero(line)) == RATE - 1


def test_stalls_of_the_sender_cost_time_and_not_a_sample_of_what_is_said(agent: Agent) -> None:
    agent.step(20)
    value = np.arange(3 * RATE, dtype=np.float32) / (3 * RATE) + np.float32(0.1)
    agent.session.say(value, RATE, "whole")
    for seconds in (0.1, 0.5, 1.7, 0.3):
        agent.step(10)
        agent.clock.advance(seconds)
    agent.step(150)
    line = agent.line
    np.testing.assert_array_equal(line[line != 0], value)
    assert agent.told("utterance_finished")[0]["played_ms"] == 3000
    assert agent.session.playout.stats().jumped == 0
    agent.say(0.2, "after")
    before = len(agent.slots)
    agent.step(6)
    assert any(slot.audio.any() for slot in agent.slots[before : before + 3]), "no delay is left"


@pytest.mark.parametrize("steps", range(1, 12))
def test_an_interrupt_reports_to_the_sample_what_was_heard(agent: Agent, steps: int) -> None:
    agent.step(20)
    agent.say(5.0, "long")
    agent.say(5.0, "next")
    agent.step(20 + steps)
    played = agent.session.interrupt()
    heard = int(np.count_nonzero(agent.line))
    assert played.utterance == "long"
    assert played.played_ms == round(heard / 48, 3)
    agent.step(40)
    assert int(np.count_nonzero(agent.line)) <= heard + RATE // 125, "the fade, and no more"
    assert agent.told("interrupted") == [
        {"kind": "interrupted", "utterance": "long", "played_ms": played.played_ms,
         "position_ms": played.position_ms, "by": "client"}
    ]  # fmt: skip
    assert agent.told("utterance_finished") == [
        {"kind": "utterance_finished", "utterance": "long", "played_ms": played.played_ms,
         "interrupted": True},
        {"kind": "utterance_finished", "utterance": "next", "played_ms": 0.0, "interrupted": True},
    ]  # fmt: skip
    assert agent.session.state == "idle"


def test_interrupting_is_valid_at_any_moment_and_twice(agent: Agent) -> None:
    assert agent.session.interrupt() == Played(None, 0.0, 0.0)
    agent.step(10)
    resets = agent.motion.resets
    assert agent.session.interrupt().utterance is None
    assert agent.session.interrupt().utterance is None
    agent.step(10)
    assert agent.motion.resets == resets, "nothing was said: nothing changes"
    agent.say(2.0, "one")
    assert agent.session.interrupt() == Played(None, 0.0, agent.session.interrupt().position_ms)
    agent.say(2.0, "two")
    agent.step(20)
    first, second = agent.session.interrupt(), agent.session.interrupt()
    assert first.utterance == "two"
    assert (second.utterance, second.played_ms) == (None, 0.0)
    assert second.position_ms == first.position_ms
    agent.session.pause()
    assert agent.session.interrupt().utterance is None
    agent.session.resume()
    agent.say(0.2, "three")
    agent.step(40)
    ends = {f["utterance"]: f["interrupted"] for f in agent.told("utterance_finished")}
    assert ends == {"one": True, "two": True, "three": False}
    agent.session.close()
    assert agent.session.interrupt().utterance is None


def mouth(slot: Slot) -> float:
    assert slot.frame is not None
    return float(slot.frame.motion.values[JAW])


def test_the_mouth_is_shut_within_five_frames_and_goes_on_from_there(agent: Agent) -> None:
    agent.step(20)
    agent.say(3.0, "open", 0.8)
    agent.step(30)
    assert mouth(agent.slots[-1]) == pytest.approx(0.8)
    shown = len(agent.slots)
    agent.session.interrupt()
    agent.step(30)
    after = [mouth(slot) for slot in agent.slots[shown:]]
    assert after[:5] == sorted(after[:5], reverse=True)
    assert max(-np.diff([0.8, *after])) <= 0.27, "not in one jump"
    assert max(after[4:]) == 0.0
    assert agent.window.resumed[-1] == pytest.approx(0.8), "what is not the mouth stays"
    sample = agent.metrics.registry.get_sample_value
    assert sample("avatar_interrupt_seconds_count", {"what": "sound"}) == 1
    assert sample("avatar_interrupt_seconds_sum", {"what": "sound"}) <= 0.06
    assert sample("avatar_interrupt_seconds_sum", {"what": "mouth"}) <= 0.2


def test_a_voice_interrupts_only_when_asked_and_only_speech(agent: Agent) -> None:
    def voice(count: int, speech: float) -> None:
        agent.ear.speech = speech
        for _ in range(count):
            chunk = AudioChunk(np.ones(SLOT, np.float32), voice.at, RATE)  # type: ignore[attr-defined]
            voice.at += SLOT  # type: ignore[attr-defined]
            agent.session.hear(chunk)
            agent.step(2)

    voice.at = 0  # type: ignore[attr-defined]
    agent.step(20)
    agent.say(5.0, "a")
    voice(20, 0.9)
    assert agent.told("interrupted") == []
    agent.session.configure(barge_in=True)
    voice(10, 0.5)
    assert agent.told("interrupted") == []
    voice(6, 0.9)
    (cut,) = agent.told("interrupted")
    assert (cut["by"], cut["utterance"]) == ("voice", "a")
    assert agent.session.state == "listening"
    voice(20, 0.9)
    assert len(agent.told("interrupted")) == 1
    assert agent.metrics.registry.get_sample_value("avatar_barge_ins_total") == 1
    voice(20, 0.1)
    assert agent.session.state == "idle"
    voice(5, 0.9)
    assert agent.session.state == "listening"
    agent.step(40)
    assert agent.session.state == "idle", "whoever spoke has gone without a word"
    assert agent.window.heard == sorted(agent.window.heard)
    assert len(agent.window.heard) == 81


def test_the_other_speaker_is_heard_on_the_time_of_the_line(agent: Agent) -> None:
    """Whatever their own clock says; and it is set anew when it runs away."""
    agent.step(50)
    for index in range(20):
        agent.session.hear(AudioChunk(np.ones(SLOT, np.float32), 10**7 + index * SLOT, RATE))
        agent.step(2)
    line = agent.session._speech.end // SLOT
    assert abs(agent.window.heard[-1] - line) <= 8
    assert np.diff(agent.window.heard).tolist() == [1] * 19
    agent.step(100)
    agent.session.hear(AudioChunk(np.ones(SLOT, np.float32), 10**7 + 20 * SLOT, RATE))
    agent.settle()
    assert abs(agent.window.heard[-1] - agent.session._speech.end // SLOT) <= 8


def test_while_paused_nothing_is_computed_and_nothing_is_missed(agent: Agent) -> None:
    agent.step(20)
    agent.say(1.0, "cut")
    agent.step(10)
    agent.session.pause()
    agent.session.pause()
    (end,) = agent.told("utterance_finished")
    assert end["interrupted"]
    pushes = agent.motion.pushes
    agent.say(0.4, "later")
    for index in range(10):
        agent.session.push_audio(AudioChunk(np.ones(SLOT, np.float32), index * SLOT, RATE))
        agent.session.hear(AudioChunk(np.ones(SLOT, np.float32), index * SLOT, RATE))
        agent.session.tick()
    agent.clock.advance(25.0)
    agent.settle()
    assert agent.motion.pushes == pushes
    last = agent.slots[-1].pts
    agent._odd = False
    agent.session.resume()
    agent.session.resume()
    agent.step(60)
    assert agent.slots[-1].pts == last + 30
    assert agent.session.playout.stats().missed == 0
    assert agent.metrics.registry.get_sample_value("avatar_slot_miss_total") == 0
    assert agent.told("utterance_finished")[-1] == {
        "kind": "utterance_finished", "utterance": "later", "played_ms": 400, "interrupted": False
    }  # fmt: skip


def test_a_session_goes_on_from_the_motion_of_another() -> None:
    start = np.full(58, 0.3, np.float32)
    session = Session(
        "again", Pipeline(_Motion(), _Renderer(), _Window(), _Ear()),  # type: ignore[arg-type]
        Playout(), Metrics(), 400, start=start,
    )  # fmt: skip
    shown = threading.Event()
    for _ in range(200):
        slot = session.playout.next_slot(0.0)
        if slot.frame is not None:
            break
        shown.wait(0.01)
    assert slot.frame is not None
    np.testing.assert_array_equal(slot.frame.motion.values, start)
    np.testing.assert_array_equal(session.last_motion, start)
    session.close()


def test_missed_slots_lead_down_the_ladder_and_calm_leads_up(agent: Agent) -> None:
    agent.step(20)
    for _ in range(6):
        agent.clock.advance(0.04)  # a slot that nobody fetched
        agent.step(2)
    (event,) = agent.told("degraded")
    assert event == {"kind": "degraded", "level": 1, "steps": 1, "fps": 25, "size": 512}
    agent.step(4)
    assert agent.steps == [1]
    for _ in range(60):
        agent.clock.advance(0.04)
        agent.step(2)
    assert agent.session.rung.size == 384
    level = agent.metrics.registry.get_sample_value
    assert level("avatar_degrade_level") == 3
    agent.step(60)
    late = agent.slots[-25:]
    assert {slot.frame.image.shape[0] for slot in late if slot.frame} == {384}
    assert sum(slot.repeated for slot in late) == 5
    assert not any(slot.missed for slot in late)
    assert [slot.content for slot in late] == list(
        range(late[0].content or 0, (late[0].content or 0) + 25)
    )
    agent.step(2 * 800)
    assert [event["level"] for event in agent.told("degraded")] == [1, 2, 3, 2, 1, 0]
    assert agent.steps == [1, 2]
    assert level("avatar_degrade_level") == 0


def test_a_slow_worker_is_not_stuck() -> None:
    agent = Agent()
    looks: list[tuple[bool, float]] = []

    def slow(_: VideoFrame) -> None:
        agent.clock.advance(3.0)
        waiting = agent.session._inbox.waiting_ms
        looks.append((agent.session.stuck(agent.clock.now()), waiting))

    agent.session.listen(slow)
    agent.motion.gate.clear()
    for index in range(2):  # four frames are drawn for one push, while the other waits
        samples = np.full(4 * SLOT, 0.5, np.float32)
        agent.session.push_audio(AudioChunk(samples, 4 * index * SLOT, RATE))
    agent.motion.gate.set()
    agent.settle()
    agent.session.close()
    assert sum(waiting > 0 for _, waiting in looks) >= 3
    assert not any(stuck for stuck, _ in looks)


def test_a_stuck_worker_is_noticed_left_behind_and_frees_its_place() -> None:
    stuck, other = Agent(), Agent()
    for agent in (stuck, other):
        agent.step(20)
    stuck.motion.patience = 60.0
    stuck.motion.gate.clear()
    stuck.motion.entered.clear()
    for _ in range(5):
        stuck.session.tick()
        assert stuck.motion.entered.wait(5)
        stuck.clock.advance(0.02)
    assert not stuck.session.stuck(stuck.clock.now())
    stuck.clock.advance(5.0)
    stuck.session.tick()
    assert stuck.session.stuck(stuck.clock.now())
    before = time.monotonic()
    stuck.session.close()
    assert time.monotonic() - before < 2.0, "nobody waits for it"
    assert stuck.closed == [stuck.session]
    count = stuck.metrics.registry.get_sample_value
    assert count("avatar_workers_stuck") == 1
    with pytest.raises(SessionClosed):
        stuck.session.tick()
    other.say(0.2, "fine")
    other.step(40)
    assert other.told("utterance_finished")[0]["played_ms"] == 200
    assert not other.session.stuck(other.clock.now())
    frames = stuck.metrics.registry.get_sample_value("avatar_frames_total")
    stuck.motion.gate.set()
    stuck.session._worker.join(5)
    assert not stuck.session._worker.is_alive()
    assert count("avatar_workers_stuck") == 0
    assert count("avatar_frames_total") == frames, "what it computed meanwhile is nobody's"
    stuck.session.close()
    assert stuck.closed == [stuck.session]
    other.session.close()


def test_a_worker_that_is_busy_for_long_with_nothing_waiting_is_not_stuck() -> None:
    agent = Agent()
    agent.step(10)
    agent.clock.advance(60.0)
    assert not agent.session.stuck(agent.clock.now())
    agent.session.close()


def test_nothing_in_a_session_grows_with_time(agent: Agent) -> None:
    def sizes() -> int:
        session = agent.session
        agent.slots, agent.halves, agent.events[:] = agent.slots[-1:], [], []
        gc.collect()
        seen: set[int] = set()
        queue: list[object] = [session, session.playout]
        while queue:
            item = queue.pop()
            if id(item) in seen or isinstance(item, type | types.ModuleType | types.FunctionType):
                continue
            seen.add(id(item))
            if type(item).__module__.startswith(("engine.", "builtins", "collections")):
                queue += gc.get_referents(item)
        return len(seen)

    counts = []
    for turn in range(12):
        for number in range(5):
            agent.say(0.3, f"{turn}-{number}")
            agent.session.hear(AudioChunk(np.ones(SLOT, np.float32), 0, RATE))
            agent.step(25)
        agent.session.interrupt()
        agent.step(20)
        counts.append(sizes())
    assert max(counts[6:]) <= max(counts[:6]) + 10


def test_a_mirror_tells_turns_from_the_speaker_s_voice(rig: Rig) -> None:
    events: list[Event] = []
    rig.session.on_event(events.append)
    for index in range(40):
        rig.motion.speech = 0.9 if 5 <= index < 20 else 0.0
        rig.say(index)
        rig.wait(index + 1)
        rig.session.slot_left(rig.session.playout.next_slot(index * 0.04))
    assert [event.fields["state"] for event in events] == ["speaking", "idle"]
