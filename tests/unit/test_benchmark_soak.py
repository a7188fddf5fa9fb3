"""What ``benchmarks soak`` calls growth and loss."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.analysis import growth
from benchmarks.guests import Guests, Lost, variant
from benchmarks.server import usage
from benchmarks.soak import Log, _more, _result, plot

HOUR = np.arange(0, 3600, 15.0)


def test_growth_is_of_the_time_after_the_warm_up() -> None:
    rng = np.random.default_rng(0)
    level = 600 + rng.normal(0, 2, len(HOUR))
    level[: len(HOUR) // 10] -= np.linspace(200, 0, len(HOUR) // 10)  # filling up
    assert abs(growth(HOUR.tolist(), level.tolist())) < 0.2
    leak = level + 12 * HOUR / 3600
    assert growth(HOUR.tolist(), leak.tolist()) == pytest.approx(1.8, abs=0.3)
    assert growth([1, 2], [3, 4]) == 0


def test_a_visit_that_is_seen_now_and_then_is_no_growth() -> None:
    level = np.full(len(HOUR), 500.0)
    level[::5] += 80
    assert growth(HOUR.tolist(), level.tolist()) == pytest.approx(0, abs=1e-9)


def test_one_thread_in_ten_minutes_is_growth() -> None:
    steady = np.full(len(HOUR), 30.0)
    assert _more(HOUR.tolist(), steady.tolist()) == 0
    assert _more(HOUR.tolist(), (steady + HOUR // 600).tolist()) == pytest.approx(5.4, abs=0.8)


def outcome(lost: int = 0, leak: float = 0.0, alive: bool = True, cut: bool = False):  # type: ignore[no-untyped-def]
    log = Log(SimpleNamespace())  # type: ignore[arg-type]
    log.quiet = {
        "at_s": HOUR.tolist(),
        "rss_mb": (600 + leak * HOUR / 3600).tolist(),
        "pss_mb": [590.0] * len(HOUR),
        "threads": [30.0] * len(HOUR),
        "fds": [20.0] * len(HOUR),
    }
    for name in ("loop_lag_ms", "delay_ms"):
        log.quiet[name] = [1.0] * len(HOUR)
    log.timeline = dict(log.quiet)
    guests = Guests(SimpleNamespace(), None, 0)  # type: ignore[arg-type]
    guests.did.update(polite=3)
    skew = (np.arange(60.0).tolist(), [2.0] * 60)
    return _result(
        "c",
        60,
        {"cpu": "x", "cores": 2},
        log,
        guests,
        ["a reason"] * lost,
        skew,
        0.999,
        cut,
        alive,
        [],
    )


def test_a_quiet_hour_keeps_the_promise() -> None:
    result = outcome()
    assert result.failures == []
    assert result.figures["rss_growth"] == 0
    assert result.figures["skew_slope_ms_per_min"] == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"lost": 1}, "1 session(s) were lost"),
        ({"leak": 12.0}, "memory grows"),
        ({"alive": False}, "the server ended"),
        ({"cut": True}, "it was stopped early"),
    ],
)
def test_what_breaks_the_promise_is_said(change: dict[str, object], sentence: str) -> None:
    assert outcome(**change).failures == [sentence]  # type: ignore[arg-type]


def test_a_soak_can_be_drawn_whole_or_cut_short(tmp_path) -> None:  # type: ignore[no-untyped-def]
    plot(outcome(), tmp_path / "whole.png")
    short = outcome()
    nothing = {"skew_at_min": [], "skew_ms": []}
    plot(type(short)("soak", "c", {}, nothing, short.figures), tmp_path / "short.png")
    assert (tmp_path / "whole.png").stat().st_size > (tmp_path / "short.png").stat().st_size


def test_visits_that_fail_are_counted_by_reason() -> None:
    async def refused() -> None:
        raise ConnectionRefusedError("503")

    async def vanished() -> None:
        raise Lost("no more pictures came")

    async def fine() -> None:
        return None

    guests = Guests(SimpleNamespace(), None, 0)  # type: ignore[arg-type]
    guests._acts = {"a": refused, "b": vanished, "c": fine}
    for index in range(6):
        asyncio.run(guests.one(index))
    assert guests.did == {"c": 2}
    assert guests.lost == 2
    assert guests.errors == {
        "a: ConnectionRefusedError 503": 2,
        "b: no more pictures came": 2,
    }


def test_every_photo_is_a_new_one_and_still_a_photo() -> None:
    import cv2

    rng = random.Random(0)
    picture = np.random.default_rng(0).integers(0, 255, (64, 48, 3), np.uint8)
    found = {variant(picture, rng) for _ in range(8)}
    assert len(found) == 8
    assert all(cv2.imdecode(np.frombuffer(data, np.uint8), 1) is not None for data in found)


def test_usage_is_of_the_whole_family() -> None:
    alone = usage(os.getpid())
    line = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        both = usage(os.getpid())
        child.communicate()
    assert both.processes == alone.processes + 1
    assert both.rss_mb > alone.rss_mb + 3
    assert both.threads >= alone.threads + 1
    assert both.fds > alone.fds
    assert alone.pss_mb <= alone.rss_mb
