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


def test_a_lost_packet_becomes_20_ms_of_silence() -> None:
    ingest, _, chunks = run({t: [t] for t in range(50) if t != 20}, 50)
    samples = line(chunks).reshape(-1, PACKET)
    assert not samples[20].any()
    np.testing.assert_array_equal(samples[21], loud(21))
    assert len(samples) == 50
    assert ingest.stats.lost_ms == 20


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
    np.testing.assert_array_equal(line(chunks)[-PACKET:], loud(149))


@pytest.mark.parametrize("ppm", [-2000, 2000])
def test_a_sender_with_a_wrong_clock_is_kept_in_step(ppm: int) -> None:
    clock = ManualClock()
    ingest = AudioIngest(clock)
    chunks: list[AudioChunk] = []
    sent = 0
    for _ in range(15_000):
        clock.advance(TICK)
        while sent * PACKET <= clock.now() * RATE * (1 + ppm / 1e6):
            chunks += ingest.receive(loud(sent), sent * PACKET)
            sent += 1
        chunks += ingest.tick()
        assert -0.1 <= ingest.end / RATE - clock.now() <= 0.2 + TICK
    line(chunks)
    moved = ingest.stats.dropped_ms if ppm > 0 else ingest.stats.filled_ms
    assert moved == pytest.approx(0.002 * 300_000, rel=0.5)


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
