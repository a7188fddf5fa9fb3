"""Token buckets under a clock that moves when told, and what the server makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import ManualClock
from engine.config import ServerConfig
from engine.transport.limits import Buckets, Limits, client_of, is_local, kind_of


def test_a_burst_then_the_rate() -> None:
    clock = ManualClock()
    buckets = Buckets(3, 6, clock)  # one every ten seconds
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 0]
    assert buckets.take("a") == pytest.approx(10)
    assert buckets.take("b") == 0, "somebody else is not concerned"
    clock.advance(9.9)
    assert buckets.take("a") == pytest.approx(0.1)
    clock.advance(0.2)
    assert buckets.take("a") == 0
    clock.advance(3600)
    assert [buckets.take("a") for _ in range(4)] == pytest.approx([0, 0, 0, 10])


def test_looking_takes_nothing() -> None:
    buckets = Buckets(1, 60, ManualClock())
    assert buckets.wait("a") == 0
    assert len(buckets) == 0
    buckets.take("a")
    assert [buckets.wait("a") for _ in range(3)] == pytest.approx([1, 1, 1])


def test_nothing_limits_where_the_rate_is_nought() -> None:
    buckets = Buckets(0, 0, ManualClock())
    assert not any(buckets.take("a") for _ in range(1000))
    assert len(buckets) == 0


def test_a_stranger_with_many_addresses_cannot_fill_the_memory() -> None:
    clock = ManualClock()
    buckets = Buckets(1, 1, clock, most=10)
    for number in range(1000):
        buckets.take(str(number))
    assert len(buckets) == 10
    assert buckets.wait("999") > 0


@given(st.lists(st.floats(0, 30), max_size=60))
def test_never_more_than_burst_and_rate_allow(pauses: list[float]) -> None:
    clock = ManualClock()
    buckets = Buckets(5, 30, clock)
    taken = 0
    for pause in pauses:
        clock.advance(pause)
        wait = buckets.take("a")
        taken += wait == 0
        assert 0 <= wait <= 2 + 1e-9
    assert taken <= 5 + clock.now() / 2 + 1e-6


def test_kinds_have_their_own_limits() -> None:
    config = ServerConfig(rate_uploads=1, rate_sessions=2, rate_requests=3)
    limits = Limits(config, ManualClock())
    for kind, count in (("upload", 1), ("session", 2), ("other", 3)):
        assert [limits.ask(kind, "192.0.2.1", False) for _ in range(count)] == [0] * count
        assert limits.ask(kind, "192.0.2.1", False) == 60 / count
        assert limits.ask(kind, "192.0.2.2", False) == 0


def test_holders_of_the_token_have_a_limit_together() -> None:
    limits = Limits(ServerConfig(rate_uploads=1), ManualClock())
    asked = [limits.ask("upload", f"192.0.2.{n}", True) for n in range(11)]
    assert asked == [0] * 10 + [6]


def test_programs_on_this_machine_are_not_limited() -> None:
    limits = Limits(ServerConfig(rate_uploads=1, rate_requests=1), ManualClock())
    assert not any(limits.ask("other", "127.0.0.1", False) for _ in range(500))
    assert not any(limits.ask("upload", "::1", True) for _ in range(500))


def test_wrong_tokens_block_an_address_for_a_while() -> None:
    clock = ManualClock()
    limits = Limits(ServerConfig(), clock)
    for _ in range(20):
        assert limits.blocked("192.0.2.1") == 0
        limits.failed("192.0.2.1")
    assert limits.blocked("192.0.2.1") == 10
    assert limits.blocked("192.0.2.2") == 0
    clock.advance(10)
    assert limits.blocked("192.0.2.1") == 0


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("POST", "/avatars", "upload"),
        ("GET", "/avatars", "other"),
        ("POST", "/offer", "session"),
        ("POST", "/sessions", "session"),
        ("POST", "/whip", "session"),
        ("POST", "/whip/abc", "session"),
        ("POST", "/whep/abc", "session"),
        ("PATCH", "/whep/abc/def", "other"),
        ("POST", "/sessions/abc/speak", "other"),
    ],
)
def test_kinds(method: str, path: str, kind: str) -> None:
    assert kind_of(method, path) == kind


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("::ffff:192.0.2.1", "", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "", "fe80::/64"),
        ("::1", "", "::1"),
        ("127.0.0.1", "203.0.113.9, 192.0.2.7", "192.0.2.7"),
        ("127.0.0.1", "192.0.2.7, nonsense", "127.0.0.1"),
        ("127.0.0.1", "[2001:db8::1]", "2001:db8::/64"),
        (None, "", "unknown"),
    ],
)
def test_which_address_counts(remote: str | None, forwarded: str, client: str) -> None:
    assert client_of(remote, forwarded) == client


def test_what_is_local() -> None:
    assert [is_local(name) for name in ("127.0.0.1", "::1", "192.0.2.1", "unknown")] == [
        True, True, False, False,
    ]  # fmt: skip
