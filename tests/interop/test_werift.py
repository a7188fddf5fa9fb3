"""werift, a WebRTC stack of its own in TypeScript: /offer and WHEP, judged by its RTP packets."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.e2e.conftest import serving
from tests.e2e.testcard import CardEngine
from tests.fakes import speechlike
from tests.interop.conftest import node
from tests.interop.viewer import seen_by

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(60)]

RATE = 48_000


def opus(seconds: float) -> list[str]:
    """Speech as Opus packets of 20 ms, in base64."""
    codec = av.CodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format = RATE, "mono", "s16"
    codec.time_base = Fraction(1, RATE)
    voice = (speechlike(seconds, RATE, seed=3) * 32767).astype(np.int16)
    out = []
    for at in range(0, len(voice) - 959, 960):
        frame = av.AudioFrame.from_ndarray(voice[None, at : at + 960], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
        out += [b64encode(bytes(packet)).decode() for packet in codec.encode(frame)]
    return out


def complete(packets: list[list[int]]) -> None:
    """No number is missing in a list of sequence numbers and times; loopback loses nothing."""
    numbers, times = np.array(packets).T
    # A retransmission may come twice.
    assert set(range(numbers.min(), numbers.max() + 1)) == set(numbers) or np.ptp(numbers) > 2**15
    assert len(set(times)) >= 50


def check(seen: dict[str, Any]) -> None:
    """Nothing is missing of what was received, and there was enough of it."""
    assert len(seen["sounds"]) >= 100
    assert seen["marks"] >= 50
    assert seen["keys"] >= 1
    for kind in ("sounds", "pictures"):
        complete(seen[kind])


def test_werift_speaks_and_receives_over_offer(packages: Path, tmp_path: Path) -> None:
    engine = CardEngine()
    speech = tmp_path / "speech.json"
    speech.write_text(json.dumps(opus(6)))
    states: set[str] = set()

    async def watch() -> None:
        while True:
            states.update(str(session.state) for session in engine.sessions)
            await asyncio.sleep(0.1)

    async def scenario() -> dict[str, Any]:
        async with serving(engine) as (base, _):
            watching = asyncio.ensure_future(watch())
            try:
                return await node(packages, "werift.mjs", f"{base}/offer", str(speech))
            finally:
                watching.cancel()

    seen = asyncio.run(scenario())
    assert "speaking" in states  # what werift said was decoded
    assert seen["sent"] > 50
    check(seen)


def test_werift_plays_over_whep(packages: Path) -> None:
    seen = asyncio.run(seen_by(lambda url: node(packages, "werift.mjs", url)))
    assert seen["left"] == 200
    check(seen)
