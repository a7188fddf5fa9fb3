"""What the measure of followed commands says of faces that follow, lag, or show another shape."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.following import (
    Probe,
    bare_height,
    closed_motions,
    compare,
    correlation,
    lip_gaps,
    make_probe,
    motion,
    sweeps,
)
from engine.face.rig import Rig
from engine.motion.arkit import BLENDSHAPES, INDEX


@pytest.fixture(scope="module")
def probe() -> Probe:
    rng = np.random.default_rng(0)
    speech = [motion(jawOpen=jaw, mouthPucker=0.4 - jaw) for jaw in rng.uniform(0, 0.4, 12)]
    return make_probe(speech)


def test_every_shape_but_the_tongue_is_swept_once() -> None:
    swept = [name for peak in sweeps() for name in peak if len(peak) < 2 or name != "jawOpen"]
    assert sorted(swept) == sorted(name for name in BLENDSHAPES if name != "tongueOut")


def test_commanded_closure_closes_the_rig() -> None:
    rig = Rig.load()
    assert max(rig.lip_opening(values) for values in closed_motions()) < 0.012


def test_a_face_that_follows_is_told_from_one_that_shows_something_else(probe: Probe) -> None:
    scores = probe.values[:, :52].copy()
    scores[:, INDEX["jawOpen"]] *= 0.5
    funnel, pucker = INDEX["mouthFunnel"], INDEX["mouthPucker"]
    scores[:, pucker] += scores[:, funnel]
    scores[:, funnel] = 0
    found = compare(probe, scores)
    assert found["jawOpen"].correlation == pytest.approx(1)
    assert found["jawOpen"].slope == pytest.approx(0.5)
    assert found["jawOpen"].crosstalk == pytest.approx(0, abs=1e-6)
    assert np.isnan(found["mouthFunnel"].correlation)
    assert found["mouthFunnel"].mistaken == "mouthPucker"
    assert found["mouthFunnel"].crosstalk == pytest.approx(0.8)
    assert 0.4 < found["mouthPucker"].correlation < 0.95
    assert found["mouthPucker"].speech == pytest.approx(1)
    assert np.isnan(found["browInnerUp"].speech)


def test_correlation_needs_something_to_follow() -> None:
    line = np.linspace(0, 1, 9, dtype=np.float32)
    assert correlation(line, -2 * line) == pytest.approx(-1)
    assert np.isnan(correlation(np.zeros_like(line), line))
    assert np.isnan(correlation(line, np.zeros_like(line)))
    assert np.isnan(correlation(line * 0.01, line, 0.02))


def test_gaps_are_pixels_whatever_the_tilt() -> None:
    landmarks = np.zeros((1, 478, 2), np.float32)
    landmarks[0, 14] = (3, 4)
    assert lip_gaps(landmarks)[0].tolist() == [0, 0, 5, 0, 0]


@pytest.mark.parametrize(("inside", "height"), [((235, 225, 210), 6), ((40, 15, 15), 6)])
def test_bare_height_counts_teeth_and_dark(inside: tuple[int, int, int], height: int) -> None:
    picture = np.full((512, 512, 3), (180, 110, 105), np.uint8)
    landmarks = np.zeros((478, 2), np.float32)
    landmarks[0], landmarks[17] = (256, 240), (256, 272)
    assert bare_height(picture, landmarks) == 0
    picture[253 : 253 + height, 240:272] = inside
    assert bare_height(picture, landmarks) == pytest.approx(height, abs=1)
