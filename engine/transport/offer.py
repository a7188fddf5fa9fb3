"""Reads what a peer offers, and says in words what is wrong with it."""

from __future__ import annotations

from aiortc import sdp

from engine.errors import EngineError

VIDEO_CODECS = ("VP8", "H264")
AUDIO_CODECS = ("opus",)
_CODECS = {"video": VIDEO_CODECS, "audio": AUDIO_CODECS}
_MAX_CHARACTERS = 100_000
_MAX_SECTIONS = 16


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
        if section.ice is None or not section.ice.usernameFragment or section.dtls is None:
            raise OfferError("not_sdp", "The offer lacks ICE or DTLS parameters.")


def _without_local_names(text: str) -> str:
    lines = text.splitlines()
    kept = [n for n in lines if not (n.startswith("a=candidate:") and ".local " in n)]
    if len(kept) < len(lines):
        # Otherwise the connection would fail at once for want of candidates.
        kept = [n for n in kept if n != "a=end-of-candidates"]
    return "\r\n".join(kept) + "\r\n"
