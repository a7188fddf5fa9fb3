"""The playout under arbitrary arrival: what leaves, in which order, and what is counted."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.clock import ManualClock
from engine.media import AudioChunk, Float32, MotionFrame, VideoFrame
from engine.playout import Playout
from engine.slots import RATE, SLOT_SAMPLES, SLOT_SECONDS, Slot

Event = tuple[float, Callable[[Playout], None]]


def frame(pts: int) -> VideoFrame:
    image = np.full((4, 4, 3), pts % 256, np.uint8)
    return VideoFrame(image, MotionFrame(np.zeros(58, np.float32), 0.0, pts), pts)


def loud(slots: int, seed: int = 0) -> Float32:
    """Noise without a single quiet slot, so that nothing may be dropped unheard."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.5, 0.5, slots * SLOT_SAMPLES).astype(np.float32)


def audio_events(samples: Float32, cuts: Iterable[int], lag: Iterable[float]) -> list[Event]:
    """Chunks cut anywhere, each arriving a little after its last sample was spoken, in order."""
    edges = sorted({0, len(samples), *cuts})
    events: list[Event] = []
    arrival = 0.0
    for start, end, late in zip(edges, edges[1:], lag, strict=False):
        chunk = AudioChunk(samples[start:end], start, RATE)
        arrival = max(arrival, end / RATE + late)
        events.append((arrival, lambda p, c=chunk: p.push_audio(c)))
    return events


def frame_events(lag: Iterable[float]) -> list[Event]:
    events: list[Event] = []
    arrival = 0.0
    for index, late in enumerate(lag):
        arrival = max(arrival, (index + 1) * SLOT_SECONDS + late)
        events.append((arrival, lambda p, i=index: p.push_frame(frame(i))))
    return events


def play(
    playout: Playout,
    events: list[Event],
    seconds: float,
    stall: Callable[[float], float] = lambda _: 0.0,
) -> list[Slot]:
    """Deliver events in time and fetch each slot when it is due, ``stall(due)`` seconds late."""
    clock = ManualClock()
    queue = [(at, number, action) for number, (at, action) in enumerate(events)]
    heapq.heapify(queue)
    slots: list[Slot] = []
    while True:
        due = playout.due or 0.0
        now = max(clock.now(), due + stall(due))
        if now > seconds:
            return slots
        clock.advance(now - clock.now())
        while queue and queue[0][0] <= now:
            heapq.heappop(queue)[2](playout)
        slots.append(playout.next_slot(clock.now()))


def heard(slots: list[Slot]) -> Float32:
    return np.concatenate([slot.audio for slot in slots if not slot.silence])


LAGS = st.floats(0, 0.2)


@settings(deadline=None)
@given(
    cuts=st.lists(st.integers(1, 40 * SLOT_SAMPLES - 1), max_size=60),
    audio_lag=st.lists(st.floats(0, 0.12), min_size=62, max_size=62),
    frame_lag=st.lists(LAGS, min_size=40, max_size=40),
)
def test_whatever_the_jitter_the_sound_is_whole_and_carries_its_own_picture(
    cuts: list[int], audio_lag: list[float], frame_lag: list[float]
) -> None:
    samples = loud(40)
    playout = Playout(max_delay=2.0)
    events = audio_events(samples, cuts, audio_lag) + frame_events(frame_lag)
    slots = play(playout, events, 5.0)
    np.testing.assert_array_equal(heard(slots), samples)
    for slot in slots:
        if slot.content is not None:
            assert slot.frame is not None and slot.frame.pts == slot.content
            assert not slot.repeated
    stats = playout.stats()
    assert stats.repeated == stats.skipped == stats.jumped == stats.trimmed == 0


