"""The sliding window against a backend that shows what it was fed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import MotionConfig
from engine.errors import ConfigError
from engine.media import FPS, FeatureFrame, MotionFrame
from engine.motion.arkit import POSE
from engine.motion.condition import (
    EMOTIONS,
    IDLE,
    LISTENING,
    SPEAKING,
    STYLE,
    Conditions,
    mix,
)
from engine.motion.network import Dims
from engine.motion.refine import scale_head
from engine.motion.unrolled import input_specs, output_specs
from engine.motion.window import MotionWindow
from engine.runtime.base import Array, Backend, TensorSpec, check_feeds
from engine.stage import run

DIMS = Dims()


class Mirror:
    """Answers with a mixture of everything it was given, frame by frame, and keeps the feeds."""

    inputs: Mapping[str, TensorSpec] = input_specs(DIMS)
    outputs: Mapping[str, TensorSpec] = output_specs(DIMS)

    def __init__(self) -> None:
        self.calls: list[dict[str, Array]] = []

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        feeds = check_feeds("mirror", feeds, {}, self.inputs)
        self.calls.append({name: value.copy() for name, value in feeds.items()})
        heard = (feeds["audio"] * feeds["audio_known"][..., None])[:, DIMS.past :]
        motion = 0.3 * feeds["noise"] + 0.5 * feeds["past"][:, -1:]
        motion = motion + 0.2 * heard[..., : DIMS.motion]
        return {
            "motion": motion.astype(np.float32),
            "contact": np.zeros((1, DIMS.new), np.float32),
        }


def window(hop: int, lookahead: int, seed: int = 0) -> tuple[MotionWindow, Mirror]:
    mirror = Mirror()
    config = MotionConfig(hop=hop, lookahead=lookahead, seed=seed)
    return MotionWindow(cast("Backend", mirror), config), mirror


def sound(count: int, first: int = 0) -> list[FeatureFrame]:
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((count, 320)).astype(np.float32)
    return [FeatureFrame(row, float(i % 7 > 3), first + i) for i, row in enumerate(rows)]


def values(frames: list[MotionFrame]) -> np.ndarray:
    return np.stack([frame.values for frame in frames])


MODES = st.tuples(st.integers(1, 8), st.integers(0, 6)).filter(lambda m: sum(m) <= 8)


@settings(max_examples=25, deadline=None)
@given(MODES, st.integers(1, 45), st.integers(0, 1000))
def test_every_frame_comes_out_once_and_on_time(
    mode: tuple[int, int], count: int, first: int
) -> None:
    stage, _ = window(*mode)
    out: list[MotionFrame] = []
    worst = Fraction(0)
    for item in sound(count, first):
        for made in stage.push(item):
            worst = max(worst, Fraction(item.pts - made.pts, FPS))
            out.append(made)
    if out:
        assert worst == stage.lookahead == Fraction(mode[0] - 1 + mode[1], FPS)
    out += stage.flush()
    assert [f.pts for f in out] == list(range(first, first + count))
    assert all(f.values.min(initial=0, where=np.arange(58) < 52) >= 0 for f in out)


@settings(max_examples=15, deadline=None)
@given(MODES, st.integers(1, 30), st.integers(1, 30))
def test_longer_input_never_changes_what_is_out(
    mode: tuple[int, int], count: int, more: int
) -> None:
    items = sound(count + more)
    short, _ = window(*mode)
    early = [f for item in items[:count] for f in short.push(item)]
    whole = list(run(window(*mode)[0], items))
    if early:
        np.testing.assert_array_equal(values(early), values(whole)[: len(early)])


def test_the_network_hears_exactly_hop_and_lookahead() -> None:
    stage, mirror = window(2, 3)
    items = sound(40)
    list(run(stage, items))
    call = mirror.calls[10]
    assert call["audio_known"][0, DIMS.past :].tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    np.testing.assert_array_equal(call["audio"][0, DIMS.past : DIMS.past + 5, :3],
                                  [f.values[:3] for f in items[20:25]])  # fmt: skip
    assert call["audio_known"][0, : DIMS.past].sum() == 20
    last = mirror.calls[-1]["audio_known"][0, DIMS.past :]
    assert last.sum() < 5  # the tail has no look-ahead left, and says so


def test_the_past_is_its_own_output() -> None:
    stage, mirror = window(2, 2)
    made = values(list(run(stage, sound(60))))
    past = mirror.calls[20]["past"][0]
    shown = made[40 - DIMS.past : 40]
    np.testing.assert_array_equal(shown[:, :52], past[:, :52])
    gain = np.median(shown[:, list(POSE)] / past[:, list(POSE)], axis=1)
    assert gain.min() > 1  # the head is larger on the way out only
    np.testing.assert_allclose(shown, np.stack(list(map(scale_head, past, gain))), rtol=1e-5)
    assert mirror.calls[20]["past_known"].all()


def test_the_style_of_the_head_is_its_size() -> None:
    heads = []
    for size in (-1.0, 0.0, 1.0):
        stage, _ = window(2, 2)
        stage.conditions = Conditions(style=mix(STYLE, f"head={size}", -2, 2))
        said = [replace(frame, speech=1.0) for frame in sound(120)]
        heads.append(values(list(run(stage, said)))[60:])
    small, usual, large = (np.abs(np.diff(h[:, list(POSE)], axis=0)).mean() for h in heads)
    assert small < 0.8 * usual
    assert large > 1.2 * usual
    np.testing.assert_array_equal(heads[0][:, :52], heads[1][:, :52])


def test_who_is_silent_keeps_the_head_calmer_and_it_changes_slowly() -> None:
    stage, mirror = window(2, 2)
    loud = [replace(frame, speech=float(i >= 60)) for i, frame in enumerate(sound(160))]
    made = values(list(run(stage, loud)))
    own = np.concatenate([call["past"][0, -2:] for call in mirror.calls[1:]])
    gain = np.median(made[: len(own), list(POSE)] / own[:, list(POSE)], axis=1)
    full = Conditions().head_gain
    assert gain[40] == pytest.approx(1 + 0.25 * (full - 1), abs=0.05)
    assert gain[150] == pytest.approx(full, abs=0.05)
    assert np.abs(np.diff(gain)).max() < 0.06


def test_overlapping_windows_meet_the_same_noise() -> None:
    stage, mirror = window(3, 2)
    list(run(stage, sound(30)))
    np.testing.assert_array_equal(mirror.calls[4]["noise"][0, 3:], mirror.calls[5]["noise"][0, :-3])


def test_sessions_differ_by_seed_only() -> None:
    items = sound(20)
    one, two, other = (values(list(run(window(2, 2, s)[0], items))) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_new_stream_starts_at_rest_and_resumes_where_told() -> None:
    stage, mirror = window(1, 0)
    items = sound(6)
    list(stage.push(items[0]))
    assert mirror.calls[0]["past_known"][0].tolist() == [0] * 31 + [1]
    assert not mirror.calls[0]["past"].any()
    stage.reset()
    pose = np.linspace(0, 1, 58).astype(np.float32)
    stage.resume_from(pose)
    list(stage.push(items[1]))
    np.testing.assert_array_equal(mirror.calls[1]["past"][0, -1], pose)
    assert mirror.calls[1]["past_known"].sum() == 1
    assert mirror.calls[1]["audio_known"][0, : DIMS.past].sum() == 0


def test_state_follows_speech() -> None:
    stage, mirror = window(1, 0)
    for speech, expected in ((0.9, SPEAKING), (0.1, IDLE)):
        list(stage.push(FeatureFrame(np.zeros(320, np.float32), speech, 0)))
        assert mirror.calls[-1]["state"][0].argmax() == expected
    stage.conditions = Conditions(listening=True)
    list(stage.push(FeatureFrame(np.zeros(320, np.float32), 0.1, 0)))
    assert mirror.calls[-1]["state"][0].argmax() == LISTENING


def test_who_speaks_to_the_avatar_is_heard_at_its_own_time() -> None:
    stage, mirror = window(2, 1)
    for pts in (3, 4, 5, 9):
        stage.hear(FeatureFrame(np.full(320, pts, np.float32), 0.9, pts))
    list(run(stage, sound(8)))
    # The first call makes frames 0 and 1 and knows sound up to 2: nobody has spoken yet.
    assert not mirror.calls[0]["other_known"].any()
    third = mirror.calls[2]  # frames 4 and 5, sound up to 6
    places = np.flatnonzero(third["other_known"][0])
    assert places.tolist() == [DIMS.past - 1, DIMS.past, DIMS.past + 1]
    assert third["other"][0, places, 0].tolist() == [3, 4, 5]


def test_being_spoken_to_is_listening_unless_one_speaks() -> None:
    conditions = Conditions()
    assert conditions.state(0.0, other=0.9).argmax() == LISTENING
    assert conditions.state(0.9, other=0.9).argmax() == SPEAKING
    assert conditions.state(0.0).argmax() == IDLE


def test_named_numbers_become_a_vector() -> None:
    np.testing.assert_allclose(mix(EMOTIONS, "angry=0.5, calm = 1", 0, 1), [0, 0, 0.5, 0, 1])
    assert not mix(EMOTIONS, "", 0, 1).any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("glad=1", "'glad' is none of happy, sad"),
        ("happy", "not of the form happy=0.5"),
        ("happy=very", "not of the form"),
        ("happy=3", "happy is 3; 0 to 1"),
        ("happy=nan", "happy is nan"),
    ],
)
def test_an_impossible_emotion_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mix(EMOTIONS, text, 0, 1)


def test_speech_is_carried_from_the_frames_heard_ahead() -> None:
    stage, _ = window(2, 2)
    zero = np.zeros(320, np.float32)
    items = [FeatureFrame(zero, float(i == 9), i) for i in range(20)]
    made = [f.speech for f in run(stage, items)]
    assert [i for i, s in enumerate(made) if s > 0] == [7, 8, 9]


def test_a_window_too_long_for_the_network_is_refused() -> None:
    class Short(Mirror):
        inputs = input_specs(Dims(new=4))

    with pytest.raises(ConfigError, match="4 new frames"):
        MotionWindow(cast("Backend", Short()), MotionConfig(hop=3, lookahead=2))
