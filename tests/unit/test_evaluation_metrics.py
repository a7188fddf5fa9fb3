"""Measures on motion and sound whose figures are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from engine.media import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from engine.motion.arkit import INDEX, ROTATION
from training.corpus.phones import Phone
from training.evaluation import dynamics, lips, on_quiet, spread, statistics
from training.evaluation.lips import Closures
from training.evaluation.sounds import closure_spans, spoken
from training.motion import metrics
from training.motion.metrics import frechet, opening

RNG = np.random.default_rng(3)
JAW = INDEX["jawOpen"]


def walk(frames: int, columns: int = 58) -> np.ndarray:
    return np.cumsum(RNG.standard_normal((frames, columns)), 0).astype(np.float32)


def test_best_lag_finds_the_shift_and_stays_within_reach() -> None:
    curve = walk(400, 1)[:, 0]
    late = np.roll(curve, 3)[10:]
    assert metrics.best_lag(late, curve[10:], 6) == (pytest.approx(1, abs=1e-3), 3)
    assert metrics.best_lag(late, curve[10:], 2)[1] == 2
    assert metrics.best_lag(late, curve[10:], 2, middle=4) == (pytest.approx(1, abs=1e-3), 3)
    assert metrics.best_lag(np.zeros(50, np.float32), curve[:50], 2) == (0.0, 0)


def test_closures_are_counted_both_ways() -> None:
    gap = np.full(100, 0.1, np.float32)
    gap[10:12] = gap[40] = gap[70:72] = 0.0
    speaking = np.ones(100, bool)
    speaking[65:] = False
    wanted = [(10, 12), (25, 27), (42, 44)]
    exact = lips.closures(gap, wanted, speaking, 0)
    assert exact == Closures(met=1, wanted=3, right=1, seen=2)  # the pause's closing counts nowhere
    loose = lips.closures(gap, wanted, speaking, 2)
    assert loose == Closures(met=2, wanted=3, right=2, seen=2)
    assert (exact + loose).figures()["closure_recall"] == pytest.approx(0.5)
    assert np.isnan(Closures().figures()["closure_precision"])


def test_closure_spans_lie_inside_the_phone_and_are_never_empty() -> None:
    phones = [Phone("AH", 0.0, 0.4), Phone("B", 0.4, 0.6), Phone("m", 1.0, 1.02)]
    (first, last), (short, end) = closure_spans(phones)
    centres = (np.arange(first, last) + 0.5) / FPS
    assert centres.min() >= 0.38
    assert centres.max() <= 0.6 - 0.18 * 0.2
    assert last - first >= 4
    assert end == short + 1
    assert abs((short + 0.5) / FPS - 1.0) < 0.04


def test_spoken_bridges_short_pauses_only() -> None:
    phones = [Phone("a", 0.0, 0.4), Phone("a", 0.6, 1.0), Phone("", 1.0, 1.6), Phone("a", 1.6, 2)]
    inside = spoken(phones, 60)
    assert inside[:25].all()
    assert not inside[26:39].any()
    assert inside[41:49].all()
    assert not inside[50:].any()


def test_width_follows_the_corners() -> None:
    motion = np.zeros((3, 58), np.float32)
    motion[1, [INDEX["mouthStretchLeft"], INDEX["mouthStretchRight"]]] = 0.5
    motion[2, INDEX["mouthPucker"]] = 0.8
    rest, wide, narrow = metrics.width(motion)
    assert narrow < rest < wide


def test_ratio_pools_clips() -> None:
    clips = [walk(300), walk(200)]
    doubled = [2 * clip for clip in clips]
    assert dynamics.ratio(doubled, clips, 1) == pytest.approx(2, rel=1e-5)
    assert dynamics.ratios(doubled, clips)["head_jerk_ratio"] == pytest.approx(2, rel=1e-4)


def test_blinks_are_found_with_their_length() -> None:
    motion = np.zeros((10 * FPS, 58), np.float32)
    eyes = [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]
    for start in (20, 90, 200):
        motion[start : start + 4, eyes] = 0.9
    motion[150:154, eyes] = 0.45  # half a blink is none
    starts, lengths = dynamics.blinks(motion)
    assert starts.tolist() == [20, 90, 200]
    assert lengths.tolist() == [4, 4, 4]
    assert dynamics.blink_figures([motion]) == {"blinks_per_minute": 18, "blink_ms": 160}


def test_freeze_is_as_long_as_the_head_stands_still() -> None:
    motion = np.zeros((10 * FPS, 58), np.float32)
    swing = np.radians(2) * np.sin(np.arange(10 * FPS) / 4)
    motion[:, ROTATION.start] = swing
    assert dynamics.longest_freeze(motion) < 0.3
    motion[100:175, ROTATION.start] = motion[100, ROTATION.start]
    assert dynamics.longest_freeze(motion) == pytest.approx(3.0, abs=0.2)


def test_beats_align_when_the_head_stops_on_them() -> None:
    period, count = 20, 30
    frames = period * count
    audio = np.full(frames * SAMPLES_PER_FRAME, 1e-4, np.float32)
    for beat in range(count):
        first = (beat * period + period // 2) * SAMPLES_PER_FRAME
        audio[first : first + 3 * SAMPLES_PER_FRAME] = 0.3
    motion = np.zeros((frames, 58), np.float32)
    turn = np.cos(np.pi * (np.arange(frames) - period // 2) / period)  # speed 0 on every beat
    motion[:, ROTATION.start] = np.radians(5) * turn
    on = dynamics.beat_alignment(motion, audio)
    off = dynamics.beat_alignment(np.roll(motion, period // 2, axis=0), audio)
    assert on > 0.9
    assert off < 0.3


def test_distance_is_small_for_twins_and_grows_with_stiffness() -> None:
    truth = [RNG.standard_normal((600, 58)).astype(np.float32) for _ in range(6)]
    ruler = spread.Ruler(truth, "head")
    assert ruler.distance(truth) == pytest.approx(0, abs=1e-6)
    assert ruler.distance([0.3 * t for t in truth]) > ruler.floor() > 0
    scale = spread.scale_of(truth)
    moved = [t + scale for t in truth]
    everything = spread.Ruler(truth)
    assert everything.distance(moved) == pytest.approx(frechet(moved, truth, scale), rel=1e-3)


def test_lip_vertex_error_is_the_largest_and_grows_with_the_jaw() -> None:
    truth = np.zeros((5, 58), np.float32)
    made = truth.copy()
    made[:, JAW] = 0.2
    error = spread.lip_vertex_error(made, truth)
    assert spread.lip_vertex_error(truth, truth) == 0
    assert error >= float(opening(made)[0]) / 2
    assert spread.lip_vertex_error(2 * made, truth) == pytest.approx(2 * error, rel=1e-3)


def test_diversity_is_none_for_copies_and_one_for_strangers() -> None:
    truth = RNG.standard_normal((4000, 58)).astype(np.float32)
    same = spread.diversity([truth, truth, truth], truth)
    assert max(same.values()) == 0
    other = RNG.standard_normal((2, 4000, 58)).astype(np.float32)
    assert spread.diversity([*other], truth)["lips"] == pytest.approx(1, abs=0.05)


def test_intervals_hold_the_median_and_shrink_with_more_values() -> None:
    few, many = RNG.standard_normal(12) + 5, RNG.standard_normal(300) + 5
    low, high = statistics.bootstrap(few)
    assert low < np.median(few) < high
    narrow = statistics.bootstrap(many)
    assert narrow[1] - narrow[0] < high - low
    assert np.isnan(statistics.bootstrap([1.0])[0])
    mean, (low, high) = statistics.paired_difference([3, 4, 5, np.nan], [1, 2, 3, 9])
    assert (mean, low, high) == (2, 2, 2)
    assert np.isnan(statistics.summary([float("nan")])["median"])


@pytest.mark.parametrize("kind", on_quiet.KINDS)
def test_quiet_sounds_have_the_level_they_claim(kind: str) -> None:
    sound = on_quiet.KINDS[kind](np.random.default_rng(0), 4)
    assert sound.dtype == np.float32
    assert len(sound) == 4 * SAMPLE_RATE
    level = 20 * np.log10(np.sqrt(np.mean(sound**2)) + 1e-12)
    expected = {"silence": (-300, -200), "white noise, -40 dBFS": (-40.2, -39.8),
                "music": (-21, -19.5), "typing": (-55, -25)}[kind]  # fmt: skip
    assert expected[0] <= level <= expected[1]