@settings(deadline=None)
@given(hop=st.integers(1, 5), compute_ms=st.integers(1, 39))
def test_the_delay_settles_and_then_nothing_is_held(hop: int, compute_ms: int) -> None:
    """Frames come in hops, as a windowed network makes them."""
    count, compute = 100, compute_ms / 1000
    lag = [(hop - 1 - i % hop) * SLOT_SECONDS + compute for i in range(count)]
    events = audio_events(loud(count), range(0, count * SLOT_SAMPLES, 960), [0.0] * 300)
    slots = play(Playout(), events + frame_events(lag), count * SLOT_SECONDS)
    started = next(i for i, slot in enumerate(slots) if not slot.silence)
    settled = slots[started + 2 * hop :]
    assert len(settled) > count // 2
    assert [s.content for s in settled] == list(
        range(settled[0].content or 0, (settled[0].content or 0) + len(settled))
    )
    delay = settled[0].pts - (settled[0].content or 0)
    assert delay * SLOT_SECONDS <= hop * SLOT_SECONDS + compute + 3 * SLOT_SECONDS


def test_output_time_never_stops_and_never_bursts() -> None:
    playout = Playout()
    events = audio_events(loud(50), range(0, 50 * SLOT_SAMPLES, 960), [0.0] * 200)
    events += frame_events([0.05] * 50)
    slots = play(playout, events, 2.0, stall=lambda due: 0.5 if 0.9 < due < 0.95 else 0.0)
    steps = np.diff([slot.pts for slot in slots])
    assert steps.min() == 1
    assert steps.max() == 13
    assert playout.stats().missed == 12
    # Content was skipped as well: the delay after the stall is the delay before it.
    delays = [s.pts - s.content for s in slots if s.content is not None]
    assert delays[-1] == delays[5]
    assert playout.stats().jumped == 12


def test_a_slow_renderer_costs_pictures_and_never_sound() -> None:
    """15 pictures a second: the delay grows to its limit, then audio runs on without a gap."""
    playout = Playout(max_delay=0.4)
    count = 200
    events = audio_events(loud(count), range(0, count * SLOT_SAMPLES, 960), [0.0] * 500)
    made = [(0.1 + n / 15, round((n / 15 + 0.04) * 25)) for n in range(count)]
    events += [(at, lambda p, i=i: p.push_frame(frame(i))) for at, i in made]
    slots = play(playout, events, count * SLOT_SECONDS)
    later = slots[60:]
    assert not any(slot.silence for slot in later)
    contents = [slot.content for slot in later]
    assert contents == list(range(contents[0] or 0, (contents[0] or 0) + len(contents)))
    assert playout.stats().repeated > 20
    shown = {slot.frame.pts for slot in later if slot.frame}
    assert len(shown) / (len(later) * SLOT_SECONDS) > 13


def test_frames_that_stop_coming_leave_the_sound_running() -> None:
    playout = Playout(max_delay=0.3)
    events = audio_events(loud(100), range(0, 100 * SLOT_SAMPLES, 960), [0.0] * 300)
    slots = play(playout, events + frame_events([0.02] * 30), 4.0)
    tail = slots[50:]
    assert all(slot.repeated and not slot.silence for slot in tail)
    assert {slot.frame.pts for slot in tail if slot.frame} == {29}


def test_late_pictures_are_shown_late_rather_than_never() -> None:
    """Every picture comes 0.8 s after its sound with 0.3 s allowed: motion goes on."""
    playout = Playout(max_delay=0.3)
    events = audio_events(loud(100), range(0, 100 * SLOT_SAMPLES, 960), [0.0] * 300)
    slots = play(playout, events + frame_events([0.8] * 100), 3.8)
    assert playout.stats().late > 50
    assert not any(slot.silence for slot in slots[40:])


def test_a_late_renderer_that_leaves_out_what_is_of_no_use_is_punctual_again() -> None:
    """One stall of 0.8 s; pictures before ``position`` are then left out, as a session does."""
    playout = Playout(max_delay=0.3)
    count, samples, made, busy_until = 150, loud(150), 0, 0.0
    slots = []
    for tick in range(count * 4):
        now = tick * 0.01
        if tick % 2 == 0:
            playout.push_audio(AudioChunk(samples[tick * 480 : tick * 480 + 960], tick * 480, RATE))
        while made < now / SLOT_SECONDS - 5 and busy_until <= now:
            if made >= playout.position:
                playout.push_frame(frame(made))
                busy_until = now + (0.8 if made == 50 else 0.035)
            made += 1
        if tick % 4 == 0:
            slots.append(playout.next_slot(now))
    assert sum(slot.repeated for slot in slots[100:]) == 0
    assert all(s.frame is not None and s.frame.pts == s.content for s in slots[100:])


