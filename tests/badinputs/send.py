"""Sends bad inputs to a running server and compares what comes back with what is documented."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from benchmarks.peer import LoopbackPeer
from tests.badinputs.case import (
    ETAG,
    JSON_TYPE,
    RESOURCE,
    SDP_TYPE,
    SESSION,
    Case,
    Message,
    Request,
    Wire,
    as_json,
)
from tests.badinputs.sdp import GOOD

PATIENCE_SECONDS = 10.0
"""An answer later than this counts as a hang."""
_RENEW_SECONDS = 8.0
"""A connection that never comes up is given up by the server after 15 s."""
_HANG = "no answer in time"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one case.

    Args:
        name: the case's.
        status: of the answer; 0 for none, -1 for a hang.
        word: the ``reason`` in it.
        seconds: until it was there.
        fault: what was not as documented; empty if all was.
    """

    name: str
    status: int
    word: str
    seconds: float
    fault: str

    @property
    def hung(self) -> bool:
        """Whether no answer came in time."""
        return self.status == -1


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON, or None."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Sender:
    """A client of one server.

    Args:
        base: its address.
        token: bearer token, if it wants one.
    """

    def __init__(self, base: str, token: str = "") -> None:
        parts = urlsplit(base)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._token = token
        self._session = ""
        self._resource = ("", "")
        self._made = 0.0

    async def send(self, case: Request | Wire) -> Outcome:
        """Send one case and judge the answer."""
        if isinstance(case, Wire):
            return await self._judge_wire(case)
        request = await self._filled(case)
        started = time.monotonic()
        try:
            answer = await self.request(request)
        except TimeoutError:
            return Outcome(case.name, -1, "", time.monotonic() - started, _HANG)
        seconds = time.monotonic() - started
        content = answer.json
        word = content.get("reason", "") if isinstance(content, dict) else ""
        fault = _fault(case, answer, word)
        await self._clean_up(case, answer)
        return Outcome(case.name, answer.status, word, seconds, fault)

    async def request(self, case: Request) -> Answer:
        """Send a request byte by byte as it is given; no library may put it right.

        Raises:
            TimeoutError: no whole answer in time.
        """
        head = [f"{case.method} {case.path} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        head += [f"{name}: {value}" for name, value in case.headers]
        if self._token and case.token:
            head.append(f"Authorization: Bearer {self._token}")
        if case.body or case.method in ("POST", "PUT", "PATCH"):
            head.append(f"Content-Length: {len(case.body)}")
        head.append("Connection: close")
        data = "\r\n".join(head).encode() + b"\r\n\r\n" + case.body
        return _parse(await self._exchange(data, end=False))

    async def _exchange(self, data: bytes, *, end: bool) -> bytes:
        """Write, and read until the server closes."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            reader, writer = await asyncio.open_connection(self._host, self._port)
            try:
                reading = asyncio.ensure_future(_read_all(reader))
                try:
                    writer.write(data)
                    if end and writer.can_write_eof():
                        writer.write_eof()
                    await writer.drain()
                except ConnectionError:
                    pass  # it has refused already; what it said is being read
                return await reading
            finally:
                writer.close()

    async def _judge_wire(self, case: Wire) -> Outcome:
        started = time.monotonic()
        try:
            received = await self._exchange(case.data, end=True)
        except TimeoutError:
            return Outcome(case.name, -1, "", time.monotonic() - started, _HANG)
        seconds = time.monotonic() - started
        status = _parse(received).status if received else 0
        fault = "" if status in case.status else f"answered {status}, none of {case.status}"
        return Outcome(case.name, status, "", seconds, fault)

    async def _filled(self, case: Request) -> Request:
        """The case with the names of things that exist in place of the placeholders."""
        path, headers = case.path, case.headers
        if SESSION in path:
            path = path.replace(SESSION, await self._agent_session())
        if RESOURCE in path:
            resource, tag = await self._whip_resource()
            path = path.replace(RESOURCE, resource)
            headers = tuple((name, tag if value == ETAG else value) for name, value in headers)
        return replace(case, path=path, headers=headers)

    async def _agent_session(self) -> str:
        """A session in agent mode that is open."""
        if self._session:
            known = await self.request(Request("", "GET", f"/sessions/{self._session}", 200))
            if known.status == 200:
                return self._session
        body = as_json({"mode": "agent"})
        answer = await self.request(Request("", "POST", "/sessions", 201, "", body, (JSON_TYPE,)))
        assert answer.status == 201, (answer.status, answer.body)
        self._session = answer.json["id"]
        return self._session

    async def _whip_resource(self) -> tuple[str, str]:
        """Path and entity tag of a publisher that is still being connected."""
        if not self._resource[0] or time.monotonic() - self._made > _RENEW_SECONDS:
            await self._remove(self._resource[0])
            offer = Request("", "POST", "/whip", 201, "", GOOD.encode(), (SDP_TYPE,))
            answer = await self.request(offer)
            assert answer.status == 201, (answer.status, answer.body)
            self._resource = (answer.headers["location"], answer.headers["etag"])
            self._made = time.monotonic()
        return self._resource

    async def _remove(self, path: str) -> None:
        """End a session or its publisher, or forget an avatar."""
        if path.startswith("/whip/"):
            path = f"/sessions/{path.split('/')[2]}"
        if path:
            await self.request(Request("", "DELETE", path, 204))

    async def _clean_up(self, case: Request, answer: Answer) -> None:
        made = answer.json if answer.status in (200, 201) else None
        if case.method == "POST" and isinstance(made, dict) and "id" in made:
            kind = "avatars" if case.path == "/avatars" else "sessions"
            await self._remove(f"/{kind}/{made['id']}")
        elif case.path.startswith("/whip") and answer.status == 201:
            await self._remove(answer.headers.get("location", ""))

    async def close(self) -> None:
        """End what was opened."""
        await self._remove(self._resource[0])
        if self._session:
            await self._remove(f"/sessions/{self._session}")


async def send_all(
    base: str,
    cases: Iterable[Case],
    peer: LoopbackPeer | None = None,
    token: str = "",
    done: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Send every case, one after the other.

    Args:
        base: the server's address.
        cases: what to send.
        peer: connected, for messages; they are left out without one.
        token: the right bearer token.
        done: called with each outcome.
    """
    sender = Sender(base, token)
    outcomes = []
    try:
        for case in cases:
            if not isinstance(case, Message):
                outcome = await sender.send(case)
            elif peer is not None:
                outcome = await send_message(peer, case)
            else:
                continue
            outcomes.append(outcome)
            done(outcome)
    finally:
        await sender.close()
    return outcomes


async def send_message(peer: LoopbackPeer, case: Message) -> Outcome:
    """Send a message and a ping after it; both must be answered as documented."""
    started = time.monotonic()
    before = len(peer.of_type("error"))
    peer.channel.send(case.data)
    peer.tell(type="ping", t=case.name)
    while not any(pong["t"] == case.name for pong in peer.of_type("pong")):
        if time.monotonic() - started > PATIENCE_SECONDS:
            return Outcome(case.name, -1, "", time.monotonic() - started, _HANG)
        await asyncio.sleep(0.01)
    seconds = time.monotonic() - started
    refused = len(peer.of_type("error")) > before
    fault = "" if refused == case.error else f"error message: {refused}, documented: {case.error}"
    return Outcome(case.name, 0, "error" if refused else "", seconds, fault)


def _fault(case: Request, answer: Answer, word: str) -> str:
    if answer.status != case.status:
        return f"status {answer.status} ({word}), documented {case.status} ({case.word})"
    if word != case.word:
        return f"reason '{word}', documented '{case.word}'"
    if case.word:
        content = answer.json
        if set(content) != {"error", "reason", "message"}:
            return f"a refusal with {sorted(content)}"
        if not content["message"].endswith((".", "}.")):
            return f"no sentence: {content['message']!r}"
    return ""


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    """Everything until the other side ends, however it ends."""
    parts: list[bytes] = []
    try:
        while part := await reader.read(65_536):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


class _Received:
    """What ``http.client`` reads a response from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        """The bytes as a file."""
        return io.BytesIO(self._data)


def _parse(data: bytes) -> Answer:
    if not data:
        return Answer(0, {}, b"")
    response = HTTPResponse(_Received(data))  # type: ignore[arg-type]
    try:
        response.begin()
        body = response.read()
    except HTTPException:
        return Answer(-2, {}, data)
    return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, body)
