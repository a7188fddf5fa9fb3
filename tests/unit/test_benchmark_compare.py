"""What ``benchmarks compare`` calls better, the same and worse."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.__main__ import main
from benchmarks.compare import (
    Unlike,
    compare,
    differences,
    figures,
    judge,
    noise,
    spread,
    table,
)
from benchmarks.kinds import Direction, direction

RESULTS = sorted((Path(__file__).resolve().parents[2] / "docs" / "results").glob("*.json"))
NAMES = st.sampled_from(
    ["call_p50_ms", "call_p95_ms", "x_p99_ms", "slots_on_time", "slots_late", "skew_signed_p50_ms",
     "rss_mb", "server_cores", "rss_growth", "minutes", "follow_jawOpen", "start_s"]
)  # fmt: skip
VALUES = st.floats(-1e6, 1e6)
SERIES = st.lists(st.floats(-1e4, 1e4), max_size=60)


@st.composite
def results(draw: st.DrawFn) -> dict[str, Any]:
    """A result as the benchmarks write it, of one benchmark, with some figures and samples."""
    return {
        "benchmark": "x",
        "figures": {"always_ms": draw(VALUES), **draw(st.dictionaries(NAMES, VALUES))},
        "samples": draw(st.dictionaries(st.sampled_from(["call_ms", "x_ms"]), SERIES)),
    }


@given(results())
@settings(deadline=None, max_examples=40)
def test_a_result_does_not_differ_from_itself(result: dict[str, Any]) -> None:
    assert {change.verdict for change in compare(result, result)} == {"same"}
    assert differences(result, result) == ""


@given(results(), results())
@settings(deadline=None, max_examples=40)
def test_turned_round_a_change_has_the_opposite_verdict(
    one: dict[str, Any], two: dict[str, Any]
) -> None:
    opposite = {"better": "worse", "worse": "better", "same": "same", "changed": "changed"}
    there = {change.name: change.verdict for change in compare(one, two)}
    back = {change.name: change.verdict for change in compare(two, one)}
    assert there.keys() == one["figures"].keys() & two["figures"].keys()
    assert {name: opposite[verdict] for name, verdict in there.items()} == back


@given(st.floats(1.0, 1e5), st.floats(1.0, 20.0))
def test_what_grows_beyond_all_noise_is_judged_by_its_direction(value: float, times: float) -> None:
    far = value * (2 + times) + 10
    verdicts = {
        name: compare(
            {"benchmark": "x", "figures": {name: value}}, {"benchmark": "x", "figures": {name: far}}
        )[0].verdict
        for name in ("call_p50_ms", "received", "minutes", "skew_signed_p50_ms")
    }
    assert verdicts == {
        "call_p50_ms": "worse",
        "received": "better",
        "minutes": "changed",
        "skew_signed_p50_ms": "worse",
    }


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("audio_to_encoder_p95_ms", Direction.LOWER),
        ("slots_on_time", Direction.HIGHER),
        ("slots_late", Direction.LOWER),
        ("sessions_lost", Direction.LOWER),
        ("cores2_sessions", Direction.HIGHER),
        ("cores2_memory_mb_per_session", Direction.LOWER),
        ("cold_ready_p50_s", Direction.LOWER),
        ("install_mb", Direction.LOWER),
        ("skew_signed_p50_ms", Direction.ZERO),
        ("skew_slope_ms_per_min", Direction.ZERO),
        ("skew_slope_low_ms_per_min", Direction.NONE),
        ("visits_polite", Direction.NONE),
        ("default_psnr_db", Direction.HIGHER),
        ("motion_gflop_per_s", Direction.LOWER),
        ("never_heard_of", Direction.NONE),
    ],
)
def test_every_kind_of_figure_has_its_direction(name: str, way: Direction) -> None:
    assert direction(name) is way


def test_a_signed_figure_is_better_nearer_to_zero() -> None:
    assert judge(Direction.ZERO, -16.0, 2.0, 1.0) == "better"
    assert judge(Direction.ZERO, 2.0, -16.0, 1.0) == "worse"
    assert judge(Direction.ZERO, -16.0, 16.0, 1.0) == "same"


def test_the_bootstrap_is_as_wide_as_theory_says() -> None:
    # Standard error of the median of n normal values: 1.2533 σ / √n; half of 95 %: 1.96 times it.
    widths = [
        spread(np.random.default_rng(seed).normal(100, 10, 900).tolist(), 50) for seed in range(20)
    ]
    assert np.mean(widths) == pytest.approx(1.96 * 1.2533 * 10 / 30, rel=0.15)


def test_neighbours_that_are_alike_count_as_less_than_as_many() -> None:
    rng = np.random.default_rng(0)
    alone = rng.normal(100, 10, 400)
    alike = np.repeat(rng.normal(100, 10, 20), 20)
    assert spread(alike.tolist(), 50) > 2 * spread(alone.tolist(), 50)


def test_wide_samples_make_the_noise_and_few_do_not() -> None:
    wide = np.random.default_rng(0).uniform(0, 1000, 100).tolist()
    values = (500.0, 600.0)
    limit, sampled = noise("call_p50_ms", values, [{"call_ms": wide}] * 2)
    assert sampled
    assert limit > 60.3  # what the tolerance alone allows
    assert noise("call_p50_ms", values, [{"call_ms": wide[:5]}] * 2) == (60.3, False)
    assert noise("call_p50_ms", values, [{"call_ms": wide}, {}]) == (60.3, False)


def test_rare_events_waver_by_the_root_of_their_number() -> None:
    def verdict(before: float, after: float) -> str:
        one, two = ({"benchmark": "x", "figures": {"slots_late": v}} for v in (before, after))
        return compare(one, two)[0].verdict

    assert verdict(0, 3) == "same"
    assert verdict(0, 30) == "worse"
    assert verdict(100, 20) == "better"
    assert verdict(0.05, 0.3) == "worse", "shares are no counts"


def test_what_cannot_be_compared_is_said() -> None:
    with pytest.raises(Unlike, match=r"'a'.*'b'"):
        compare({"benchmark": "a", "figures": {"x": 1}}, {"benchmark": "b", "figures": {"x": 1}})
    with pytest.raises(Unlike, match="no figure"):
        compare({"benchmark": "a", "figures": {"x": 1}}, {"benchmark": "a", "figures": {"y": 1}})


def test_results_without_figures_are_compared_by_path_and_unmeasured_ones_left_out() -> None:
    document = {"capacity": {"cpu": 2, "gpu": math.nan}, "points": [1, 2], "good": True}
    assert figures(document) == {"capacity.cpu": 2.0}


def test_what_else_differs_is_one_line_and_where_it_was_written_does_not_count() -> None:
    one = {"benchmark": "x", "command": "x --json a.json", "machine": {"cores": 2}, "config": {}}
    two = one | {"command": "x --json b.json --plot b.png"}
    assert differences(one, two) == ""
    said = differences(one, two | {"machine": {"cores": 4}, "config": {"k": 1}, "command": "x -q"})
    assert "\n" not in said
    assert all(word in said for word in ("cores", "settings", "command (x | x -q)"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_committed_results_can_be_compared_or_say_why_not(path: Path) -> None:
    document = json.loads(path.read_text())
    if figures(document):
        assert {change.verdict for change in compare(document, document)} == {"same"}


def test_the_command_fails_on_a_regression_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    result = {"benchmark": "x", "figures": {"call_p50_ms": 10.0}, "machine": {"cores": 2}}
    good.write_text(json.dumps(result))
    bad.write_text(json.dumps(result | {"figures": {"call_p50_ms": 20.0}, "machine": {}}))
    assert main(["compare", str(good), str(good)]) == 0
    assert capsys.readouterr().err == ""
    assert main(["compare", str(good), str(bad)]) == 1
    shown = capsys.readouterr()
    assert "2.000" in shown.out
    assert "worse" in shown.out
    assert "warning: not alike: cores" in shown.err
    assert main(["compare", str(bad), str(good)]) == 0
    capsys.readouterr()
    assert main(["compare", str(bad), str(good), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["verdict"] == "better"
    assert main(["compare", str(good), str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


def test_the_table_has_a_line_for_every_figure() -> None:
    result = {"benchmark": "x", "figures": {"a_ms": 0.0, "b_ms": 2.0}}
    lines = table(compare(result, result)).splitlines()
    assert len(lines) == 4
    assert lines[-1] == "0 better, 2 same, 0 worse"
