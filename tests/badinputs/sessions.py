"""The sessions API, WHIP and WHEP, and the candidates that trickle to them."""

from __future__ import annotations

from collections.abc import Iterator

from tests.badinputs import sdp
from tests.badinputs.case import ETAG, JSON_TYPE, RESOURCE, SESSION, Request, as_json

_FRAGMENT = (("Content-Type", "application/trickle-ice-sdpfrag"),)
_CANDIDATE = "a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host"


def options() -> Iterator[Request]:
    """What a session cannot be made with, or changed to."""
    for name, content in {
        "mode-unknown": {"mode": "opera"},
        "mode-number": {"mode": 5},
        "mode-array": {"mode": ["agent"]},
        "avatar-number": {"avatar": 5},
        "avatar-object": {"avatar": {}},
        "emotion-unknown": {"emotion": "hangry=1"},
        "emotion-too-much": {"emotion": "happy=17"},
        "emotion-nan": {"emotion": "happy=nan"},
        "emotion-no-number": {"emotion": "happy=very"},
        "emotion-object": {"emotion": {"happy": 1}},
        "style-unknown": {"style": "swagger=1"},
        "style-infinite": {"style": "smile=inf"},
        "style-array": {"style": []},
        "barge-in-text": {"barge_in": "yes"},
        "barge-in-number": {"barge_in": 1},
        "ttl-0": {"ttl_s": 0},
        "ttl-negative": {"ttl_s": -1},
        "ttl-nan": {"ttl_s": float("nan")},
        "ttl-infinite": {"ttl_s": float("inf")},
        "ttl-huge": {"ttl_s": 10**400},
        "ttl-true": {"ttl_s": True},
        "ttl-text": {"ttl_s": "60"},
    }.items():
        body = as_json(content)
        yield Request(f"options/{name}", "POST", "/sessions", 422, "bad_option", body, (JSON_TYPE,))
    for name, body in {
        "brace": b"{",
        "array": b"[]",
        "null": b"null",
        "deep": b"[" * 50_000,
        "not-utf-8": b"\xff\xff",
        "text": b'"agent"',
    }.items():
        yield Request(
            f"options/not-json-{name}", "POST", "/sessions", 400, "bad_request", body, (JSON_TYPE,)
        )
    yield Request(
        "options/avatar-unknown", "POST", "/sessions", 404, "no_avatar",
        as_json({"avatar": "nobody"}), (JSON_TYPE,),
    )  # fmt: skip
    yield Request(
        "options/form", "POST", "/sessions", 400, "bad_request", b"mode=agent",
        (("Content-Type", "application/x-www-form-urlencoded"),),
    )  # fmt: skip


def changes() -> Iterator[Request]:
    """For ``PATCH /sessions/{id}``."""
    path = f"/sessions/{SESSION}"
    for name, content in {
        "mode": {"mode": "mirror"},
        "avatar": {"avatar": "default"},
        "unknown-key": {"colour": "red"},
        "emotion-unknown": {"emotion": "hangry=1"},
        "style-number": {"style": 5},
        "barge-in-object": {"barge_in": {}},
    }.items():
        body = as_json(content)
        yield Request(f"change/{name}", "PATCH", path, 422, "bad_option", body, (JSON_TYPE,))
    yield Request("change/brace", "PATCH", path, 400, "bad_request", b"{", (JSON_TYPE,))
    yield Request("change/empty", "PATCH", path, 400, "bad_request", b"", (JSON_TYPE,))
    for method, tail in (
        ("GET", ""),
        ("PATCH", ""),
        ("POST", "/interrupt"),
        ("GET", "/events"),
    ):
        name = f"change/unknown-{method.lower()}{tail.replace('/', '-')}"
        yield Request(
            name, method, f"/sessions/nobody{tail}", 404, "no_session", b"{}", (JSON_TYPE,)
        )


