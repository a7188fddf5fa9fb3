"""The idle stage: a shut mouth, blinks, glances, limits, determinism."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.face.rig import Rig
from engine.media import FPS, MotionFrame
from engine.motion.arkit import INDEX
from engine.motion.idle import Idle, IdleSettings, limit
from engine.stage import run

BLINK = INDEX["eyeBlinkLeft"]


def still(count: int, speech: float = 0.0, first: int = 0, **shapes: float) -> list[MotionFrame]:
    values = np.zeros(58, np.float32)
    for name, value in shapes.items():
        values[INDEX[name]] = value
    return [MotionFrame(values.copy(), speech, first + i) for i in range(count)]


def shown(stage: Idle, items: list[MotionFrame]) -> np.ndarray:
    return np.stack([f.values for f in run(stage, items)])


def blinks(values: np.ndarray) -> int:
    shut = values[:, BLINK] > 0.5
    return int((np.diff(shut.astype(int)) > 0).sum())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_still_face_blinks_at_a_human_rate(seed: int) -> None:
    values = shown(Idle(seed), still(120 * FPS))
    per_minute = blinks(values) / 2
    assert 8 <= per_minute <= 22
    shut = np.flatnonzero(values[:, BLINK] > 0.5)
    longest = max(len(run) for run in np.split(shut, np.flatnonzero(np.diff(shut) > 1) + 1))
    assert longest <= 4  # 160 ms with the lids more than half shut


def test_the_networks_own_blinks_are_enough() -> None:
    items = still(60 * FPS)
    for start in range(20, len(items), 2 * FPS):
        for frame in items[start : start + 4]:
            frame.values[BLINK] = frame.values[INDEX["eyeBlinkRight"]] = 1.0
    assert blinks(shown(Idle(0), items)) == len(range(20, len(items), 2 * FPS))


def test_a_blink_right_after_another_is_taken_away() -> None:
    items = still(60 * FPS)
    for start in range(20, len(items), 18):  # every 0.72 s, each 120 ms long
        for frame in items[start : start + 3]:
            frame.values[BLINK] = frame.values[INDEX["eyeBlinkRight"]] = 1.0
    kept = shown(Idle(0), items)
    asked = len(range(20, len(items), 18))
    assert blinks(kept) == (asked + 1) // 2
    every = shown(Idle(0, IdleSettings(blink_rest=0.0)), items)
    assert blinks(every) == asked
    half = kept[:, BLINK][(kept[:, BLINK] > 0) & (kept[:, BLINK] < 1)]
    assert half.max(initial=0) <= 0.25  # what is left of one does not look tired


def test_the_mouth_shuts_in_silence_and_opens_with_speech() -> None:
    rig = Rig.load()
    talk = {"jawOpen": 0.4, "mouthLowerDownLeft": 0.3, "mouthFunnel": 0.2, "mouthSmileLeft": 0.3}
    items = still(20, 1.0, **talk) + still(40, 0.0, 20, **talk) + still(20, 1.0, 60, **talk)
    values = shown(Idle(0), items)
    gaps = np.array([rig.lip_opening(v) for v in values])
    assert gaps[12:20].min() > 0.15
    assert gaps[30:60].max() < 0.005  # shut within 400 ms
    press = values[:, INDEX["mouthPressLeft"]]
    assert press[:20].max() == 0  # free in speech
    assert press[30:60].min() > 0.1  # held while shut
    assert gaps[64:].min() > 0.15  # free within 160 ms
    assert np.diff(gaps).min() > -0.13  # and never snaps shut
    np.testing.assert_allclose(values[40:60, INDEX["mouthSmileLeft"]], 0.3)  # still smiling


def test_doubtful_speech_does_not_flap_the_mouth() -> None:
    items = still(20, 1.0, jawOpen=0.4) + still(60, 0.4, 20, jawOpen=0.4)
    assert shown(Idle(0), items)[10:, INDEX["jawOpen"]].min() > 0.39


def test_glances_are_small_sudden_and_conjugate() -> None:
    values = shown(Idle(3), still(60 * FPS))
    right = values[:, INDEX["eyeLookOutLeft"]] - values[:, INDEX["eyeLookInLeft"]]
    other = values[:, INDEX["eyeLookInRight"]] - values[:, INDEX["eyeLookOutRight"]]
    np.testing.assert_allclose(right, other)
    assert np.abs(right).max() < 0.2
    moves = np.flatnonzero(np.abs(np.diff(right)) > 1e-6)
    assert 40 < len(moves) < 120  # saccades a minute; between them the eyes rest


def test_sway_is_slow_and_never_stops() -> None:
    pose = shown(Idle(1), still(60 * FPS))[:, 52:55]
    speed = np.abs(np.diff(pose, axis=0)).max()
    assert 0.0001 < speed < 0.002
    assert np.abs(pose).max() < 0.02
    assert pose.std(0).min() > 0.001


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 200), st.integers(1, 60))
def test_the_output_depends_on_seed_and_time_only(seed: int, first: int, count: int) -> None:
    items = still(count, 0.0, first)
    again = Idle(seed)
    shown(again, still(17, 1.0))
    np.testing.assert_array_equal(shown(Idle(seed), items), shown(again, items))


def test_the_input_is_not_written_to() -> None:
    items = still(5, jawOpen=0.5)
    kept = [f.values.copy() for f in items]
    shown(Idle(0), items)
    for item, copy in zip(items, kept, strict=True):
        np.testing.assert_array_equal(item.values, copy)


@settings(max_examples=50)
@given(st.integers(0, 10**6))
def test_limits_hold_for_any_input(seed: int) -> None:
    wild = np.random.default_rng(seed).normal(0, 3, 58).astype(np.float32)
    out = limit(wild)
    assert out[:52].min() >= 0
    assert out[:52].max() <= 1
    assert out[INDEX["mouthClose"]] <= out[INDEX["jawOpen"]]
    assert np.abs(out[52:]).max() <= 0.45


def test_settings_switch_life_off() -> None:
    quiet = IdleSettings(blink_after=(1e6, 1e6), gaze=0.0, sway=0.0, press=0.0)
    assert not shown(Idle(0, quiet), still(200)).any()
