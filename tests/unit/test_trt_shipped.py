"""Weights read back out of the shipped ONNX files compute what the files compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from engine.errors import ArtifactError
from training.motion.checkpoint import load_network
from trt_builders.__main__ import main
from trt_builders.export import example_inputs
from trt_builders.shipped import decode, encode, restore_motion


@pytest.mark.parametrize("name", ["cmdt_k1", "cmdt_k2", "cmdt_k4"])
def test_restored_network_computes_what_the_file_does(name: str) -> None:
    restored = restore_motion(name)
    feeds = example_inputs(restored.module)
    session = onnxruntime.InferenceSession(
        str(restored.artifact.path), providers=["CPUExecutionProvider"]
    )
    wanted = session.run(None, {k: v.numpy() for k, v in feeds.items()})
    with torch.no_grad():
        got = restored.module(**feeds)
    for ours, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-5)


def test_restored_checkpoint_is_a_training_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "k2.pt"
    assert main(["restore", "cmdt_k2", "--out", str(path)]) == 0
    assert str(path) in capsys.readouterr().out
    network, scale, facts = load_network(path)
    restored = restore_motion("cmdt_k2")
    for name, value in restored.found.items():
        owner = network if name.startswith("network.") else scale
        assert torch.equal(owner.state_dict()[name.partition(".")[2]], value), name
    assert facts["shortcut"] is True
    assert facts["restored_from"] == "cmdt_k2"


def test_a_network_of_another_kind_is_refused() -> None:
    with pytest.raises(ArtifactError, match="no motion network"):
        restore_motion("silero_vad")


def test_weights_survive_as_text() -> None:
    for shape in [(3, 4), (5,), ()]:
        value = torch.randn(shape)
        assert np.array_equal(decode(encode(value)), value.numpy())