def test_a_gap_in_the_audio_is_silence_of_the_same_length() -> None:
    playout = Playout()
    playout.push_audio(AudioChunk(np.full(SLOT_SAMPLES, 0.5, np.float32), 0, RATE))
    playout.push_audio(AudioChunk(np.full(SLOT_SAMPLES, 0.5, np.float32), 2 * SLOT_SAMPLES, RATE))
    for pts in range(3):
        playout.push_frame(frame(pts))
    out = [playout.next_slot(i * SLOT_SECONDS) for i in range(4)][1:]
    assert [float(np.abs(slot.audio).mean()) for slot in out] == [0.5, 0.0, 0.5]
    assert [slot.content for slot in out] == [0, 1, 2]


def test_audio_that_comes_twice_is_taken_once() -> None:
    playout = Playout()
    samples = loud(2)
    playout.push_audio(AudioChunk(samples[:2500], 0, RATE))
    playout.push_audio(AudioChunk(samples[2000:], 2000, RATE))
    playout.push_frame(frame(0))
    playout.push_frame(frame(1))
    out = np.concatenate([playout.next_slot(i * SLOT_SECONDS).audio for i in range(3)][1:])
    np.testing.assert_array_equal(out, samples)


def started(slots: int = 8) -> tuple[Playout, Float32]:
    """A playout that has passed its pre-roll; the next slot, at 0 s, has content 0."""
    playout = Playout()
    samples = loud(slots)
    playout.push_audio(AudioChunk(samples, 0, RATE))
    for pts in range(slots):
        playout.push_frame(frame(pts))
    assert playout.next_slot(-SLOT_SECONDS).silence
    return playout, samples


def test_interrupt_fades_within_8_ms_and_nothing_old_returns() -> None:
    playout, samples = started()
    playout.next_slot(0.0)
    playout.interrupt(1)
    after = playout.next_slot(SLOT_SECONDS)
    fade = RATE // 125
    ramp = 0.5 + 0.5 * np.cos(np.pi * np.arange(1, fade + 1, dtype=np.float32) / fade)
    np.testing.assert_allclose(
        after.audio[:fade], samples[SLOT_SAMPLES : SLOT_SAMPLES + fade] * ramp, atol=1e-6
    )
    assert not after.audio[fade:].any()
    assert after.silence and after.repeated
    playout.push_frame(frame(5), epoch=0)
    playout.push_audio(AudioChunk(loud(3), 8 * SLOT_SAMPLES, RATE), epoch=0)
    quiet = [playout.next_slot((i + 2) * SLOT_SECONDS) for i in range(5)]
    assert not any(slot.audio.any() for slot in quiet)
    assert {slot.frame.pts for slot in quiet if slot.frame} == {0}
    assert playout.stats().stale == 2
    assert playout.position == 1


def test_the_new_epoch_plays_from_its_own_beginning() -> None:
    playout, _ = started()
    playout.next_slot(0.0)
    playout.interrupt(1)
    playout.next_slot(SLOT_SECONDS)
    samples = loud(3, seed=1)
    playout.push_audio(AudioChunk(samples, 20 * SLOT_SAMPLES, RATE), epoch=1)
    for pts in (20, 21, 22):
        playout.push_frame(frame(pts), epoch=1)
    slots = [playout.next_slot((i + 2) * SLOT_SECONDS) for i in range(4)]
    assert [slot.content for slot in slots] == [None, 20, 21, 22]
    np.testing.assert_array_equal(heard(slots), samples)


