"""Reads what a peer offers, and says in words what is wrong with it."""

from __future__ import annotations

import re

from aiortc import RTCDtlsParameters, RTCIceParameters, sdp

from engine.errors import EngineError

VIDEO_CODECS = ("VP8", "H264")
AUDIO_CODECS = ("opus",)
_CODECS = {"video": VIDEO_CODECS, "audio": AUDIO_CODECS}
_MAX_CHARACTERS = 100_000
_MAX_SECTIONS = 16
_DIGESTS = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
"""Bytes of the fingerprints aiortc checks."""
_PAIRS = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2})*")


class OfferError(EngineError):
    """A session description that cannot be answered.

    Args:
        reason: stable word: ``not_sdp``, ``no_media`` or ``codec``.
        message: one sentence.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def read_offer(text: str) -> str:
    """Check an offer and make it ready for aiortc.

    Candidates with ``.local`` names are taken out: resolving them blocks the answer for a second,
    and the peer is found without them, by the packets it sends to us.

    Raises:
        OfferError: for anything but a session description with audio or video that we can code.
    """
    if not text.startswith("v=0") or len(text) > _MAX_CHARACTERS:
        raise OfferError("not_sdp", "The offer is not a session description (SDP).")
    cleaned = _without_local_names(text)
    try:
        description = sdp.SessionDescription.parse(cleaned)
    except Exception as error:
        raise OfferError("not_sdp", "The offer is not a valid session description.") from error
    _check_media(description)
    return cleaned


def _check_media(description: sdp.SessionDescription) -> None:
    media = [m for m in description.media if m.kind in _CODECS]
    if not media or len(description.media) > _MAX_SECTIONS:
        raise OfferError("no_media", "The offer asks for neither audio nor video.")
    for section in media:
        wanted = _CODECS[section.kind]
        offered = [codec.name for codec in section.rtp.codecs]
        if not {name.lower() for name in wanted} & {name.lower() for name in offered}:
            raise OfferError(
                "codec",
                f"The offer has {section.kind} as {', '.join(sorted(set(offered))) or 'nothing'}; "
                f"this server speaks {' and '.join(wanted)}.",
            )
        if not (_has_credentials(section.ice) and _has_fingerprint(section.dtls)):
            raise OfferError("not_sdp", "The offer lacks ICE or DTLS parameters.")
        if not all(0 <= candidate.port <= 65535 for candidate in section.ice_candidates):
            raise OfferError("not_sdp", "A candidate of the offer has a port that cannot be.")
    names = [section.rtp.muxId for section in description.media if section.rtp.muxId]
    if len(set(names)) < len(names):
        raise OfferError("not_sdp", "Two parts of the offer have the same name (mid).")


def _has_credentials(ice: RTCIceParameters | None) -> bool:
    return ice is not None and bool(ice.usernameFragment and ice.password)


def _has_fingerprint(dtls: RTCDtlsParameters | None) -> bool:
    """One that can be checked: without, the connection would fail after the answer."""
    return dtls is not None and any(
        re.fullmatch(_PAIRS, print_.value) and (len(print_.value) + 1) // 3 == length
        for print_ in dtls.fingerprints
        if (length := _DIGESTS.get(print_.algorithm.lower()))
    )


def _without_local_names(text: str) -> str:
    lines = text.splitlines()
    kept = [n for n in lines if not (n.startswith("a=candidate:") and ".local " in n)]
    if len(kept) < len(lines):
        # Otherwise the connection would fail at once for want of candidates.
        kept = [n for n in kept if n != "a=end-of-candidates"]
    return "\r\n".join(kept) + "\r\n"
