"""Export: names that survive, rows that do not mix, nothing of this machine in the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from engine.audio.features import FEATURE_SIZE, LogMel
from engine.config import EngineConfig
from engine.errors import ArtifactError
from engine.media import SAMPLE_RATE, SAMPLES_PER_FRAME
from engine.motion.network import CMDT, Dims
from engine.motion.unrolled import Scale
from engine.runtime.artifact import open_artifact
from engine.runtime.base import TensorSpec
from tests.fakes import speechlike
from training.motion import checkpoint
from trt_builders.audio import PAST, LogMelNetwork
from trt_builders.export import Rows, reference, run_onnx, to_onnx, trace, write
from trt_builders.flavours import open_flavour
from trt_builders.networks import NETWORKS, Source, network
from trt_builders.profiles import artifact_name, batched, served
from trt_builders.shipped import read_weights, restore_motion, write_checkpoint

DIMS = Dims(width=32, layers=2, heads=2, other=8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose weights are all different, biases and heads of training among them."""
    torch.manual_seed(3)
    network, scale = CMDT(DIMS), Scale(DIMS)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.05)
    for buffer in scale.buffers():
        buffer.copy_(torch.rand(buffer.shape) + 0.5)
    path: Path = tmp_path_factory.mktemp("trained") / "tiny.pt"
    facts = {"shortcut": True, "train_steps": 7}
    checkpoint.save(path, checkpoint.network_content(network, network.state_dict(), scale, facts))
    return path


@pytest.fixture(scope="module")
def exported(trained: Path) -> Path:
    return write(trace("cmdt_k2", 1, trained), "fp32", trained.parent)


def test_every_weight_survives_the_round_trip(
    trained: Path, exported: Path, tmp_path: Path
) -> None:
    restored = restore_motion(exported)
    assert restored.missing == ()
    network, scale, _ = checkpoint.load_network(trained)
    for name, value in {f"network.{k}": v for k, v in network.state_dict().items()}.items():
        assert torch.equal(restored.found[name], value), name
    assert torch.equal(restored.module.scale.motion_std, scale.motion_std)
    again = tmp_path / "again.pt"
    write_checkpoint(restored, again)
    _, _, facts = checkpoint.load_network(again)
    assert facts["train_steps"] == 7
    assert facts["not_shipped"] == []


def test_weights_are_named_in_the_file(exported: Path) -> None:
    names = {tensor.name for tensor in onnx.load(exported).graph.initializer}
    assert "network.blocks.0.qkv.weight.T" in names
    assert "network.audio.blocks.0.depth.weight" in names
    assert read_weights(exported)["network.blocks.1.up.weight"].shape == (128, 32)


def test_nodes_are_named_by_module_and_nothing_else_is_told(exported: Path) -> None:
    model = onnx.load(exported)
    assert any(node.name.startswith("network.blocks.1.qkv/MatMul_") for node in model.graph.node)
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    content = exported.read_bytes()
    assert str(Path(__file__).resolve().parents[2]).encode() not in content
    assert b"site-packages" not in content


def test_a_variant_has_a_name_and_a_manifest_of_its_own(trained: Path, tmp_path: Path) -> None:
    traced = trace("cmdt_k1", 2, trained)
    path = write(traced, "fp16", tmp_path)
    assert path.name == "cmdt_k1_b2_fp16.onnx"
    artifact = open_artifact(path)
    assert artifact.precision == "fp16"
    assert artifact.inputs["past"] == TensorSpec((2, 32, 58))
    assert artifact.outputs["contact"] == TensorSpec((2, 8))
    assert artifact.config["batch"] == 2
    assert "made_from" not in artifact.config  # a checkpoint is not the shipped file
    assert list(tmp_path.glob("*.onnx")) == [path]


