"""The GPU benchmark's own logic: the search, the load, the files. Numbers are never asserted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import __main__ as command
from benchmarks.gpu_networks import Case, Networks, cases, floors, measure, relative
from benchmarks.gpu_report import Report, plot, to_json, to_markdown
from benchmarks.gpu_sessions import Load, Point, knee
from benchmarks.report import machine
from engine.config import RuntimeConfig
from engine.runtime import cuda
from engine.runtime.load import load_network
from engine.runtime.rows import HostRows
from tests.networks import random_avatar


def point(sessions: int, *, good: bool) -> Point:
    return Point(sessions, 100, 1.0 if good else 0.5, 10, 20, 0.5, 1.0)


@given(st.integers(0, 512))
def test_the_search_finds_the_knee(capacity: int) -> None:
    points, found = knee(lambda n: point(n, good=n <= capacity), lambda: True)
    assert capacity - max(1, capacity // 20) <= found <= capacity or found == capacity == 0
    assert len(points) <= 20, "each takes seconds"
    assert all(p.passed == (p.sessions <= capacity) for p in points)


def test_the_search_stops_when_time_is_over() -> None:
    allowed = iter([True, True, True, False])
    points, found = knee(lambda n: point(n, good=True), lambda: next(allowed))
    assert [p.sessions for p in points] == [1, 2, 4]
    assert found == 4


def test_a_load_judges_every_frame_of_every_session() -> None:
    runtime = RuntimeConfig(threads=1)
    networks = {
        lane: {1: HostRows(load_network(name, runtime))}
        for lane, name in (("motion", "cmdt_k1"), ("render", "render_512"))
    }
    load = Load(networks, random_avatar(0))
    result = load.point(2, 0.48)
    stats = load.batcher.stats
    load.close()
    assert result.failed == 0
    assert 0 <= result.on_time <= 1
    assert 0 < result.frames <= 24, "2 sessions of 0.48 s are 24 frames; late ones may be left out"
    # Motion runs for every hop whatever happens: 1 s to warm up and 0.48 s, 80 ms each.
    assert stats["motion"].items == 2 * (12 + 6)
    assert stats["render"].items >= result.frames


def test_cases_are_unique_and_start_with_what_a_server_runs() -> None:
    for device in ("cpu", "cuda"):
        listed = list(cases(device, (1, 2, 4)))
        assert len(set(listed)) == len(listed)
        assert {c.network for c in listed[:2]} == {"cmdt_k2", "render_512"}
        assert {c.network for c in listed} == {"cmdt_k1", "cmdt_k2", "cmdt_k4", "render_512"}


@pytest.mark.slow
def test_a_case_is_timed_checked_and_held_against_its_floor(tmp_path: Path) -> None:
    nets = Networks("cpu", tmp_path)
    timings = [
        measure(nets, Case("cmdt_k1", backend, "fp32", batch), 0.01)
        for backend, batch in (("openvino", 1), ("openvino", 2), ("torch", 2))
    ]
    for timing in timings:
        assert max(timing.errors.values()) < 1e-3
        assert 0 < timing.median_ms <= timing.p95_ms
    peak = {"copy_gbytes_per_s": 10.0, "matmul_fp32_tflop_per_s": 0.1}
    first, second = floors(nets, timings, peak)
    assert (first.batch, second.batch) == (1, 2)
    assert second.gflop == pytest.approx(2 * first.gflop, rel=0.01)
    assert first.mbytes < second.mbytes < 2 * first.mbytes, "weights are moved once"
    report = Report("c", "d", "e", "CPU", machine(), timings=timings, floors=[first])
    report.points, report.capacity = {"x": [point(1, good=True)]}, {"x": 1}
    report.skipped = ["something: no time"]
    assert json.loads(to_json(report))["timings"][0]["case"]["network"] == "cmdt_k1"
    text = to_markdown(report)
    assert "| cmdt_k1 | openvino fp32 | 1 |" in text
    assert "- something: no time" in text
    plot(report, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_relative_error() -> None:
    assert relative(np.array([1, 2]), np.array([1, 2])) == 0
    assert relative(np.array([3.0, 4]), np.array([0.0, 5])) == pytest.approx(10**0.5 / 5)


@pytest.mark.skipif(cuda.probe() is not None, reason="about machines without a GPU")
def test_a_gpu_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    run: Callable[[list[str]], int] = command.main
    assert run(["gpu", "--device", "cuda"]) == 1
    assert "no NVIDIA driver" in capsys.readouterr().err
