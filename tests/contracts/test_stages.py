"""Every stage is held to the contract of ``engine.stage``. A new stage is one entry in STAGES."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.app import default_portrait
from engine.audio.features import Features
from engine.audio.framer import Framer
from engine.audio.vad import SileroVad, WebRtcVad
from engine.config import MotionConfig
from engine.face.analysis import FaceAnalyser
from engine.face.portrait import prepare_portrait
from engine.media import FPS, SAMPLE_RATE, AudioChunk, FeatureFrame, MotionFrame, VideoFrame
from engine.motion.idle import Idle
from engine.motion.settle import Settle
from engine.motion.window import MotionWindow
from engine.render.avatar import Avatar
from engine.render.renderer import Renderer
from engine.runtime.load import load_network
from engine.stage import Stage, chain, run
from tests.fakes import speechlike

SECONDS = 2


@dataclass(frozen=True)
class Case:
    """A stage under test and whole items for it; sound may be cut anywhere, frames between them."""

    make: Callable[[], Stage[Any, Any]]
    items: Callable[[], Sequence[Any]]


def _sound(rate: int) -> list[AudioChunk]:
    return [AudioChunk(speechlike(SECONDS, rate), 0, rate)]


def _frames16() -> list[AudioChunk]:
    return list(run(Framer(SAMPLE_RATE), _sound(SAMPLE_RATE)))


def _features() -> list[FeatureFrame]:
    return list(run(Features(WebRtcVad()), _frames16()))


def _motions() -> list[MotionFrame]:
    noise = np.random.default_rng(3).uniform(0, 0.4, (SECONDS * FPS, 58)).astype(np.float32)
    noise[:, 52:] *= 0.2
    return [MotionFrame(row, float(i % 30 < 15), i) for i, row in enumerate(noise)]


CMDT = load_network("cmdt_k2")
VAD = load_network("silero_vad")
RENDER = load_network("render_512")


@cache
def _avatar() -> Avatar:
    return Avatar.from_portrait(prepare_portrait(default_portrait(), FaceAnalyser()))


def _window(hop: int, lookahead: int) -> MotionWindow:
    return MotionWindow(CMDT.fork(), MotionConfig(hop=hop, lookahead=lookahead))


def _whole() -> Stage[Any, Any]:
    return chain(
        Framer(48_000), Features(SileroVad(VAD)), MotionWindow(CMDT.fork(), MotionConfig()), Idle(0)
    )


STAGES: dict[str, Case] = {
    "framer 48 kHz": Case(lambda: Framer(48_000), lambda: _sound(48_000)),
    "framer 8 kHz": Case(lambda: Framer(8_000), lambda: _sound(8_000)),
    "framer 44.1 kHz": Case(lambda: Framer(44_100), lambda: _sound(44_100)),
    "framer 48 to 48 kHz": Case(lambda: Framer(48_000, 48_000), lambda: _sound(48_000)),
    "features, webrtc": Case(lambda: Features(WebRtcVad()), _frames16),
    "features, silero": Case(lambda: Features(SileroVad(VAD)), _frames16),
    "motion, talk": Case(lambda: _window(2, 2), _features),
    "motion, quality": Case(lambda: _window(5, 3), _features),
    "motion, ahead": Case(lambda: _window(8, 0), _features),
    "idle": Case(lambda: Idle(0), _motions),
    "settle": Case(Settle, _motions),
    "render": Case(lambda: Renderer(RENDER, _avatar()), lambda: _motions()[:8]),
    "sound to motion": Case(_whole, lambda: _sound(48_000)),
}


def arrays(item: Any) -> np.ndarray:
    """The numbers of any item."""
    match item:
        case AudioChunk():
            return item.samples
        case FeatureFrame() | MotionFrame():
            return np.append(item.values, item.speech)
        case VideoFrame():
            return item.image
    raise TypeError(type(item))


def same(first: Sequence[Any], second: Sequence[Any]) -> None:
    """Equal in time and, to float accuracy, in content."""
    assert [i.pts for i in first] == [i.pts for i in second]
    for one, two in zip(first, second, strict=True):
        a, b = (arrays(item).astype(np.float64) for item in (one, two))
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-4)


def cut(items: Sequence[Any], sizes: list[int]) -> list[Any]:
    """Cut sound at the given sizes, over and over; frames cannot be cut."""
    if not isinstance(items[0], AudioChunk) or len(items) > 1:
        return list(items)
    whole, pieces, start, turn = items[0], [], 0, 0
    while start < len(whole.samples):
        part = whole.samples[start : start + sizes[turn % len(sizes)]]
        pieces.append(AudioChunk(part, whole.pts + start, whole.rate))
        start += len(part)
        turn += 1
    return pieces


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
@settings(max_examples=6, deadline=None)
@given(sizes=st.lists(st.integers(1, 4000), min_size=1, max_size=6).filter(lambda s: sum(s) > 300))
def test_any_chunking_gives_the_same_output(name: str, sizes: list[int]) -> None:
    case = STAGES[name]
    items = case.items()
    same(list(run(case.make(), items)), list(run(case.make(), cut(items, sizes))))


@pytest.mark.parametrize("name", STAGES)
def test_pts_rise_one_by_one(name: str) -> None:
    case = STAGES[name]
    out = list(run(case.make(), case.items()))
    step = len(out[0].samples) if isinstance(out[0], AudioChunk) else 1
    assert len(out) >= min(SECONDS * FPS, len(case.items()) if step == 1 else SECONDS * FPS)
    assert [i.pts for i in out] == [n * step for n in range(len(out))]


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("how", ["reset", "flush"])
def test_reset_equals_new(name: str, how: str) -> None:
    case = STAGES[name]
    items = case.items()
    stage = case.make()
    for item in items[: len(items) // 2 + 1]:
        list(stage.push(item))
    if how == "reset":
        stage.reset()
    else:
        list(stage.flush())
    same(list(run(stage, items)), list(run(case.make(), items)))


@pytest.mark.parametrize("name", STAGES)
def test_measured_delay_is_the_declared_lookahead(name: str) -> None:
    """Worst media time between an item's own end and the end of the input that let it out."""
    case = STAGES[name]
    stage, worst = case.make(), Fraction(0)
    for item in cut(case.items(), [97]):
        if isinstance(item, AudioChunk):
            heard = Fraction(item.end, item.rate)
        else:
            heard = Fraction(item.pts + 1, item.rate)
        for out in stage.push(item):
            own = Fraction(len(out.samples), out.rate) if isinstance(out, AudioChunk) else None
            end = out.time + (own or Fraction(1, out.rate))
            worst = max(worst, heard - end)
    list(stage.flush())
    grain = Fraction(97, 8_000) if isinstance(case.items()[0], AudioChunk) else Fraction(0)
    assert worst <= stage.lookahead + grain
    assert worst >= stage.lookahead - Fraction(1, 500)


@pytest.mark.parametrize("name", STAGES)
def test_outputs_belong_to_the_caller(name: str) -> None:
    """Later pushes must not change what came out before, nor the input."""
    case = STAGES[name]
    stage, kept = case.make(), []
    items = case.items()
    before = [arrays(i).copy() for i in items]
    for item in items:
        kept += [(out, arrays(out).copy()) for out in stage.push(item)]
    kept += [(out, arrays(out).copy()) for out in stage.flush()]
    for out, copy in kept:
        np.testing.assert_array_equal(arrays(out), copy)
    for item, copy in zip(items, before, strict=True):
        np.testing.assert_array_equal(arrays(item), copy)
