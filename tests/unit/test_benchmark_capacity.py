"""How ``benchmarks capacity`` finds the knee, and what its peers send and do not decode."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.blind import EmptyDecoder, EncodedVoice
from benchmarks.capacity import VARIANTS, cases, on_cores
from benchmarks.gpu_webrtc import Crowd, WebPoint
from benchmarks.loads import Load, curve, knee, plot, series, summarise
from benchmarks.peer import PACKET
from benchmarks.report import Result
from engine.config import load_config
from tests.e2e.conftest import serving
from tests.e2e.testcard import CardEngine
from tests.fakes import speechlike


def load(sessions: int, on_time: float = 1.0, level: int = 0) -> Load:
    point = WebPoint(sessions, 500, on_time, 1.0, 200.0, 1.0, 3.0)
    return Load(point, 0.5 * sessions, 0.1 * sessions, 400.0 + 60 * sessions, level)


@given(st.integers(0, 12), st.integers(1, 12))
def test_the_knee_is_found_and_the_curve_goes_a_little_further(carried: int, most: int) -> None:
    asked: list[int] = []

    def measure(number: int) -> Load:
        asked.append(number)
        return load(number, 1.0 if number <= carried else 0.5)

    loads = curve(measure, most)
    assert knee(loads) == min(carried, most)
    assert [one.point.sessions for one in loads] == list(range(1, min(carried + 2, most) + 1))
    assert len(asked) <= len(loads) + 1, "only the first number that fails is tried again"


def test_a_bad_moment_is_forgiven_once() -> None:
    answers = iter(
        [load(1), load(2, 0.9), load(2, 0.995), load(3, 0.9), load(3, 0.8), load(4, 0.3)]
    )
    loads = curve(lambda _: next(answers), 9)
    assert [one.point.on_time for one in loads] == [1.0, 0.995, 0.9, 0.3]
    assert knee(loads) == 2


def test_smaller_pictures_are_no_capacity() -> None:
    assert knee([load(1), load(2, level=1)]) == 1


def test_cost_of_a_session_is_told_at_the_knee_and_memory_by_the_slope() -> None:
    figures = summarise("cores2", [load(1), load(2), load(3, 0.2)])
    assert figures["cores2_sessions"] == 2
    assert figures["cores2_cores_per_session"] == 0.5
    assert figures["cores2_memory_mb_per_session"] == pytest.approx(60)
    assert figures["cores2_memory_mb_base"] == pytest.approx(400)
    assert summarise("none", [load(1, 0.2)])["none_sessions"] == 0


def test_cases_are_the_cores_and_what_the_configuration_offers() -> None:
    assert [case.name for case in cases(None, True, 2)] == ["cores2"]
    found = cases(None, False, 6)
    assert [case.cores for case in found[:4]] == [1, 2, 4, 6]
    assert [case.name for case in found[4:]] == list(VARIANTS)
    assert [case.name for case in cases("steps1,cores1", False, 2)] == ["steps1", "cores1"]
    with pytest.raises(SystemExit, match="nothing"):
        cases("nothing", False, 2)
    for settings in VARIANTS.values():
        load_config(settings=settings)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux")
def test_what_is_started_on_some_cores_sees_only_those() -> None:
    before = os.sched_getaffinity(0)
    one = {min(before)}
    line = [sys.executable, "-c", "import os; print(sorted(os.sched_getaffinity(0)))"]
    with on_cores(one):
        said = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(sorted(one))
    assert os.sched_getaffinity(0) == before


def test_the_sound_is_encoded_once_and_is_the_sound() -> None:
    samples = speechlike(0.4, 48_000)
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout, decoder.format = 48_000, "mono", "s16"

    async def take() -> list[av.Packet]:
        voice = EncodedVoice(samples)
        return [await voice.recv() for _ in range(22)]

    packets = asyncio.run(take())
    assert [packet.pts for packet in packets] == [n * PACKET for n in range(22)]
    assert bytes(packets[0]) == bytes(packets[20]), "it begins again"
    heard = [f.to_ndarray().reshape(-1) for p in packets[:20] for f in decoder.decode(p)]
    line = np.concatenate(heard).astype(np.float32) / 32768
    delay = 312
    assert np.corrcoef(line[delay:], samples[: len(line) - delay])[0, 1] > 0.9


def test_every_whole_picture_counts_and_none_is_decoded() -> None:
    encoded = SimpleNamespace(timestamp=7200, data=b"no picture at all")
    (picture,) = EmptyDecoder(picture=True).decode(encoded)
    assert float(picture.pts * picture.time_base) == pytest.approx(0.08)
    (sound,) = EmptyDecoder(picture=False).decode(SimpleNamespace(timestamp=960, data=b""))
    assert (sound.pts, sound.samples) == (960, PACKET)


def test_a_curve_can_be_drawn(tmp_path) -> None:  # type: ignore[no-untyped-def]
    loads = [load(1), load(2), load(3, 0.5)]
    result = Result("capacity", "c", {"cases": {"cores2": {}, "gone": {}}},
                    series("cores2", loads), summarise("cores2", loads))  # fmt: skip
    plot(result, tmp_path / "capacity.png")
    assert (tmp_path / "capacity.png").stat().st_size > 10_000


@pytest.mark.e2e
def test_peers_that_decode_nothing_see_pictures_come() -> None:
    async def scenario() -> tuple[int, float]:
        async with serving(CardEngine()) as (base, _):
            crowd = await asyncio.to_thread(Crowd, base, 2, "benchmarks.blind", 8)
            try:
                return await asyncio.to_thread(crowd.count, 3.0), crowd.cpu_s()
            finally:
                await asyncio.to_thread(crowd.close)

    count, spent = asyncio.run(scenario())
    assert count > 10, "how many is a matter of the machine: the benchmark's, not a test's"
    assert spent > 0
