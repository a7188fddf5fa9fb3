"""Every network, at one row and at more, in every precision: exported from the shipped weights,
the same in torch, ONNX Runtime and OpenVINO, and built by TensorRT-RTX for three generations.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.runtime.artifact import open_artifact
from engine.runtime.base import Backend
from engine.runtime.onnxruntime import OnnxRuntimeBackend
from engine.runtime.openvino import OpenVinoBackend
from trt_builders.export import Traced, run_onnx, trace, write
from trt_builders.flavours import open_flavour
from trt_builders.networks import NETWORKS
from trt_builders.opset import lowered_opset
from trt_builders.precision import census, element_types, lower, widen
from trt_builders.profiles import batched
from trt_builders.verify import measure

pytestmark = pytest.mark.slow
TARGETS = ("8.6", "8.9", "12.0")
ROWS = (1, 2)


@pytest.fixture(
    scope="module",
    params=[(name, rows) for name in NETWORKS for rows in ROWS],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def traced(request: pytest.FixtureRequest) -> Traced:
    name, rows = request.param
    return trace(name, rows, shipped=True)


def _judge(traced: Traced, got: dict[str, np.ndarray], precision: str) -> None:
    for name, tolerance in NETWORKS[traced.name].tolerances.items():
        error = measure(got[name], traced.wanted[name], tolerance, precision)
        assert error.passed, f"{traced.name} x{traced.batch} {precision} {name}: {error}"


def test_runtimes_agree_with_torch(traced: Traced, tmp_path: Path) -> None:
    path = write(traced, "fp32", tmp_path)
    backends: list[Backend] = [
        OpenVinoBackend(path, threads=1, precision="f32"),
        OnnxRuntimeBackend(path, threads=1),
    ]
    artifact = open_artifact(path)
    for backend in backends:
        assert dict(backend.inputs) == dict(artifact.inputs)
        assert dict(backend.outputs) == dict(artifact.outputs)
        assert dict(artifact.inputs) == batched(traced.source.inputs, traced.batch)
        _judge(traced, backend.run(traced.inputs), "fp32")
        backend.close()


def test_low_precisions_are_close_and_really_low(traced: Traced) -> None:
    entry = NETWORKS[traced.name]
    for precision in entry.precisions[1:]:
        model = lower(traced.model, entry.policy, precision)
        assert census(model)[precision] >= 18
        types = element_types(model)
        edges = [*model.graph.input, *model.graph.output]
        assert [types[v.name] for v in edges] == [v.type.tensor_type.elem_type for v in edges]
        _judge(traced, run_onnx(widen(model), traced.inputs), precision)


def test_opset_17_computes_the_same_bits(traced: Traced) -> None:
    got = run_onnx(lowered_opset(traced.model), traced.inputs)
    for name, wanted in run_onnx(traced.model, traced.inputs).items():
        np.testing.assert_array_equal(got[name], wanted)


def test_rows_are_independent(traced: Traced) -> None:
    """The same row gives the same output whoever sits beside it."""
    if traced.batch == 1:
        return
    swapped = {
        name: np.concatenate(np.split(value, traced.batch)[::-1])
        for name, value in traced.inputs.items()
    }
    got = run_onnx(traced.model, swapped)
    back = {
        name: np.concatenate(np.split(value, traced.batch)[::-1]) for name, value in got.items()
    }
    _judge(traced, back, "fp32")
    rows = np.split(next(iter(back.values())), traced.batch)
    assert not np.array_equal(rows[0], rows[1])


def test_tensorrt_rtx_builds_it(traced: Traced, tmp_path: Path) -> None:
    flavour = open_flavour("rtx", TARGETS)
    # One row in every precision; more rows only in the one that serves, to keep this short.
    possible = NETWORKS[traced.name].precisions
    serving = ("fp16",) if "fp16" in possible else ("fp32",)
    for precision in possible if traced.batch == 1 else serving:
        path = write(traced, precision, tmp_path)
        compiled = flavour.compile(path, flavour.targets)
        assert len(compiled.plan) > 500_000
        assert compiled.layers >= len(traced.model.graph.node)
