"""The line of what is to be said: unbroken, in step, each sample once, whatever the calls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import MediaError, Overloaded
from engine.media import AudioChunk, Float32
from engine.slots import RATE
from engine.speech import Mark, SpeechQueue

LEAD = RATE // 5
TICK = RATE // 50


def numbered(count: int, first: int) -> Float32:
    """Samples that are all different and none of them zero."""
    return (np.arange(first, first + count, dtype=np.float32) + 1) / np.float32(2**23)


class Line:
    """Collects what comes out and checks it on the way."""

    def __init__(self, queue: SpeechQueue) -> None:
        self.queue = queue
        self.now = 0.0
        self.parts: list[Float32] = []
        self.marks: list[Mark] = []

    def tick(self, seconds: float, lead: int | None = None) -> int:
        """Advance the clock and tick; samples that came out."""
        self.now += seconds
        before = self.queue.end
        chunk, marks = self.queue.tick(self.now, lead)
        self.marks += marks
        count = 0
        if chunk is not None:
            assert isinstance(chunk, AudioChunk)
            assert (chunk.pts, chunk.rate) == (before, RATE)
            assert chunk.samples.dtype == np.float32
            count = len(chunk.samples)
            assert count > 0
            self.parts.append(chunk.samples)
        assert self.queue.end == before + count
        ahead = self.queue.end - self.queue.clock(self.now)
        assert -1 <= ahead <= LEAD + 1, f"{ahead} samples ahead of the clock"
        return count

    @property
    def sound(self) -> Float32:
        """The line so far."""
        return np.concatenate([np.zeros(0, np.float32), *self.parts])

    def said(self, name: str) -> Float32:
        """An utterance as the marks find it."""
        line = self.sound
        parts = [line[m.start : m.end] for m in self.marks if m.utterance == name]
        return np.concatenate([np.zeros(0, np.float32), *parts])


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("tick"), st.sampled_from([0.0, 0.005, 0.02, 0.021, 0.06, 0.2, 1.5])),
        st.tuples(st.just("say"), st.integers(0, 12_000)),
        st.tuples(st.just("last"), st.integers(0, 30_000)),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=200)
@given(steps=STEPS)
def test_the_line_is_gapless_in_step_and_says_everything_once_in_order(
    steps: list[tuple[str, float]],
) -> None:
    line = Line(SpeechQueue(LEAD))
    line.tick(0.0)
    given_: list[Float32] = []
    ended: list[str] = []
    number = first = 0
    for what, amount in steps:
        if what == "tick":
            line.tick(float(amount))
            continue
        samples = numbered(int(amount), first)
        first += len(samples)
        given_.append(samples)
        line.queue.say(samples, RATE, f"u{number}", final=what == "last")
        if what == "last":
            ended.append(f"u{number}")
            number += 1
    while line.queue.waiting:
        line.tick(0.02)
    line.tick(0.02)
    everything = np.concatenate([np.zeros(0, np.float32), *given_])
    sound = line.sound
    np.testing.assert_array_equal(sound[sound != 0], everything)
    assert [m.utterance for m in line.marks if m.complete] == ended
    found = np.concatenate([np.zeros(0, np.float32), *(sound[m.start : m.end] for m in line.marks)])
    np.testing.assert_array_equal(found, everything)


@settings(deadline=None)
@given(cuts=st.lists(st.integers(1, 5000), min_size=1, max_size=40), lead=st.integers(0, LEAD))
def test_an_utterance_given_at_once_has_no_pause_inside(cuts: list[int], lead: int) -> None:
    line = Line(SpeechQueue(LEAD))
    line.tick(0.0)
    line.tick(0.1)
    first = 0
    for count in cuts:
        line.queue.say(numbered(count, first), RATE, "one", final=False)
        first += count
    line.queue.say(np.zeros(0, np.float32), RATE, "one", final=True)
    while line.queue.waiting:
        line.tick(0.02, lead)
    sound = line.sound
    spoken = np.flatnonzero(sound)
    assert len(spoken) == first
    assert spoken[-1] - spoken[0] == first - 1


def test_silence_runs_exactly_with_the_clock() -> None:
    line = Line(SpeechQueue(LEAD))
    assert line.tick(0.0) == 0
    assert [line.tick(0.02) for _ in range(5)] == [TICK] * 5
    assert not line.sound.any()


def test_speech_runs_ahead_by_the_lead_and_the_line_goes_on_at_once_after_it() -> None:
    line = Line(SpeechQueue(LEAD))
    line.tick(0.0)
    line.tick(0.02)
    line.queue.say(numbered(RATE, 0), RATE, "u", final=True)
    assert line.tick(0.0) == LEAD
    assert line.tick(0.02) == TICK
    assert line.queue.end - line.queue.clock(line.now) == LEAD
    for _ in range(100):
        line.tick(0.02)
    assert line.queue.end == line.queue.clock(line.now)
    after = [line.tick(0.02) for _ in range(5)]
    assert after == [TICK] * 5, "the face would stand still while the clock catches up"


def test_the_lead_is_no_larger_than_it_may_be() -> None:
    line = Line(SpeechQueue(LEAD))
    line.tick(0.0)
    line.tick(0.02)
    line.queue.say(numbered(RATE, 0), RATE, "u", final=True)
    assert line.tick(0.0, 1000) == 1000
    assert line.tick(0.02, LEAD) == TICK, "an utterance that has begun gets no further lead"


def test_a_slow_voice_leaves_silence_inside_its_utterance() -> None:
    line = Line(SpeechQueue(0))
    line.tick(0.0)
    line.queue.say(numbered(960, 0), RATE, "slow", final=False)
    line.tick(0.02)
    assert line.tick(0.02) == TICK
    line.queue.say(numbered(960, 960), RATE, "slow", final=True)
    line.tick(0.02)
    assert [(m.start, m.end, m.complete) for m in line.marks] == [
        (0, 960, False), (1920, 2880, True)
    ]  # fmt: skip
    np.testing.assert_array_equal(line.said("slow"), numbered(1920, 0))


def test_other_rates_are_converted_and_nothing_of_their_length_is_lost() -> None:
    line = Line(SpeechQueue(LEAD))
    line.tick(0.0)
    tone = np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000).astype(np.float32)
    for part in np.split(tone, 40):
        line.queue.say(part, 24_000, "tone", final=False)
    line.queue.say(np.zeros(0, np.float32), 24_000, "tone", final=True)
    for _ in range(80):
        line.tick(0.02)
    said = line.said("tone")
    assert abs(len(said) - RATE) <= 48
    wanted = np.sin(2 * np.pi * 440 * np.arange(len(said)) / RATE)
    # swresample shifts by a fraction of a millisecond: compare the spectrum's peak and the size.
    spectrum = np.abs(np.fft.rfft(said * np.hanning(len(said))))
    assert np.argmax(spectrum) * RATE / len(said) == pytest.approx(440, abs=1)
    assert np.std(said) == pytest.approx(np.std(wanted), rel=0.01)


def test_a_stall_of_the_caller_is_not_made_up_for() -> None:
    line = Line(SpeechQueue(LEAD))
    line.tick(0.0)
    assert line.tick(30.0) == RATE // 5
    assert line.tick(0.02) == TICK


def test_cutting_forgets_what_waits_and_keeps_the_line() -> None:
    line = Line(SpeechQueue(LEAD))
    line.tick(0.0)
    line.queue.say(numbered(RATE, 0), RATE, "a", final=True)
    line.queue.say(numbered(RATE, 0), RATE, "b", final=True)
    line.tick(0.02)
    assert line.queue.cut() == ["a", "b"]
    assert line.queue.cut() == []
    assert (line.queue.waiting, line.queue.open) == (0, False)
    line.tick(0.02)  # the line was ahead: its clock is set to where it ends
    assert line.tick(0.02) == TICK
    assert not line.parts[-1].any()


def test_what_has_not_begun_can_wait_while_the_rest_is_forgotten() -> None:
    line = Line(SpeechQueue(LEAD))
    line.tick(0.0)
    line.queue.say(numbered(RATE, 0), RATE, "a", final=True)
    line.queue.say(numbered(500, 0), RATE, "b", final=True)
    line.tick(0.02)
    assert line.queue.cut_begun() == ["a"]
    assert line.queue.cut_begun() == []
    assert line.queue.waiting == 500
    line.queue.stop()
    line.now = 5000.0
    line.tick(0.0)
    line.tick(0.02)
    np.testing.assert_array_equal(line.said("b"), numbered(500, 0))


def test_a_new_name_ends_the_utterance_before() -> None:
    line = Line(SpeechQueue(LEAD))
    line.queue.say(numbered(100, 0), RATE, "a", final=False)
    line.queue.say(numbered(100, 100), RATE, "b", final=True)
    line.tick(0.0)
    line.tick(0.02)
    assert [(m.utterance, m.complete) for m in line.marks] == [("a", True), ("b", True)]


def test_impossible_things_are_refused_in_words() -> None:
    queue = SpeechQueue(LEAD)
    with pytest.raises(MediaError, match="mono"):
        queue.say(np.zeros((2, 3), np.float32), RATE, "a", final=True)
    with pytest.raises(MediaError, match="rate of 7 Hz"):
        queue.say(np.zeros(3, np.float32), 7, "a", final=True)
    queue.say(np.ones(3, np.float32), RATE, "a", final=False)
    with pytest.raises(MediaError, match="changed"):
        queue.say(np.ones(3, np.float32), 16_000, "a", final=False)
    queue.say(np.ones(3, np.float32), RATE, "a", final=True)
    with pytest.raises(MediaError, match="has ended"):
        queue.say(np.ones(3, np.float32), RATE, "a", final=True)
    queue.say(np.array([np.nan, np.inf, 1.0], np.float32), RATE, "b", final=True)
    line = Line(queue)
    line.tick(0.0)
    line.tick(0.02)
    np.testing.assert_array_equal(line.said("b"), [0.0, 0.0, 1.0])


def test_minutes_given_at_once_are_converted_little_by_little() -> None:
    """Whoever hands over a long file shares a thread with those who send slots."""
    queue = SpeechQueue(LEAD)
    queue.say(np.full(200 * 24_000, 0.1, np.float32), 24_000, "long", final=True)
    line = Line(queue)
    line.tick(0.0)
    line.tick(0.02)
    assert queue._ready <= RATE
    assert queue.waiting == pytest.approx(200 * RATE - queue.end, abs=100)


def test_no_more_waits_than_five_minutes() -> None:
    queue = SpeechQueue(LEAD)
    minute = np.full(60 * 8000, 0.1, np.float32)
    for _ in range(5):
        queue.say(minute, 8000, "long", final=False)
    with pytest.raises(Overloaded, match="300 s") as refused:
        queue.say(minute, 8000, "long", final=True)
    assert refused.value.retry_after >= 60
    assert queue.waiting <= 300 * RATE
    queue.cut()
    for number in range(256):
        queue.say(np.ones(1, np.float32), RATE, f"n{number}", final=True)
    with pytest.raises(Overloaded, match="256 utterances"):
        queue.say(np.ones(1, np.float32), RATE, "one too many", final=True)
