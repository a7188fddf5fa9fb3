"""The evaluation runs the engine's own stages, survives what is missing, and says what it found."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from benchmarks.motion import count_flop
from engine.config import MotionConfig
from engine.media import SAMPLES_PER_FRAME
from engine.motion.idle import Idle
from engine.motion.window import MotionWindow
from engine.runtime.load import load_network
from engine.stage import run
from training.corpus.phones import Phone
from training.evaluation import baselines, card, command, on_real, showcase
from training.evaluation.acceptance import Check, checks
from training.evaluation.document import document
from training.evaluation.performers import Performer, Take, hear, perform
from training.evaluation.pool import perform_all
from training.evaluation.real_clips import RealClip
from training.evaluation.reference import Guided
from training.evaluation.sounds import Sound
from training.motion.metrics import opening
from training.tracking import Tracked

K1 = Performer("cmdt_k1", "network", "cmdt_k1")


def bursts(frames: int = 50) -> Sound:
    """Noise that comes and goes twice a second."""
    rng = np.random.default_rng(0)
    envelope = np.repeat((np.arange(frames) // 6 % 2).astype(np.float32), SAMPLES_PER_FRAME)
    audio = 0.1 * envelope * rng.standard_normal(len(envelope)).astype(np.float32)
    return Sound("bursts", "test", audio.astype(np.float32))


def test_a_network_performs_exactly_as_the_engine_does() -> None:
    sound = bursts()
    take = perform(K1, sound)
    assert take is not None
    config = MotionConfig()
    window = MotionWindow(load_network("cmdt_k1"), config)
    made = list(run(window, hear(sound.audio)))
    shown = list(run(Idle(config.seed), made))
    np.testing.assert_array_equal(take.made, np.stack([f.values for f in made]))
    np.testing.assert_array_equal(take.shown, np.stack([f.values for f in shown]))


def test_one_missing_network_does_not_stop_the_others() -> None:
    missing = Performer("gone", "network", "cmdt_k99")
    rule = Performer("rule", "rule")
    takes, skipped = perform_all([missing, Performer("energy", "energy"), rule], [bursts()], "", 1)
    assert set(takes) == {("energy", "bursts")}
    assert "cmdt_k99" in skipped["gone"]
    assert "phones" in skipped["rule"]


def test_loudness_opens_the_jaw_and_rules_close_the_lips() -> None:
    sound = bursts()
    loud = np.square(sound.audio).reshape(-1, SAMPLES_PER_FRAME).mean(1)
    assert np.corrcoef(opening(baselines.energy(sound)), loud)[0, 1] > 0.6
    phones = (Phone("aa", 0.2, 0.6), Phone("b", 0.6, 0.72), Phone("aa", 0.72, 1.2))
    motion = baselines.rule(Sound("aba", "test", sound.audio, phones=phones))
    assert motion is not None
    gap = opening(motion)
    assert gap[16] < 0.02 < gap[10]
    assert baselines.rule(sound) is None


def real_clip(name: str, offset: int) -> tuple[RealClip, Take]:
    """A talker whose picture leads the sound by ``offset`` frames, and perfectly made lips."""
    rng = np.random.default_rng(len(name))
    frames = 300
    motion = np.zeros((frames, 58), np.float32)
    motion[:, 17] = np.clip(np.convolve(rng.random(frames + 4), np.ones(5) / 5, "valid"), 0, 1)
    truth = np.roll(opening(motion), -offset)
    ones = np.ones(frames, np.float32)
    face = Tracked(motion, truth, ones, 0 * ones, ones > 0,
                   np.zeros(frames * SAMPLES_PER_FRAME, np.float32), ones, ones)  # fmt: skip
    sound = Sound(name, "dev", face.audio)
    clip = RealClip(sound, face, False, offset, np.ones(frames, bool))
    return clip, Take(motion, motion, ones)


def test_a_clips_own_offset_is_taken_into_account() -> None:
    pairs = [real_clip("one", 3), real_clip("three", 0)]
    takes = {("net", c.sound.name): take for c, take in pairs}
    found = on_real.figures([c for c, _ in pairs], takes, "net")
    assert found["synced_r"]["median"] == pytest.approx(1, abs=1e-4)
    assert found["opening_r_by_clip"]["three"] == pytest.approx(1, abs=1e-4)
    assert found["opening_r_by_clip"]["one"] < 0.95
    assert found["lip_velocity_ratio"] == pytest.approx(1, abs=0.05)
    assert found["head_velocity_ratio"] == 0


def test_guided_teacher_moves_only_the_lips_and_nothing_at_weight_one() -> None:
    class Net(torch.nn.Module):
        class dims:
            motion = 58

        def encode(self, condition: Any) -> Any:
            return condition

        def denoise(self, noisy: Any, time: Any, step: Any, context: Any) -> Any:
            return noisy + context.audio_known.mean()

    from collections import namedtuple

    given = namedtuple("Condition", "guidance audio_known")
    guided, noisy = Guided(Net()), torch.zeros(1, 8, 58)
    outcome = {}
    for weight in (1.0, 2.0):
        context = guided.encode(given(torch.tensor([weight]), torch.ones(1, 40)))
        outcome[weight] = guided.denoise(noisy, None, None, context)
    assert torch.equal(outcome[1.0], torch.ones(1, 8, 58))
    lips = guided.lips.bool()
    assert torch.equal(outcome[2.0][..., lips], torch.full((1, 8, 28), 2.0))
    assert torch.equal(outcome[2.0][..., ~lips], outcome[1.0][..., ~lips])


def test_checks_fail_on_what_was_not_measured() -> None:
    assert Check("a", "x", 1.0, 0.9, 1.15, "goal").passed
    assert not Check("a", "x", 1.2, 0.9, 1.15, "goal").passed
    assert not Check("a", "x", math.nan, None, 1.0, "goal").passed
    assert not Check("a", "x", 0.5, 0.6, None, "goal").passed
    report = {
        "corpus": {
            "k2": {"whole": {"frechet": 3.0, "seam_ratio": 1.0, "lips_jerk_ratio": 1.1},
                   "speech": {"lip_error": 0.011}},
            "teacher": {"whole": {"frechet": 2.0, "lips_jerk_ratio": 1.0},
                        "speech": {"lip_error": 0.01}},
        }
    }  # fmt: skip
    found = {check.what: check for check in checks(report, ["k2"], "k2")}
    assert found["Fréchet distance ÷ teacher"].value == pytest.approx(1.5)
    assert not found["lip error ÷ teacher"].passed
    assert not found["head jerk ÷ teacher"].passed  # never measured


def small_report() -> dict[str, Any]:
    row = {"lip_gap_percent": 0.5, "lip_gap_network_percent": 3.0, "lip_gap_most_percent": 2.0,
           "taken_for_speech_percent": 0.0, "blinks_per_minute": 15.0,
           "longest_freeze_s": 0.4}  # fmt: skip
    return {
        "about": {"date": "2026-01-02", "hop": 2, "lookahead": 2, "guidance": 1.5, "quick": True,
                  "weights": {"cmdt_k1": {}}},
        "real": {"reason": "no clips in nowhere"},
        "quiet": {"seconds_each": 10, "cmdt_k1": {"speaking_range": 0.2, "silence": row}},
        "control": {"network": "cmdt_k1", "clips": 1,
                    "style": {"smile": {"slope": 0.1, "corpus_slope": 0.1, "share": None}},
                    "diversity": {"seeds": 3, "lips": 0.1}},
    }  # fmt: skip


def test_results_survive_json_and_become_a_document(tmp_path: Path) -> None:
    report = small_report()
    report["checks"] = [c.row() for c in checks(report, ["cmdt_k1"], "cmdt_k1")]
    assert len(report["checks"]) == 3
    report["control"]["style"]["smile"]["share"] = math.nan
    plain = json.loads(json.dumps(command._plain(report), allow_nan=False))
    text = document(plain, "motion_eval")
    assert "A quick run" in text
    assert "no clips in nowhere" in text
    assert "| silence | 0.50 (3.0) | 2.0 | 0 | 15 | 0.40 |" in text
    assert "| smile | +0.1000 | +0.1000 | – |" in text
    results = tmp_path / "motion_eval.json"
    results.write_text(json.dumps(plain))
    target = tmp_path / "card.md"
    arguments = ["--results", str(results), "--out", str(target), "--corpus", str(tmp_path)]
    assert card.main(arguments) == 0
    written = target.read_text()
    assert "`cmdt_k1`" in written
    assert "## Limits" in written
    assert card.main(["--results", str(tmp_path / "none.json")]) == 1


def test_unknown_sections_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--sections", "corpus,weather"]) == 2
    assert "weather" in capsys.readouterr().err


def test_moments_are_wide_and_shut_and_apart() -> None:
    motion = np.zeros((250, 58), np.float32)
    motion[:, 17] = 0.2 + 0.2 * np.sin(np.arange(250) / 5)
    take = Take(motion, motion, np.ones(250, np.float32))
    chosen = showcase.moments(take, 8)
    gap = opening(motion)[chosen]
    assert len(chosen) == 8
    assert np.diff(chosen).min() > 6
    assert (gap > 0.9 * gap.max()).sum() >= 3
    assert (gap < 0.15 * gap.max()).sum() >= 3


def test_operations_are_counted_from_the_graph(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    weights = [
        helper.make_tensor("w", TensorProto.FLOAT, [16, 8], np.zeros(128)),
        helper.make_tensor("k", TensorProto.FLOAT, [4, 1, 3], np.zeros(12)),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Conv", ["c", "k"], ["y"], group=4, pads=[1, 1]),
        helper.make_node("Add", ["a", "a"], ["b"]),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [value("x", TensorProto.FLOAT, [1, 5, 16]), value("c", TensorProto.FLOAT, [1, 4, 10])],
        [value("b", TensorProto.FLOAT, [1, 5, 8]), value("y", TensorProto.FLOAT, [1, 4, 10])],
        weights,
    )  # fmt: skip
    path = tmp_path / "g.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    assert count_flop(path) == 2 * 5 * 8 * 16 + 2 * 4 * 10 * 3


@pytest.mark.slow
def test_a_section_runs_from_the_command_line(tmp_path: Path) -> None:
    target = tmp_path / "motion_eval.json"
    target.write_text(json.dumps({"corpus": {"reason": "kept from an earlier run"}}))
    arguments = ["--quick", "--sections", "quiet,real", "--weights", "cmdt_k1", "--jobs", "1",
                 "--video", str(tmp_path / "nowhere"), "--out", str(target)]  # fmt: skip
    assert command.main(arguments) == 0
    found = json.loads(target.read_text())
    assert found["corpus"]["reason"] == "kept from an earlier run"
    assert "nowhere" in found["real"]["reason"]
    assert 0.05 < found["quiet"]["cmdt_k1"]["speaking_range"] < 0.6
    assert {"silence", "music"} <= set(found["quiet"]["cmdt_k1"])
    assert any(row["what"].startswith("silence") for row in found["checks"])
    assert "kept from an earlier run" in target.with_suffix(".md").read_text()


@pytest.mark.slow
def test_showcase_draws_everybody(tmp_path: Path) -> None:
    sample = Path(__file__).parents[2] / "clients" / "web" / "sample.wav"
    arguments = ["--audio", str(sample), "--out", str(tmp_path), "--seconds", "1.2",
                 "--weights", "cmdt_k1", "--teacher", str(tmp_path / "none.pt")]  # fmt: skip
    assert showcase.main(arguments) == 0
    with av.open(str(tmp_path / "showcase.mp4")) as file:
        assert len(file.streams.audio) == 1
        pictures = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(pictures) == 30
    assert pictures[0].shape == (showcase.SIDE + 26, 2 * showcase.SIDE, 3)
    network, loudness = np.split(pictures[-1][26:].astype(int), 2, axis=1)
    assert np.abs(network - loudness).max() > 30  # not the same face twice
    assert (tmp_path / "showcase.png").stat().st_size > 10_000
    assert showcase.main(["--audio", str(tmp_path / "no.wav"), "--out", str(tmp_path)]) == 1


def test_older_sections_are_marked_when_the_weights_have_changed() -> None:
    report = small_report()
    old = report["about"] | {"weights": {"cmdt_k1": {"sha256": "0123456789abcdef"}}}
    report["measured"] = {"quiet": old, "control": report["about"]}
    text = document(report, "motion_eval")
    assert text.count("with other weights or settings") == 1
    assert "cmdt_k1 0123456789ab" in text
