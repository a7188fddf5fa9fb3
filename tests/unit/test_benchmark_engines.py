"""Engines the GPU benchmark builds for itself, with the real TensorRT-RTX, which needs no GPU."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks import gpu_engines
from benchmarks.gpu_report import Report, to_markdown
from benchmarks.report import machine
from engine.runtime import cuda
from engine.runtime.engines import EngineStore
from trt_builders.build import Job
from trt_builders.flavours import open_flavour

WORK = [Job("cmdt_k1", 1, "fp32")]
Skipped = list[tuple[str, str]]


@pytest.mark.slow
@pytest.mark.skipif(cuda.probe() is not None, reason="about machines without a GPU")
def test_what_is_missing_is_built_once_and_its_answer_told(tmp_path: Path) -> None:
    flavour = open_flavour("rtx", ("12.0",))
    store = EngineStore(tmp_path)
    skipped: Skipped = []

    def build(left: float) -> list[gpu_engines.EngineLine]:
        return gpu_engines.build(
            WORK, flavour, store, lambda: left, lambda what, why: skipped.append((what, why))
        )

    assert build(5.0) == []
    assert skipped == [("rtx engine cmdt_k1", "no time left to build it")]
    (line,) = build(200.0)
    assert (line.network, line.batch, line.precision, line.capability) == (
        "cmdt_k1", 1, "fp32", "12.0",
    )  # fmt: skip
    assert 0 < line.build_s < line.process_s
    assert line.megabytes > 1
    began = time.monotonic()
    (again,) = build(0.0)  # no time is needed for what is there
    assert time.monotonic() - began < 2
    assert (again.build_s, again.process_s) == (0.0, 0.0)
    assert len(skipped) == 1

    said = gpu_engines.answer(flavour, WORK[0], store)
    assert "no NVIDIA driver" in said
    report = Report("c", "d", "e", "CPU", machine(), engines=[line, again])
    report.answers["rtx"] = said
    text = to_markdown(report)
    assert f"| {line.flavour} | cmdt_k1 | 1 | fp32 | 12.0 | {line.megabytes} |" in text
    assert "| was there |" in text
    assert f"- rtx: {said}" in text


def test_a_builder_that_takes_too_long_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_engines, "_LEAST_S", 0.0)
    store = EngineStore(tmp_path)
    skipped: Skipped = []
    began = time.monotonic()
    lines = gpu_engines.build(
        WORK, open_flavour("rtx", ("12.0",)), store, lambda: 0.3,
        lambda what, why: skipped.append((what, why)),
    )  # fmt: skip
    assert lines == []
    assert time.monotonic() - began < 5
    assert skipped == [("rtx engine cmdt_k1", "stopped after 0 s: no time left to build it")]
    assert store.entries() == []


def test_a_builder_that_fails_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.write_text("in the way")
    skipped: Skipped = []
    flavour = open_flavour("rtx", ("12.0",))
    assert not gpu_engines.build(
        WORK, flavour, EngineStore(folder), lambda: 100.0,
        lambda what, why: skipped.append((what, why)),
    )  # fmt: skip
    ((_, why),) = skipped
    assert "cannot keep engines" in why


@pytest.mark.skipif(cuda.probe() is not None, reason="about machines without a GPU")
def test_which_builders_there_are_without_a_gpu() -> None:
    found = dict(gpu_engines.flavours("cpu"))
    assert isinstance(found["tensorrt"], str)
    assert "compiles on the GPU it compiles for" in found["tensorrt"]
    rtx = found["rtx"]
    assert not isinstance(rtx, str)
    assert gpu_engines.foreign(rtx)


def test_the_servers_networks_come_first() -> None:
    work = gpu_engines.wanted("cuda", quick=False)
    assert [job.batch for job in work] == [1, 1, 8, 8, 4, 4, 16, 16, 2, 2]
    assert {job.network for job in work} == {"cmdt_k2", "render_512"}
    assert len(gpu_engines.wanted("cpu", quick=False)) == 2
