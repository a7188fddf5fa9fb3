"""Two sessions on one server: nobody's sound, picture or motion reaches the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from benchmarks.peer import RATE, LoopbackPeer
from engine.app import Engine
from engine.audio.resample import Resampler
from engine.config import EngineConfig, load_config
from engine.media import FPS, AudioChunk, Float32, UInt8, VideoFrame
from engine.motion.arkit import INDEX
from engine.transport.files import decode_audio
from tests.conftest import ROOT
from tests.e2e.conftest import serving, until
from tests.e2e.testcard import CardEngine
from tests.fakes import speechlike

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SECONDS = 6


def tone(frequency: float, on: tuple[float, float]) -> Float32:
    """A tone in a part of each two seconds, silence in the rest."""
    t = np.arange(SECONDS * RATE) / RATE
    gate = (t % 2 >= on[0]) & (t % 2 < on[1])
    return (0.3 * np.sin(2 * np.pi * frequency * t) * gate).astype(np.float32)


def loudness(samples: Float32, frequency: float) -> float:
    """Of one frequency in a sound: the amplitude that a tone of it would have."""
    t = np.arange(len(samples)) / RATE
    return 2 * float(np.abs(np.mean(samples * np.exp(-2j * np.pi * frequency * t))))


def test_every_sound_and_mouth_belongs_to_its_own_voice() -> None:
    low, high = 400.0, 1700.0

    async def scenario() -> tuple[LoopbackPeer, LoopbackPeer]:
        async with serving(CardEngine(capacity=2)) as (base, http):
            first = LoopbackPeer(http, base, tone(low, (0.0, 0.8)))
            second = LoopbackPeer(http, base, tone(high, (1.0, 1.8)))
            await asyncio.gather(first.connect(), second.connect())
            await until(lambda: len(first.pictures) > 150 and len(second.pictures) > 150, 60)
            assert first.id != second.id
            await asyncio.gather(first.close(), second.close())
            return first, second

    for peer, own, foreign in zip(asyncio.run(scenario()), (low, high), (high, low), strict=True):
        _, heard = peer.heard()
        assert loudness(heard, own) > 0.03
        # Opus and a stretched gap smear a little; the other voice at full level would be 0.1.
        assert loudness(heard, foreign) < 0.1 * loudness(heard, own)
        opened = np.array([m["values"][INDEX["jawOpen"]] for m in peer.of_type("motion")])
        # Both voices speak 40 % of the time, never together: a mixed-up mouth would be open more.
        speaking = opened[: SECONDS * 25]
        assert 0.2 < np.mean(speaking > 0.3) < 0.6
        assert np.mean(speaking < 0.05) > 0.3


SPOKEN = 3
"""Seconds that the real engine's sessions are given."""
HELD = 4
"""Frames at the end that wait for sound that does not come: hop and look-ahead."""


class Watched:
    """A session of the real engine and all that it renders.

    Args:
        engine: started.
        avatar: id; None is the default one.
        order: told this session's name for every picture.
    """

    def __init__(self, engine: Engine, avatar: str | None, order: list[str]) -> None:
        self.frames: dict[int, VideoFrame] = {}
        self._order = order
        self._arrived = threading.Condition()
        self.session = engine.create_session(avatar)
        self.session.listen(self._collect)

    def _collect(self, frame: VideoFrame) -> None:
        with self._arrived:
            assert frame.pts not in self.frames
            self.frames[frame.pts] = frame
            self._order.append(self.session.id)
            self._arrived.notify_all()

    def wait(self) -> None:
        """Until everything that was said is rendered."""
        with self._arrived:
            wanted = SPOKEN * FPS - HELD
            assert self._arrived.wait_for(lambda: len(self.frames) >= wanted, 90)
        self.session.close()
        assert self.session.error is None
        assert self.session.dropped_ms == 0


def together(
    engine: Engine, users: Sequence[tuple[str | None, Float32]]
) -> tuple[list[dict[int, VideoFrame]], list[str]]:
    """Pictures of sessions that run side by side, and whose came when.

    The workers get the sound in turns of 20 ms, much faster than real time: nothing depends on
    clocks, as nobody fetches slots.
    """
    order: list[str] = []
    watched = [Watched(engine, avatar, order) for avatar, _ in users]
    step = RATE // 50
    for start in range(0, SPOKEN * RATE, step):
        for who, (_, voice) in zip(watched, users, strict=True):
            who.session.push_audio(AudioChunk(voice[start : start + step], start, RATE))
    for who in watched:
        who.wait()
    return [who.frames for who in watched], order


def voices() -> tuple[Float32, Float32]:
    """Somebody who reads, and a buzz that comes and goes."""
    with (ROOT / "clients" / "web" / "sample.wav").open("rb") as file:
        sound = decode_audio(file, "the sample", 60.0)
    read = Resampler(sound.rate, RATE).push(sound.samples)[: SPOKEN * RATE]
    assert len(read) == SPOKEN * RATE
    return read, speechlike(SPOKEN, RATE, seed=5)


def png(image: UInt8) -> bytes:
    """An RGB picture as a file."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def motion(frames: dict[int, VideoFrame]) -> Float32:
    """In order, [N, 58]."""
    assert sorted(frames) == list(range(len(frames)))
    return np.stack([frames[pts].motion.values for pts in range(len(frames))])


def difference(one: dict[int, VideoFrame], other: dict[int, VideoFrame]) -> Float32:
    """Mean absolute difference of each pair of pictures, in grey levels."""
    return np.array(
        [
            np.mean(np.abs(one[pts].image.astype(np.float32) - other[pts].image))
            for pts in sorted(one.keys() & other.keys())
        ],
        np.float32,
    )


@pytest.fixture(params=[0, 2], ids=["side by side", "through the batcher"])
def real(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The engine as it is served, with an inbox for all the sound at once."""
    config: EngineConfig = load_config(
        None, ["server.sessions=3", "audio.inbox_ms=60000", f"runtime.batch={request.param}"]
    )
    engine = Engine(config)
    engine.start()
    try:
        yield engine
    finally:
        engine.close()


def test_sessions_side_by_side_are_what_they_are_alone(real: Engine) -> None:
    person = real.add_avatar(png(np.asarray(astronaut(), np.uint8))).id
    read, buzz = voices()
    users = [(None, read), (person, buzz), (person, read)]
    networks = real._networks
    assert networks is not None
    assert (networks.batcher is not None) == (real.config.runtime.batch > 0)
    alone = [together(real, [user])[0][0] for user in users]
    both, order = together(real, users)
    # They really ran at once: their pictures came by turns.
    turns = sum(one != next_one for one, next_one in pairwise(order))
    assert turns > SPOKEN * FPS // 4
    if networks.batcher is not None:
        stats = networks.batcher.stats["render"]
        assert stats.items >= sum(map(len, both)) and stats.failed == 0
    for own, same in zip(alone, both, strict=True):
        assert len(own) == len(same) >= SPOKEN * FPS - HELD
        # Nothing but the order in which networks add may differ; measured: not a bit did.
        assert np.abs(motion(own) - motion(same)).max() < 1e-3
        assert difference(own, same).max() < 0.5
    first, second, third = both
    assert np.abs(motion(first) - motion(second)).max() > 0.2  # measured: 0.44
    assert difference(first, second).min() > 25  # measured: 53
    # The same words with another face: the same motion, and still nothing of the first's picture.
    assert np.abs(motion(first) - motion(third)).max() < 1e-3
    assert difference(first, third).min() > 25
