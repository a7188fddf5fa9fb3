"""Candidates that come after the offer: ``application/trickle-ice-sdpfrag`` (RFC 8840)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from aiortc import RTCIceCandidate
from aiortc.sdp import candidate_from_sdp

from engine.transport.offer import OfferError

CONTENT_TYPE = "application/trickle-ice-sdpfrag"
_MAX_CHARACTERS = 20_000
_MAX_CANDIDATES = 64
_PREFIX = "a=candidate:"


@dataclass(frozen=True, slots=True)
class Fragment:
    """What a fragment says.

    Args:
        candidates: those that can be used: UDP, with an address instead of a name.
        ufrags: the ICE user fragments it names; another one than before asks for an ICE restart.
    """

    candidates: tuple[RTCIceCandidate, ...]
    ufrags: frozenset[str]


def read_fragment(text: str) -> Fragment:
    """Read a fragment.

    Candidates for TCP and with names (``.local`` above all: looking them up blocks) are left out,
    as ICE finds the peer without them.

    Raises:
        OfferError: reason ``not_sdp``: not a fragment, too long, or a candidate that is none.
    """
    if len(text) > _MAX_CHARACTERS:
        raise OfferError("not_sdp", "The fragment is too long.")
    mid: str | None = None
    section = -1
    candidates: list[RTCIceCandidate] = []
    ufrags: set[str] = set()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines:
        if len(line) < 3 or line[1] != "=" or line[0] not in "am":
            raise OfferError("not_sdp", "This is not a fragment of candidates (RFC 8840).")
        if line.startswith("m="):
            section, mid = section + 1, None
        elif line.startswith("a=mid:"):
            mid = line.removeprefix("a=mid:")
        elif line.startswith("a=ice-ufrag:"):
            ufrags.add(line.removeprefix("a=ice-ufrag:"))
        elif line.startswith(_PREFIX):
            candidate = _candidate(line.removeprefix(_PREFIX))
            candidate.sdpMid, candidate.sdpMLineIndex = mid, max(0, section)
            if _usable(candidate):
                candidates.append(candidate)
    if not lines or len(candidates) > _MAX_CANDIDATES:
        raise OfferError("not_sdp", f"A fragment holds 1 to {_MAX_CANDIDATES} candidates.")
    return Fragment(tuple(candidates), frozenset(ufrags))


def _candidate(text: str) -> RTCIceCandidate:
    try:
        candidate = candidate_from_sdp(text)
    except (ValueError, AssertionError, IndexError) as error:
        raise OfferError("not_sdp", "A candidate is damaged.") from error
    if not 0 <= candidate.port <= 65535:
        raise OfferError("not_sdp", "A candidate is damaged.")
    return candidate


def _usable(candidate: RTCIceCandidate) -> bool:
    try:
        ipaddress.ip_address(candidate.ip)
    except ValueError:
        return False
    return candidate.protocol.lower() == "udp" and candidate.component == 1 and candidate.port > 0
