"""TensorRT 8.6 as builder: against its API as recorded from its bindings, and what becomes of its
engines. The library itself needs a GPU: docs/tensorrt.md says what was not run.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from engine.errors import ArtifactError, BackendError
from engine.runtime import cuda
from engine.runtime.artifact import open_artifact, write_manifest
from engine.runtime.base import Array, TensorSpec
from engine.runtime.blocks import BlockRows
from engine.runtime.engines import EngineStore
from engine.runtime.gpu import engine_key
from engine.runtime.rows import Row
from tests.trtapi import ROOT, uses
from trt_builders import adopt as adoption
from trt_builders import legacy
from trt_builders.__main__ import main

SOURCE = "trt_builders/legacy.py"
RECORDED = json.loads((ROOT / "tests" / "trt86.json").read_text())
"""Signatures of tensorrt-bindings 8.6.1; ``python -m tests.trtapi`` made the file."""
MEMBERS = {f"{owner}.{name}" for owner, names in legacy.SURFACE.items() for name in names}


def test_everything_used_is_there_and_takes_what_it_is_given() -> None:
    assert RECORDED["version"] == "8.6.1"
    assert MEMBERS - set(RECORDED) == set()
    used = dict(uses([SOURCE]))
    assert set(used) <= MEMBERS
    assert {"IBuilderConfig.set_flag", "BuilderFlag.VERSION_COMPATIBLE", "ParserError.node"} <= set(
        used
    )
    checked = 0
    for name, given in uses([SOURCE]):
        if given is not None and RECORDED[name]:
            assert any(
                sum(not default for _, default in form) <= given <= len(form)
                for form in RECORDED[name]
            ), name
            checked += 1
    assert checked >= 14


def test_it_stands_alone_in_an_old_python() -> None:
    tree = ast.parse((ROOT / SOURCE).read_text(), feature_version=(3, 8))
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {name.partition(".")[0] for name in imported} - sys.stdlib_module_names == {"tensorrt"}


def _trt(outputs: list[list[str]]) -> Any:
    """A TensorRT 8.6 whose parsed network has these output types, by layer."""
    layers = []
    for types in outputs:
        layer = MagicMock(num_outputs=len(types), precision=None)
        layer.get_output.side_effect = [SimpleNamespace(dtype=t) for t in types]
        layers.append(layer)
    network = MagicMock(num_layers=len(layers))
    network.get_layer.side_effect = layers
    trt = MagicMock(layers=layers)
    trt.DataType.FLOAT = "FLOAT"
    builder = trt.Builder.return_value
    builder.create_network.return_value = network
    builder.build_serialized_network.return_value = b"plan"
    config = builder.create_builder_config.return_value
    config.get_timing_cache.return_value.serialize.return_value = b"cache"
    for bit, name in enumerate(("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"), 3):
        setattr(trt.TacticSource, name, bit)
    trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH = 0
    return trt


def test_what_the_file_leaves_in_fp32_is_held_to_it() -> None:
    trt = _trt([["FLOAT"], ["HALF"], ["FLOAT", "FLOAT"], ["INT32"], ["FLOAT", "INT32"]])
    plan, layers, cache = legacy.build(trt, Path("x.onnx"), 5, b"old")
    assert (plan, layers, cache) == (b"plan", 5, b"cache")
    assert [layer.precision for layer in trt.layers] == ["FLOAT", None, "FLOAT", None, None]
    assert [len(layer.set_output_type.mock_calls) for layer in trt.layers] == [1, 0, 2, 0, 0]
    builder = trt.Builder.return_value
    builder.create_network.assert_called_once_with(1)
    config = builder.create_builder_config.return_value
    flags = trt.BuilderFlag
    assert [call.args[0] for call in config.set_flag.mock_calls] == [
        flags.VERSION_COMPATIBLE, flags.EXCLUDE_LEAN_RUNTIME, flags.FP16,
        flags.PREFER_PRECISION_CONSTRAINTS,
    ]  # fmt: skip
    config.clear_flag.assert_called_once_with(flags.TF32)
    config.set_tactic_sources.assert_called_once_with(0b11000)
    config.create_timing_cache.assert_called_once_with(b"old")


def test_refusals_are_told() -> None:
    trt = _trt([])
    trt.Builder.return_value.build_serialized_network.return_value = None
    with pytest.raises(RuntimeError, match=r"cannot build x\.onnx"):
        legacy.build(trt, Path("x.onnx"), 5, b"")
    parser = trt.OnnxParser.return_value
    parser.parse_from_file.return_value = False
    parser.get_error.return_value.desc.return_value = "no Foo"
    parser.get_error.return_value.node.return_value = 3
    with pytest.raises(RuntimeError, match=r"cannot parse x\.onnx: no Foo \(node 3\)"):
        legacy.build(trt, Path("x.onnx"), 5, b"")
    trt.Builder.side_effect = TypeError("factory function returned nullptr")
    with pytest.raises(RuntimeError, match="needs a GPU"):
        legacy.build(trt, Path("x.onnx"), 5, b"")


@pytest.fixture
def built(tmp_path: Path) -> tuple[Path, Path]:
    """A plan as ``legacy`` leaves it, and the real export it is of."""
    line = ["export", "cmdt_k1", "--shipped", "--opset", "17", "--out", str(tmp_path)]
    assert main(line) == 0
    plan = tmp_path / "cmdt_k1_b1_fp32_op17.plan"
    plan.write_bytes(b"an engine")
    plan.with_suffix(".plan.json").write_text('{"builder": "8.6.0", "seconds": 9, "layers": 3}')
    return plan, tmp_path / "cmdt_k1_b1_fp32_op17.onnx"


GPU = cuda.Gpu(0, "NVIDIA H100", "9.0", "13.0", "580.1", 80 << 30)


def _lean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        adoption, "import_flavour", lambda _: SimpleNamespace(__version__="10.16.1.11")
    )
    monkeypatch.setattr(cuda, "probe", lambda: GPU)


def test_an_adopted_engine_is_what_the_server_asks_for(
    built: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lean(monkeypatch)
    store = EngineStore(tmp_path / "store")
    kept = adoption.adopt(*built, store)
    key = engine_key(open_artifact("cmdt_k1"), "tensorrt", "10.16.1.11", GPU, "fp32", 1)
    assert store.find(key) == kept
    assert kept.read_bytes() == b"an engine"


def test_what_does_not_belong_together_is_refused(
    built: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, graph = built
    store = EngineStore(tmp_path / "store")
    with pytest.raises(ArtifactError, match=r"adopted where they are to run: .*no NVIDIA driver"):
        adoption.adopt(plan, graph, store)
    _lean(monkeypatch)
    other = plan.rename(tmp_path / "other.plan")
    with pytest.raises(ArtifactError, match=r"other\.plan was not built from cmdt_k1_b1_fp32_op17"):
        adoption.adopt(other, graph, store)
    with pytest.raises(ArtifactError, match="cannot be read"):
        adoption.adopt(plan, graph, store)
    with pytest.raises(ArtifactError, match="no export of a shipped network at opset 17"):
        adoption.shipped(open_artifact("cmdt_k1"))
    artifact = open_artifact(graph)
    foreign = dict(artifact.config) | {"made_from": "0" * 64}
    write_manifest(graph, artifact.inputs, artifact.outputs, foreign, "test", "fp32")
    with pytest.raises(ArtifactError, match="made from another cmdt_k1"):
        adoption.shipped(open_artifact(graph))


class _Adding(BlockRows):
    """In main memory: adds its two inputs."""

    def __init__(self, integers: str) -> None:
        single = {"x": TensorSpec((1, 2)), "n": TensorSpec((1, 3), "int64")}
        takes = {"x": TensorSpec((2, 2)), "n": TensorSpec((2, 3), integers)}
        gives = {"y": TensorSpec((2, 1))}
        super().__init__("adding", 2, single, {"y": TensorSpec((1, 1))}, takes, gives)
        self.memory = np.zeros(self._in.size, np.uint8)
        self.results = np.zeros(self._out.size, np.uint8)
        self._mirror(self.memory, self.results)

    def close(self) -> None:
        """Nothing to free."""

    def _store(self, array: Array) -> bytes:
        return array.tobytes()

    def _move(self, offset: int, constant: bytes) -> None:
        self.memory[offset : offset + len(constant)] = np.frombuffer(constant, np.uint8)

    def _compute(self, ranges: list[tuple[int, int]]) -> None:
        views = self._in.views(self.memory)
        total = views["x"].sum(1, keepdims=True) + views["n"].sum(1, keepdims=True)
        self._out.views(self.results)["y"][:] = total


@pytest.mark.parametrize("integers", ["int64", "int32"])
def test_engines_with_narrower_integers_are_fed(integers: str) -> None:
    rows = _Adding(integers)
    work = [
        Row({"x": np.array([[k, 1.0]], np.float32)},
            {"n": rows.place("n", np.array([[10 * k, 20, 30]], np.int64))})
        for k in (1, 2)
    ]  # fmt: skip
    assert [float(result["y"][0, 0]) for result in rows.run_rows(work)] == [62.0, 73.0]


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BackendError, match="'n' does not fit into int32"):
        _Adding("int32").place("n", np.array([[1 << 40, 0, 0]], np.int64))
    with pytest.raises(ArtifactError, match="'n' is"):
        _Adding("int16")
