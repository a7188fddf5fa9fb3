"""Lips that must touch do; the head is smooth; nothing else is changed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.face.rig import Rig
from engine.motion.arkit import EXPRESSION, INDEX, LIPS, POSE
from engine.motion.refine import recentre, seal, steady


def talking(seed: int, frames: int = 8) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(0, 0.6, (frames, 58)).astype(np.float32)
    values[:, INDEX["mouthClose"]] *= 0.3
    return values


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_contact_closes_any_mouth(seed: int) -> None:
    values = talking(seed)
    shut = seal(values, np.ones(8, np.float32))
    gaps = np.array([Rig.load().lip_opening(v) for v in shut])
    assert gaps.max() < 0.003
    assert shut.min() >= 0
    assert shut[:, :52].max() <= 1
    untouched = [INDEX[n] for n in ("eyeBlinkLeft", "browInnerUp", "cheekPuff", "mouthPressLeft")]
    np.testing.assert_array_equal(shut[:, untouched], values[:, untouched])
    np.testing.assert_array_equal(shut[:, list(POSE)], values[:, list(POSE)])


def test_without_contact_nothing_changes_and_in_between_it_is_gradual() -> None:
    values = talking(1)
    np.testing.assert_array_equal(seal(values, np.zeros(8, np.float32)), values)
    same = np.repeat(values[:1], 8, 0)
    gaps = [
        Rig.load().lip_opening(v) for v in seal(same, np.linspace(0.1, 0.45, 8, dtype=np.float32))
    ]
    assert np.all(np.diff(gaps) <= 1e-6)
    assert len({round(g, 4) for g in gaps}) > 4


def test_a_network_that_only_continues_comes_back_to_the_middle() -> None:
    """A face frozen while looking aside returns within seconds, smoothly; lips are not touched."""
    motion = np.zeros((32, 58), np.float32)
    motion[:, INDEX["eyeLookOutLeft"]] = motion[:, INDEX["eyeLookInRight"]] = 0.3
    motion[:, 52], motion[:, INDEX["jawOpen"]] = 0.1, 0.4
    for _ in range(200):
        ahead = np.repeat(motion[-1:], 8, 0)
        motion = np.concatenate([motion, recentre(motion[-32:], ahead)[:2]])
    gaze = motion[:, INDEX["eyeLookOutLeft"]] - motion[:, INDEX["eyeLookInLeft"]]
    assert abs(gaze[-1]) < 0.05
    assert abs(motion[-1, 52]) < 0.02
    assert np.abs(np.diff(gaze)).max() < 0.3 / 20
    assert np.abs(np.diff(motion[:, 52])).max() < 0.1 / 90
    np.testing.assert_array_equal(motion[:, INDEX["jawOpen"]], np.float32(0.4))
    assert motion[:, :52].min() >= 0


def test_a_steadied_mouth_keeps_its_way_and_loses_its_jitter() -> None:
    past, values = talking(3), talking(4)
    jaw, eyes = INDEX["jawOpen"], list(EXPRESSION)
    line = np.arange(9, dtype=np.float32) * 0.05
    past[-1, jaw], values[:, jaw] = line[0], line[1:]
    calm = steady(past, values)
    np.testing.assert_allclose(calm[:-1, jaw], values[:-1, jaw], atol=1e-6)
    np.testing.assert_array_equal(calm[:, eyes], values[:, eyes])
    shaken = values.copy()
    shaken[:, list(LIPS)] += 0.1 * (-1.0) ** np.arange(8)[:, None].astype(np.float32)
    jitter = [np.abs(np.diff(v[:-1, jaw], 3)).mean() for v in (steady(past, shaken), shaken)]
    assert jitter[0] < 0.5 * jitter[1]
    one = steady(past[-1:], values)
    np.testing.assert_array_equal(one, calm)  # only the last frame of the past counts
