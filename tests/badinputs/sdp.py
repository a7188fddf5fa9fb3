"""Session descriptions, for ``POST /offer``, ``/whip`` and ``/whep``."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

from tests.badinputs.case import JSON_TYPE, SDP_TYPE, Request, as_json

GOOD = (Path(__file__).parent / "good.sdp").read_bytes().decode()
"""A real offer of aiortc's; nobody listens at its candidates (port 9)."""
_SECTIONS = re.split(r"(?=^m=)", GOOD, flags=re.MULTILINE)
HEAD, AUDIO, VIDEO, DATA = _SECTIONS


def without(prefix: str, text: str = GOOD) -> str:
    """The offer without the lines that begin so."""
    return "".join(n for n in text.splitlines(keepends=True) if not n.startswith(prefix))


def _replaced(pattern: str, by: str) -> str:
    changed = re.sub(pattern, lambda _: by, GOOD, flags=re.MULTILINE)
    assert changed != GOOD, pattern
    return changed


def _inserted(line: str, before: str = "a=ice-ufrag") -> str:
    return GOOD.replace(before, f"{line}\r\n{before}")


def refused() -> dict[str, tuple[str, str]]:
    """Name to description and the reason why it cannot be answered."""
    fingerprint = r"^a=fingerprint:.*$"
    candidates = "a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host\r\n"
    return {
        "empty": ("", "not_sdp"),
        "blank": (" \r\n\r\n", "not_sdp"),
        "a-word": ("hello", "not_sdp"),
        "html": ("<!doctype html><title>v=0</title>", "not_sdp"),
        "version-only": ("v=0\r\n", "no_media"),
        "version-9": (GOOD.replace("v=0", "v=9", 1), "not_sdp"),
        "no-version": (GOOD.removeprefix("v=0\r\n"), "not_sdp"),
        "byte-order-mark": ("\ufeff" + GOOD, "not_sdp"),
        "head-only": (HEAD, "no_media"),
        "data-only": (HEAD + DATA, "no_media"),
        "media-line-of-words": ("v=0\r\nm=audio x y z\r\n", "not_sdp"),
        "media-line-cut": (HEAD + "m=audio", "not_sdp"),
        "media-line-empty": (HEAD + "m=\r\n", "not_sdp"),
        "unknown-medium": (HEAD + AUDIO.replace("m=audio", "m=smell"), "no_media"),
        "port-is-a-word": (_replaced(r"^m=audio \d+", "m=audio http"), "not_sdp"),
        "payload-is-a-word": (GOOD.replace("SAVPF 96", "SAVPF ninety"), "not_sdp"),
        "no-ufrag": (without("a=ice-ufrag"), "not_sdp"),
        "no-ice-password": (without("a=ice-pwd"), "not_sdp"),
        "no-ice-at-all": (without("a=ice", without("a=candidate")), "not_sdp"),
        "no-fingerprint": (without("a=fingerprint"), "not_sdp"),
        "no-setup": (without("a=setup"), "not_sdp"),
        "setup-unknown": (_replaced(r"^a=setup:.*$", "a=setup:sideways"), "not_sdp"),
        "setup-holdconn": (_replaced(r"^a=setup:.*$", "a=setup:holdconn"), "not_sdp"),
        "fingerprint-cut": (_replaced(fingerprint, "a=fingerprint:sha-256"), "not_sdp"),
        "fingerprint-empty": (_replaced(fingerprint, "a=fingerprint:"), "not_sdp"),
        "fingerprint-md5-only": (
            _replaced(fingerprint, "a=fingerprint:md5 " + ":".join(["AA"] * 16)),
            "not_sdp",
        ),
        "fingerprint-short": (_replaced(fingerprint, "a=fingerprint:sha-256 AA:BB"), "not_sdp"),
        "fingerprint-no-hex": (
            _replaced(fingerprint, "a=fingerprint:sha-256 " + ":".join(["XY"] * 32)),
            "not_sdp",
        ),
        "candidate-cut": (_inserted("a=candidate:1 1 udp 21307"), "not_sdp"),
        "candidate-port-word": (
            _inserted("a=candidate:1 1 udp 2130706431 127.0.0.1 http typ host"),
            "not_sdp",
        ),
        "candidate-port-99999": (
            _inserted("a=candidate:1 1 udp 1 127.0.0.1 99999 typ host"),
            "not_sdp",
        ),
        "candidate-empty": (_inserted("a=candidate:"), "not_sdp"),
        "candidates-100000": (GOOD.replace(candidates, candidates * 100_000, 1), "too_large"),
        "codecs-unknown": (
            GOOD.replace("VP8/", "VP9/").replace("H264/", "AV1/").replace("opus/", "SILK/"),
            "codec",
        ),
        "audio-codec-unknown": (GOOD.replace("opus/48000/2", "G729/8000"), "codec"),
        "video-codec-unknown": (GOOD.replace("VP8/", "X1/").replace("H264/", "X2/"), "codec"),
        "no-codec-lines": (without("a=rtpmap"), "not_sdp"),
        "rtpmap-cut": (_replaced(r"^a=rtpmap:96.*$", "a=rtpmap:96"), "not_sdp"),
        "rtpmap-rate-word": (GOOD.replace("opus/48000/2", "opus/fast/2"), "not_sdp"),
        "rtpmap-rate-huge": (GOOD.replace("opus/48000", "opus/" + "9" * 5000), "not_sdp"),
        "ssrc-word": (_replaced(r"^a=ssrc:\d+", "a=ssrc:many"), "not_sdp"),
        "extension-id-word": (_replaced(r"^a=extmap:1 ", "a=extmap:x "), "not_sdp"),
        "sctp-port-word": (GOOD.replace("a=sctp-port:5000", "a=sctp-port:five"), "not_sdp"),
        "sections-17": (HEAD + AUDIO + VIDEO * 16, "no_media"),
        "sections-500": (HEAD + "m=audio 9 UDP/TLS/RTP/SAVPF 96\r\n" * 500, "no_media"),
        "duplicate-mids": (GOOD.replace("a=mid:1", "a=mid:0"), "not_sdp"),
        "nul-everywhere": (GOOD.replace(" ", "\x00"), "not_sdp"),
        "long-line": (_inserted("a=x:" + "y" * 90_000), "too_large"),
        "address-family-7": (GOOD.replace("IN IP4 127.0.0.1", "IN IP7 127.0.0.1"), "not_sdp"),
    }