def test_an_interrupt_is_idempotent_and_allowed_before_anything_played() -> None:
    playout = Playout()
    playout.interrupt(1)
    playout.interrupt(1)
    playout.interrupt(0)
    slot = playout.next_slot(0.0)
    assert slot.silence and slot.frame is None and not slot.audio.any()


def test_an_item_of_a_newer_epoch_interrupts_by_itself() -> None:
    playout, _ = started()
    playout.next_slot(0.0)
    playout.push_audio(AudioChunk(loud(1), 30 * SLOT_SAMPLES, RATE), epoch=2)
    assert playout.next_slot(SLOT_SECONDS).silence


def test_the_delay_shrinks_again_in_silence_only() -> None:
    """A compute hiccup of 300 ms lengthens the delay; a quiet stretch gives it back."""
    count = 700
    samples = loud(count)
    quiet = slice(300 * SLOT_SAMPLES, 600 * SLOT_SAMPLES)
    samples[quiet] *= 0.001
    lag = [0.35 if 40 <= i < 45 else 0.02 for i in range(count)]
    playout = Playout(max_delay=0.6)
    events = audio_events(samples, range(0, len(samples), 960), [0.0] * 2000)
    slots = play(playout, events + frame_events(lag), 26.0)
    delay = {s.pts: s.pts - s.content for s in slots if s.content is not None}
    assert delay[295] > delay[30] + 3
    # Loud until slot 300: nothing dropped although frames are early.
    assert delay[290] == delay[100]
    assert delay[640] < delay[290] - 2
    assert playout.stats().trimmed >= 3
    assert playout.stats().skipped == playout.stats().trimmed


def test_unfetched_media_does_not_pile_up() -> None:
    playout = Playout(max_delay=0.4)
    for index in range(500):
        playout.push_audio(AudioChunk(loud(1), index * SLOT_SAMPLES, RATE))
        playout.push_frame(frame(index))
    assert playout.stats().depth_ms <= 1500
    assert playout.stats().jumped > 400
    slot = playout.next_slot(0.0)
    assert slot.content is not None and slot.content >= 480


def test_the_idle_picture_is_shown_until_the_first_frame() -> None:
    playout = Playout(idle=frame(0))
    assert playout.has_picture
    slot = playout.next_slot(0.0)
    assert slot.frame is not None and slot.silence


def test_other_rates_and_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="48000 Hz"):
        Playout().push_audio(AudioChunk(np.zeros(160, np.float32), 0, 16_000))
    with pytest.raises(ValueError, match="pre-roll"):
        Playout(preroll=0)
    with pytest.raises(ValueError, match="pre-roll"):
        Playout(preroll=20, max_delay=0.6)


def test_lateness_is_measured() -> None:
    playout, _ = started()
    for index in range(6):
        playout.next_slot(index * SLOT_SECONDS + 0.01 * (index > 0))
    assert playout.stats().late_ms == pytest.approx(10, abs=0.5)


HALF = SLOT_SAMPLES // 2
FADE = RATE // 125


def sent(playout: Playout, slots: int, interrupt_at: int, *, between: bool) -> Float32:
    """What a sender of half slots sends, interrupted before a slot or between its halves."""
    parts = []
    for index in range(slots):
        if index == interrupt_at and not between:
            playout.interrupt(1)
        slot = playout.next_slot(index * SLOT_SECONDS)
        parts.append(slot.audio[:HALF])
        if index == interrupt_at and between:
            playout.interrupt(1)
        parts.append(playout.second_half(slot))
    return np.concatenate(parts)


