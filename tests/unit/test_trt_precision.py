"""From FP32 graphs to strongly typed ones, judged number by number."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.errors import ArtifactError
from trt_builders.export import run_onnx
from trt_builders.networks import NETWORKS
from trt_builders.precision import Keep, Policy, census, element_types, lower, widen

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(5, 4)).astype(np.float32)
BIAS = RNG.normal(size=4).astype(np.float32)
X = RNG.normal(size=(3, 5)).astype(np.float32)


def _graph() -> onnx.ModelProto:
    """y = sin(reshape(relu(x @ w + b))), with the sine in another module."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], "net.linear/MatMul_0"),
        helper.make_node("Add", ["product", "b"], ["sum"], "net.linear/Add_1"),
        helper.make_node("Relu", ["sum"], ["positive"], "net/Relu_2"),
        helper.make_node("Reshape", ["positive", "shape"], ["flat"], "net/Reshape_3"),
        helper.make_node("Sin", ["flat"], ["y"], "wave/Sin_4"),
    ]
    constants = [
        numpy_helper.from_array(WEIGHT, "w"),
        numpy_helper.from_array(BIAS, "b"),
        numpy_helper.from_array(np.array([12], np.int64), "shape"),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [12])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


NET = Policy(low=r"net(\..*)?", keep=())
KINDS = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_types_are_carried_by_the_graph(precision: str) -> None:
    model = lower(_graph(), NET, precision)
    onnx.checker.check_model(model, full_check=True)
    types = element_types(model)
    low = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.BFLOAT16
    assert [types[name] for name in ("product", "sum", "positive", "flat")] == [low] * 4
    assert types["x"] == types["y"] == TensorProto.FLOAT
    assert types["w.low"] == types["b.low"] == low
    assert "w" not in types  # the FP32 copy is gone
    assert census(model) == {precision: 4, "fp32": 1, "cast": 2}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_widened_graphs_round_after_every_layer(precision: str) -> None:
    kind = KINDS[precision]

    def rounded(value: np.ndarray) -> np.ndarray:
        return value.astype(kind).astype(np.float32)

    product = rounded(rounded(X) @ rounded(WEIGHT))
    total = rounded(product + rounded(BIAS))
    expected = np.sin(np.maximum(total, 0).ravel())
    got = run_onnx(widen(lower(_graph(), NET, precision)), {"x": X})["y"]
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert np.abs(got - np.sin(np.maximum(X @ WEIGHT + BIAS, 0).ravel())).max() > 1e-5


def test_widened_fp16_is_what_a_runtime_with_fp16_computes() -> None:
    model = lower(_graph(), NET, "fp16")
    np.testing.assert_allclose(
        run_onnx(model, {"x": X})["y"], run_onnx(widen(model), {"x": X})["y"], atol=2e-3
    )


def test_exceptions_stay_in_fp32() -> None:
    policy = Policy(NET.low, (Keep(r".*:Relu", "a test"), Keep(r"net\.linear:Add", "a test")))
    types = element_types(lower(_graph(), policy, "fp16"))
    assert types["product"] == TensorProto.FLOAT16
    assert types["sum"] == types["positive"] == types["flat"] == TensorProto.FLOAT
    assert policy.without(policy.keep[0]).keep == policy.keep[1:]


def test_a_graph_without_low_layers_says_why() -> None:
    policy = NETWORKS["log_mel"].policy
    with pytest.raises(ArtifactError, match="no fp16 form: power spans nine decades"):
        lower(_graph(), policy, "fp16")
    assert NETWORKS["log_mel"].precisions == ("fp32",)


def test_the_original_is_left_alone() -> None:
    model = _graph()
    before = model.SerializeToString()
    widen(lower(model, NET, "bf16"))
    assert model.SerializeToString() == before


def test_every_policy_says_why() -> None:
    for name, entry in NETWORKS.items():
        assert entry.policy.low or entry.policy.rest, name
        assert all(keep.why for keep in entry.policy.keep), name
        assert set(entry.tolerances), name
