"""libwebrtc without a browser (``@roamhq/wrtc`` in Node): raw pictures and sound are checked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import serving, until
from tests.e2e.test_whip import publisher
from tests.e2e.testcard import CardEngine
from tests.interop.conftest import node

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(60)]


def check(seen: dict[str, Any]) -> None:
    """Pictures in order, with a mouth that moves, and sound."""
    assert len(seen["numbers"]) >= 75
    assert min(np.diff(seen["numbers"][10:])) >= 0
    assert len(set(seen["numbers"])) > 40
    assert np.ptp(seen["mouths"]) > 0.05
    assert seen["loudest"] > 1000
    assert seen["sounds"] > 100
    assert all(width == height for width, height in seen["sizes"])
    assert seen["codecs"] == {"audio": "audio/opus", "video": "video/VP8"}


def test_libwebrtc_speaks_and_watches_over_offer(packages: Path) -> None:
    engine = CardEngine()

    async def scenario() -> dict[str, Any]:
        async with serving(engine) as (base, _):
            return await node(packages, "wrtc.mjs", f"{base}/offer", "offer")

    check(asyncio.run(scenario()))


def test_libwebrtc_plays_over_whep(packages: Path) -> None:
    engine = CardEngine()

    async def scenario() -> dict[str, Any]:
        async with serving(engine) as (base, http):
            async with http.post(f"{base}/sessions", json={}) as response:
                made = await response.json()
            source = publisher(http, base, 30)
            assert await source.begin(made["whip"]) == 201
            seen = await node(packages, "wrtc.mjs", base + made["whep"], "whep")
            assert await source.end() == 200
            await until(lambda: not engine.sessions, 5)
            return seen

    seen = asyncio.run(scenario())
    check(seen)
    assert seen["left"] == 200