@settings(deadline=None)
@given(
    hertz=st.floats(50, 400),
    known=st.integers(3 * SLOT_SAMPLES, 9 * SLOT_SAMPLES),
    at=st.integers(1, 8),
    between=st.booleans(),
)
def test_an_interrupt_never_clicks_and_sound_is_gone_within_8_ms(
    hertz: float, known: int, at: int, between: bool
) -> None:
    """The steps between samples stay what the sound and the fade make them."""
    playout = Playout()
    tone = 0.8 * np.sin(2 * np.pi * hertz * np.arange(known) / RATE).astype(np.float32)
    playout.push_audio(AudioChunk(tone, 0, RATE))
    for pts in range(10):
        playout.push_frame(frame(pts))
    playout.second_half(playout.next_slot(-SLOT_SECONDS))
    out = sent(playout, 12, at, between=between)
    allowed = 0.8 * 2 * np.pi * hertz / RATE + 0.8 * np.pi / 2 / FADE + 1e-3
    # Where the sound itself ends too early, it comes to rest in 2.5 ms.
    allowed = max(allowed, 0.8 / (RATE // 400 - 1) + 1e-3)
    assert np.abs(np.diff(out)).max() <= allowed
    cut = at * SLOT_SAMPLES + (HALF if between else 0)
    assert not out[cut + FADE :].any()


def test_the_half_not_yet_sent_is_cut_and_what_was_heard_is_exact() -> None:
    playout, samples = started()
    playout.second_half(playout.next_slot(0.0))
    slot = playout.next_slot(SLOT_SECONDS)
    assert playout.interrupt(1) == SLOT_SAMPLES + HALF
    half = playout.second_half(slot)
    assert len(half) == HALF
    assert half[0] == pytest.approx(samples[SLOT_SAMPLES + HALF], abs=1e-3)
    assert not half[FADE:].any()
    assert not playout.next_slot(2 * SLOT_SECONDS).audio.any()


def test_a_half_that_was_sent_is_heard_and_the_next_slot_fades() -> None:
    playout, _ = started()
    playout.second_half(playout.next_slot(0.0))
    playout.second_half(playout.next_slot(SLOT_SECONDS))
    assert playout.interrupt(1) == 2 * SLOT_SAMPLES
    after = playout.next_slot(2 * SLOT_SECONDS)
    assert after.audio[:FADE].any()
    assert not playout.second_half(after).any()


def test_who_sends_whole_slots_has_sent_them() -> None:
    playout, _ = started()
    playout.next_slot(0.0)
    playout.next_slot(SLOT_SECONDS)
    assert playout.interrupt(1) == 2 * SLOT_SAMPLES
    assert playout.interrupt(1) == 2 * SLOT_SAMPLES


def test_bridging_pictures_are_shown_one_a_slot_before_new_content() -> None:
    playout, _ = started()
    playout.next_slot(0.0)
    playout.interrupt(1)
    for pts in (101, 102, 103):
        playout.push_bridge(frame(pts), 1)
    playout.push_bridge(frame(999), 0)  # of an epoch that is over
    playout.push_audio(AudioChunk(loud(6), 20 * SLOT_SAMPLES, RATE), 1)
    for pts in range(20, 26):
        playout.push_frame(frame(pts), 1)
    slots = [playout.next_slot((1 + i) * SLOT_SECONDS) for i in range(7)]
    assert [s.frame.pts for s in slots if s.frame][:3] == [101, 102, 103]
    assert all(s.silence and not s.repeated for s in slots[:3])
    contents = [s.content for s in slots]
    assert [c for c in contents if c is not None] == [20, 21, 22]
    assert playout.since_interrupt == 7


def quiet_then_loud(quiet: int, speech: int) -> Playout:
    """Content 0 is loud and has left; then come silent slots and loud ones, no more pictures."""
    playout = Playout()
    line = loud(1 + quiet + speech)
    line[SLOT_SAMPLES : (1 + quiet) * SLOT_SAMPLES] = 0.0
    playout.push_audio(AudioChunk(line[: (1 + quiet) * SLOT_SAMPLES], 0, RATE))
    for pts in range(3):
        playout.push_frame(frame(pts))
    assert playout.next_slot(-SLOT_SECONDS).silence
    assert playout.next_slot(0.0).content == 0
    assert playout.cut_quiet(1 + quiet) == quiet
    playout.push_audio(AudioChunk(line[(1 + quiet) * SLOT_SAMPLES :], (1 + quiet) * SLOT_SAMPLES,
                                  RATE))  # fmt: skip
    return playout


def test_silence_before_speech_in_a_hurry_is_dropped_and_the_wait_is_no_miss() -> None:
    playout = quiet_then_loud(5, 4)
    assert [pts for pts in range(8) if playout.wanted(pts)] == [6, 7]
    wait = playout.next_slot(SLOT_SECONDS)
    assert wait.silence and not wait.missed
    assert not playout.wanted(5)
    playout.push_frame(frame(6))
    speech = playout.next_slot(2 * SLOT_SECONDS)
    assert speech.content == 6
    assert speech.frame is not None and speech.frame.pts == 6
    stats = playout.stats()
    assert (stats.trimmed, stats.held) == (5, 0)
    assert playout.next_slot(3 * SLOT_SECONDS).missed, "from here on pictures must be in time"


def test_silence_behind_speech_is_dropped_when_its_turn_comes() -> None:
    playout = Playout()
    line = loud(6)
    line[3 * SLOT_SAMPLES : 5 * SLOT_SAMPLES] = 0.0
    playout.push_audio(AudioChunk(line, 0, RATE))
    for pts in range(6):
        playout.push_frame(frame(pts))
    playout.next_slot(-SLOT_SECONDS)
    playout.next_slot(0.0)
    assert playout.cut_quiet(5) == 2
    assert playout.cut_quiet(6) == 0, "one at a time"
    slots = [playout.next_slot((1 + i) * SLOT_SECONDS) for i in range(3)]
    assert [slot.content for slot in slots] == [1, 2, 5]


@given(st.integers(0, 12))
def test_sound_is_never_dropped_as_silence(slot: int) -> None:
    playout, _ = started()
    playout.next_slot(0.0)
    assert playout.cut_quiet(slot) == 0
    assert Playout().cut_quiet(slot) == 0


def test_a_picture_that_will_not_come_is_not_waited_for_and_not_missed() -> None:
    playout = Playout(max_delay=2.0)
    playout.push_audio(AudioChunk(loud(25), 0, RATE))
    for pts in range(25):
        if pts % 5 == 4:
            playout.omit(pts, 0)
        else:
            playout.push_frame(frame(pts))
    slots = [playout.next_slot(i * SLOT_SECONDS) for i in range(26)][1:]
    assert [slot.content for slot in slots] == list(range(25))
    assert [slot.content for slot in slots if slot.repeated] == [4, 9, 14, 19, 24]
    assert not any(slot.missed for slot in slots)
    assert (playout.stats().repeated, playout.stats().held) == (0, 0)


def test_a_pause_misses_nothing_and_output_time_goes_on() -> None:
    playout, _ = started()
    first = playout.next_slot(0.0)
    playout.pause()
    assert playout.due is None
    again = playout.next_slot(1000.0)
    assert again.pts == first.pts + 1
    assert playout.due == pytest.approx(1000.0 + SLOT_SECONDS)
    assert playout.stats().missed == 0


def test_late_sound_is_an_underrun_and_skew_is_of_what_leaves_together() -> None:
    playout, _ = started(2)
    slots = [playout.next_slot(i * SLOT_SECONDS) for i in range(3)]
    assert [slot.skew for slot in slots] == [0.0, 0.0, None]
    assert [slot.underrun for slot in slots] == [False, False, True]
    assert playout.stats().underrun == 1
    late = Playout(max_delay=0.2)
    late.push_audio(AudioChunk(loud(8), 0, RATE))
    late.push_frame(frame(0))
    late.push_frame(frame(1))
    skews = [late.next_slot(i * SLOT_SECONDS).skew for i in range(6)]
    assert [s for s in skews if s is not None][-1] < -SLOT_SECONDS / 2


def test_nothing_grows_when_everything_is_interrupted_and_omitted() -> None:
    playout = Playout()
    for epoch in range(1, 200):
        playout.interrupt(epoch)
        for pts in range(20):
            playout.push_bridge(frame(pts), epoch)
            playout.omit(pts, epoch)
    assert len(playout._bridge) <= 20
    for pts in range(5000):
        playout.omit(pts, 199)
    assert len(playout._omitted) <= 100
