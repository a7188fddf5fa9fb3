"""The closable, bounded, epoch-tagging channel."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from engine.channel import Channel


def _channel(capacity: float = 100) -> Channel[int]:
    return Channel(capacity, lambda item: 10.0)


def test_keeps_order_and_ends() -> None:
    channel = _channel()
    for item in range(3):
        assert channel.send(item)
    channel.close()
    assert not channel.send(9)
    assert [channel.receive() for _ in range(4)] == [(0, 0), (0, 1), (0, 2), None]


def test_full_drops_the_oldest_and_counts() -> None:
    channel = _channel(50)
    for item in range(8):
        channel.send(item)
    assert channel.dropped_ms == 30
    assert channel.waiting_ms == 50
    assert channel.receive() == (0, 3)


def test_one_item_larger_than_the_capacity_still_passes() -> None:
    channel: Channel[int] = Channel(50, lambda item: 500.0)
    channel.send(1)
    assert channel.receive() == (0, 1)


def test_interrupt_forgets_and_tags() -> None:
    channel = _channel()
    channel.send(1)
    assert channel.interrupt() == 1
    channel.send(2)
    assert channel.receive() == (1, 2)


def test_what_an_interrupt_does_not_concern_goes_on_in_the_new_epoch() -> None:
    channel = _channel()
    for item in range(5):
        channel.send(item)
    assert channel.interrupt(lambda item: item % 2 == 1) == 1
    assert channel.waiting_ms == 20
    assert [channel.receive(), channel.receive()] == [(1, 1), (1, 3)]
    assert channel.waiting_ms == 0


def test_items_that_take_no_time_are_bounded_too() -> None:
    channel: Channel[int] = Channel(50, lambda item: 0.0)
    for item in range(5000):
        channel.send(item)
    assert channel.receive() == (0, 5000 - 1024)


def test_close_wakes_a_waiting_receiver() -> None:
    channel = _channel()
    got: list[object] = ["nothing"]
    thread = threading.Thread(target=lambda: got.append(channel.receive()))
    thread.start()
    channel.close()
    thread.join(2)
    assert got[-1] is None
    assert not thread.is_alive()


@given(st.lists(st.sampled_from(["send", "receive", "interrupt"]), max_size=60))
def test_nothing_of_an_older_epoch_comes_out_after_an_interrupt(steps: list[str]) -> None:
    channel = _channel()
    for step in steps:
        if step == "send":
            channel.send(channel.epoch)
        elif step == "interrupt":
            channel.interrupt()
        elif channel.waiting_ms:
            received = channel.receive()
            assert received is not None
            assert received[0] == received[1] == channel.epoch
    assert channel.waiting_ms <= 100
