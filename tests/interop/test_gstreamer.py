"""GStreamer's ``webrtcbin`` (libnice, its own DTLS with an RSA certificate) over /offer."""

from __future__ import annotations

import asyncio
import json
import subprocess

import numpy as np
import pytest

from engine.config import ServerConfig
from tests.conftest import IN_CI
from tests.e2e.conftest import serving
from tests.e2e.testcard import CardEngine
from tests.interop.conftest import HERE

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


def test_gstreamer_speaks_and_watches_over_offer(python: str) -> None:
    engine = CardEngine()

    async def scenario() -> bytes:
        # libnice offers no loopback candidates: the server must offer the machine's addresses.
        async with serving(engine, ServerConfig(host="0.0.0.0")) as (base, _):  # noqa: S104
            process = await asyncio.create_subprocess_exec(
                python,
                str(HERE / "gst_peer.py"),
                f"{base}/offer",
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                out, log = await asyncio.wait_for(process.communicate(), 40)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            assert process.returncode == 0, log.decode()
            return out

    seen = json.loads(asyncio.run(scenario()))
    assert len(seen["numbers"]) >= 75
    assert min(np.diff(seen["numbers"][10:])) >= 0
    assert len(set(seen["numbers"])) > 40
    assert np.ptp(seen["mouths"]) > 0.05
    assert seen["loudest"] > 1000
    assert seen["sounds"] > 100
    assert seen["codecs"] == ["OPUS", "VP8"]
