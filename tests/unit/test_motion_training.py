"""Training windows, losses, the loop and the metrics, on a small synthetic corpus."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.audio.features import SILENCE
from engine.media import SAMPLES_PER_FRAME
from engine.motion.arkit import EXPRESSION, INDEX, LIPS, POSE
from engine.motion.diffusion import interpolate
from engine.motion.network import CMDT, Condition, Dims
from training.evaluation import dynamics
from training.evaluation.lips import closures
from training.motion import curves, losses, metrics
from training.motion.checkpoint import adopt, load_network
from training.motion.critic import Adversary
from training.motion.data import Clips, clip_files, load_clips, measure_scale
from training.motion.ema import Ema
from training.motion.objective import (
    draw_steps,
    ear_objective,
    from_own_past,
    guided,
    heard_check,
    held_out_check,
    rollout_objective,
    step_shares,
    student_objective,
    teacher_objective,
)
from training.motion.train import Plan, Trainer
from training.motion.windows import Drops, Windows, way_back

torch.set_num_threads(1)  # more only fight each other at this size

TINY = Dims(width=16, layers=1, heads=2, ear=3, spectrum=2)
JAW = INDEX["jawOpen"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips whose jaw follows the loudness of noise."""
    folder: Path = tmp_path_factory.mktemp("corpus")
    (folder / "clips").mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        frames = 90 + 10 * index
        loud = np.clip(np.convolve(rng.standard_normal(frames), np.ones(4) / 2, "same"), 0, 2)
        noise = rng.standard_normal(frames * SAMPLES_PER_FRAME)
        audio = np.repeat(loud, SAMPLES_PER_FRAME) * noise * 0.05
        motion = np.zeros((frames, 58))
        motion[:, JAW] = 0.3 * loud
        motion[:, 52] = 0.001 * np.cumsum(rng.standard_normal(frames))
        np.savez(
            folder / "clips" / f"{index:05d}.npz",
            audio=np.round(audio.clip(-1, 1) * 32767).astype(np.int16),
            other=np.round(audio[::-1].clip(-1, 1) * 32767 * (index == 2)).astype(np.int16),
            emotion=np.array([0, 0, 0.5 * (index == 1), 0, 0], np.float32),
            motion=motion.astype(np.float16),
            viseme=(loud > 0.3).astype(np.int8),
            speaking=(loud > 0.1).astype(np.uint8),
            closure=(loud == 0).astype(np.uint8),
            voice=np.array(f"v{index}"),
            style=np.full(16, index, np.float32),
            meta=np.array(json.dumps({"split": "dev" if index == 5 else "train"})),
        )
    return folder


@pytest.fixture(scope="module")
def clips(corpus: Path) -> Clips:
    return load_clips(corpus, "train", 1, corpus / "cache")


def windows(clips: Clips, **drops: float) -> Windows:
    return Windows(clips, measure_scale(clips, TINY), TINY, Drops(**drops), seed=3)  # type: ignore[arg-type]


def test_clips_keep_their_borders(clips: Clips, corpus: Path) -> None:
    assert clips.length.tolist() == [90, 100, 110, 120, 130]
    assert clips.start.tolist() == [0, 90, 190, 300, 420]
    assert [f.shape for f in clips.features] == [(550, 320)] * 2
    assert not np.array_equal(clips.features[0], clips.features[1])  # augmented
    with pytest.raises(FileNotFoundError, match="no test clips"):
        load_clips(corpus, "test", 0, corpus / "cache")


