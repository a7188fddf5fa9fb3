"""FFmpeg's ``whip`` muxer (its own ICE, DTLS and SRTP, through PyAV) publishes to the server."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from aiortc.rtcdtlstransport import RTCCertificate
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.conftest import ROOT
from tests.interop.viewer import seen_of

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
    start = [sys.executable, "-m", "tests.interop.publish"]
    given = certificate(tmp_path)
    _, log = asyncio.run(seen_of(lambda url: [*start, url, media, *given], ROOT))
    assert "Dispose resource" in log  # its DELETE was answered well
