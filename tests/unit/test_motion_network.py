"""The cMDT: what may influence what, the unrolled sampler, and the export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.config import MotionConfig, RuntimeConfig
from engine.errors import ArtifactError
from engine.motion.arkit import EXPRESSION, LIPS
from engine.motion.diffusion import sample
from engine.motion.network import CMDT, Condition, Dims
from engine.motion.unrolled import Scale, Unrolled, input_specs, output_specs
from engine.motion.window import MotionWindow
from engine.runtime.load import load_network
from engine.runtime.pytorch import TorchBackend
from engine.stage import run
from tests.unit.test_motion_window import sound, values
from training.motion import checkpoint
from trt_builders import export

torch.set_num_threads(1)  # more only fight each other at this size

TINY = Dims(width=16, layers=2, heads=2, ear=3, spectrum=2)


def tiny(seed: int = 0) -> CMDT:
    """A small network with every weight away from its zero start."""
    torch.manual_seed(seed)
    network = CMDT(TINY)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def condition(batch: int = 2) -> Condition:
    torch.manual_seed(7)
    frames, past = TINY.frames, TINY.past
    ones = torch.ones(batch)
    return Condition(
        torch.randn(batch, frames, TINY.audio), torch.ones(batch, frames),
        torch.randn(batch, past, TINY.motion), torch.ones(batch, past), torch.ones(batch, past),
        0 * ones, torch.randn(batch, TINY.motion), ones, torch.eye(3)[:batch],
        torch.randn(batch, TINY.style), ones, 1.5 * ones, torch.rand(batch, TINY.emotions), ones,
        torch.randn(batch, frames, TINY.audio), torch.ones(batch, frames),
    )  # fmt: skip


def speed(network: CMDT, given: Condition, time: float = 0.3, step: float = 0.5) -> np.ndarray:
    torch.manual_seed(3)
    noisy = torch.randn(2, TINY.new, TINY.motion)
    with torch.no_grad():
        out, _ = network(noisy, torch.full((2,), time), torch.full((2,), step), given)
    return out.numpy()


def test_a_fresh_network_predicts_nothing() -> None:
    torch.manual_seed(0)
    assert not speed(CMDT(TINY).eval(), condition()).any()


@pytest.mark.parametrize(
    ("flag", "value", "frame"),
    [
        ("audio_known", "audio", 35),
        ("past_known", "past", 10),
        ("other_known", "other", 20),
    ],
)
def test_what_is_not_known_has_no_influence(flag: str, value: str, frame: int) -> None:
    network, given = tiny(), condition()
    hidden = getattr(given, flag).clone()
    hidden[:, frame] = 0
    other = getattr(given, value).clone()
    other[:, frame] += 5
    without = given._replace(**{flag: hidden})
    np.testing.assert_array_equal(
        speed(network, without), speed(network, without._replace(**{value: other}))
    )
    assert np.abs(speed(network, given) - speed(network, without)).max() > 1e-6
    assert np.abs(speed(network, given._replace(**{value: other})) - speed(network, given)).any()


def test_hidden_lips_of_the_past_have_no_influence_but_the_rest_has() -> None:
    network, given = tiny(), condition()
    given = given._replace(lips_known=torch.zeros_like(given.lips_known))
    lips, eyes = given.past.clone(), given.past.clone()
    lips[..., list(LIPS)] += 3
    eyes[..., list(EXPRESSION)] += 3
    base = speed(network, given)
    np.testing.assert_array_equal(base, speed(network, given._replace(past=lips)))
    assert np.abs(base - speed(network, given._replace(past=eyes))).max() > 1e-6


@pytest.mark.parametrize(
    "name", ["reference", "state", "style", "guidance", "past_noise", "emotion", "other"]
)
def test_every_condition_counts(name: str) -> None:
    network, given = tiny(), condition()
    changed = given._replace(**{name: getattr(given, name) + 1.0})
    assert np.abs(speed(network, given) - speed(network, changed)).max() > 1e-6


def test_time_and_step_count() -> None:
    network, given = tiny(), condition()
    assert np.abs(speed(network, given) - speed(network, given, time=0.6)).max() > 1e-6
    assert np.abs(speed(network, given) - speed(network, given, step=0.25)).max() > 1e-6


def test_rows_of_a_batch_do_not_mix() -> None:
    network, given = tiny(), condition()
    changed = given.past.clone()
    changed[1] += 1
    np.testing.assert_allclose(
        speed(network, given)[0], speed(network, given._replace(past=changed))[0], atol=1e-6
    )


def scaled() -> Scale:
    torch.manual_seed(5)
    scale = Scale(TINY)
    scale.motion_mean.copy_(torch.rand(TINY.motion) * 0.2)
    scale.motion_std.copy_(torch.rand(TINY.motion) * 0.1 + 0.02)
    scale.audio_mean.fill_(-6.0)
    scale.audio_std.fill_(3.0)
    return scale


def test_unrolled_is_the_sampler_in_raw_units() -> None:
    network, scale = tiny(), scaled()
    module = Unrolled(network, scale, 3, shortcut=True)
    inputs = export.example_inputs(module)
    given = Condition(
        scale.audio(inputs["audio"]), inputs["audio_known"], scale.motion(inputs["past"]),
        inputs["past_known"], 0 * inputs["past_known"], torch.zeros(1),
        scale.motion(inputs["reference"]), torch.ones(1), inputs["state"], inputs["style"],
        torch.ones(1), inputs["guidance"], inputs["emotion"], torch.ones(1),
        scale.audio(inputs["other"]), inputs["other_known"],
    )  # fmt: skip

    def denoise(z, time, step):  # type: ignore[no-untyped-def]
        return network(z, torch.full((1,), time), torch.full((1,), step), given)[0]

    with torch.no_grad():
        expected = scale.raw_motion(sample(denoise, inputs["noise"], 3))
        motion, contact = module(**inputs)
        np.testing.assert_allclose(motion, expected, atol=1e-5)
        wanted = network.encode(given).scores.contact[:, TINY.past :].sigmoid()
        np.testing.assert_allclose(contact, wanted, atol=1e-5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("cmdt")
    network, scale = tiny(), scaled()
    content = checkpoint.network_content(network, network.state_dict(), scale, {"shortcut": True})
    checkpoint.save(folder / "tiny.pt", content)
    return folder, export.export("cmdt_k2", folder / "tiny.pt", folder)


def test_checkpoint_round_trip(exported: tuple[Path, Path]) -> None:
    network, scale, facts = checkpoint.load_network(exported[0] / "tiny.pt")
    assert network.dims == TINY
    assert facts == {"shortcut": True}
    np.testing.assert_array_equal(scale.motion_std, scaled().motion_std)
    np.testing.assert_array_equal(speed(network, condition()), speed(tiny(), condition()))


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_the_export_drives_the_window_like_torch(exported: tuple[Path, Path], runtime: str) -> None:
    shipped = load_network(exported[1], RuntimeConfig(backend=runtime, precision="f32", threads=1))
    module = Unrolled(tiny(), scaled(), 2, shortcut=True)
    reference = TorchBackend(module, input_specs(TINY), output_specs(TINY))
    config, items = MotionConfig(hop=3, lookahead=2), sound(30)
    made, wanted = (values(list(run(MotionWindow(b, config), items))) for b in (shipped, reference))
    np.testing.assert_allclose(made, wanted, atol=1e-3)
    assert made.std() > 0.01


def test_an_export_that_computes_something_else_is_refused(exported: tuple[Path, Path]) -> None:
    other = Unrolled(tiny(seed=1), scaled(), 2, shortcut=True).eval()
    with pytest.raises(ArtifactError, match="differs from its checkpoint"):
        export.check(other, exported[1], export.example_inputs(other))


def test_a_larger_ear_begins_as_the_small_one(tmp_path: Path) -> None:
    small = CMDT(replace(TINY, ear=2, spectrum=0))
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    path = tmp_path / "small.pt"
    content = checkpoint.network_content(small, small.state_dict(), Scale(TINY), {})
    checkpoint.save(path, content)
    large, _, _ = checkpoint.load_network(path, TINY)
    assert len(list(large.parameters())) > len(list(small.parameters()))
    np.testing.assert_array_equal(speed(large, condition()), speed(small.eval(), condition()))
