"""GStreamer's ``webrtcbin`` (libnice, its own DTLS with an RSA certificate): /offer and WHEP."""

from __future__ import annotations

import asyncio
import subprocess
from typing import Any

import numpy as np
import pytest

from tests.conftest import IN_CI
from tests.e2e.conftest import serving
from tests.e2e.testcard import CardEngine
from tests.interop.conftest import HERE, seen_by_program
from tests.interop.viewer import seen_by

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(60)]

PYTHON = "/usr/bin/python3"
"""Debian's, as python3-gst-1.0 is made for it."""
PLUGINS = [
    "webrtcbin",
    "nicesrc",
    "dtlsdec",
    "srtpdec",
    "rtpvp8depay",
    "vp8dec",
    "opusenc",
    "opusdec",
    "audiotestsrc",
]


@pytest.fixture(scope="module")
def python() -> str:
    """The system's Python with GStreamer in it; skips without, except in CI."""
    probe = (
        "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstWebRTC', '1.0');"
        "gi.require_version('GstSdp', '1.0');"
        "from gi.repository import Gst, GstSdp, GstWebRTC; Gst.init(None);"
        f"assert all(map(Gst.ElementFactory.find, {PLUGINS!r}))"
    )
    try:
        subprocess.run([PYTHON, "-c", probe], check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.CalledProcessError) as error:
        message = f"GStreamer is not installed; `make test` as root installs it: {error}"
        if IN_CI:
            pytest.fail(message)
        pytest.skip(message)
    return PYTHON


async def watch(python: str, url: str, way: str) -> dict[str, Any]:
    """What GStreamer saw, ``way`` being ``offer`` or ``whep``."""
    return await seen_by_program(python, str(HERE / "gst_peer.py"), url, way)


def check(seen: dict[str, Any]) -> None:
    """Pictures in order, with a mouth that moves, and sound."""
    assert len(seen["numbers"]) >= 75
    assert min(np.diff(seen["numbers"][10:])) >= 0
    assert len(set(seen["numbers"])) > 40
    assert np.ptp(seen["mouths"]) > 0.05
    assert seen["loudest"] > 1000
    assert seen["sounds"] > 100
    assert seen["codecs"] == ["OPUS", "VP8"]


def test_gstreamer_speaks_and_watches_over_offer(python: str) -> None:
    async def scenario() -> dict[str, Any]:
        async with serving(CardEngine()) as (base, _):
            return await watch(python, f"{base}/offer", "offer")

    check(asyncio.run(scenario()))


def test_gstreamer_plays_over_whep(python: str) -> None:
    check(asyncio.run(seen_by(lambda url: watch(python, url, "whep"))))
