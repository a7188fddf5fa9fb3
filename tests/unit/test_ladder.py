"""What is left out under load: down fast, up slowly, never to and fro."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ladder import Ladder, Rung, left_out, rungs

WAYS = rungs(2, 512)


def test_the_rungs_leave_out_first_what_is_seen_least() -> None:
    assert (Rung(2, 25, 512), Rung(1, 25, 512), Rung(1, 20, 512), Rung(1, 20, 384)) == WAYS
    assert rungs(1, 512) == (Rung(1, 25, 512), Rung(1, 20, 512), Rung(1, 20, 384))
    assert rungs(1, 256) == (Rung(1, 25, 256), Rung(1, 20, 256))
    with pytest.raises(ValueError, match="rung"):
        Ladder(())


def test_twenty_pictures_a_second_are_every_fifth_left_out() -> None:
    assert [pts for pts in range(25) if left_out(WAYS[2], pts)] == [4, 9, 14, 19, 24]
    assert not any(left_out(WAYS[1], pts) for pts in range(25))


def run(ladder: Ladder, misses: list[int]) -> list[int]:
    """The level after each slot."""
    levels = []
    for miss in misses:
        before = ladder.level
        changed = ladder.slot(miss)
        assert changed == (ladder.level != before)
        assert ladder.rung == WAYS[ladder.level]
        levels.append(ladder.level)
    return levels


def test_when_every_slot_is_missed_the_bottom_is_reached_within_seconds() -> None:
    levels = run(Ladder(WAYS), [1] * 125)
    assert levels[3] == 1, "four misses are enough"
    assert levels[-1] == 3
    assert levels.index(3) <= 4 * Ladder.SETTLE


def test_a_stray_miss_changes_nothing() -> None:
    assert set(run(Ladder(WAYS), ([1] + [0] * 24) * 60)) == {0}


def test_ten_calm_seconds_lead_one_rung_up() -> None:
    ladder = Ladder(WAYS)
    run(ladder, [1] * 125)
    levels = run(ladder, [0] * 1000)
    ups = [slot for slot, (a, b) in enumerate(pairwise(levels), 2) if b < a]
    assert len(ups) == 3
    assert min(b - a for a, b in pairwise([0, *ups])) >= Ladder.CALM
    assert levels[-1] == 0


def test_going_up_in_vain_is_tried_less_and_less_often() -> None:
    """A machine that manages level 1 and never level 0."""
    ladder = Ladder(WAYS)
    levels = []
    for _ in range(25 * 600):
        ladder.slot(ladder.level == 0)
        levels.append(ladder.level)
    rises = [i for i, (a, b) in enumerate(pairwise(levels)) if b < a]
    gaps = [b - a for a, b in pairwise(rises)]
    assert all(later >= earlier for earlier, later in pairwise(gaps))
    assert gaps[-1] >= Ladder.MOST_CALM
    assert sum(level == 0 for level in levels[25:]) < 0.05 * len(levels)


def test_after_a_pause_old_misses_do_not_count() -> None:
    ladder = Ladder(WAYS)
    run(ladder, [1] * 3)
    ladder.restart()
    assert run(ladder, [0] * 100 + [1])[-1] == 0


@settings(deadline=None)
@given(
    misses=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 400)), min_size=1, max_size=30).map(
        lambda runs_: [miss for miss, count in runs_ for _ in range(count)]
    )
)
def test_whatever_happens_it_steps_one_rung_at_a_time_and_rests_between(misses: list[int]) -> None:
    levels = [0, *run(Ladder(WAYS), misses)]
    changes = [i for i in range(1, len(levels)) if levels[i] != levels[i - 1]]
    for i in changes:
        assert abs(levels[i] - levels[i - 1]) == 1
        if levels[i] < levels[i - 1]:
            calm = misses[max(0, i - Ladder.CALM) : i]
            assert sum(calm) <= Ladder.STRAY
            assert len(calm) == Ladder.CALM
        else:
            assert sum(misses[max(0, i - Ladder.WINDOW) : i]) >= Ladder.MISSES
    gaps = [b - a for a, b in pairwise(changes)]
    assert all(gap > Ladder.SETTLE for gap in gaps)