def accepted() -> dict[str, str]:
    """Odd but harmless: answered; whoever sent it never connects, and is freed."""
    other = ":".join(["00"] * 32)
    return {
        "audio-only": HEAD.replace("BUNDLE 0 1 2", "BUNDLE 0") + AUDIO,
        "video-only": HEAD.replace("BUNDLE 0 1 2", "BUNDLE 1") + VIDEO,
        "bare-newlines": GOOD.replace("\r\n", "\n"),
        "no-candidates": without("a=candidate"),
        "foreign-fingerprint": _fingerprint(other),
        "candidate-of-odd-transport": _inserted(
            "a=candidate:1 1 pigeon 2130706431 127.0.0.1 9 typ host"
        ),
        "candidate-of-odd-type": _inserted("a=candidate:1 1 udp 1 127.0.0.1 9 typ wish"),
        "candidate-broadcast": _inserted("a=candidate:1 1 udp 1 255.255.255.255 9 typ host"),
        "candidate-local-name": _inserted("a=candidate:1 1 udp 1 aa-bb.local 9 typ host"),
        "unknown-attributes": _inserted("\r\n".join(f"a=x-{n}:{n}" for n in range(500))),
        "bandwidth-huge": _inserted("b=AS:99999999999999999999"),
        "inactive-audio": GOOD.replace("a=sendrecv", "a=inactive"),
        "ssrc-huge": _replaced(r"^a=ssrc:\d+", "a=ssrc:" + "9" * 40),
        "bundle-of-strangers": GOOD.replace("a=group:BUNDLE 0 1 2", "a=group:BUNDLE a b c"),
        "nul-in-ufrag": GOOD.replace("a=ice-ufrag:", "a=ice-ufrag:\x00"),
        "plain-rtp": GOOD.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"),
        "setup-active": _replaced(r"^a=setup:.*$", "a=setup:active"),
    }


def _fingerprint(digits: str) -> str:
    return _replaced(r"^a=fingerprint:.*$", f"a=fingerprint:sha-256 {digits}")


def damaged(count: int = 24, seed: int = 7) -> Iterator[tuple[str, str]]:
    """Real offers with a few characters or lines changed, drawn with a fixed seed."""
    rng = random.Random(seed)
    for number in range(count):
        lines = GOOD.split("\r\n")
        for _ in range(rng.randint(3, 12)):
            at = rng.randrange(1, len(lines))
            match rng.randrange(4):
                case 0 if len(lines) > 4:
                    del lines[at]
                case 1:
                    lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
                case 2:
                    lines.insert(at, rng.choice(lines))
                case _:
                    lines[at] = lines[at].replace(rng.choice("0123456789: "), rng.choice("xé\x00"))
        yield f"damaged-{number:02}", "\r\n".join(lines)


def offer(name: str, text: str, status: int, word: str = "") -> Request:
    """A description sent to ``/offer``."""
    body = as_json({"type": "offer", "sdp": text})
    return Request(name, "POST", "/offer", status, word, body, (JSON_TYPE,))


def whip(name: str, body: bytes, status: int, word: str = "", path: str = "/whip") -> Request:
    """A description sent to ``/whip`` or ``/whep``."""
    return Request(name, "POST", path, status, word, body, (SDP_TYPE,))
