"""Logs: readable by programs, and without secrets whatever goes wrong."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from aiohttp import web

from engine.config import ServerConfig
from engine.logs import JsonFormatter, about_session, configure
from engine.serve import main
from tests.e2e.conftest import serving
from tests.e2e.testcard import CardEngine

TOKEN = 'a "hidden" tökén'  # noqa: S105
SDP = "v=0\r\no=- 1 2 IN IP4 198.51.100.77\r\na=ice-pwd:verysecretpassword\r\n"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_one_object_a_line() -> None:
    stream = io.StringIO()
    configure("info", "json", stream=stream)
    log = logging.getLogger("engine.some")
    log.debug("not this")
    log.info("a %s\nwith a line", "message", extra={"session": "0123456789abcdef", "frames": 3})
    try:
        raise ValueError("broken\nthing")
    except ValueError:
        log.exception("failed")
    first, second = lines(stream)
    assert datetime.fromisoformat(str(first.pop("time"))).tzinfo is not None
    assert first == {
        "level": "info",
        "logger": "engine.some",
        "message": "a message\nwith a line",
        "session": "012345",
        "frames": 3,
    }
    assert "ValueError: broken" in str(second["error"])


def test_text_for_people() -> None:
    stream = io.StringIO()
    configure("warning", "text", stream=stream)
    logging.getLogger("engine.some").info("not this")
    logging.getLogger("engine.some").warning("this")
    assert stream.getvalue() == "WARNING engine.some: this\n"


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_struck_out(form: str) -> None:
    stream = io.StringIO()
    configure("debug", form, [TOKEN, ""], stream)
    log = logging.getLogger("engine.some")
    log.info("the token is %s", TOKEN)
    log.info("headers: {'Authorization': 'Bearer abc.def'}")
    try:
        raise RuntimeError(TOKEN)
    except RuntimeError:
        log.exception("failed", extra={"given": TOKEN})
    text = stream.getvalue()
    for secret in (TOKEN, json.dumps(TOKEN)[1:-1], "hidden", "abc.def"):
        assert secret not in text
    assert text.count("***") >= 3


def test_strange_values_do_not_break_the_line() -> None:
    record = logging.LogRecord("a", 20, "", 1, "x", (), None)
    record.path = Path("/x")
    record.session = 17
    assert json.loads(JsonFormatter().format(record))["path"] == "/x"


@pytest.mark.parametrize("form", ["text", "json"])
def test_requests_with_secrets_leave_none_of_them(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good and bad requests, and a handler that fails: at the most talkative level."""
    stream = io.StringIO()
    configure("debug", form, ["let me in"], stream)
    engine = CardEngine()
    photo = engine.avatars[0].picture
    config = ServerConfig(ice_servers=("turn:turn.example?transport=udp",))
    seen: list[str] = []

    async def scenario() -> None:
        async with serving(engine, config, "let me in") as (base, http):
            own = {"Authorization": "Bearer let me in"}
            wrong = {"Authorization": "Bearer wrongwrong"}
            made = await http.post(f"{base}/sessions", json={}, headers=own)
            assert made.status == 201
            answer = await made.json()
            seen.extend(str(answer[name]) for name in ("id", "resume") if name in answer)
            offer = {"sdp": SDP, "type": "offer", "resume": "resumeresume"}
            assert (await http.post(f"{base}/offer", json=offer, headers=own)).status >= 400
            assert (await http.post(f"{base}/offer", data=SDP, headers=own)).status >= 400
            assert (await http.post(f"{base}/whip", data=SDP, headers=own)).status >= 400
            assert (await http.get(f"{base}/avatars", headers=wrong)).status == 401
            said = {"consent": "consentconsent"}
            assert (
                await http.post(f"{base}/avatars", data=photo, params=said, headers=own)
            ).status == 201
            host, port = base.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET / HTTP/1.1\r\nX-A: let me in\r\na broken line\r\n\r\n")
            assert b"400" in await reader.readline()
            writer.close()
            monkeypatch.setattr(engine, "remove_avatar", fail)
            assert (await http.delete(f"{base}/avatars/x", headers=own)).status == 500
            assert (await http.delete(f"{base}/sessions/{answer['id']}", headers=own)).status < 300

    def fail(_: str) -> None:
        raise RuntimeError("Bearer let me in")

    asyncio.run(scenario())
    text = stream.getvalue()
    assert "RuntimeError" in text, "the failure itself is logged"
    assert "a malformed request was refused: BadHttpMessage" in text
    assert seen
    secrets = [*seen, "let me in", "wrongwrong", "verysecret", "resumeresume", "198.51.100.77"]
    for secret in (*secrets, "a broken line", "consentconsent", "v=0", "JFIF"):
        assert secret not in text, secret


def test_the_program_takes_the_formats(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--log-format", "xml"])
    assert "text" in capsys.readouterr().err


def test_a_connection_that_never_asks_is_closed() -> None:
    """Slow loris: half a request head keeps no connection open (aiohttp, from 3.14)."""

    async def scenario() -> bytes:
        runner = web.AppRunner(web.Application(), keepalive_timeout=0.3)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        ended = asyncio.create_task(reader.read())
        for _ in range(40):
            await asyncio.sleep(0.1)
            if ended.done():
                break
            writer.write(b"a")
        assert ended.done(), "still open after four seconds"
        writer.close()
        await runner.cleanup()
        return ended.result()

    assert b"200" not in asyncio.run(scenario())


def test_lines_about_a_session_name_it_in_text_and_as_a_field() -> None:
    stream = io.StringIO()
    configure("info", "json", stream=stream)
    about_session(logging.getLogger("engine.x"), "abcdefgh-secret").info("ends: %s", "lost")
    line = json.loads(stream.getvalue())
    assert (line["session"], line["message"]) == ("abcdef", "session abcdef: ends: lost")
