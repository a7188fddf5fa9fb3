"""What is changed inside aiortc and aioice, all of it in one place.

These are private names, so the versions are pinned and ``install`` refuses to run if one is gone.
``tests/unit/test_transport_encoder.py`` checks that each hook is reached.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aioice.ice
import aiortc.rtcdtlstransport
import aiortc.rtcrtpreceiver
import aiortc.rtcrtpsender
import aiortc.rtp
from aiortc.codecs import get_decoder
from aiortc.codecs.base import Decoder
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from engine.errors import EngineError
from engine.transport import feedback
from engine.transport.encoder import make_encoder
from engine.transport.jitter import RECEIVE_STATS, AudioJitterBuffer
from engine.transport.opus import OpusDecoder, audio_level_dbov

_CIPHERS = b":".join(
    f"ECDHE-{kind}-{suite}".encode()
    for kind in ("ECDSA", "RSA")
    for suite in ("AES128-GCM-SHA256", "CHACHA20-POLY1305", "AES128-SHA", "AES256-SHA")
)
LOOPBACK = "127.0.0.1"

_installed: dict[str, Any] = {}


def jitter_buffer(
    capacity: int, prefetch: int = 0, is_video: bool = False
) -> JitterBuffer | AudioJitterBuffer:
    """What a receiver gets for its packets: ours for audio, aiortc's for video."""
    if is_video:
        return JitterBuffer(capacity, prefetch, is_video)
    return AudioJitterBuffer(stats=RECEIVE_STATS.get())


def make_decoder(codec: RTCRtpCodecParameters) -> Decoder:
    """Ours for Opus, aiortc's for the others."""
    return OpusDecoder() if codec.mimeType.lower() == "audio/opus" else get_decoder(codec)


def install(*, only_here: bool = False) -> None:
    """Put our parts in place of aiortc's, for the whole process. May be called again.

    Args:
        only_here: hear peers on this machine alone. Its own IPv4 addresses are offered all the
            same: Firefox and GStreamer do not speak to 127.0.0.1.

    Raises:
        EngineError: if this aiortc is not the one the hooks were written for.
    """
    _replace(aiortc.rtcrtpreceiver, "JitterBuffer", lambda _: jitter_buffer)
    _replace(aiortc.rtcrtpreceiver, "get_decoder", lambda _: make_decoder)
    _replace(aiortc.rtcrtpsender, "get_encoder", lambda _: make_encoder)
    _replace(aiortc.rtp, "compute_audio_level_dbov", lambda _: audio_level_dbov)
    _require_private(aiortc.rtcrtpsender.RTCRtpSender, feedback.PRIVATE)
    _replace(aiortc.rtcrtpsender.RTCRtpSender, "__init__", feedback.with_pool)
    _replace(aiortc.rtcrtpsender.RTCRtpSender, "_handle_rtcp_packet", feedback.with_reports)
    _replace(aiortc.rtcrtpsender.RTCRtpSender, "_retransmit", feedback.with_limit)
    _replace(aiortc.rtcdtlstransport.RTCCertificate, "_create_ssl_context", _with_rsa)
    _replace(aioice.ice, "get_host_addresses", _for_here if only_here else _and_loopback)
    _replace(
        aioice.ice.StunProtocol,
        "datagram_received",
        _from_here if only_here else lambda original: original,
    )


def _replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    key = f"{owner.__name__}.{name}"
    if key not in _installed:
        if not hasattr(owner, name):
            raise EngineError(
                f"this aiortc has no {key}; install the version that pyproject.toml pins"
            )
        _installed[key] = getattr(owner, name)
    setattr(owner, name, make(_installed[key]))


def _require_private(owner: Any, names: tuple[str, ...]) -> None:
    """Attributes that only exist on instances, looked for in the code that makes them."""
    made = _installed.get(f"{owner.__name__}.__init__", owner.__init__).__code__.co_names
    for name in names:
        if name not in made:
            raise EngineError(
                f"this aiortc's {owner.__name__} has no {name}; "
                "install the version that pyproject.toml pins"
            )


def _with_rsa(original: Callable[..., Any]) -> Callable[..., Any]:
    """Accept peers with RSA certificates as well (GStreamer, FFmpeg)."""

    def create(self: Any, srtp_profiles: Any) -> Any:
        context = original(self, srtp_profiles=srtp_profiles)
        context.set_cipher_list(_CIPHERS)
        return context

    return create


def _and_loopback(original: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """Offer 127.0.0.1 as well, for machines without a network; aioice never does."""
    return lambda **wanted: [*original(**wanted), LOOPBACK]


def _for_here(original: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """The same of IPv4 alone: see ``_from_here``."""
    return lambda **wanted: [*original(**wanted | {"use_ipv6": False}), LOOPBACK]


def _from_here(original: Callable[..., None]) -> Callable[..., None]:
    """Drop packets that come from elsewhere, before anything looks at them.

    Those of this machine come from one of the addresses it offers. Others cannot pretend to: Linux
    takes no packet from outside whose source is an IPv4 address of its own (IPv6 ones it takes).
    """

    def receive(self: Any, data: bytes, addr: tuple[Any, ...]) -> None:
        if addr[0] in {protocol.local_candidate.host for protocol in self.receiver._protocols}:
            original(self, data, addr)

    return receive
