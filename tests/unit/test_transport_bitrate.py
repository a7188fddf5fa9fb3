"""Which rate is sent at, after what the receiver said of room and of loss."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import ManualClock
from engine.transport.bitrate import (
    LADDER,
    SIZES,
    START,
    BitrateLadder,
    SizeLadder,
    picture_scale,
)


def test_the_ladder_goes_down_at_once_and_up_after_a_calm_while() -> None:
    clock = ManualClock()
    ladder = BitrateLadder(clock, 820_000)
    ladder.estimate(450_000)
    assert ladder.rate == 420_000
    for _ in range(9):
        ladder.estimate(2_000_000)
        clock.advance(0.5)
    assert ladder.rate == 420_000
    clock.advance(0.6)
    ladder.estimate(900_000)
    # Only as high as the lowest estimate of the calm period.
    assert ladder.rate == 820_000


def test_the_ladder_ignores_estimates_that_waver() -> None:
    clock = ManualClock()
    ladder = BitrateLadder(clock, 820_000)
    rates = set()
    for step in range(200):
        ladder.estimate(820_000 + (-1) ** step * 100_000)
        clock.advance(1.0)
        rates.add(ladder.rate)
    assert rates == {820_000}


def test_the_ladder_never_leaves_its_ends() -> None:
    clock = ManualClock()
    ladder = BitrateLadder(clock)
    ladder.estimate(1)
    assert ladder.rate == LADDER[0]
    for _ in range(20):
        ladder.estimate(10**9)
        clock.advance(6.0)
    assert ladder.rate == LADDER[-1]


def test_a_receiver_that_sees_a_rung_can_ask_for_the_next() -> None:
    """Estimates grow to 1.5 times what arrives: larger steps would never be climbed."""
    assert all(b / a < 1.5 for a, b in pairwise(LADDER))


def test_it_starts_where_receivers_do_and_fits_a_narrow_link() -> None:
    """Estimates begin near 500 kbit/s; 300 kbit/s hold a rung, sound at 48 and all headers."""
    assert 500_000 <= BitrateLadder(ManualClock()).rate == START <= 600_000
    per_packet = 12 + 10 + 28  # RTP, SRTP, IP and UDP
    sound = 48_000 + 50 * 8 * per_packet
    fitting = [r for r in LADDER if r * (1 + per_packet / 1200) + sound <= 300_000]
    assert len(fitting) >= 2 and picture_scale(fitting[0]) == (3, 4)
    assert picture_scale(START) == (1, 1)


def reports(ladder: BitrateLadder, clock: ManualClock, loss: float, count: int) -> None:
    for _ in range(count):
        clock.advance(1.0)
        ladder.loss(loss)


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.05, 0.09])
def test_losses_that_may_not_be_ours_change_nothing(loss: float) -> None:
    clock = ManualClock()
    ladder = BitrateLadder(clock)
    ladder.estimate(START)
    reports(ladder, clock, loss, 60)
    assert ladder.rate == START


def test_heavy_loss_lowers_the_rate_however_optimistic_the_estimate() -> None:
    clock = ManualClock()
    ladder = BitrateLadder(clock)
    ladder.estimate(10**9)
    reports(ladder, clock, 0.5, 1)
    assert ladder.rate == 420_000  # 590 * (1 - 0.25), and the rung below
    reports(ladder, clock, 0.2, 20)
    assert ladder.rate == LADDER[0]


def test_without_any_estimate_loss_alone_decides_and_its_end_lets_the_rate_rise() -> None:
    clock = ManualClock()
    ladder = BitrateLadder(clock)
    reports(ladder, clock, 0.3, 10)
    low = ladder.rate
    assert low <= 210_000
    rates = []
    for _ in range(60):
        reports(ladder, clock, 0.0, 1)
        rates.append(ladder.rate)
    assert rates[3] == low  # not at once
    assert rates == sorted(rates) and rates[-1] == LADDER[-1]
    # Every step is one rung: loss-based growth is 5 % a report.
    assert all(LADDER.index(b) - LADDER.index(a) <= 1 for a, b in pairwise(rates))


def changes(capacity: int, seconds: int) -> list[float]:
    """Times of changes on a link that loses whatever is beyond its capacity."""
    clock = ManualClock()
    ladder = BitrateLadder(clock)
    moved = []
    for _ in range(seconds):
        clock.advance(1.0)
        before = ladder.rate
        ladder.loss(max(0.0, 1 - capacity / ladder.rate))
        if ladder.rate != before:
            moved.append(clock.now())
    return moved


def test_a_link_between_two_rungs_is_not_tried_again_and_again() -> None:
    """Each change is a key frame. After a step that failed, the next waits twice as long."""
    moved = changes(500_000, 600)
    assert len([t for t in moved if t > 300]) <= 16
    assert max(b - a for a, b in pairwise(moved)) >= 35


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1), st.integers(0, 10**7)), max_size=80))
def test_whatever_is_reported_the_rate_is_a_rung(reported: list[tuple[bool, float, int]]) -> None:
    clock = ManualClock()
    ladder = BitrateLadder(clock)
    for by_loss, share, estimate in reported:
        clock.advance(0.7)
        before = ladder.rate
        ladder.loss(share) if by_loss else ladder.estimate(estimate)
        assert ladder.rate in LADDER
        # Nothing that speaks against it ever raises it.
        if by_loss and share > 0.1:
            assert ladder.rate <= before


def test_a_picture_that_does_not_fit_gets_smaller_and_later_tries_again() -> None:
    sizes = SizeLadder()
    for _ in range(10):
        sizes.coded(skipped=True)
    assert sizes.smaller == 0
    sizes.coded(skipped=True)
    assert sizes.smaller == 1
    for _ in range(249):
        sizes.coded(skipped=False)
    assert sizes.smaller == 1
    sizes.coded(skipped=False)
    assert sizes.smaller == 0
    for _ in range(11):  # it was too early: the next try waits twice as long
        sizes.coded(skipped=True)
    for _ in range(499):
        sizes.coded(skipped=False)
    assert sizes.smaller == 1
    sizes.coded(skipped=False)
    assert sizes.smaller == 0


def test_pictures_left_out_now_and_then_change_nothing() -> None:
    sizes = SizeLadder()
    for index in range(2000):
        sizes.coded(skipped=index % 3 == 0)
    assert sizes.smaller == 0


@given(st.lists(st.booleans(), max_size=600))
def test_there_is_always_a_size(skips: list[bool]) -> None:
    sizes = SizeLadder()
    for skipped in skips:
        sizes.coded(skipped=skipped)
        assert picture_scale(LADDER[0], sizes.smaller) in SIZES
        assert 0 <= sizes.smaller < len(SIZES)
