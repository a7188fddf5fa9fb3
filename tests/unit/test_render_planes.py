"""I420 made by the renderer: equal to OpenCV's, in every runtime, all the way to the encoder."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import onnx
import pytest
import torch

from engine.config import RuntimeConfig
from engine.media import MotionFrame, VideoFrame
from engine.render.layout import network_inputs
from engine.render.network import RenderNetwork
from engine.render.planes import Planes, WithPlanes, outputs_with_planes
from engine.render.renderer import Renderer
from engine.runtime.artifact import write_manifest
from engine.runtime.base import TensorSpec
from engine.runtime.load import load_network
from engine.runtime.pytorchrows import TorchRows
from engine.runtime.rows import Alone, RowBackend
from engine.transport.encoder import yuv420
from engine.transport.tracks import video_frame
from tests.networks import random_avatar


def pictures() -> np.ndarray:
    """Every corner of the colour cube, noise, and smooth colours: [2,64,96,3]."""
    rng = np.random.default_rng(0)
    made = rng.integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)
    corners = np.array([[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)], np.uint8)
    made[0, :16, :16] = np.resize(corners, (16, 16, 3))
    made[1] = np.linspace(0, 255, 64 * 96 * 3).reshape(64, 96, 3)
    return made


def opencv(pictures: np.ndarray) -> np.ndarray:
    return np.stack([cv2.cvtColor(one, cv2.COLOR_RGB2YUV_I420) for one in pictures])


def test_torch_equals_opencv() -> None:
    with torch.no_grad():
        mine = Planes()(torch.from_numpy(pictures())).numpy()
    difference = np.abs(mine.astype(int) - opencv(pictures()))
    assert difference.max() <= 1
    assert difference.mean() < 0.01


@pytest.mark.parametrize("kind", ["openvino", "onnxruntime"])
def test_exported_it_equals_opencv_too(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "planes.onnx"
    program = torch.onnx.export(
        Planes(), (torch.from_numpy(pictures()),), input_names=["picture"],
        output_names=["planes"], opset_version=18, dynamo=True, verbose=False,
    )  # fmt: skip
    onnx.save(program.model_proto, path)
    takes = {"picture": TensorSpec((2, 64, 96, 3), "uint8")}
    write_manifest(path, takes, {"planes": TensorSpec((2, 96, 96), "uint8")}, {}, "test")
    # At the runtime's own precision: a server's is bf16 where the CPU has it.
    mine = load_network(path, RuntimeConfig(backend=kind)).run({"picture": pictures()})["planes"]
    difference = np.abs(mine.astype(int) - opencv(pictures()))
    assert difference.max() <= 1


@pytest.mark.slow
def test_a_renderer_with_planes_feeds_the_encoder_unconverted() -> None:
    rows = TorchRows(WithPlanes(RenderNetwork()), network_inputs(), outputs_with_planes(), 1, "cpu")
    renderer = Renderer(RowBackend(Alone(rows), "render"), random_avatar(1))
    still = MotionFrame(np.zeros(58, np.float32), 0.0, 0)
    (frame,) = renderer.push(still)
    assert frame.planes is not None
    assert np.abs(frame.planes.astype(int) - opencv(frame.image[None])[0]).max() <= 1
    sent = video_frame(frame, 0)
    assert sent.format.name == "yuv420p"
    assert yuv420(sent) is sent, "the encoder's thread converts nothing"
    plain = yuv420(video_frame(VideoFrame(frame.image, still, 0), 0))
    assert np.abs(sent.to_ndarray().astype(int) - plain.to_ndarray()).max() <= 1
    assert isinstance(sent, av.VideoFrame)
