"""The audio jitter buffer against loss, reordering and restarts."""

from __future__ import annotations

import numpy as np
import pytest
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.transport.jitter import AudioJitterBuffer
from engine.transport.opus import OpusDecoder, OpusEncoder
from engine.transport.tracks import audio_frame

MODULUS = 1 << 16


def packet(number: int) -> RtpPacket:
    made = RtpPacket(sequence_number=number % MODULUS, timestamp=number * 960)
    made._data = number.to_bytes(4, "big")  # type: ignore[attr-defined]
    return made


def feed(numbers: list[int], buffer: AudioJitterBuffer | None = None) -> list[tuple[int, int]]:
    """(number that came out, number that had just gone in)."""
    buffer = buffer or AudioJitterBuffer()
    out = []
    for number in numbers:
        asked, run = buffer.add(packet(number))
        assert asked is False
        if run is None:
            continue
        first = int.from_bytes(run.data, "big")
        assert run.timestamp == first * 960
        out.append((first, number))
        for later, data in run.rest:
            inside = int.from_bytes(data, "big")
            assert later == (inside - first) * 960
            out.append((inside, number))
    return out


@pytest.mark.parametrize("start", [0, MODULUS - 20])
def test_without_loss_everything_comes_out_at_once(start: int) -> None:
    out = feed(list(range(start, start + 100)))
    assert out == [(n, n) for n in range(start, start + 100)]


@pytest.mark.parametrize("loss", [0.0005, 0.01, 0.05, 0.2])
def test_loss_costs_the_lost_packets_and_no_delay(loss: float) -> None:
    """aiortc's own buffer delivers 79 % at 5 % loss, and ends 280 ms late."""
    rng = np.random.default_rng(1)
    sent = [n for n in range(4000) if rng.random() > loss]
    buffer = AudioJitterBuffer()
    out = feed(sent, buffer)
    assert len(out) / len(sent) > 0.995
    late = [now - number for number, now in out]
    assert np.mean(late[-200:]) < 2.6
    # Nothing is held back longer than it takes to know that what is missing will not come.
    assert max(late) <= 2 + max(np.diff(sent))
    assert buffer.stats.patience == 2
    assert buffer.stats.missing == sent[-1] - sent[0] + 1 - len(sent) - (sent[-1] - out[-1][0] > 2)


@pytest.mark.parametrize(("loss", "bound"), [(0.01, 0.96), (0.05, 0.8)])
def test_stock_aiortc_loses_what_ours_delivers(loss: float, bound: float) -> None:
    """The defect itself, so that an aiortc without it is noticed."""
    stock = JitterBuffer(capacity=16, prefetch=4)
    rng = np.random.default_rng(1)
    sent = [n for n in range(4000) if rng.random() > loss]
    frames = [stock.add(packet(number))[1] for number in sent]
    came = [int.from_bytes(f.data, "big") for f in frames if f is not None]
    assert len(came) / len(sent) < bound
    assert sent[-1] - came[-1] >= 10


@settings(deadline=None)
@given(st.data())
def test_order_is_restored_and_nothing_comes_twice(data: st.DataObject) -> None:
    """Packets that overtake each other by one place lose nothing."""
    numbers = list(range(200))
    for i in range(0, 198, data.draw(st.integers(3, 7))):
        if data.draw(st.booleans()):
            numbers[i], numbers[i + 1] = numbers[i + 1], numbers[i]
    doubled = [n for n in numbers for _ in range(data.draw(st.integers(1, 2)))]
    out = [number for number, _ in feed(doubled)]
    assert out == sorted(set(out))
    assert len(out) >= 199


def test_a_packet_that_comes_too_late_is_dropped_and_makes_the_next_one_waited_for() -> None:
    buffer = AudioJitterBuffer()
    out = [n for n, _ in feed([0, 1, 3, 4, 5, 2, 6, 7], buffer)]
    assert out == [0, 1, 3, 4, 5, 6, 7]
    assert (buffer.stats.late, buffer.stats.patience) == (1, 4)
    out = [n for n, _ in feed([9, 10, 11, 8, 12], buffer)]
    assert out == [8, 9, 10, 11, 12]
    assert buffer.stats.reordered == 1


def test_patience_grows_to_120_ms_and_shrinks_when_all_is_calm() -> None:
    buffer = AudioJitterBuffer()
    numbers = list(range(2000))
    for place in range(0, 1000, 40):
        numbers.insert(place + 5, numbers.pop(place))  # five others overtake
    feed(numbers[:1000], buffer)
    assert buffer.stats.patience == 6
    out = feed(numbers[1000:], buffer)
    assert [n for n, _ in out] == list(range(1000, 2000))
    assert buffer.stats.patience == 4
    feed(list(range(2000, 4000)), buffer)
    assert buffer.stats.patience == 2


def test_a_run_is_decoded_packet_by_packet_with_the_times_they_had() -> None:
    encoder, decoder, buffer = OpusEncoder(), OpusDecoder(), AudioJitterBuffer()
    tone = (0.3 * np.sin(np.arange(9600) * 2 * np.pi * 300 / 48_000)).astype(np.float32)
    packets = []
    for index in range(10):
        part = tone[index * 960 : (index + 1) * 960]
        payloads, timestamp = encoder.encode(audio_frame(part, index * 960))
        made = RtpPacket(sequence_number=index, timestamp=timestamp)
        made._data = payloads[0]  # type: ignore[attr-defined]
        packets.append(made)
    times = []
    for index in (0, 2, 1, 3, 5, 4, 6, 7, 9, 8):
        _, run = buffer.add(packets[index])
        if run is not None:
            times += [(f.pts, f.samples, f.layout.name) for f in decoder.decode(run)]
    assert times == [(index * 960, 960, "mono") for index in range(10)]


def test_a_damaged_packet_is_left_out_and_the_rest_decoded() -> None:
    encoder, decoder, buffer = OpusEncoder(), OpusDecoder(), AudioJitterBuffer()
    made = []
    for index in range(3):
        payloads, timestamp = encoder.encode(audio_frame(np.zeros(960, np.float32), index * 960))
        made.append(RtpPacket(sequence_number=index, timestamp=timestamp))
        made[-1]._data = payloads[0] if index != 1 else b"\xff" * 3  # type: ignore[attr-defined]
    times = []
    for index in (0, 2, 1):
        _, run = buffer.add(made[index])
        times += [f.pts for f in decoder.decode(run)] if run is not None else []
    assert times == [0, 1920]


@pytest.mark.parametrize("jump", [1000, -1000, 70])
def test_a_sender_that_starts_again_is_followed_at_once(jump: int) -> None:
    first = 5000 + jump
    out = feed([*range(4990, 5000), *range(first, first + 5)])
    assert [n for n, _ in out][-5:] == list(range(first, first + 5))
