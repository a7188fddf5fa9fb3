"""Who gets in, from where, how often, and what a page from elsewhere may read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from engine.clock import ManualClock
from engine.config import ServerConfig
from engine.errors import ConfigError
from engine.transport.access import (
    allow_origins,
    check_exposure,
    consent_needed,
    guard,
    is_loopback,
    refusal,
)
from tests.e2e.conftest import serving
from tests.e2e.testcard import CardEngine

PAGE = "https://page.example"
SECRET = "a secret"  # noqa: S105


async def _echo(request: web.Request) -> web.StreamResponse:
    return web.Response(body=await request.read(), headers={"ETag": '"x"'})


async def _stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"event")
    return response


@asynccontextmanager
async def _client(
    config: ServerConfig, token: str = "", clock: ManualClock | None = None
) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    app = web.Application(client_max_size=1000, middlewares=[guard(config, token, clock)])
    app.on_response_prepare.append(allow_origins(config))
    app.router.add_route("*", "/events", _stream)
    app.router.add_route("*", "/{path:.*}", _echo)
    async with TestClient(TestServer(app)) as client:
        yield client


def test_loopback() -> None:
    names = ("localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]", "0.0.0.0", "example.org", "")  # noqa: S104
    assert [is_loopback(name) for name in names] == [True] * 5 + [False] * 3


def test_exposure_needs_a_token_or_the_flag() -> None:
    check_exposure(ServerConfig(), "")
    check_exposure(ServerConfig(host="::"), SECRET)
    check_exposure(ServerConfig(host="::", allow_open=True), "")
    with pytest.raises(ConfigError, match="VIVACE_TOKEN"):
        check_exposure(ServerConfig(host="::"), "")


def test_consent_is_required_where_strangers_may_come() -> None:
    assert not consent_needed(ServerConfig())
    assert consent_needed(ServerConfig(host="192.0.2.1"))
    assert consent_needed(ServerConfig(consent="required"))
    assert not consent_needed(ServerConfig(host="::", consent="asked"))


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/offer", "/avatars/x", "/whip", "/whep/a", "/whip/a/b"])
def test_a_browser_may_ask_first_without_the_token(method: str, path: str) -> None:
    async def scenario() -> None:
        async with _client(ServerConfig(origins=(PAGE,)), SECRET) as http:
            ask = {"Origin": PAGE, "Access-Control-Request-Method": method}
            response = await http.options(path, headers=ask)
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == PAGE
            assert method in response.headers["Access-Control-Allow-Methods"].split(", ")
            allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
            assert {"authorization", "content-type", "if-match", "x-consent"} <= set(allowed)
            assert "Origin" in response.headers["Vary"]
            stranger = await http.options(path, headers=ask | {"Origin": "https://evil.example"})
            assert stranger.status == 403
            assert "Access-Control-Allow-Origin" not in stranger.headers
            plain = await http.options(path)
            assert plain.status == 401, "what is no preflight needs the token"

    asyncio.run(scenario())


def test_an_allowed_page_may_read_answers_refusals_and_streams() -> None:
    async def scenario() -> None:
        async with _client(ServerConfig(origins=(PAGE,)), SECRET) as http:
            own = {"Origin": PAGE, "Authorization": f"Bearer {SECRET}"}
            for path, headers, status in (
                ("/sessions", own, 200),
                ("/events", own, 200),
                ("/sessions", {"Origin": PAGE}, 401),
            ):
                response = await http.get(path, headers=headers)
                assert response.status == status
                assert response.headers["Access-Control-Allow-Origin"] == PAGE
                shown = response.headers["Access-Control-Expose-Headers"].split(", ")
                assert {"Location", "ETag", "Link", "Retry-After"} <= set(shown)
            response = await http.get("/sessions", headers={"Authorization": f"Bearer {SECRET}"})
            assert "Access-Control-Allow-Origin" not in response.headers
            refused = await http.get("/sessions", headers=own | {"Origin": "null"})
            assert refused.status == 403

    asyncio.run(scenario())


def test_guessing_tokens_ends_soon() -> None:
    clock = ManualClock()
    right = {"Authorization": f"Bearer {SECRET}"}

    async def scenario() -> None:
        async with _client(ServerConfig(), SECRET, clock) as http:
            for number in range(20):
                wrong = {"Authorization": f"Bearer guess {number}"}
                assert (await http.get("/avatars", headers=wrong)).status == 401
            blocked = await http.get("/avatars", headers=right)
            assert (blocked.status, blocked.headers["Retry-After"]) == (429, "10")
            assert (await blocked.json())["error"] == "too_many"
            assert (await http.get("/healthz")).status == 200
            clock.advance(10)
            assert (await http.get("/avatars", headers=right)).status == 200
            for _ in range(50):  # nobody guesses without a token: a page that has none yet
                assert (await http.get("/avatars")).status == 401
            assert (await http.get("/avatars", headers=right)).status == 200

    asyncio.run(scenario())


def test_odd_headers_are_refused_not_stumbled_over() -> None:
    async def scenario() -> None:
        async with _client(ServerConfig(), SECRET) as http:
            for token in (
                "Bearer",
                "Bearer  ",
                "Bearer \xff\xfe",
                f"Basic {SECRET}",
                SECRET,
                "\x80",
            ):
                response = await http.get("/avatars", headers={"Authorization": token})
                assert response.status == 401, token
            lower = {"Authorization": f"bearer {SECRET}"}
            assert (await http.get("/avatars", headers=lower)).status == 200
        async with _client(ServerConfig()) as http:
            for origin in ("http://[", "null", "://", "http://", "http://[::1", "x" * 5000):
                assert (await http.get("/avatars", headers={"Origin": origin})).status == 403
            for host in ("[", "[::1", "evil.example:80", "127.0.0.1.evil.example", "@localhost@x"):
                assert (await http.get("/avatars", headers={"Host": host})).status in (400, 403)
            for host in ("localhost:1", "[::1]:80", "127.0.0.1"):
                assert (await http.get("/avatars", headers={"Host": host})).status == 200

    asyncio.run(scenario())


def test_raw_bytes_in_the_token() -> None:
    """Header bytes that are no UTF-8, which clients of aiohttp cannot send."""

    async def scenario() -> bytes:
        async with _client(ServerConfig(), SECRET) as http:
            assert http.port is not None
            reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
            writer.write(b"GET /avatars HTTP/1.1\r\nHost: localhost\r\n")
            writer.write(b"Authorization: Bearer \xff\xfe\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer

    assert asyncio.run(scenario()).startswith(b"HTTP/1.1 401")


def test_files_beside_the_page_are_out_of_reach() -> None:
    async def scenario() -> None:
        async with serving(CardEngine()) as (base, http):
            for path in (
                "../connection.js", "..%2f..%2fpyproject.toml", "%2e%2e/%2e%2e/pyproject.toml",
                "..%5c..%5cpyproject.toml", "%2fetc%2fpasswd", "client.js%00.css", "",
            ):  # fmt: skip
                async with http.get(URL(f"{base}/static/{path}", encoded=True)) as response:
                    assert response.status in (400, 403, 404), path

    asyncio.run(scenario())


def test_rates_by_address_behind_a_proxy() -> None:
    clock = ManualClock()
    config = ServerConfig(rate_uploads=2, behind_proxy=True)

    async def scenario() -> None:
        async with _client(config, clock=clock) as http:
            one, other = ({"X-Forwarded-For": f"10.0.0.1, 192.0.2.{n}"} for n in (1, 2))
            got = [(await http.post("/avatars", headers=one)).status for _ in range(3)]
            assert got == [200, 200, 429]
            refused = await http.post("/avatars", headers=one)
            assert refused.headers["Retry-After"] == "30"
            assert (await http.post("/avatars", headers=other)).status == 200
            assert (await http.get("/avatars", headers=one)).status == 200
            clock.advance(30)
            assert (await http.post("/avatars", headers=one)).status == 200
        async with _client(ServerConfig(rate_uploads=2), clock=clock) as http:
            for number in range(5):  # without behind_proxy the header is only a claim
                claimed = {"X-Forwarded-For": "192.0.2.1"}
                assert (await http.post("/avatars", headers=claimed)).status == 200, number

    asyncio.run(scenario())


def test_bodies_have_a_size_and_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.transport.access._BODY_SECONDS", 0.05)

    async def dripping() -> AsyncIterator[bytes]:
        for _ in range(12):
            yield b"."
            await asyncio.sleep(0.02)

    async def scenario() -> None:
        async with _client(ServerConfig()) as http:
            assert (await http.post("/offer", data=b"x" * 1001)).status == 413
            whole = await http.post("/offer", data=b"x" * 1000)
            assert await whole.read() == b"x" * 1000
            assert (await http.post("/offer", data=dripping())).status == 408
            spoken = await http.post("/sessions/a/speak", data=dripping())
            assert (spoken.status, len(await spoken.read())) == (200, 12)

    asyncio.run(scenario())


def test_refusals_have_one_shape() -> None:
    answer = refusal(422, "bad_photo", "No face.", "no_face")
    assert answer.text == '{"error": "bad_photo", "reason": "no_face", "message": "No face."}'
