"""An avatar computed by a server: a WebRTC peer in a thread with an event loop of its own.

It comes back by itself when the connection is lost, by the web page's rules (``clients/web``): 1,
2, 4, 8, 8 seconds, or what the server asks for with ``Retry-After``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import av
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError

from clients.mic.avatar import REDUCED, Audience, Figures
from clients.mic.pace import Backoff
from engine.clock import Clock
from engine.errors import EngineError
from engine.media import FPS, Float32
from engine.slots import RATE, SLOT_SAMPLES
from engine.transport.hooks import install
from engine.transport.tracks import AudioTrack, audio_frame

log = logging.getLogger(__name__)

PACKET = RATE // 50
_TIMEOUT = aiohttp.ClientTimeout(total=20)
_PING_SECONDS = 1.0
_SILENT_SECONDS = 5.0
"""Seconds without a picture or a word after which the server counts as gone."""
_CLOSE_SECONDS = 10.0
_APART_SECONDS = 0.2
"""Tracks that begin further apart than this do not begin with the same slot."""


class ServerError(EngineError):
    """The server refuses or does not answer.

    Args:
        message: a sentence.
        status: HTTP status; 0 when nobody answers.
        retry_after: seconds the server asks to wait; 0 if it does not.
    """

    def __init__(self, message: str, status: int = 0, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Server:
    """Where the avatar is.

    Args:
        url: for example ``http://127.0.0.1:8080``.
        token: bearer token; empty for none.
        avatar: whom to show; None for the server's default.
    """

    url: str
    token: str = ""
    avatar: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


class Packets:
    """Cuts sound into packets of 20 ms, each with its position."""

    def __init__(self) -> None:
        self._held = np.zeros(0, np.float32)
        self._next = 0

    def push(self, samples: Float32, start: int) -> list[tuple[int, Float32]]:
        """Positions and float32 [960]; what is left of the past is dropped where time jumps."""
        if start != self._next + len(self._held):
            self._held, self._next = np.zeros(0, np.float32), start
        line = np.concatenate([self._held, samples])
        count = len(line) // PACKET
        packets = [
            (self._next + i * PACKET, line[i * PACKET : (i + 1) * PACKET]) for i in range(count)
        ]
        self._held, self._next = line[count * PACKET :], self._next + count * PACKET
        return packets


class OutputClock:
    """Puts both tracks of one connection, and one connection after another, on one line of slots.

    Both tracks begin with the same slot, and each counts from its own beginning. If one begins much
    later than the other, its beginning was lost and the time of arrival decides.

    Args:
        start: seconds at which the line began.
    """

    def __init__(self, start: float) -> None:
        self._start = start
        self._begun: float | None = None

    def reconnect(self) -> None:
        """The next track begins a new connection."""
        self._begun = None

    def begin(self, now: float) -> int:
        """The slot at which a track begins whose first frame comes now."""
        if self._begun is None:
            self._begun = now
        begun = now if now - self._begun > _APART_SECONDS else self._begun
        return round((begun - self._start) * FPS)


class ServerAvatar:
    """Keeps a connection to a server.

    Args:
        server: where.
        audience: who watches.
        clock: real time.
        tell: called with sentences for the user, from another thread.
    """

    def __init__(
        self, server: Server, audience: Audience, clock: Clock, tell: Callable[[str], None]
    ) -> None:
        self.error: Exception | None = None
        self._server = server
        self._audience = audience
        self._clock = clock
        self._tell = tell
        self._packets = Packets()
        self._lost = 0.0
        self._delay: float | None = None
        self._rtt = 0.0
        self._connected = self._reduced = False
        self._resume = ""
        self._voice: AudioTrack | None = None
        self._heard = clock.now()
        self._line = OutputClock(clock.now())
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)

    def start(self) -> None:
        """Connect."""
        # Our jitter buffer instead of aiortc's, and this machine's own address beside the others.
        install()
        self._thread.start()

    def say(self, samples: Float32, start: int, at: float) -> None:
        """See ``Avatar``."""
        if self.error is None and not self._loop.is_closed():
            with suppress(RuntimeError):  # the loop closes in this very moment
                self._loop.call_soon_threadsafe(self._put, samples, start)

    def figures(self) -> Figures:
        """How it goes. The server tells how far it runs behind; the network adds a round trip."""
        latency = None if self._delay is None else self._delay + self._rtt
        dropped = self._voice.dropped if self._voice else 0
        note = (REDUCED if self._reduced else "") if self._connected else "not connected"
        return Figures(latency, self._lost + dropped * 20.0, note)

    def close(self) -> None:
        """Say goodbye to the server and end."""
        if self._thread.ident is None:
            self._loop.close()
            return
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except Exception as error:  # noqa: BLE001 - the program's main thread reports it
            self.error = error
        finally:
            self._loop.close()

    def _put(self, samples: Float32, start: int) -> None:
        for position, packet in self._packets.push(samples, start):
            if self._voice is not None:
                self._voice.put(audio_frame(packet, position))

    async def _serve(self) -> None:
        backoff = Backoff()
        async with aiohttp.ClientSession(headers=self._server.headers, timeout=_TIMEOUT) as http:
            while not self._stop.is_set():
                reason, asked = "the connection is lost", 0.0
                try:
                    await self._connection(http, backoff)
                except ServerError as error:
                    reason, asked = await self._judge(error, backoff)
                if self._stop.is_set():
                    return
                wait = backoff.next(asked)
                if wait is None:
                    raise ServerError(f"{reason}; gave up after {backoff.attempts} attempts")
                self._tell(f"{reason.rstrip('.')}; trying again in {wait:g} s")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), wait)

    async def _judge(self, error: ServerError, backoff: Backoff) -> tuple[str, float]:
        """Why and when to try again; raises the error when that makes no sense."""
        if error.status == 503:
            return str(error), error.retry_after
        if error.status == 0 and (backoff.attempts or self._resume):
            return str(error), 0.0
        if 400 <= error.status < 500 and self._resume:  # the session is gone: begin a new one
            self._resume = ""
            return str(error), 0.0
        raise error

    async def _connection(self, http: aiohttp.ClientSession, backoff: Backoff) -> None:
        """One connection from its offer to its end."""
        pc = RTCPeerConnection(RTCConfiguration(iceServers=await self._ice(http)))
        over = asyncio.Event()
        tasks: list[asyncio.Task[None]] = []
        self._voice = AudioTrack()
        self._line.reconnect()
        self._heard = self._clock.now()
        pc.addTrack(self._voice)
        pc.addTransceiver("video", direction="recvonly")
        control = pc.createDataChannel("control")

        def on_track(track: MediaStreamTrack) -> None:
            work = self._sounds(track) if track.kind == "audio" else self._pictures(track)
            tasks.append(asyncio.ensure_future(_until_ended(work)))

        def on_state() -> None:
            if pc.connectionState == "connected":
                backoff.reset()
                self._connected = True
                self._heard = self._clock.now()
            elif pc.connectionState in ("failed", "closed"):
                over.set()

        pc.on("track", on_track)
        pc.on("connectionstatechange", on_state)
        control.on("message", self._receive)
        control.on("close", over.set)
        name = ""
        try:
            name = await self._offer(http, pc)
            tasks.append(asyncio.ensure_future(self._watch(control, over)))
            stopped = asyncio.ensure_future(self._stop.wait())
            ended = asyncio.ensure_future(over.wait())
            await asyncio.wait((stopped, ended), return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            ended.cancel()
        finally:
            self._connected = False
            self._lost += self._voice.dropped * 20.0
            self._voice.stop()
            self._voice = None
            if self._stop.is_set() and name:
                await self._leave(http, name)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await pc.close()

    async def _ice(self, http: aiohttp.ClientSession) -> list[RTCIceServer]:
        answer = await self._call(http, "GET", "/ice")
        return [
            RTCIceServer(entry["urls"], entry.get("username"), entry.get("credential"))
            for entry in answer.get("iceServers", [])
        ]

    async def _offer(self, http: aiohttp.ClientSession, pc: RTCPeerConnection) -> str:
        await pc.setLocalDescription(await pc.createOffer())
        body: dict[str, Any] = {"sdp": pc.localDescription.sdp, "type": pc.localDescription.type}
        if self._server.avatar:
            body["avatar"] = self._server.avatar
        if self._resume:
            body["resume"] = self._resume
        answer = await self._call(http, "POST", "/offer", body)
        if not {"sdp", "type", "id"} <= answer.keys():
            raise ServerError(f"{self._server.url} is no avatar server: its answer has no sdp", 415)
        self._resume = answer.get("resume", "")
        await pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        return str(answer["id"])

    async def _leave(self, http: aiohttp.ClientSession, name: str) -> None:
        with suppress(ServerError):
            await self._call(http, "DELETE", f"/sessions/{name}")

    async def _call(
        self, http: aiohttp.ClientSession, method: str, path: str, body: Any = None
    ) -> dict[str, Any]:
        url = self._server.url.rstrip("/") + path
        try:
            async with http.request(method, url, json=body) as response:
                text = await response.text()
                if response.status >= 400:
                    raise _refused(response.status, text, response.headers.get("Retry-After", ""))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServerError(
                f"the server at {self._server.url} does not answer. Is it running?"
            ) from error
        try:
            answer = json.loads(text) if text else {}
        except ValueError as error:
            raise ServerError(f"{url} is no avatar server: its answer is not JSON", 415) from error
        if not isinstance(answer, dict):
            raise ServerError(f"{url} is no avatar server: its answer is not an object", 415)
        return answer

    async def _watch(self, control: Any, over: asyncio.Event) -> None:
        """Ping, and end the connection when nothing is heard any more."""
        while self._clock.now() - self._heard < _SILENT_SECONDS:
            if control.readyState == "open":
                control.send(json.dumps({"type": "ping", "t": self._clock.now()}))
            await asyncio.sleep(_PING_SECONDS)
        over.set()

    def _receive(self, text: str | bytes) -> None:
        self._heard = self._clock.now()
        with suppress(ValueError, KeyError, TypeError, AttributeError):  # not from our server
            self._understand(json.loads(text))

    def _understand(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == "stats":
            self._delay = message.get("playout", {}).get("depth_ms", 0.0) / 1000
        elif kind == "pong":
            self._rtt = self._clock.now() - float(message["t"])
        elif kind == "degraded":
            self._reduced = bool(message["level"])
        elif kind == "error":
            self._tell(f"the server says: {message.get('message')}")
        elif kind == "session_ending":
            self._tell(f"the server ends the session in {message.get('in_s')} s: "
                       f"{message.get('reason')}")  # fmt: skip

    async def _sounds(self, track: MediaStreamTrack) -> None:
        origin: int | None = None
        while True:
            frame = await track.recv()
            assert isinstance(frame, av.AudioFrame)
            assert frame.pts is not None
            self._heard = self._clock.now()
            if origin is None:
                origin = self._line.begin(self._heard) * SLOT_SAMPLES - frame.pts
            samples = frame.to_ndarray().reshape(-1, len(frame.layout.channels))
            mono = samples.mean(axis=1, dtype=np.float32) / np.float32(32768)
            self._audience.sound(mono, origin + frame.pts)

    async def _pictures(self, track: MediaStreamTrack) -> None:
        origin: int | None = None
        while True:
            frame = await track.recv()
            assert isinstance(frame, av.VideoFrame)
            assert frame.pts is not None
            assert frame.time_base is not None
            self._heard = self._clock.now()
            slot = round(frame.pts * frame.time_base * FPS)
            if origin is None:
                origin = self._line.begin(self._heard) - slot
            image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            self._audience.picture(image, origin + slot)


async def _until_ended(work: Any) -> None:
    with suppress(MediaStreamError):
        await work


def _refused(status: int, text: str, retry_after: str) -> ServerError:
    message = f"the server answered {status}"
    with suppress(ValueError, AttributeError):
        message = json.loads(text).get("message", message)
    if status == 401:
        message += " Set VIVACE_TOKEN or give --token."
    with suppress(ValueError):
        return ServerError(message, status, float(retry_after))
    return ServerError(message, status)