def test_a_file_that_computes_something_else_is_not_written(trained: Path, tmp_path: Path) -> None:
    traced = trace("cmdt_k1", 1, trained)
    wrong = replace(traced, wanted={k: v + 1 for k, v in traced.wanted.items()})
    with pytest.raises(ArtifactError, match=r"differs from its checkpoint by 1 in 'motion'"):
        write(wrong, "fp32", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_impossible_requests(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no network 'cmdt_k3'; there are log_mel, cmdt_k1"):
        network("cmdt_k3")
    with pytest.raises(ArtifactError, match="batch is 0"):
        trace("log_mel", 0)
    with pytest.raises(ArtifactError, match="takes no checkpoint"):
        trace("log_mel", 1, tmp_path / "x.pt")


class _Picture(torch.nn.Module):  # type: ignore[name-defined, misc]
    """Bytes out of two inputs whose first axis is no batch, as the renderer's are."""

    def forward(self, table, scale):  # type: ignore[no-untyped-def]
        rows = (table * scale).sum(0, keepdim=True)
        return rows.clamp(0, 255).to(torch.uint8)


def _picture() -> tuple[Source, dict[str, np.ndarray]]:
    inputs = {"table": TensorSpec((3, 4)), "scale": TensorSpec((1,))}
    outputs = {"image": TensorSpec((1, 4), "uint8")}
    nothing = dict[str, np.ndarray]
    source = Source(
        _Picture().eval(), inputs, outputs, {}, lambda _: nothing(), lambda _: nothing(), ""
    )
    rng = np.random.default_rng(0)
    table = rng.uniform(0, 40, (6, 4)).astype(np.float32)
    return source, {"table": table, "scale": np.array([1, 2], np.float32)}


def test_rows_do_not_mix() -> None:
    source, inputs = _picture()
    module = Rows(source.module, source.inputs, 2)
    got = module(*(torch.from_numpy(v) for v in inputs.values())).numpy()
    table, scale = inputs["table"].reshape(2, 3, 4), inputs["scale"]
    np.testing.assert_array_equal(got, (table.sum(1) * scale[:, None]).astype(np.uint8))


def test_bytes_are_made_last() -> None:
    """TensorRT has bytes at its edges only; batching puts a reshape behind the cast."""
    source, inputs = _picture()
    model = to_onnx(source, 2, inputs)
    last = model.graph.node[-1]
    assert last.op_type == "Cast"
    assert list(last.output) == ["image"]
    assert sum(a.i == TensorProto.UINT8 for n in model.graph.node for a in n.attribute) == 1
    assert run_onnx(model, inputs)["image"].shape == (2, 4)


class _Brightened(torch.nn.Module):  # type: ignore[name-defined, misc]
    """Goes on with the bytes it gives out, as planes made of a picture do."""

    def forward(self, table, scale):  # type: ignore[no-untyped-def]
        image = _Picture()(table, scale)
        return image, (image.float() * 0.5 + 16.5).to(torch.uint8)


class _Appended(torch.nn.Module):  # type: ignore[name-defined, misc]
    """The same behind rows, as it is added to a renderer made for several."""

    def __init__(self, inputs, rows):  # type: ignore[no-untyped-def]
        super().__init__()
        self.rows = Rows(_Picture(), inputs, rows)

    def forward(self, table, scale):  # type: ignore[no-untyped-def]
        image = self.rows(table, scale)
        return image, (image.float() * 0.5 + 16.5).to(torch.uint8)


@pytest.mark.parametrize("appended", [False, True])
@pytest.mark.parametrize("rows", [1, 2])
def test_no_bytes_inside_either(rows: int, appended: bool, tmp_path: Path) -> None:
    source, inputs = _picture()
    two = source.outputs | {"half": TensorSpec((1, 4), "uint8")}
    source = replace(source, module=_Brightened().eval(), outputs=two)
    inputs = {name: value[: len(value) * rows // 2] for name, value in inputs.items()}
    batched_module = replace(source, module=_Appended(source.inputs, rows).eval(), rows=True)
    model = to_onnx(batched_module if appended else source, rows, inputs)
    makers = {name: node for node in model.graph.node for name in node.output}
    made = {name: node for name, node in makers.items() if node.op_type == "Cast"}
    assert set(made) == {"image", "half"}
    assert not any(name in made for node in model.graph.node for name in node.input)
    wanted = reference(source, inputs, rows)
    for name, value in run_onnx(model, inputs).items():
        np.testing.assert_array_equal(value, wanted[name])
    onnx.save(model, tmp_path / "bytes.onnx")
    rtx = open_flavour("rtx", ("8.9",))
    assert rtx.compile(tmp_path / "bytes.onnx", rtx.targets).plan


def test_log_mel_network_is_the_numpy_one() -> None:
    sound = speechlike(2.0, SAMPLE_RATE)
    expected = LogMel().push(sound)
    padded = np.concatenate([np.zeros(PAST, np.float32), sound])
    windows = np.lib.stride_tricks.sliding_window_view(padded, PAST + SAMPLES_PER_FRAME)
    samples = windows[::SAMPLES_PER_FRAME].copy()
    with torch.no_grad():
        got = LogMelNetwork()(torch.from_numpy(samples)).numpy()
    assert got.shape == (50, FEATURE_SIZE)
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_names_and_shapes() -> None:
    assert artifact_name("cmdt_k2") == "cmdt_k2"
    assert artifact_name("cmdt_k2", 1, "bf16") == "cmdt_k2_b1_bf16"
    specs = {"pivot": TensorSpec((3, 1)), "image": TensorSpec((1, 8, 8, 3), "uint8")}
    assert batched(specs, 4) == {
        "pivot": TensorSpec((12, 1)),
        "image": TensorSpec((4, 8, 8, 3), "uint8"),
    }
    assert served(EngineConfig()) == ("cmdt_k2", "cmdt_k1", "render_512")
    assert set(served(EngineConfig())) <= set(NETWORKS)


def test_the_table_covers_what_is_shipped() -> None:
    shipped = {name for name, entry in NETWORKS.items() if entry.shipped}
    assert shipped == {"cmdt_k1", "cmdt_k2", "cmdt_k4", "render_512"}
    for name in shipped:
        assert set(open_artifact(name).outputs) == set(NETWORKS[name].tolerances)
