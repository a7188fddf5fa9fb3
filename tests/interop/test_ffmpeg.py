"""FFmpeg's ``whip`` muxer (its own ICE, DTLS and SRTP, through PyAV) publishes to the server."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest
from aiortc.rtcdtlstransport import RTCCertificate
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.conftest import ROOT
from tests.e2e.conftest import serving, until
from tests.e2e.testcard import CardEngine
from tests.interop.viewer import Viewer

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(60)]


def certificate(folder: Path) -> list[str]:
    """An ECDSA certificate and its key, as PEM files."""
    made = RTCCertificate.generateCertificate()
    key = made._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(key)
    (folder / "cert.pem").write_bytes(made._cert.public_bytes(Encoding.PEM))
    return [str(folder / "cert.pem"), str(folder / "key.pem")]


@pytest.mark.parametrize("media", ["both", "sound"])
def test_ffmpeg_publishes_by_whip_and_a_player_sees_and_hears(media: str, tmp_path: Path) -> None:
    engine = CardEngine()

    async def scenario() -> None:
        async with serving(engine) as (base, http):
            async with http.post(f"{base}/sessions", json={}) as response:
                made = await response.json()
            command = [sys.executable, "-m", "tests.interop.publish", base + made["whip"], media]
            process = await asyncio.create_subprocess_exec(
                *command,
                *certificate(tmp_path),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            assert process.stdin is not None
            try:
                await until(lambda: bool(engine.sessions), 20)
                viewer = Viewer(http, base)
                assert await viewer.begin(made["whep"]) == 201
                await until(lambda: len(viewer.numbers) > 75, 20)
                process.stdin.close()
                _, log = await asyncio.wait_for(process.communicate(), 10)
            finally:
                if process.returncode is None:
                    process.kill()
            assert process.returncode == 0, log.decode()
            assert b"Dispose resource" in log  # its DELETE was answered well
            await viewer.end()
            await until(lambda: not engine.sessions, 5)
            assert min(np.diff(viewer.numbers[10:])) >= 0
            assert len(set(viewer.numbers)) > 40
            assert max(viewer.loudness) > 300
            assert np.ptp(viewer.mouths) > 0.05  # FFmpeg's sound opened it

    asyncio.run(scenario())
