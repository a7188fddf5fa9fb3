"""How much of what receivers ask for again is sent again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.transport.resend import SHARE, Answer, Resends

RATE = 400_000
ROUND_TRIP = 0.1


def test_a_packet_is_repeated_at_once_and_again_after_a_round_trip() -> None:
    resends = Resends()
    assert resends.ask(7, 1000, 10.0, ROUND_TRIP, RATE) is Answer.SEND
    assert resends.ask(7, 1000, 10.05, ROUND_TRIP, RATE) is Answer.TOO_SOON
    assert resends.ask(8, 1000, 10.05, ROUND_TRIP, RATE) is Answer.SEND
    assert resends.ask(7, 1000, 10.11, ROUND_TRIP, RATE) is Answer.SEND


def test_one_packet_in_five_lost_and_each_asked_for_twice_is_repeated() -> None:
    resends, answers = Resends(), []
    for packet in range(0, 500, 5):  # 50 packets of 1000 bytes a second
        answers.append(resends.ask(packet, 1000, packet / 50, ROUND_TRIP, RATE))
        if packet % 20 == 0:
            answers.append(resends.ask(packet, 1000, packet / 50 + 0.101, ROUND_TRIP, RATE))
    assert set(answers) == {Answer.SEND}


@given(
    st.lists(
        st.tuples(st.integers(0, 300), st.integers(20, 1200), st.floats(0, 0.05)), max_size=600
    )
)
def test_a_storm_of_requests_takes_no_more_than_its_share(
    storm: list[tuple[int, int, float]],
) -> None:
    resends, now, sent = Resends(), 0.0, 0
    for number, size, pause in storm:
        now += pause
        if resends.ask(number, size, now, ROUND_TRIP, RATE) is Answer.SEND:
            sent += 8 * size
    assert sent <= SHARE * RATE * (1 + now)
