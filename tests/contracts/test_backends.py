"""Every runtime is held to the contract of ``engine.runtime.base``, with the shipped networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.config import RuntimeConfig
from engine.errors import ArtifactError, BackendError
from engine.runtime.artifact import open_artifact, write_manifest
from engine.runtime.base import Array, Backend, TensorSpec
from engine.runtime.batcher import Batcher
from engine.runtime.load import load_network
from engine.runtime.rows import Alone, HostRows, RowBackend


class _Toy(torch.nn.Module):  # type: ignore[name-defined, misc]
    """y = tanh(x w) + b, small enough to see through."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(6, 4)

    def forward(self, x, b):  # type: ignore[no-untyped-def]
        return torch.tanh(self.linear(x)) + b


INPUTS = {"x": TensorSpec((2, 6)), "b": TensorSpec((2, 4))}
OUTPUTS = {"y": TensorSpec((2, 4))}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("toy") / "toy.onnx"
    example = (torch.zeros(2, 6), torch.zeros(2, 4))
    torch.onnx.export(
        _Toy().eval(), example, str(path), input_names=["x", "b"], output_names=["y"], dynamo=False
    )
    write_manifest(path, INPUTS, OUTPUTS, {"width": 6}, "test")
    return path


KINDS = ["openvino", "onnxruntime", "torch", "torch rows", "host rows", "batcher"]


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, toy: Path) -> Iterator[Backend]:
    plain = RuntimeConfig(backend="openvino", precision="f32")
    if request.param == "torch":
        from engine.runtime.pytorch import TorchBackend

        yield TorchBackend(_Toy(), INPUTS, OUTPUTS)
    elif request.param == "torch rows":
        from engine.runtime.pytorchrows import TorchRows

        yield RowBackend(Alone(TorchRows(_Toy(), INPUTS, OUTPUTS, 1, "cpu")), "toy")
    elif request.param == "host rows":
        yield RowBackend(Alone(HostRows(load_network(toy, plain))), "toy")
    elif request.param == "batcher":
        batcher = Batcher({"toy": {1: HostRows(load_network(toy, plain))}})
        yield batcher.client("toy")
        batcher.close()
    else:
        yield _opened(request.param, toy)


def _opened(kind: str, toy: Path) -> Backend:
    return load_network(toy, RuntimeConfig(backend=kind, precision="f32"))


def _feeds(seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(spec.shape).astype(np.float32) for name, spec in INPUTS.items()
    }


def test_describes_itself(backend: Backend) -> None:
    assert dict(backend.inputs) == INPUTS
    assert dict(backend.outputs) == OUTPUTS
    assert backend.name.split(":")[0] in ("openvino", "onnxruntime", "torch")


def test_agrees_with_the_module(backend: Backend) -> None:
    feeds = _feeds()
    expected = _Toy().eval()(*(torch.from_numpy(feeds[k]) for k in ("x", "b"))).detach().numpy()
    np.testing.assert_allclose(backend.run(feeds)["y"], expected, atol=1e-5)


def test_outputs_belong_to_the_caller(backend: Backend) -> None:
    first = backend.run(_feeds(0))["y"]
    kept = first.copy()
    for seed in range(1, 4):
        backend.run(_feeds(seed))
    np.testing.assert_array_equal(first, kept)
    first[:] = 0  # and may be written to


def test_bound_inputs_stay(backend: Backend) -> None:
    feeds = _feeds()
    expected = backend.run(feeds)["y"]
    constant = feeds["b"].copy()
    backend.bind("b", constant)
    constant[:] = 99  # binding copies
    for _ in range(2):
        np.testing.assert_allclose(backend.run({"x": feeds["x"]})["y"], expected, atol=1e-6)


def test_forks_do_not_share_bindings(backend: Backend) -> None:
    feeds = _feeds()
    other = backend.fork()
    backend.bind("b", feeds["b"])
    other.bind("b", feeds["b"] + 1)
    mine = backend.run({"x": feeds["x"]})["y"]
    theirs = other.run({"x": feeds["x"]})["y"]
    np.testing.assert_allclose(theirs, mine + 1, atol=1e-5)
    with pytest.raises(BackendError, match="missing input"):
        backend.fork().run({"x": feeds["x"]})


def test_errors_name_what_is_wrong(backend: Backend) -> None:
    feeds = _feeds()
    with pytest.raises(BackendError, match=r"'x' is float32\[3, 6\], expected float32\[2, 6\]"):
        backend.run(feeds | {"x": np.zeros((3, 6), np.float32)})
    with pytest.raises(BackendError, match="float64"):
        backend.run(feeds | {"x": np.zeros((2, 6))})
    with pytest.raises(BackendError, match=r"missing input\(s\) b"):
        backend.run({"x": feeds["x"]})
    with pytest.raises(BackendError, match="no input 'z'; it has x, b"):
        backend.bind("z", feeds["x"])


def test_use_after_close(backend: Backend) -> None:
    fork = backend.fork()
    backend.close()
    with pytest.raises(BackendError, match="used after close"):
        backend.run(_feeds())
    assert fork.run(_feeds())["y"].shape == (2, 4)


def test_a_changed_file_is_refused(toy: Path, tmp_path: Path) -> None:
    changed = tmp_path / "toy.onnx"
    changed.write_bytes(toy.read_bytes() + b"\0")
    changed.with_suffix(".json").write_text(toy.with_suffix(".json").read_text())
    with pytest.raises(ArtifactError, match="sha256 differs"):
        open_artifact(changed)


def test_a_missing_or_broken_manifest_is_refused(toy: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(toy.read_bytes())
    with pytest.raises(ArtifactError, match="missing"):
        open_artifact(alone)
    alone.with_suffix(".json").write_text("{")
    with pytest.raises(ArtifactError, match="not a manifest"):
        open_artifact(alone)


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "junk.onnx"
    path.write_bytes(b"not a network")
    write_manifest(path, INPUTS, OUTPUTS, {}, "test")
    for kind in ("openvino", "onnxruntime"):
        with pytest.raises(BackendError, match=r"junk\.onnx"):
            load_network(path, RuntimeConfig(backend=kind))


@pytest.mark.parametrize("name", ["silero_vad", "cmdt_k2"])
def test_shipped_networks_agree_across_runtimes(name: str) -> None:
    rng = np.random.default_rng(0)
    reference = load_network(name, RuntimeConfig(backend="openvino", precision="f32"))
    other = load_network(name, RuntimeConfig(backend="onnxruntime"))
    feeds = {
        key: (0.1 * rng.standard_normal(spec.shape)).astype(spec.dtype)
        for key, spec in reference.inputs.items()
    }
    expected, actual = reference.run(feeds), other.run(feeds)
    for key, value in expected.items():
        np.testing.assert_allclose(actual[key], value, atol=5e-3)
