"""libwebrtc without a browser (``@roamhq/wrtc`` in Node): raw pictures and sound are checked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import serving
from tests.e2e.testcard import CardEngine
from tests.interop.conftest import node
from tests.interop.viewer import seen_by

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
    seen = asyncio.run(seen_by(lambda url: node(packages, "wrtc.mjs", url, "whep")))
    check(seen)
    assert seen["left"] == 200
