"""Torch as rows of a batch, on the CPU: the code that a GPU runs, less the recording."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.config import RuntimeConfig
from engine.errors import BackendError
from engine.runtime.base import Array, TensorSpec
from engine.runtime.load import load_network
from engine.runtime.lowering import HEAVY, lower, module_path, traced
from engine.runtime.pytorchrows import TorchRows
from engine.runtime.rows import Alone, Row, RowBackend
from trt_builders import networks
from trt_builders.export import Rows

SINGLE = {"x": TensorSpec((1, 8)), "c": TensorSpec((2, 8)), "at": TensorSpec((1,), "int64")}
OUT = {"y": TensorSpec((1, 4)), "byte": TensorSpec((1, 4), "uint8")}


class Toy(nn.Module):  # type: ignore[name-defined, misc]
    """For one row; makes a constant on the fly, as the renderer does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.heavy = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        self.fine = nn.Linear(8, 4)

    def forward(self, x: Tensor, c: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        scale = torch.tensor([1.0, 2.0, 3.0, 4.0])
        y = self.heavy(x + c.sum(0, keepdim=True)) * scale + self.fine(x) + at.float()
        return y, (y.abs() * 10).clamp(0, 255).to(torch.uint8)


class Batched(nn.Module):  # type: ignore[name-defined, misc]
    def __init__(self, batch: int) -> None:
        super().__init__()
        self.toy, self.batch = Toy(), batch

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        rows = [v.reshape(self.batch, -1, *v.shape[1:]) for v in inputs]
        rows[2] = inputs[2].reshape(self.batch, 1)
        return tuple(v.flatten(0, 1) for v in torch.vmap(self.toy)(*rows))


def values(seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    made = {n: rng.standard_normal(s.shape).astype(np.float32) for n, s in SINGLE.items()}
    return made | {"at": np.array([seed])}


def direct(inputs: dict[str, Array]) -> list[Array]:
    with torch.no_grad():
        return [v.numpy() for v in Toy()(*(torch.from_numpy(inputs[n]) for n in SINGLE))]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-5), ("bf16", 0.05), ("fp16", 5e-3)])
def test_rows_equal_the_module(batch: int, precision: str, error: float) -> None:
    rows = TorchRows(Batched(batch), SINGLE, OUT, batch, "cpu", precision)
    assert rows.name.startswith(f"torch:CPU {precision}")
    placed = {seed: rows.place("c", values(seed)["c"]) for seed in range(6)}
    for chosen in ([0], [5, 3, 1, 0][:batch], [1, 2][:batch]):
        work = []
        for seed in chosen:
            feeds = {n: v for n, v in values(seed).items() if n != "c"}
            work.append(Row(feeds, {"c": placed[seed]}))
        for seed, result in zip(chosen, rows.run_rows(work), strict=True):
            y, byte = direct(values(seed))
            np.testing.assert_allclose(result["y"], y, atol=error * np.abs(y).max())
            assert np.abs(result["byte"].astype(int) - byte).max() <= 10 * error * 20 + 1
            assert result["y"].base is None, "belongs to the caller"


def test_only_what_is_wanted_is_lowered() -> None:
    example = tuple(torch.from_numpy(values(0)[n]) for n in SINGLE)
    graph = traced(Toy(), example).module()
    heavy = [node for node in graph.graph.nodes if node.target in HEAVY]
    assert [module_path(node) for node in heavy] == ["heavy.0", "heavy.2", "fine"]
    lowered = lower(graph, torch.bfloat16, lambda path: path.startswith("heavy"))
    with torch.no_grad():
        y, _ = lowered(*example)
        exact, _ = Toy()(*example)
    assert y.dtype == torch.float32
    error = float((y - exact).abs().max())
    assert 1e-5 < error < 0.1, "something was rounded, and not much"
    # Between two heavy operators the lower type stays: one cast in, one cast out.
    names = [str(node.target) for node in lowered.graph.nodes]
    between = names[names.index("aten.linear.default") : ]  # fmt: skip
    assert between[:3] == ["aten.linear.default", "aten.relu.default", "aten.linear.default"]


def test_the_module_of_the_caller_is_left_alone() -> None:
    module = Batched(1)
    TorchRows(module, SINGLE, OUT, 1, "cpu", "bf16")
    assert {p.dtype for p in module.parameters()} == {torch.float32}


def test_sessions_and_errors() -> None:
    session = RowBackend(Alone(TorchRows(Batched(1), SINGLE, OUT, 1, "cpu")), "toy")
    session.bind("c", values(2)["c"])
    feeds = {n: v for n, v in values(2).items() if n != "c"}
    np.testing.assert_allclose(session.run(feeds)["y"], direct(values(2))[0], atol=1e-5)
    with pytest.raises(BackendError, match="expected float32"):
        session.run(feeds | {"x": np.zeros((1, 9), np.float32)})


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_without_cuda_it_says_so() -> None:
    with pytest.raises(BackendError, match="has no CUDA"):
        TorchRows(Batched(1), SINGLE, OUT, 1, "cuda")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cmdt_k1", "render_512"])
def test_shipped_networks_in_rows(name: str) -> None:
    """Two different rows against the shipped file in OpenVINO, in FP32 and BF16."""
    source = networks.load(name, shipped=True)
    module = source.module if source.rows else Rows(source.module, source.inputs, 2)
    reference = load_network(name, RuntimeConfig(threads=1, precision="f32"))
    inputs = [source.example(seed) for seed in (1, 2)]
    wanted = [reference.run(row) for row in inputs]
    low = networks.NETWORKS[name].policy.low
    for precision, limit in (("fp32", 1e-4), ("bf16", 1e-2)):
        rows = TorchRows(
            module, source.inputs, source.outputs, 2, "cpu", precision,
            wanted=lambda path: re.fullmatch(low, path) is not None, network=name,
        )  # fmt: skip
        for got, want in zip(rows.run_rows([Row(i, {}) for i in inputs]), wanted, strict=True):
            for key, value in want.items():
                error = np.abs(got[key].astype(float) - value).mean()
                assert error <= limit * max(1.0, np.abs(value.astype(float)).mean()), key
        rows.close()
