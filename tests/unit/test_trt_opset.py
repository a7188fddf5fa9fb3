"""Opset 18 to 17: equal where it can be said, refused where it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.errors import ArtifactError
from engine.runtime.artifact import open_artifact
from trt_builders.__main__ import main
from trt_builders.export import run_onnx
from trt_builders.networks import NETWORKS, load, network
from trt_builders.opset import lowered_opset
from trt_builders.precision import lower

SHIPPED = [name for name, entry in NETWORKS.items() if entry.shipped]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_networks_compute_the_same_bits(name: str, precision: str) -> None:
    model = onnx.load(open_artifact(name).path)
    if precision == "fp16":
        model = lower(model, network(name).policy, precision)
    older = lowered_opset(model)
    assert [(o.domain, o.version) for o in older.opset_import] == [("", 17)]
    assert older.ir_version == 8
    inputs = load(name, shipped=True).example(1)
    wanted = run_onnx(model, inputs)
    for output, value in run_onnx(older, inputs).items():
        np.testing.assert_array_equal(value, wanted[output], output)


def test_the_model_given_stays_as_it_is() -> None:
    model = onnx.load(open_artifact("cmdt_k1").path)
    before = model.SerializeToString()
    lowered_opset(model)
    assert model.SerializeToString() == before


def _model(
    node: onnx.NodeProto, shape: list[int | str], **constants: np.ndarray
) -> onnx.ModelProto:
    free = [f"axis{axis}" for axis in range(len(shape))]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, free) for name in node.output],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def test_parts_that_do_not_come_out_even() -> None:
    node = helper.make_node("Split", ["x"], ["a", "b", "c"], axis=1, num_outputs=3)
    model = _model(node, [2, 8])
    x = np.arange(16, dtype=np.float32).reshape(2, 8)
    got = run_onnx(lowered_opset(model), {"x": x})
    assert [got[name].shape for name in "abc"] == [(2, 3), (2, 3), (2, 2)]
    for name, value in run_onnx(model, {"x": x}).items():
        np.testing.assert_array_equal(got[name], value)


ONES = np.ones(4, np.float32)
REFUSED = {
    "splits what has no fixed shape": _model(
        helper.make_node("Split", ["x"], ["a", "b"], axis=0, num_outputs=2), ["rows", 4]
    ),
    "Pad .* names axes": _model(
        helper.make_node("Pad", ["x", "pads", "", "axes"], ["y"]),
        [2, 4], pads=np.array([1, 1]), axes=np.array([1]),
    ),
    "Resize .* smooths": _model(
        helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear", antialias=1),
        [1, 1, 4, 4], scales=ONES,
    ),
    "Resize .* names axes": _model(
        helper.make_node("Resize", ["x", "", "scales"], ["y"], axes=[2, 3]),
        [1, 1, 4, 4], scales=ONES[:2],
    ),
    "Resize .* keeps a ratio": _model(
        helper.make_node("Resize", ["x", "", "", "sizes"], ["y"],
                         keep_aspect_ratio_policy="not_larger"),
        [1, 1, 4, 4], sizes=np.array([1, 1, 2, 2]),
    ),
    "ScatterND .* reduces by max": _model(
        helper.make_node("ScatterND", ["x", "where", "what"], ["y"], reduction="max"),
        [4], where=np.array([[1]]), what=ONES[:1],
    ),
    "ReduceMean .* is another operator": _model(
        helper.make_node("ReduceMean", ["x", "axes"], ["y"]), [2, 4], axes=np.array([1])
    ),
}  # fmt: skip


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_17_cannot_say_is_refused(sentence: str) -> None:
    model = REFUSED[sentence]
    onnx.checker.check_model(model)  # right in 18, so that this is about 17
    with pytest.raises(ArtifactError, match=sentence):
        lowered_opset(model)


def test_another_opset_is_not_guessed_at() -> None:
    model = _model(helper.make_node("Abs", ["x"], ["y"]), [2])
    model.opset_import[0].version = 19
    with pytest.raises(ArtifactError, match="only ONNX opset 18"):
        lowered_opset(model)


def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["export", "cmdt_k1", "--shipped", "--opset", "17", "--out", str(tmp_path)]
    assert main(line) == 0
    path = tmp_path / "cmdt_k1_b1_fp32_op17.onnx"
    assert str(path) in capsys.readouterr().out
    assert onnx.load(path).opset_import[0].version == 17
    artifact = open_artifact(path)
    assert artifact.config["made_from"] == open_artifact("cmdt_k1").sha256
    assert main([*line[:4], "16", *line[5:]]) == 1
    assert "no opset 16" in capsys.readouterr().err
