"""Lips that must touch do; the head is smooth; nothing else is changed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.face.rig import Rig
from engine.motion.arkit import EXPRESSION, INDEX, LIPS, POSE
from engine.motion.refine import SMOOTH_PAST, HeadFilter, decide, recentre, seal, steady, touch


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


def test_even_an_unlikely_contact_counts_and_lips_take_three_frames() -> None:
    likely = np.linspace(0.0, 1.0, 201, dtype=np.float32)
    shares = np.array([touch(p[None], 0.0)[0] for p in likely])
    assert (np.diff(shares) >= 0).all()
    assert not shares[likely <= 0.02].any()
    assert (shares[likely >= 0.101] == 1).all()
    alone = touch(np.array([0, 0, 0, 1, 0, 0, 0], np.float32), 0.0)
    assert ((alone > 0) == [False, False, True, True, True, False, False]).all()
    assert alone[2] == alone[4] < 0.5 < alone[3]
    joined = touch(np.zeros(2, np.float32), 1.0)  # the seam of two windows
    assert joined[0] == alone[4]
    assert joined[1] == 0


def test_without_contact_nothing_changes_and_in_between_it_is_gradual() -> None:
    values = talking(1)
    np.testing.assert_array_equal(seal(values, np.zeros(8, np.float32)), values)
    same = np.repeat(values[:1], 8, 0)
    gaps = [
        Rig.load().lip_opening(v) for v in seal(same, np.linspace(0.0, 1.0, 8, dtype=np.float32))
    ]
    assert np.all(np.diff(gaps) <= 1e-6)
    assert len({round(g, 4) for g in gaps}) > 4


def test_the_head_keeps_its_course_and_loses_its_jitter() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(200) / 25
    course = np.zeros((200, 58), np.float32)
    course[:, 52] = 0.05 * np.sin(2 * np.pi * 0.6 * times)
    noisy = course + 0.002 * rng.standard_normal(course.shape).astype(np.float32)

    def through(motion: np.ndarray) -> np.ndarray:
        out, head = motion.copy(), HeadFilter()
        for start in range(8, 192, 2):
            out[start : start + 2] = head.apply(out[:start], motion[start : start + 8], 2)[:2]
        return out[20:180]

    np.testing.assert_allclose(through(course)[:, 52], course[20:180, 52], atol=5e-4)
    jerk = np.diff(through(noisy), 3, axis=0).std(0)
    before = np.diff(noisy[20:180], 3, axis=0).std(0)
    assert jerk[52] < 0.5 * before[52]
    np.testing.assert_array_equal(through(noisy)[:, :52], noisy[20:180, :52])


def test_a_short_past_is_enough() -> None:
    values = talking(3)
    for past in range(SMOOTH_PAST + 2):
        out = HeadFilter().apply(talking(4, 32)[32 - past :], values, 2)
        assert out.shape == values.shape
        assert np.isfinite(out).all()


def test_a_reset_filter_equals_a_new_one() -> None:
    used, past = HeadFilter(), talking(4, 32)
    first = used.apply(past, talking(5), 2)
    assert not np.array_equal(first, used.apply(past, talking(5), 2))  # drafts count
    used.reset()
    np.testing.assert_array_equal(used.apply(past, talking(5), 2), first)


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
    jaw, eyes = INDEX["jawOpen"], [*EXPRESSION, *POSE]
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


def test_half_a_blink_is_a_blink_or_none() -> None:
    lid = INDEX["eyeBlinkLeft"]
    values = talking(6)
    values[:, lid] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 1.0]
    out = decide(values)
    np.testing.assert_allclose(out[[0, 1, 2, 7], lid], values[[0, 1, 2, 7], lid], atol=1e-6)
    assert out[3, lid] < 0.27
    assert out[4, lid] < 0.3
    assert np.all(np.diff(out[:, lid]) > 0)
    rest = [i for i in range(58) if i not in (lid, INDEX["eyeBlinkRight"])]
    np.testing.assert_array_equal(out[:, rest], values[:, rest])
