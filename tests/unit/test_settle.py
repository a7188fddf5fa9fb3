"""No jumps at a session's start and after an interrupt; a mouth that is shut in time.

With the shipped motion networks, through real sessions; only the pictures are not drawn.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.audio.features import Features
from engine.audio.framer import Framer
from engine.audio.resample import Resampler
from engine.audio.vad import SileroVad
from engine.clock import ManualClock
from engine.config import EngineConfig, MotionConfig, RuntimeConfig
from engine.face.rig import Rig
from engine.media import AudioChunk, Float32, MotionFrame, VideoFrame
from engine.metrics import Metrics
from engine.motion.arkit import BLENDSHAPES, EXPRESSION, INDEX, LIPS, MOTION_SIZE, POSE
from engine.motion.idle import Idle, limit
from engine.motion.settle import CLOSING, Settle, closing, is_open
from engine.motion.window import MotionWindow
from engine.pipeline import Networks, Pipeline, build, load_networks
from engine.playout import Playout
from engine.runtime.base import Backend
from engine.runtime.load import load_network, load_shared
from engine.session import Session, _Overheard
from engine.slots import RATE, Slot
from engine.stage import chain
from engine.transport.files import decode_audio
from tests.conftest import ROOT
from tests.networks import random_avatar

REST = np.zeros(MOTION_SIZE, np.float32)
JAW, CLOSE = INDEX["jawOpen"], INDEX["mouthClose"]
MOTION = st.lists(st.floats(0, 0.5, width=32), min_size=58, max_size=58).map(
    lambda row: np.array(row, np.float32)
)


def settled(settle: Settle, rows: Iterable[Float32]) -> Float32:
    return np.stack(
        [
            out.values
            for pts, row in enumerate(rows)
            for out in settle.push(MotionFrame(row, 0.0, pts))
        ]
    )


@given(MOTION)
def test_frames_pass_unchanged_unless_something_was_shown_before(row: Float32) -> None:
    np.testing.assert_array_equal(settled(Settle(), [row] * 3), [row] * 3)
    settle = Settle()
    settle.start(REST)
    settle.reset()
    np.testing.assert_array_equal(settled(settle, [row] * 3), [row] * 3)


@given(shown=MOTION, new=MOTION)
def test_what_was_shown_fades_into_what_is_new_without_a_jump(shown: Float32, new: Float32) -> None:
    settle = Settle()
    shown, new = limit(shown), limit(new)
    settle.start(shown)
    out = settled(settle, [new] * 20)
    apart = np.abs(new - shown)
    apart[CLOSE] = max(apart[CLOSE], apart[JAW])  # lips are not closed further than the jaw opens
    steps = np.abs(np.diff(np.concatenate([shown[None], out]), axis=0))
    assert (steps <= 0.27 * apart + 1e-5).all()
    np.testing.assert_array_equal(out[12:], [new] * 8)


@given(MOTION)
def test_a_closed_mouth_counts_as_closed_and_the_rest_stays(row: Float32) -> None:
    shut = closing(row, 1.0)
    assert not is_open(shut)
    assert Rig.load().lip_opening(shut) <= Rig.load().lip_opening(row) + 1e-6
    still = [*EXPRESSION, *POSE, INDEX["mouthSmileLeft"], INDEX["mouthFrownRight"]]
    np.testing.assert_array_equal(shut[still], row[still])
    np.testing.assert_array_equal(closing(row, 0.0), row)


class _NoPictures:
    lookahead = Fraction(0)

    def push(self, item: MotionFrame, /) -> Iterable[VideoFrame]:
        return [VideoFrame(np.zeros((2, 2, 3), np.uint8), item, item.pts)]

    def flush(self) -> Iterable[VideoFrame]:
        return []

    def reset(self) -> None:
        pass


class _Ear:
    """The real ear, and a way to know that the worker has come so far."""

    LAST = AudioChunk(np.zeros(0, np.float32), 0, RATE)

    def __init__(self, ear: object) -> None:
        self._ear = ear
        self.reached = threading.Event()

    def push(self, item: AudioChunk, /) -> Iterable:
        if item is self.LAST:
            self.reached.set()
            return []
        return self._ear.push(item)  # type: ignore[attr-defined]

    def reset(self) -> None:
        self._ear.reset()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def networks() -> tuple[Backend, Backend]:
    runtime = RuntimeConfig(threads=1, backend="openvino")
    cmdt = load_shared("cmdt_k2", runtime, None)
    assert not isinstance(cmdt, dict)
    return cmdt, load_network("silero_vad", runtime, None, cpu=True)


@pytest.fixture(scope="module")
def voice() -> Float32:
    """48 kHz."""
    with Path(ROOT / "clients" / "web" / "sample.wav").open("rb") as file:
        sound = decode_audio(file, "the sample", 60.0)
    return Resampler(sound.rate, RATE).push(sound.samples)


class Live:
    """A real session in a time of its own: the networks take none of it."""

    def __init__(self, networks: tuple[Backend, Backend]) -> None:
        cmdt, vad = networks
        window, settle = MotionWindow(cmdt.fork(), MotionConfig()), Settle()
        self.ear = _Ear(chain(Framer(RATE), Features(SileroVad(vad))))
        motion = chain(Framer(RATE), Features(SileroVad(vad)), window, Idle(0), settle)
        pipeline = Pipeline(motion, _NoPictures(), window, self.ear, settle)  # type: ignore[arg-type]
        pipeline.begin(REST)
        self.clock = ManualClock()
        idle = VideoFrame(np.zeros((2, 2, 3), np.uint8), MotionFrame(REST, 0.0, 0), 0)
        self.session = Session(
            "live-session", pipeline, Playout(idle=idle), Metrics(), 10_000, clock=self.clock
        )
        self.slots: list[Slot] = []
        self.cuts: list[int] = []
        """Slots that had left when it was interrupted."""
        self._pushed = 0

    def settle(self) -> None:
        for _ in range(2):
            self.ear.reached.clear()
            self.session._inbox.send(_Overheard(_Ear.LAST))
            assert self.ear.reached.wait(30)

    def run(self, slots: int, mirrored: Float32 | None = None) -> None:
        """40 ms each; ``mirrored`` is what the microphone hears; without it ``tick`` is used."""
        for index in range(slots):
            for half in (0, 1):
                if mirrored is None:
                    self.session.tick()
                else:
                    start = (2 * index + half) * 960
                    chunk = AudioChunk(mirrored[start : start + 960], self._pushed, RATE)
                    self._pushed += 960
                    self.session.push_audio(chunk)
                self.settle()
                if half == 0:
                    slot = self.session.playout.next_slot(self.clock.now())
                    self.slots.append(slot)
                    self.session.slot_left(slot)
                self.clock.advance(0.02)

    def interrupt(self) -> None:
        self.session.interrupt()
        self.cuts.append(len(self.slots))

    @property
    def shown(self) -> Float32:
        """Motion of every slot, [slots,58]."""
        return np.stack([slot.frame.motion.values for slot in self.slots if slot.frame])


@pytest.fixture(scope="module", params=["agent", "mirror"])
def interrupted(
    request: pytest.FixtureRequest, networks: tuple[Backend, Backend], voice: Float32
) -> Iterator[Live]:
    """Interrupted at twelve random moments of speech, then silent for a second."""
    live = Live(networks)
    rng = np.random.default_rng(7)
    silence = np.zeros(25 * 1920, np.float32)
    for _ in range(12):
        start, speak = int(rng.integers(len(voice) - 4 * RATE)), int(rng.integers(20, 60))
        said = voice[start : start + 4 * RATE]
        if request.param == "agent":
            live.session.say(said, RATE)
            live.run(speak)
        else:
            live.run(speak, said)
        live.interrupt()
        live.run(25, None if request.param == "agent" else silence)
    yield live
    live.session.close()


@pytest.mark.slow
def test_lips_are_shut_in_the_fifth_frame_after_an_interrupt_and_stay_so(interrupted: Live) -> None:
    rig = Rig.load()
    shown = interrupted.shown
    before = [rig.lip_opening(shown[cut - 1]) for cut in interrupted.cuts]
    assert sum(gap > 0.03 for gap in before) >= 6, "most were cut while the mouth was open"
    for cut in interrupted.cuts:
        gaps = [rig.lip_opening(values) for values in shown[cut + CLOSING : cut + 25]]
        assert max(gaps) < 0.005
        assert shown[cut + CLOSING : cut + 25, JAW].max() < 0.02


EYES = tuple(INDEX[name] for name in BLENDSHAPES if name.startswith(("eyeBlink", "eyeLook")))
GROUPS = {
    "lips": LIPS,
    "head": POSE,
    # Blinks and saccades are meant to jump.
    "face": tuple(shape for shape in EXPRESSION if shape not in EYES),
}


def changes(values: Float32, group: str) -> Float32:
    steps: Float32 = np.linalg.norm(np.diff(values[:, list(GROUPS[group])], axis=0), axis=1)
    return steps


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_nothing_jumps_after_an_interrupt_nor_at_the_start(interrupted: Live, group: str) -> None:
    shown = interrupted.shown
    steps = changes(shown, group)
    near = np.zeros(len(steps), bool)
    for cut in [0, *interrupted.cuts]:
        near[max(0, cut - 1) : cut + 10] = True
    ordinary = steps[~near]
    assert steps[near].max() <= np.percentile(ordinary[ordinary > 0], 99.5)


@pytest.mark.slow
def test_in_silence_the_lips_are_shut_whatever_came_before(interrupted: Live) -> None:
    rig = Rig.load()
    shown = interrupted.shown
    for cut, following in zip(interrupted.cuts, interrupted.cuts[1:], strict=False):
        assert following - cut > 25
        assert max(rig.lip_opening(values) for values in shown[cut + 10 : cut + 25]) < 0.005


@pytest.mark.slow
@pytest.mark.parametrize("together", [False, True])
def test_fewer_steps_take_over_in_mid_sentence_without_a_jump(
    voice: Float32, together: bool
) -> None:
    """Side by side and through the batcher, down and up again."""
    config = EngineConfig(runtime=RuntimeConfig(threads=1, backend="openvino"))
    if together:
        config = replace(config, runtime=replace(config.runtime, batch=1))
    networks = load_networks(config)
    assert (networks.batcher is not None) == together
    switches = {100: 1, 200: 2}
    shown = moved(networks, config, voice, switches)
    if networks.batcher is not None:
        calls = {lane: stats.items for lane, stats in networks.batcher.stats.items()}
        assert calls["light"] == pytest.approx(50, abs=2)
        assert calls["motion"] == pytest.approx(100, abs=4)
    unswitched = moved(networks, config, voice, {})
    networks.close()
    assert len(shown) == len(unswitched) > 290
    for group in GROUPS:
        steps, usual = changes(shown, group), changes(unswitched, group)
        for switch in switches:
            near = slice(switch - 6, switch + 3)
            assert steps[near].max() <= 1.25 * max(usual[near].max(), np.percentile(usual, 90))
    assert shown[110:190, JAW].std() > 0.5 * unswitched[110:190, JAW].std(), "it goes on speaking"


def moved(
    networks: Networks, config: EngineConfig, voice: Float32, switches: dict[int, int]
) -> Float32:
    """Motion of twelve seconds of speech, [frames,58], with other steps from some frames on."""
    pipeline = build(config, networks, random_avatar(0))
    rows = []
    for frame in range(300):
        if frame in switches:
            pipeline.use_steps(switches[frame])
        chunk = AudioChunk(voice[frame * 1920 : (frame + 1) * 1920], frame * 1920, RATE)
        rows += [motion.values for motion in pipeline.motion.push(chunk)]
    return np.stack(rows)


@pytest.mark.slow
def test_speech_that_passes_silence_by_does_not_make_the_head_jump(interrupted: Live) -> None:
    contents = [slot.content for slot in interrupted.slots]
    steps = changes(interrupted.shown, "head")
    jumps, last = [], None
    for index, content in enumerate(contents):
        if content is None:
            continue
        before = None if last is None else contents[last]
        if last is not None and before is not None and content - before > index - last + 1:
            jumps.append(float(steps[last:index].max()))
        last = index
    if interrupted.session.playout.patient:
        assert len(jumps) >= 8, "an agent's speech does not queue behind silence"
        assert max(jumps) <= np.percentile(steps, 90)
    else:
        assert jumps == []