def whip() -> Iterator[Request]:
    """Offers in SDP."""
    good = sdp.GOOD.encode()
    for name in (
        "empty",
        "html",
        "no-ufrag",
        "no-fingerprint",
        "media-line-cut",
        "candidates-100000",
        "codecs-unknown",
        "data-only",
    ):
        text, word = sdp.refused()[name]
        status = 415 if word == "codec" else 400
        yield sdp.whip(f"whip/{name}", text.encode(), status, word)
    yield sdp.whip("whip/not-utf-8", b"v=0\r\n\xff\xfe\xfd", 400, "not_sdp")
    yield sdp.whip("whip/utf-16", sdp.GOOD.encode("utf-16"), 400, "not_sdp")
    json = (("Content-Type", "application/json"),)
    yield Request("whip/json", "POST", "/whip", 415, "content_type", good, json)
    yield Request("whip/no-type", "POST", "/whip", 415, "content_type", good)
    yield sdp.whip("whip/unknown-session", good, 404, "no_session", "/whip/nobody")
    yield sdp.whip("whep/unknown-session", good, 404, "no_session", "/whep/nobody")
    yield sdp.whip("whep/not-sdp", b"hello", 400, "not_sdp", f"/whep/{SESSION}")
    yield Request("whip/delete-unknown", "DELETE", "/whip/nobody/nothing", 404, "no_session")
    yield Request(
        "whep/delete-a-publisher", "DELETE", f"/whep/{SESSION}/nothing", 404, "no_session"
    )


def fragments() -> Iterator[Request]:
    """Candidates that trickle: ``PATCH`` of a WHIP resource (RFC 9725, RFC 8840)."""
    matching = (*_FRAGMENT, ("If-Match", ETAG))
    for name, text in {
        "empty": "",
        "words": "here is a candidate",
        "html": "<html></html>",
        "nul": "\x00\x00=\x00",
        "candidate-cut": "a=candidate:1 1 udp",
        "candidate-empty": "a=candidate:",
        "candidate-port-word": _CANDIDATE.replace(" 9 ", " http "),
        "candidate-port-99999": _CANDIDATE.replace(" 9 ", " 99999 "),
        "candidate-port-negative": _CANDIDATE.replace(" 9 ", " -9 "),
        "candidate-priority-word": _CANDIDATE.replace("2130706431", "high"),
        "candidates-1000": f"{_CANDIDATE}\r\n" * 300,
        "long": "a=x:" + "y" * 30_000,
        "offer": sdp.GOOD,
        "json": '{"candidate": "x"}',
    }.items():
        yield Request(f"trickle/{name}", "PATCH", RESOURCE, 400, "not_sdp", text.encode(), matching)
    yield Request("trickle/not-utf-8", "PATCH", RESOURCE, 400, "not_sdp", b"a=\xff\xfe", matching)
    good = f"a=mid:0\r\n{_CANDIDATE}\r\n".encode()
    for name, tag, status, word in (
        ("if-match-missing", None, 428, "if_match"),
        ("if-match-empty", "", 412, "if_match"),
        ("if-match-other", '"other"', 412, "if_match"),
        ("if-match-unquoted", "other", 412, "if_match"),
        ("if-match-long", '"' + "x" * 5000 + '"', 412, "if_match"),
        ("if-match-any", "*", 422, "ice_restart"),
    ):
        headers = _FRAGMENT if tag is None else (*_FRAGMENT, ("If-Match", tag))
        yield Request(f"trickle/{name}", "PATCH", RESOURCE, status, word, good, headers)
    restart = b"a=ice-ufrag:other\r\na=ice-pwd:another\r\n"
    yield Request("trickle/ice-restart", "PATCH", RESOURCE, 422, "ice_restart", restart, matching)
    sdp_type = (("Content-Type", "application/sdp"), ("If-Match", ETAG))
    yield Request("trickle/type-sdp", "PATCH", RESOURCE, 415, "content_type", good, sdp_type)
    for name, text in {
        "odd-unknown-mid": f"a=mid:nowhere\r\n{_CANDIDATE}",
        "odd-local-name": "a=mid:0\r\n" + _CANDIDATE.replace("127.0.0.1", "x.local"),
        "odd-tcp": "a=mid:0\r\n" + _CANDIDATE.replace(" udp ", " tcp ") + " tcptype active",
        "odd-end": "a=mid:0\r\na=end-of-candidates",
    }.items():
        yield Request(f"trickle/{name}", "PATCH", RESOURCE, 204, "", text.encode(), matching)
