"""The rendering network in torch: inversion, parity with the shipped file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.config import RuntimeConfig
from engine.face.analysis import FaceAnalyser
from engine.face.portrait import prepare_portrait
from engine.face.rig import Rig, rotation_matrix
from engine.face.rig import effective as rig_effective
from engine.motion.arkit import INDEX
from engine.render.avatar import Avatar
from engine.render.network import RenderNetwork
from engine.render.warp import Enlarge, Sampling, effective, invert, rotation
from engine.runtime.artifact import WEIGHTS
from engine.runtime.load import load_network
from training.refiner.model import Refiner


def test_rotation_is_the_rigs() -> None:
    angles = (0.2, -0.1, 0.3)
    ours = rotation(torch.tensor(angles)).numpy()
    np.testing.assert_allclose(ours, rotation_matrix(*angles), atol=1e-6)


def test_effective_shapes_are_the_rigs() -> None:
    values = np.random.default_rng(0).uniform(0, 1, (1, 52)).astype(np.float32)
    lids = Rig.load().lids
    ours = effective(torch.from_numpy(values), torch.from_numpy(lids)).numpy()
    np.testing.assert_allclose(ours[0], rig_effective(values[0], lids), atol=1e-5)


@pytest.mark.parametrize("size", [4.0, 16.0])
def test_invert_undoes_a_smooth_field(size: float) -> None:
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    field = size * torch.stack([torch.sin(y / 9), torch.cos(x / 11)])[None]
    step, extent = 8, torch.tensor([256.0, 256.0])
    cells = torch.stack([x, y], -1)[None] * step + 3.5
    inner = cells[:, 8:24, 8:24]
    flow = invert(field, inner, extent, step)
    grid = (inner + flow.permute(0, 2, 3, 1) + 0.5) * (2 / 256) - 1
    back = torch.nn.functional.grid_sample(field, grid, align_corners=False)
    assert (flow + back).abs().max() < 0.05


@pytest.mark.parametrize("step", [2, 4, 8])
def test_sampling_is_bilinear_between_nodes_and_goes_on_beyond_them(step: int) -> None:
    generator = torch.Generator().manual_seed(0)
    flow = 20 * torch.randn(2, 2, 5, 7, generator=generator)
    height, width = 5 * step, 7 * step
    extent = (width + 6, height + 10)  # a source larger than what is drawn of it
    wide = torch.nn.functional.interpolate(flow, scale_factor=step, mode="bilinear")
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([x, y], -1) + 0.5 + wide.permute(0, 2, 3, 1)
    wanted = places * (2 / torch.tensor(extent)) - 1
    got = Sampling((5, 7), step, extent)(flow)
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=1e-5)


def test_enlarge_is_bilinear() -> None:
    planes = torch.rand(2, 1, 14, 16, generator=torch.Generator().manual_seed(0))
    wanted = torch.nn.functional.interpolate(planes, scale_factor=8, mode="bilinear")
    enlarge = Enlarge((14, 16), 8)
    np.testing.assert_allclose(enlarge(planes).numpy(), wanted.numpy(), atol=1e-5)
    assert not enlarge.state_dict(), "older refiners' weights have none of it"


def test_geometry_is_not_computed_in_bfloat16() -> None:
    """Eight bits are not enough for places in a picture; other precisions are had on demand."""
    runtime = RuntimeConfig(backend="openvino")
    assert load_network("render_512", runtime).name == "openvino:CPU f32"


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return Avatar.from_portrait(
        prepare_portrait(WEIGHTS / "avatars" / "default.png", FaceAnalyser())
    )


def _motion() -> np.ndarray:
    values = np.zeros((1, 58), np.float32)
    values[0, [INDEX["jawOpen"], INDEX["eyeBlinkLeft"], INDEX["mouthPucker"]]] = 0.3, 0.6, 0.4
    values[0, 52:] = 0.1, -0.05, 0.05, 0.02, 0.01, 0.0
    return values


def test_shipped_file_draws_what_torch_draws(avatar: Avatar) -> None:
    """Outside the mouth, where a retrained refiner does not reach, the two must agree."""
    backend = load_network("render_512", RuntimeConfig(precision="f32"))
    for name, array in avatar.arrays.items():
        backend.bind(name, array)
    theirs = backend.run({"motion": _motion()})["image"].astype(int)
    constants = {k: torch.from_numpy(np.array(v)) for k, v in avatar.arrays.items()}
    network = RenderNetwork().eval()
    with torch.no_grad():
        inputs = constants | {"motion": torch.from_numpy(_motion())}
        ours = network(**inputs).numpy().astype(int)
        _, _, inside, index = network.draw_mouth(inputs)
    mouth = np.zeros(512 * 512, bool)
    mouth[index[:, 0].numpy()] = inside[0, 0].numpy().ravel() > 0
    error = np.abs(ours - theirs).max(-1).ravel()
    assert np.percentile(error[~mouth], 99.9) <= 2


def test_refiner_paints_inside_the_mouth_only() -> None:
    refiner = Refiner()
    torch.nn.init.normal_(refiner.leave.weight)
    drawn = torch.rand(1, 3, 160, 192) * 255
    inside = torch.zeros(1, 1, 160, 192)
    inside[..., 60:80, 70:120] = 1
    with torch.no_grad():
        out = refiner(drawn, torch.zeros_like(inside), inside)
    changed = (out - drawn).abs().amax(1)[0]
    assert changed[60:80, 70:120].mean() > 1
    changed[60:80, 70:120] = 0
    assert changed.max() == 0