def test_a_clip_without_motion_waits(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for source in sorted((corpus / "clips").iterdir())[:2]:
        with np.load(source) as clip:
            kept = {k: v for k, v in clip.items() if k != "motion" or source.stem == "00001"}
        np.savez(tmp_path / "clips" / source.name, **kept)
    assert [path.stem for path in clip_files(tmp_path, "train")] == ["00001"]


def test_features_are_computed_once_and_belong_to_their_sound(clips: Clips, corpus: Path) -> None:
    kept = sorted((corpus / "cache" / "features").iterdir())
    before = [path.stat().st_mtime_ns for path in kept]
    again = load_clips(corpus, "train", 1, corpus / "cache")
    assert [path.stat().st_mtime_ns for path in kept] == before
    for one, two in zip(clips.features, again.features, strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_other_speaker_is_heard_where_somebody_speaks(clips: Clips) -> None:
    assert (clips.other_row >= 0).sum() == clips.length[2]
    source = windows(clips, sound=0, other=0, emotion=0)
    batch = source.draw(200).condition
    third = batch.style[:, 0] == 2
    assert third.any()
    assert (batch.other_known.any(1) == third).all()
    assert (batch.other_known <= batch.audio_known).all()
    assert not batch.other[~third].any()
    assert torch.equal(batch.emotion[:, 2] > 0, batch.style[:, 0] == 1)
    assert not windows(clips, other=1.0).draw(200).condition.other_known.any()


def test_a_past_that_is_astray_leads_back(clips: Clips) -> None:
    drops = {"sound": 0.0, "noise": 0.0, "short_past": 0.0, "no_past": 0.0}
    first = windows(clips).firsts[40:60]
    true, off = (windows(clips, astray=share, **drops).at(first) for share in (0.0, 1.0))
    before = (off.condition.past - true.condition.past)[:, -1]
    after = off.clean - true.clean
    torch.testing.assert_close(after, before[:, None] * way_back(TINY.new))
    assert not before[:, list(LIPS)].any()
    pose, face = (after[:, :, list(part)].abs().mean((0, 2)) for part in (POSE, EXPRESSION))
    assert (pose.diff() < 0).all()
    assert float(face[-1] / face[0]) < float(pose[-1] / pose[0])


def test_strings_of_windows_follow_each_other(clips: Clips) -> None:
    drops = {"sound": 0.0, "noise": 0.0, "astray": 0.0, "short_past": 0.0, "no_past": 0.0}
    string = windows(clips, **drops).draw_string(16, 3, 5)
    for one, two in pairwise(string):
        torch.testing.assert_close(two.condition.past[:, -5:], one.clean[:, :5])


def test_a_string_on_its_own_past_starts_from_there(clips: Clips) -> None:
    batch = windows(clips, noise=0.0).draw(8)
    past = batch.condition.past + 0.3
    moved = from_own_past(batch, past, way_back(TINY.new))
    torch.testing.assert_close(moved.condition.past, past)
    lift = moved.clean - batch.clean
    assert not lift[..., list(LIPS)].any()
    assert 0.25 < float(lift[:, 0, list(POSE)].mean()) < 0.3


def test_windows_never_reach_into_the_neighbouring_clip(clips: Clips) -> None:
    source = windows(clips, sound=0, no_past=0, short_past=0, noise=0, style=0, astray=0)
    batch = source.draw(400)
    condition = batch.condition
    known = condition.past_known.numpy()
    assert (np.diff(known, axis=1) >= 0).all()  # known frames are the latest
    assert 0 < (known.sum(1) < TINY.past).mean() < 1
    style = condition.style[:, 0].numpy().astype(int)
    whole = torch.cat([condition.past, batch.clean], 1)
    motion = torch.from_numpy(clips.motion)
    for row in range(50):
        start, length = clips.start[style[row]], clips.length[style[row]]
        own = source.scale.motion(motion[start : start + length])
        frames = whole[row, TINY.past - int(known[row].sum()) :]
        match = own.unfold(0, len(frames), 1).transpose(1, 2)
        assert (match - frames).abs().amax((1, 2)).min() < 1e-5


def test_people_are_drawn_more_often_than_they_are(clips: Clips) -> None:
    named = replace(clips, voices=("recorded:a", "x", "y", "kokoro:b", "z"))
    style = windows(named, natural=0.5, style=0.0).draw(700).condition.style[:, 0]
    people = float(((style == 0) | (style == 3)).float().mean())
    alone = (clips.length[0] + clips.length[3] - 16) / (clips.length.sum() - 40)
    assert people == pytest.approx(0.5 + 0.5 * alone, abs=0.06)


def test_a_window_is_heard_in_many_rooms(clips: Clips) -> None:
    calm = {"warp": 0.0, "colour": 0.0, "hiss": 0.0, "hole": 0.0}
    source = windows(clips, **calm)
    loud = np.random.default_rng(1).uniform(SILENCE + 6, 2, (1, 40, 320))
    audio = loud.astype(np.float32).repeat(60, 0)
    np.testing.assert_array_equal(source._other_rooms(audio), audio)
    coloured = windows(clips, **calm | {"colour": 1.0})._other_rooms(audio) - audio
    of_band = coloured.reshape(60, -1, 80)
    assert np.ptp(of_band, 1).max() < 1e-4  # a microphone does not change within a window
    assert of_band[:, 0].std(0).min() > 0.5
    noisy = windows(clips, **calm | {"hiss": 1.0})._other_rooms(audio) - audio
    assert noisy.min() >= 0 < noisy.max()  # noise only adds power
    holed = windows(clips, **calm | {"hole": 1.0})._other_rooms(audio).reshape(60, -1, 80)
    missing = (np.ptp(holed, 1) == 0).sum(1)
    assert missing.min() >= 1
    assert missing.max() <= 12


def test_only_the_ear_learns_to_hear(clips: Clips) -> None:
    source = windows(clips, sound=0.0)
    network = CMDT(TINY)
    terms = ear_objective(False)(network, source.draw(16))
    torch.autograd.backward(terms["flow"] + terms["contact"] + terms["lips"])
    taught = {n.split(".")[0] for n, p in network.named_parameters() if p.grad is not None}
    assert taught == {"audio", "visemes", "contact", "audio_lips"}
    groups = {"all": ("v",), "second": ("v1",), "nobody": ("w",)}
    figures = heard_check(source, groups, 40)(network)
    assert set(figures) == {"heard_all", "touch_all", "heard_second", "touch_second"}
    sure = replace(clips, viseme=np.ones_like(clips.viseme))
    with torch.no_grad():
        network.visemes.bias[1] = 100.0
    assert heard_check(windows(sure), {"all": ("v",)}, 40)(network)["heard_all"] == 1.0


def test_sound_beyond_the_known_frames_is_flagged_and_unscored(clips: Clips) -> None:
    batch = windows(clips, sound=0).draw(300)
    heard = batch.heard.sum(1)
    assert set(heard.tolist()) == set(range(1, 9))
    assert (heard == 4).float().mean() > 0.35  # the default hop and look-ahead
    assert ((batch.viseme[:, TINY.past :] >= 0).float() == batch.heard).all()
    muted = windows(clips, sound=1.0).draw(20)
    assert not muted.condition.audio_known.any()


def test_losses_vanish_at_the_truth_and_only_there(clips: Clips) -> None:
    source = windows(clips)
    batch = source.draw(32)
    groups, opening = losses.group_weights(), losses.opening_vector(source.scale)
    noise, time = losses.draw_noise(32, TINY.new), torch.full((32,), 0.5)
    noisy = interpolate(batch.clean, noise, 0.5)
    perfect = losses.dynamics(batch.clean - noise, noisy, time, batch, opening, groups)
    assert max(float(v) for v in perfect.values()) < 1e-9
    off = losses.dynamics(batch.clean - noise + 0.5, noisy, time, batch, opening, groups)
    assert min(float(off[k]) for k in ("opening", "speed", "acceleration")) > 1e-4
    early = losses.dynamics(noise, noisy, 0 * time, batch, opening, groups)
    assert not any(float(v) for v in early.values())


def test_opening_vector_is_the_rigs_gap(clips: Clips) -> None:
    scale = measure_scale(clips, TINY)
    vector = losses.opening_vector(scale)
    values = np.zeros((2, 58), np.float32)
    values[1, JAW], values[1, INDEX["mouthFunnel"]] = 0.3, 0.2
    gap = np.diff(metrics.opening(values))[0]
    normal = torch.from_numpy(np.diff(values, axis=0)[0]) / scale.motion_std
    jaw = np.zeros((2, 58), np.float32)
    jaw[1, JAW] = scale.motion_std[JAW]
    unit = np.diff(metrics.opening(jaw))[0]
    assert float(normal @ vector) == pytest.approx(gap / unit, rel=1e-3)


def test_times_reach_the_start_and_steps_stay_on_their_grid() -> None:
    torch.manual_seed(0)
    times = losses.draw_times(20_000)
    assert 0.09 < float((times < 0.05).float().mean()) < 0.12
    time, step = draw_steps(5000)
    assert (time + step <= 1 + 1e-6).all()
    assert torch.equal((time / step).round() * step, time)
    assert set(step.tolist()) == {0.125, 0.25, 0.5, 1.0}


def test_guidance_of_one_changes_nothing_and_two_doubles_the_lips(clips: Clips) -> None:
    torch.manual_seed(0)
    network = CMDT(TINY).eval()
    torch.nn.init.normal_(network.lips.outer.weight)
    torch.nn.init.normal_(network.modulation.weight)
    batch = windows(clips, sound=0).draw(4)
    noisy, time, step = torch.randn(4, TINY.new, 58), torch.rand(4), torch.zeros(4)
    given: Condition = batch.condition
    with torch.no_grad():
        heard, _ = network(noisy, time, step, given)
        deaf, _ = network(noisy, time, step, given._replace(audio_known=0 * given.audio_known))
        one = guided(network, noisy, time, given, torch.ones(4))
        two = guided(network, noisy, time, given, 2 * torch.ones(4))
    torch.testing.assert_close(one, heard, atol=1e-5, rtol=1e-4)
    lips, rest = list(LIPS), [*EXPRESSION, *POSE]
    effect = (two - deaf)[..., lips], 2 * (heard - deaf)[..., lips]
    torch.testing.assert_close(*effect, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(two[..., rest], heard[..., rest], atol=1e-5, rtol=1e-4)
    assert float((heard - deaf)[..., lips].abs().max()) > 1e-3


def test_ema_follows_slowly() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(layer.weight)
    ema = Ema(layer, 0.9)
    torch.nn.init.ones_(layer.weight)
    for _ in range(3):
        ema.update(layer)
    # decays (1+n)/(10+n) for n = 1..3: 1 - 2/11 * 3/12 * 4/13
    assert float(ema.network.weight) == pytest.approx(1 - 2 / 11 * 3 / 12 * 4 / 13)


def test_a_student_of_k_steps_trains_its_own_step_most() -> None:
    torch.manual_seed(0)
    for steps in (1, 2, 4):
        _, step = draw_steps(4000, step_shares(steps))
        assert set(step.tolist()) == {1 / steps, 0.5 / steps}
        assert 0.65 < float((step == 1 / steps).float().mean()) < 0.75


def test_rollout_continues_what_the_network_made(clips: Clips, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = windows(clips, noise=0.0, astray=0.0)
    plan = Plan(steps=3, batch=8, log_every=1, check_every=100)
    trainer = Trainer(CMDT(TINY), source.scale, plan, {"shortcut": False}, tmp_path / "rollout.pt")
    seen: list[float] = []

    def share() -> float:
        seen.append(1.0)
        return 1.0

    objective = rollout_objective(source.scale, trainer.ema, lambda: 3, share, False)
    trainer.run(lambda: source.draw_string(8, 3, 3), objective, losses.Weights(), lambda _: {})
    assert len(seen) == 3
    log = (tmp_path / "rollout.jsonl").read_text().splitlines()
    assert all(np.isfinite(json.loads(line)["loss"]) for line in log)
    curves.draw(tmp_path / "rollout.jsonl", tmp_path / "rollout.png")
    assert (tmp_path / "rollout.png").stat().st_size > 1000


def test_a_critic_learns_to_tell_made_from_recorded(clips: Clips) -> None:
    torch.manual_seed(0)
    source, network = windows(clips), CMDT(TINY)  # a fresh network returns its noise
    adversary = Adversary(58, steps=1, rate=2e-3)
    objective = adversary.around(lambda *_: {"flow": torch.zeros(())})
    losses_seen = [objective(network, source.draw(32)) for _ in range(40)]
    assert float(losses_seen[-1]["critic"]) < 0.6 * float(losses_seen[0]["critic"])
    last = losses_seen[-1]["adversarial"]
    torch.autograd.backward(last)
    assert float(network.lips.outer.weight.grad.abs().max()) > 0
    assert adversary.critic.layers[0].weight.grad is not None  # from its own training only


def test_weights_of_a_network_with_fewer_conditions_are_taken_over() -> None:
    torch.manual_seed(0)
    old, new = CMDT(Dims(width=16, layers=1, heads=2, emotions=3)), CMDT(TINY)
    weights = {k: torch.randn_like(v) for k, v in old.state_dict().items()}
    weights = {k: v for k, v in weights.items() if not k.startswith("other")}
    adopt(new, weights)
    columns = weights["manner.weight"].shape[1]
    torch.testing.assert_close(new.manner.weight[:, :columns], weights["manner.weight"])
    assert not new.manner.weight[:, columns:].any()
    with pytest.raises(ValueError, match="has no"):
        adopt(new, {"nothing": torch.zeros(1)})


@pytest.mark.slow
def test_teacher_and_student_learn_and_resume(clips: Clips, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = windows(clips)
    scale, target = source.scale, tmp_path / "teacher.pt"
    plan = Plan(steps=60, minutes=5, batch=16, rate=3e-3, warmup=5, log_every=20, check_every=20)
    trainer = Trainer(CMDT(TINY), scale, plan, {"shortcut": False}, target)
    check = held_out_check(source, (2,), shortcut=False, batches=1, size=32)
    trainer.run(lambda: source.draw(16), teacher_objective(scale, False), losses.Weights(), check)
    lines = [json.loads(x) for x in target.with_suffix(".jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines] == [20, 40, 60]
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]
    assert {"r2", "gap2", "viseme", "closure"} <= set(lines[-1])

    longer = Plan(steps=70, minutes=5, batch=16, log_every=10)
    again = Trainer(CMDT(TINY), scale, longer, {"shortcut": False}, target)
    again.resume()
    assert again.progress.step == 60
    for one, two in zip(again.network.parameters(), trainer.network.parameters(), strict=True):
        torch.testing.assert_close(one, two)
    again.run(lambda: source.draw(16), teacher_objective(scale, False), losses.Weights(), check)
    assert again.progress.step == 70

    teacher, _, _ = load_network(target)
    student, _, _ = load_network(target)
    distilled = Trainer(
        student.train(), scale, Plan(steps=20, batch=16, log_every=10), {"shortcut": True},
        tmp_path / "student.pt",
    )  # fmt: skip
    objective = student_objective(scale, teacher, distilled.ema, False, steps=2)
    distilled.run(lambda: source.draw(16), objective, losses.Weights(), check)
    assert load_network(tmp_path / "student.pt")[2]["shortcut"] is True
    moved = [
        float((a - b).abs().max().detach())
        for a, b in zip(student.parameters(), teacher.parameters(), strict=True)
    ]
    assert max(moved) > 1e-4


def test_metrics_on_known_motion() -> None:
    rng = np.random.default_rng(0)
    motion = np.zeros((400, 58), np.float32)
    motion[:, JAW] = 0.2 + 0.1 * np.sin(np.arange(400) / 3)
    gap = metrics.opening(motion)
    assert metrics.best_lag(gap, gap, 6) == (pytest.approx(1), 0)
    assert metrics.best_lag(gap[:-3], gap[3:], 6)[1] == 3  # the first comes later
    spans, speaking = [(50, 55), (80, 82)], np.ones(400, bool)
    none = closures(gap, spans, speaking, tolerance=0)
    assert (none.met, none.wanted) == (0, 2)
    motion[52, INDEX["mouthClose"]] = motion[52, JAW]
    one = closures(metrics.opening(motion), spans, speaking, tolerance=0)
    assert (one.met, one.wanted) == (1, 2)
    for start in (100, 200, 300):
        motion[start : start + 3, [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]] = 1
    assert dynamics.blink_figures([motion])["blinks_per_minute"] == pytest.approx(
        3 / (400 / 25 / 60)
    )
    assert dynamics.ratios([motion * 2], [motion])["lips_velocity_ratio"] == pytest.approx(2)
    assert metrics.lip_error(motion, motion) == 0
    walk = np.cumsum(rng.standard_normal((400, 58)), 0).astype(np.float32)
    walk += np.repeat(rng.standard_normal((100, 58)) * 20, 4, 0).astype(np.float32)
    assert metrics.seam_ratio(walk, 4) > 2
    assert 0.8 < metrics.seam_ratio(rng.standard_normal((4000, 58)).astype(np.float32), 4) < 1.2


def test_frechet_sees_shift_and_shrinkage() -> None:
    rng = np.random.default_rng(1)
    real = [np.cumsum(rng.standard_normal((300, 58)), 0).astype(np.float32) for _ in range(6)]
    scale = np.concatenate(real).std(0)
    same = metrics.frechet(real, real, scale)
    assert same == pytest.approx(0, abs=1e-6)
    assert metrics.frechet([r * 0.5 for r in real], real, scale) > 0.1
    assert metrics.frechet([r + scale for r in real], real, scale) > 0.1
