"""The measures of the renderer's report rise and fall with what they claim to measure."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage import data

from benchmarks.__main__ import main
from benchmarks.quality import (
    baselines,
    clips,
    mouth,
    pictures,
    portraits,
    reenacted,
    report,
    sheet,
    targets,
)
from benchmarks.quality import plot as plotting
from benchmarks.quality.document import document
from benchmarks.quality.following import Following, Shape
from benchmarks.report import Result
from engine.face.analysis import FaceAnalyser
from engine.face.portrait import Portrait, prepare_portrait
from engine.face.topology import CHIN
from engine.media import Float32, MotionFrame, UInt8, VideoFrame
from engine.motion.arkit import BLENDSHAPES, INDEX
from engine.render.avatar import Avatar

EVERYWHERE = np.ones((64, 64), bool)


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return prepare_portrait(data.astronaut(), FaceAnalyser())


@dataclass(eq=False)
class Drawn:
    """A renderer that shows the photo, with so much noise of its own in every frame."""

    photo: UInt8
    noise: float = 0.0
    lookahead: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def push(self, item: MotionFrame, /) -> Iterable[VideoFrame]:
        noisy = self.photo + self.noise * self.rng.standard_normal(self.photo.shape)
        return [VideoFrame(np.clip(noisy, 0, 255).astype(np.uint8), item, item.pts)]

    def flush(self) -> Iterable[VideoFrame]:
        return []

    def reset(self) -> None: ...


def speaker(portrait: Portrait, noise: float = 0.0) -> portraits.Speaker:
    renderer: Any = Drawn(portrait.image, noise)
    return portraits.Speaker("astronaut", portrait, Avatar({}, ""), renderer)


def picture(seed: int = 0) -> UInt8:
    """Smooth blobs, uint8 [64,64,3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 215, (8, 8, 3))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)


def test_nearness_is_what_the_formulas_say() -> None:
    real = picture()
    same = pictures.nearness(real, real)
    assert same["ssim"] == pytest.approx(1)
    assert same["gmsd"] == pytest.approx(0, abs=1e-6)
    brighter = pictures.nearness(real + np.uint8(10), real)
    assert brighter["psnr"] == pytest.approx(20 * np.log10(255 / 10), abs=1e-3)
    other = pictures.nearness(picture(1), real)
    assert other["psnr"] < brighter["psnr"]
    assert other["ssim"] < brighter["ssim"] < 1
    assert other["gmsd"] > brighter["gmsd"]


def test_flicker_is_what_motion_does_not_explain() -> None:
    rng = np.random.default_rng(0)
    fine = np.asarray(data.astronaut()[100:164, 200:264])
    moved = np.asarray(data.astronaut()[100:164, 202:266])
    noisy = np.clip(moved + 8 * rng.standard_normal(moved.shape), 0, 255).astype(np.uint8)
    inner = np.zeros((64, 64), bool)
    inner[8:-8, 8:-8] = True
    assert pictures.warping_error(fine, moved, inner) < 0.5 * pictures.change(fine, moved, inner)
    assert pictures.warping_error(fine, noisy, inner) > 3


