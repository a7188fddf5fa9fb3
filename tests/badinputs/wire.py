"""Bytes that are no HTTP, or HTTP that lies about itself."""

from __future__ import annotations

from collections.abc import Iterator

from tests.badinputs.case import Wire

_HOST = b"Host: localhost\r\n"


def _bad_requests() -> dict[str, bytes]:
    """Everything to which 400, or silence and an end, is right."""
    post = b"POST /offer HTTP/1.1\r\n" + _HOST
    return {
        "nothing": b"",
        "newlines": b"\r\n" * 2000,
        "zeros": bytes(4096),
        "all-bytes": bytes(range(256)) * 16,
        "a-word": b"hello\r\n\r\n",
        "tls-hello": bytes.fromhex(
            "16030100c8010000c40303" + "5a" * 32 + "20" + "a5" * 32 + "0004130113021301"
        ),
        "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
        "smtp": b"EHLO example\r\n",
        "redis": b"*1\r\n$4\r\nINFO\r\n",
        "rtsp": b"OPTIONS rtsp://localhost/ RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        "stun": bytes.fromhex("000100002112a442") + b"0123456789ab",
        "socks": b"\x05\x01\x00",
        "http-2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "version-9": b"GET / HTTP/9.9\r\n" + _HOST + b"\r\n",
        "version-word": b"GET / HTTP/one\r\n" + _HOST + b"\r\n",
        "method-long": b"G" * 20_000 + b" / HTTP/1.1\r\n" + _HOST + b"\r\n",
        "method-odd": b"G\x00T / HTTP/1.1\r\n" + _HOST + b"\r\n",
        "path-long": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n",
        "path-with-nul": b"GET /\x00 HTTP/1.1\r\n" + _HOST + b"\r\n",
        "header-long": b"GET / HTTP/1.1\r\n" + _HOST + b"X: " + b"y" * 20_000 + b"\r\n\r\n",
        "header-name-odd": b"GET / HTTP/1.1\r\n" + _HOST + b"X Y: 1\r\n\r\n",
        "header-no-colon": b"GET / HTTP/1.1\r\n" + _HOST + b"what\r\n\r\n",
        "header-nul": b"GET / HTTP/1.1\r\n" + _HOST + b"X: a\x00b\r\n\r\n",
        "headers-2000": b"GET / HTTP/1.1\r\n" + _HOST + b"X: y\r\n" * 2000 + b"Y: " + b"z" * 9000,
        "header-cut": b"GET / HTTP/1.1\r\nHost: loc",
        "length-word": post + b"Content-Length: many\r\n\r\n{}",
        "length-negative": post + b"Content-Length: -5\r\n\r\n{}",
        "length-twice": post + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "length-huge": post + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n{}",
        "length-too-long": post
        + b"Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n{}",
        "length-and-chunks": post
        + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "chunks-cut": post
        + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        "chunk-size-word": post + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
        "chunk-size-huge": post + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n{}",
        "chunk-size-negative": post + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n",
        "chunk-no-end": post + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n",
        "encoding-unknown": post + b"Transfer-Encoding: gzip\r\n\r\n{}",
        "body-gzip-garbage": post
        + b"Content-Type: application/json\r\nContent-Encoding: gzip\r\n"
        + b"Content-Length: 4\r\nConnection: close\r\n\r\nnope",
        "host-twice": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "folded-header": b"GET / HTTP/1.1\r\n" + _HOST + b"X: a\r\n b\r\n\r\n",
        "bare-newlines": b"GET /nothing HTTP/1.1\nHost: localhost\n\n",
        "connect": b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
        "host-foreign": b"GET /avatars HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        "host-bracket": b"GET /avatars HTTP/1.1\r\nHost: [::1\r\nConnection: close\r\n\r\n",
        "host-port-word": b"GET /avatars HTTP/1.1\r\nHost: localhost:http\r\n"
        b"Connection: close\r\n\r\n",
        "websocket-upgrade": b"GET /offer HTTP/1.1\r\n" + _HOST + b"Connection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n\x81\x05hello",
        "h2c-upgrade": b"GET /offer HTTP/1.1\r\n" + _HOST + b"Connection: Upgrade, HTTP2-Settings"
        b"\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        "expect-nonsense": post + b"Expect: the unexpected\r\nContent-Length: 2\r\n\r\n{}",
        "smuggled": post
        + b"Content-Type: application/json\r\nContent-Length: 6\r\n"
        + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    }


_REFUSALS = (0, 400, 403, 404, 405, 413, 414, 417, 431, 501, 505)


def wire() -> Iterator[Wire]:
    """Which refusal comes is the HTTP parser's choice; an answer that is none would be wrong."""
    for name, data in _bad_requests().items():
        yield Wire(f"wire/{name}", data, _REFUSALS)
