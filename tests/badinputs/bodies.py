"""JSON that is none, or not what is asked for; headers and paths that lie."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote

from tests.badinputs.case import JSON_TYPE, Request, as_json
from tests.badinputs.sdp import GOOD

_WORDLESS = (
    "traversal-double-encoded",
    "traversal-backslash",
    "not-utf-8",
    "overlong-utf-8",
)
_OFFER = {"type": "offer", "sdp": GOOD}


def _not_json() -> dict[str, bytes]:
    text = json.dumps(_OFFER)
    return {
        "empty": b"",
        "blank": b"   \n",
        "brace": b"{",
        "cut": text[: len(text) // 2].encode(),
        "trailing-comma": text.replace("}", ",}").encode(),
        "single-quotes": text.replace('"', "'").encode(),
        "two-documents": (text + text).encode(),
        "byte-order-mark": b"\xef\xbb\xbf" + text.encode(),
        "not-utf-8": b'{"type": "offer", "sdp": "\xff\xfe\x80"}',
        "utf-16": text.encode("utf-16"),
        "nul-bytes": b"\x00" * 64,
        "control-character": b'{"type": "offer", "sdp": "a\x01b"}',
        "deep-arrays": b"[" * 100_000,
        "deep-arrays-closed": b"[" * 90_000 + b"]" * 90_000,
        "deep-objects": b'{"a":' * 30_000 + b"1" + b"}" * 30_000,
        "number-of-5000-digits": b"1" * 5000,
        "minus": b"-",
        "xml": b"<offer><sdp>v=0</sdp></offer>",
        "form": b"type=offer&sdp=v%3D0",
        "javascript": b"({type: 'offer'})",
        "msgpack": b"\x82\xa4type\xa5offer\xa3sdp\xa3v=0",
    }


def _wrong() -> dict[str, object]:
    return {
        "null": None,
        "true": True,
        "number": 17,
        "text": "offer",
        "array": [_OFFER],
        "empty-object": {},
        "no-sdp": {"type": "offer"},
        "no-type": {"sdp": GOOD},
        "type-answer": {"type": "answer", "sdp": GOOD},
        "type-rollback": {"type": "rollback", "sdp": ""},
        "type-number": {"type": 1, "sdp": GOOD},
        "type-upper": {"type": "OFFER", "sdp": GOOD},
        "sdp-null": {"type": "offer", "sdp": None},
        "sdp-number": {"type": "offer", "sdp": 5},
        "sdp-array": {"type": "offer", "sdp": [GOOD]},
        "sdp-object": {"type": "offer", "sdp": {"toString": "v=0"}},
        "sdp-lone-surrogate": {"type": "offer", "sdp": "v=0\ud800"},
        "sdp-infinite": {"type": "offer", "sdp": float("inf")},
        "sdp-nan": {"type": "offer", "sdp": float("nan")},
        "prototype": {"__proto__": {"type": "offer"}, "sdp": GOOD},
    }


def _unknown_avatars() -> dict[str, str]:
    return {
        "unknown": "nobody",
        "traversal": "../../etc/passwd",
        "nul": "default\x00",
        "emoji": "🙂" * 100,
        "long": "a" * 50_000,
        "format": "%s%n{0.__class__}",
    }


def json_bodies() -> Iterator[Request]:
    """For ``/offer``."""
    for name, body in _not_json().items():
        yield Request(f"json/{name}", "POST", "/offer", 400, "not_json", body, (JSON_TYPE,))
    for name, content in _wrong().items():
        body = as_json(content)
        yield Request(f"json/{name}", "POST", "/offer", 400, "not_sdp", body, (JSON_TYPE,))
    for name, avatar in _unknown_avatars().items():
        body = as_json({**_OFFER, "avatar": avatar})
        yield Request(f"json/avatar-{name}", "POST", "/offer", 404, "no_avatar", body, (JSON_TYPE,))
    for name, avatar in {"number": 5, "object": {}, "array": ["default"]}.items():
        body = as_json({**_OFFER, "avatar": avatar})
        yield Request(
            f"json/avatar-{name}", "POST", "/offer", 422, "bad_option", body, (JSON_TYPE,)
        )
    repeated = b'{"type": "offer", "sdp": "v=0", "sdp": ' + json.dumps("x").encode() + b"}"
    yield Request("json/repeated-key", "POST", "/offer", 400, "not_sdp", repeated, (JSON_TYPE,))
    long = as_json({"type": "offer", "sdp": "v=0" + "x" * 250_000})
    yield Request("json/too-long", "POST", "/offer", 400, "too_large", long, (JSON_TYPE,))


def kinds_of_content() -> Iterator[Request]:
    """``/offer`` takes JSON only, whatever is written on it."""
    body = as_json(_OFFER)
    for name, kind in {
        "none": None,
        "text": "text/plain",
        "sdp": "application/sdp",
        "form": "application/x-www-form-urlencoded",
        "multipart": "multipart/form-data",
        "multipart-no-boundary": "multipart/form-data; boundary=",
        "nonsense": "what/ever; charset=klingon",
        "empty": "",
        "slashes": "////",
        "long": "application/" + "j" * 4000,
    }.items():
        headers = () if kind is None else (("Content-Type", kind),)
        yield Request(f"content-type/{name}", "POST", "/offer", 400, "not_json", body, headers)
    for name in ("klingon", "utf-7", "base64", "x" * 500):
        headers = (("Content-Type", f"application/json; charset={name}"),)
        yield Request(
            f"charset/{name[:9]}", "POST", "/offer", 400, "not_json", b"\xff\xfe{}", headers
        )


def authorisation() -> Iterator[Request]:
    """Only for a server with a token: none of these is it."""
    for name, value in {
        "missing": None,
        "empty": "",
        "scheme-only": "Bearer",
        "basic": "Basic dXNlcjpwYXNz",
        "wrong": "Bearer wrong",
        "latin-1": "Bearer \xe9\xe8",
        "long": "Bearer " + "x" * 6000,
        "twice": "Bearer wrong, Bearer wronger",
        "digest": 'Digest username="x", realm="y"',
        "lower": "bearer wrong",
        "tabs": "Bearer\twrong",
    }.items():
        headers = () if value is None else (("Authorization", value),)
        yield Request(
            f"token/{name}", "GET", "/avatars", 401, "unauthorized", b"", headers, token=False
        )
    yield Request(
        "token/in-the-address", "GET", "/avatars?token=wrong", 401, "unauthorized", token=False
    )


def origins() -> Iterator[Request]:
    """Pages from elsewhere."""
    for name, origin in {
        "foreign": "https://evil.example",
        "null": "null",
        "nonsense": "://",
        "suffix": "http://127.0.0.1.evil.example",
        "file": "file://",
        "bracket": "http://[::1",
    }.items():
        yield Request(
            f"origin/{name}", "GET", "/avatars", 403, "forbidden", b"", (("Origin", origin),)
        )


def paths() -> Iterator[Request]:
    """Paths that lead out of where they should, or nowhere."""
    for name, path in {
        "unknown": "/nothing/here",
        "traversal": "/static/../../pyproject.toml",
        "traversal-encoded": "/static/%2e%2e/%2e%2e/pyproject.toml",
        "traversal-double-encoded": "/static/%252e%252e/%252e%252e/pyproject.toml",
        "traversal-slash-encoded": "/static/..%2f..%2fpyproject.toml",
        "traversal-backslash": "/static/..%5c..%5cpyproject.toml",
        "absolute": "/static//etc/passwd",
        "nul": "/static/client.js%00.png",
        "dots": "/static/" + "../" * 200,
        "long-file": "/static/" + "a" * 4000,
        "not-utf-8": "/static/%ff%fe",
        "overlong-utf-8": "/static/%c0%ae%c0%ae/pyproject.toml",
        "dot-git": "/.git/config",
        "dot-env": "/.env",
        "double-slash": "//offer",
    }.items():
        # Files that are missing are answered by aiohttp, without words.
        word = "" if name in _WORDLESS else "not_found"
        yield Request(f"path/{name}", "GET", path, 404, word)
    yield Request("path/directory", "GET", "/static/", 403, "forbidden")
    for name, word in {
        "picture": "",
        "traversal": "../../x",
        "nul": "\x00",
        "format": "%s%n",
    }.items():
        path = f"/avatars/{quote(word or 'nobody', safe='')}/picture"
        yield Request(f"path/avatar-{name}", "GET", path, 404, "no_avatar")
    yield Request("path/delete-unknown", "DELETE", "/avatars/nobody", 404, "no_avatar")
    yield Request("path/session-unknown", "DELETE", "/sessions/nobody", 404, "no_session")
    yield Request("path/session-traversal", "DELETE", "/sessions/..%2f..%2fx", 404, "no_session")


def methods() -> Iterator[Request]:
    """What a path does not do."""
    for method, path in (
        ("GET", "/offer"),
        ("PUT", "/offer"),
        ("DELETE", "/avatars"),
        ("PATCH", "/avatars"),
        ("POST", "/healthz"),
        ("POST", "/metrics"),
        ("TRACE", "/"),
        ("PROPFIND", "/avatars"),
    ):
        name = f"method/{method.lower()}{path.replace('/', '-')}"
        yield Request(name, method, path, 405, "method_not_allowed")