def test_blur_lowers_sharpness() -> None:
    sharp = picture()
    soft = ((sharp.astype(int) + np.roll(sharp, 1, 0) + np.roll(sharp, 1, 1)) // 3).astype(np.uint8)
    whole = pictures.sharpness(sharp, EVERYWHERE)
    assert pictures.sharpness(soft, EVERYWHERE) < 0.6 * whole


def test_a_bent_mesh_moves_as_the_head_does(portrait: Portrait) -> None:
    rest = baselines.piecewise_affine(portrait, portrait.fit.rest)
    assert np.abs(rest.astype(int) - portrait.image).mean() < 1
    values = portrait.fit.rest.copy()
    values[INDEX["jawOpen"]], values[INDEX["mouthClose"]] = 0.6, 0.0
    opened = baselines.piecewise_affine(portrait, values)
    points = portrait.fit.project(values)
    x, y = np.round(points[[13, 14]].mean(0)).astype(int)
    assert tuple(opened[y, x]) == baselines.DARK
    was, now = portrait.observation.landmarks[CHIN, :2], points[CHIN]
    assert now[1] - was[1] > 4
    before, after = (
        p[int(c[1]) - 20 : int(c[1]) - 8, int(c[0]) - 6 : int(c[0]) + 6].astype(int)
        for p, c in ((portrait.image, was), (opened, now))
    )
    assert np.abs(before.mean((0, 1)) - after.mean((0, 1))).max() < 12


def test_mouths_are_told_apart(portrait: Portrait) -> None:
    closed = portrait.fit.rest * 0
    assert mouth.describe(portrait.image, portrait.fit.project(closed)) is None
    photo = portrait.image.copy()
    values = portrait.fit.rest.copy()
    values[INDEX["jawOpen"]] = 0.5
    points = portrait.fit.project(values)
    box = pictures.mouth_box(points)
    names = {}
    for what, colour in (("hole", (10, 5, 5)), ("teeth", (225, 222, 210))):
        photo[box] = colour
        features = mouth.describe(photo, points)
        assert features is not None
        names[what] = dict(zip(mouth.NAMES, features, strict=True))
    for what, other in (("hole", "teeth"), ("teeth", "hole")):
        assert names[what][what] > 0.95
        assert names[other][what] < 0.05


def test_distance_of_mouths() -> None:
    rng = np.random.default_rng(0)
    real = list(rng.normal(0, 1, (400, len(mouth.NAMES))))
    again = list(rng.normal(0, 1, (400, len(mouth.NAMES))))
    shifted = [row + 2 for row in again]
    assert mouth.distance(again, real) < 0.1
    assert mouth.distance(shifted, real) == pytest.approx(4, rel=0.15)
    assert np.isnan(mouth.distance(real[:5], real))


def test_a_steady_and_a_noisy_speaker(portrait: Portrait) -> None:
    motion = np.zeros((40, 58), np.float32)
    motion[:, 52] = 0.02 * np.sin(np.arange(40) / 4)

    def describe(shown: UInt8, landmarks: Float32) -> Float32:
        return shown.astype(np.float32).std((0, 1)) / 10

    steady = portraits.measure(speaker(portrait), motion, 3, describe)
    noisy = portraits.measure(speaker(portrait, 12.0), motion, 3, describe)
    assert max(steady.flicker) == max(steady.background) == max(steady.identity) == 0
    assert np.mean(steady.sharp) == pytest.approx(1, abs=0.05)
    assert min(noisy.flicker) > 2 and min(noisy.still) > 2 and min(noisy.background) > 2
    assert min(noisy.sharp) > 1.5 and min(noisy.identity) > 0
    assert max(noisy.still_px) < 1
    assert len(noisy.times) == len(noisy.cpu) == 3


def shape(correlation: float) -> Shape:
    return Shape(correlation, correlation, 1.0, 0.0, "jawOpen")


def following(correlation: float, gap: float) -> Following:
    shapes = {name: shape(correlation) for name in BLENDSHAPES if name != "tongueOut"}
    return Following(shapes, gap, gap / 2, 0.0, 0.01)


def test_broken_promises_are_named() -> None:
    visible = ["jawOpen", "mouthLeft"]
    good = report.summarise_following({"a": following(0.9, 1.0)}, visible)
    assert targets.missed(good[0], good[1], visible) == []
    bad = report.summarise_following({"a": following(0.7, 1.0), "b": following(0.7, 2.0)}, visible)
    figures = bad[0] | {"identity_mean": 0.36, "gain_ssim_over_frozen": 0.01,
                        "gain_ssim_over_frozen_low": -0.02}  # fmt: skip
    found = targets.missed(figures, bad[1], visible)
    assert len(found) == 4
    assert any("1 of 2 portraits" in text for text in found)
    assert any("jawOpen follows with 0.70" in text for text in found)
    assert not any("mouthLeft" in text for text in found)


def test_shapes_are_judged_if_real_talkers_show_them() -> None:
    scores = np.zeros((50, 52), np.float32)
    scores[:, INDEX["mouthLeft"]] = np.linspace(0, 0.2, 50)
    scores[:, INDEX["cheekPuff"]] = np.linspace(0, 0.02, 50)
    assert set(report.seen_shapes(scores)) == {*targets.STRICT, "mouthLeft"}


@pytest.fixture(scope="module")
def clip(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> clips.Clip:
    patch = pytest.MonkeyPatch()
    patch.setattr(clips, "CACHE", tmp_path_factory.mktemp("quality"))
    path = shared_data / "video/train/grid_lbax4n.mpg"
    first, again = (clips.load(path, FaceAnalyser(), 2) for _ in range(2))
    patch.undo()
    assert [s.index for s in again.steps] == [12, 13, 24, 25]
    for one, two in zip(first.steps, again.steps, strict=True):
        np.testing.assert_array_equal(one.picture, two.picture)
        np.testing.assert_array_equal(one.motion, two.motion)
    return again


def test_who_draws_the_truth_wins_everything(clip: clips.Clip, tmp_path: Path) -> None:
    truth = {step.motion.tobytes(): step.picture for step in clip.steps}
    found = reenacted.measure(clip, lambda values: truth[values.tobytes()])
    found.scores = [np.zeros(52, np.float32)]
    figures, samples = report.summarise_clips([found, found])
    gains = [k for k in figures if k.startswith("gain_") and not k.endswith(("_low", "_high"))]
    assert len(gains) == 12
    assert all(figures[name] > 0 for name in gains)
    assert figures["self_flicker_ours"] == figures["self_flicker_real"]
    assert figures["self_sharpness_ours"] == 1
    assert figures["self_mouth_ssim_ours"] == pytest.approx(1)
    visible = ["jawOpen", "mouthLeft"]
    spoken = portraits.Spoken([0.3], [1.0], [0.5], [0.1], [0.2], [0.0], [9.0], [12.0])
    for part in (report.summarise_speech({"a": spoken}),
                 report.summarise_following({"a": following(0.7, 1.0)}, visible)):  # fmt: skip
        figures |= part[0]
        samples |= part[1]
    settings = {"backend": "test", "portraits": ["a"], "clips": ["x", "y"],
                "visible_shapes": visible}  # fmt: skip
    result = Result("render-quality", "test", settings, samples, figures)
    plotting.plot(result, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    text = document(result)
    assert "| mouth box, SSIM |" in text and "| a | 0.30 / 0.30 |" in text


def test_a_sheet_shows_every_expression_in_every_pose(portrait: Portrait) -> None:
    tiles = sheet.rows(speaker(portrait), 64)
    assert tiles.shape == (3 * 64, 8 * 64, 3)
    assert len({values.tobytes() for values in sheet.EXPRESSIONS.values()}) == 8


@pytest.mark.parametrize("what", ["clips", "piq"])
def test_what_is_missing_is_said_in_one_line(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if what == "clips":
        monkeypatch.setattr(clips, "SHARED", tmp_path)
    else:
        monkeypatch.setattr(clips, "held_out", lambda: [tmp_path / "a.mp4"])
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        pictures.functions.cache_clear()
    assert main(["render-quality", "--quick"]) == 1
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert {"clips": "../shared/data/video/dev", "piq": "pip install"}[what] in captured.err
