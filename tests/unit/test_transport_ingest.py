"""The input line: unbroken, in step with the clock, whatever the peer does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.clock import ManualClock
from engine.media import AudioChunk, Float32
from engine.transport.ingest import RATE, AudioIngest, mono

PACKET = 960
TICK = 0.02


def loud(packet: int) -> Float32:
    return np.full(PACKET, 0.1 + (packet % 7) / 20, np.float32)


def line(chunks: list[AudioChunk]) -> Float32:
    """Join, and check that there is neither gap nor overlap."""
    end = 0
    for chunk in chunks:
        assert chunk.pts == end and chunk.rate == RATE
        end = chunk.end
    return (
        np.concatenate([chunk.samples for chunk in chunks]) if chunks else np.zeros(0, np.float32)
    )


def run(
    arrivals: dict[int, list[int]], ticks: int, base: int = 12345
) -> tuple[AudioIngest, ManualClock, list[AudioChunk]]:
    """``arrivals``: tick to the packet numbers received in it."""
    clock = ManualClock(100.0)
    ingest = AudioIngest(clock)
    chunks: list[AudioChunk] = []
    for tick in range(ticks):
        for number in arrivals.get(tick, []):
            chunks += ingest.receive(loud(number), base + number * PACKET)
        chunks += ingest.tick()
        clock.advance(TICK)
    return ingest, clock, chunks


def test_a_steady_sender_is_passed_on_untouched() -> None:
    ingest, _, chunks = run({t: [t] for t in range(100)}, 100)
    np.testing.assert_array_equal(line(chunks), np.concatenate([loud(n) for n in range(100)]))
    assert ingest.stats.lost_ms == ingest.stats.dropped_ms == ingest.stats.filled_ms == 0


def test_a_lost_packet_becomes_20_ms_of_what_was_heard() -> None:
    ingest, _, chunks = run({t: [t] for t in range(50) if t != 20}, 50)
    samples = line(chunks).reshape(-1, PACKET)
    assert samples[20].min() > 0.5 * loud(19)[0]
    np.testing.assert_array_equal(samples[21, 240:], loud(21)[240:])
    assert abs(np.diff(samples[20:22].ravel())).max() < 0.01  # no click
    assert len(samples) == 50
    assert ingest.stats.lost_ms == ingest.stats.concealed_ms == 20


def test_a_long_hole_is_silence_after_60_ms() -> None:
    ingest, _, chunks = run({t: [t] for t in range(50) if not 20 <= t < 26}, 50)
    samples = line(chunks).reshape(-1, PACKET)
    assert not samples[23:26, 240:].any() and samples[20:22].all()
    assert ingest.stats.lost_ms + ingest.stats.filled_ms == pytest.approx(120, abs=20)
    assert ingest.stats.concealed_ms == 60


def test_silence_replaces_a_peer_that_sends_nothing() -> None:
    ingest, _, chunks = run({}, 251)
    samples = line(chunks)
    assert not samples.any()
    assert abs(len(samples) - 5 * RATE) <= PACKET
    assert ingest.stats.received_ms == 0


def test_a_peer_may_mute_and_speak_again_with_any_timestamps() -> None:
    arrivals = {t: [t] for t in range(50)} | {t: [t + 9000] for t in range(150, 200)}
    ingest, clock, chunks = run(arrivals, 200)
    assert abs(len(line(chunks)) / RATE - (clock.now() - 100)) <= 0.2
    assert ingest.stats.received_ms == pytest.approx(2000, abs=1)
    assert ingest.stats.filled_ms == pytest.approx(2000, abs=100)


def test_a_burst_after_a_stall_does_not_run_ahead_of_the_clock() -> None:
    """1 s of network stall, then all of it at once: most is dropped, what is newest goes on."""
    arrivals = {t: [t] for t in range(50)}
    arrivals[100] = list(range(50, 101))
    arrivals |= {t: [t] for t in range(101, 150)}
    ingest, clock, chunks = run(arrivals, 150)
    assert len(line(chunks)) / RATE - (clock.now() - 100) <= 0.2
    assert ingest.stats.dropped_ms > 500
    # What is newest goes on; a little shorter, to lose what it is ahead.
    np.testing.assert_allclose(line(chunks)[-900:], loud(149)[:900])
    assert ingest.stats.stretched_ms < 0


@pytest.mark.slow
@pytest.mark.parametrize(("ppm", "minutes"), [(-2000, 5), (2000, 5), (0, 5), (-300, 60), (100, 60)])
def test_a_sender_with_a_wrong_clock_is_kept_in_step(ppm: int, minutes: int) -> None:
    """Nothing is dropped, hardly anything filled in, and the delay has no trend."""
    clock = ManualClock()
    ingest = AudioIngest(clock)
    rng = np.random.default_rng(ppm + 5000)
    sent, end = 0, 0
    leads: list[float] = []
    due = 0.0
    for _ in range(minutes * 3000):
        # Sent when its last sample was spoken; up to 30 ms on the way, never overtaking.
        spoken = (sent + 1) * PACKET / (RATE * (1 + ppm / 1e6))
        due = max(due, spoken + float(rng.exponential(0.006)))
        while clock.now() + TICK < due:
            clock.advance(TICK)
            for chunk in ingest.tick():
                end = chunk.end
        clock.advance(max(0.0, due - clock.now()))
        for chunk in [*ingest.receive(loud(sent), sent * PACKET), *ingest.tick()]:
            assert chunk.pts == end
            end = chunk.end
        sent += 1
        leads.append(end / RATE - clock.now())
    seconds = sent * PACKET / RATE
    stats = ingest.stats
    assert stats.dropped_ms == 0
    # Before the first packet, and where one in a hundred thousand came too late.
    assert stats.filled_ms <= 250
    assert stats.drift_ppm == pytest.approx(ppm, abs=60)
    assert stats.stretched_ms == pytest.approx(-ppm * seconds / 1000, abs=45 + stats.filled_ms)
    settled = np.array(leads[3000:])
    assert settled.min() > -0.12 and settled.max() < 0.12
    tenth = len(settled) // 10
    assert abs(np.median(settled[-tenth:]) - np.median(settled[:tenth])) < 0.03


def test_what_a_burst_left_ahead_is_worked_off_without_dropping_speech() -> None:
    arrivals = {t: [t] for t in range(50)}
    arrivals[55] = list(range(50, 56))  # 100 ms late, all at once: 6 packets
    arrivals |= {t: [t] for t in range(56, 3000)}
    ingest, clock, _ = run(arrivals, 3000)
    assert ingest.stats.dropped_ms == 0
    assert ingest.end / RATE - (clock.now() - 100) < 0.05
    assert ingest.stats.stretched_ms == pytest.approx(-ingest.stats.filled_ms, abs=40)


@pytest.mark.parametrize("loss", [0.01, 0.05, 0.2])
def test_loss_costs_no_time(loss: float) -> None:
    rng = np.random.default_rng(1)
    kept = {t: [t] for t in range(3000) if rng.random() >= loss}
    ingest, clock, chunks = run(kept, 3000)
    samples = line(chunks)
    assert abs(len(samples) / RATE - (clock.now() - 100)) < 0.1
    stats = ingest.stats
    gaps = stats.lost_ms + stats.filled_ms
    assert gaps == pytest.approx(loss * 60_000, rel=0.25)
    assert stats.concealed_ms > 0.85 * gaps
    assert stats.dropped_ms == 0


def test_another_sender_is_measured_afresh() -> None:
    clock = ManualClock()
    ingest = AudioIngest(clock)
    for sent in range(2000):
        clock.advance(TICK)
        ingest.receive(loud(sent), round(sent * PACKET * 1.001))
    assert ingest.stats.drift_ppm == pytest.approx(1000, abs=50)
    ingest.restart()
    for sent in range(2000):
        clock.advance(TICK)
        ingest.receive(loud(sent), 77 + sent * PACKET)
    assert abs(ingest.stats.drift_ppm) < 50


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(-3, 4000), st.integers(0, 2000)), max_size=60
    )
)
def test_the_line_never_breaks_and_never_leaves_the_clock(
    events: list[tuple[int, int, int]],
) -> None:
    """Any waits, any timestamps, any sizes."""
    clock = ManualClock()
    ingest = AudioIngest(clock)
    chunks: list[AudioChunk] = []
    for wait, packets, size in events:
        for _ in range(wait):
            clock.advance(TICK)
            chunks += ingest.tick()
        chunks += ingest.receive(np.full(size, 0.5, np.float32), packets * PACKET)
        assert -0.1 - 1e-6 <= ingest.end / RATE - clock.now() <= 0.2 + 1e-3
    line(chunks)


def test_stereo_is_mixed_and_full_scale_is_one() -> None:
    stereo = np.array([[32767, 32767], [16384, -16384], [-32768, -32768]], np.int16)
    np.testing.assert_allclose(mono(stereo), [0.99997, 0, -1], atol=1e-4)
