"""What visitors of ``soak`` do: come, leave, vanish, return, interrupt, upload, speak."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import cache

import aiohttp
import cv2
import numpy as np
from aiortc.exceptions import InvalidStateError

from benchmarks.calls import joined, json_of, until
from benchmarks.peer import LoopbackPeer, Voice
from benchmarks.server import Server
from benchmarks.sounds import breathless, talk, wav
from engine.app import default_portrait
from engine.media import UInt8

_STAY_S = (3.0, 8.0)
_FREE_S = 15.0
"""A place is free again this long after its client vanished, at the latest."""
_CONSENT = "These are my own test pictures."


FAILURES = (TimeoutError, OSError, aiohttp.ClientError, InvalidStateError)
"""What a server, or a connection to it, that is not well makes of a visit."""


class Lost(RuntimeError):
    """A session ended, or could not be resumed, that nobody had ended."""


class Guests:
    """One visitor after the other, doing this and that.

    Args:
        server: the server.
        http: client session.
        seed: of what they do and when.
    """

    def __init__(self, server: Server, http: aiohttp.ClientSession, seed: int) -> None:
        self.server = server
        self.did: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        """Requests that failed, by action and reason."""
        self.lost = 0
        self._http = http
        self._rng = random.Random(seed)
        self._acts: dict[str, Callable[[], Awaitable[None]]] = {
            "polite": self.polite,
            "abrupt": self.abrupt,
            "resume": self.resume,
            "agent": self.agent,
            "upload": self.upload,
        }

    async def one(self, index: int) -> None:
        """One visit; what fails is counted, not raised."""
        name = list(self._acts)[index % len(self._acts)]
        try:
            await self._acts[name]()
            self.did[name] += 1
        except Lost as error:
            self.lost += 1
            self.errors[f"{name}: {error}"] += 1
        except (*FAILURES, KeyError) as error:
            self.errors[f"{name}: {type(error).__name__} {error}"[:120]] += 1

    async def polite(self) -> None:
        """Come, speak, interrupt, say goodbye."""
        peer = self._peer()
        async with joined(peer):
            await self._stay(peer)
            peer.tell(type="interrupt")
            await self._stay(peer)
        await self._end(peer.id)

    async def abrupt(self) -> None:
        """Come and vanish without a word; the place must become free by itself."""
        peer = self._peer()
        async with joined(peer):
            await self._stay(peer)
            vanish(peer)
            await self._alone()
        await self._end(peer.id)

    async def resume(self) -> None:
        """Vanish, and come back by the token before or after the loss is noticed."""
        peer = self._peer()
        async with joined(peer):
            await self._stay(peer)
            vanish(peer)
            await asyncio.sleep(self._rng.choice((0.2, 8.0)))
            back = self._peer()
            try:
                async with joined(back, resume=peer.answer["resume"]):
                    if back.id != peer.id:
                        raise Lost("the token did not bring the session back")
                    await self._stay(back)
            except (TimeoutError, ConnectionRefusedError) as error:
                raise Lost(f"the session did not come back: {error}") from error
        await self._end(back.id)

    async def agent(self) -> None:
        """An agent speaks and is interrupted, twice."""
        url = f"{self.server.url}/sessions"
        status, made = await json_of(self._http, "POST", url, json={"mode": "agent"})
        if status != 201:
            raise OSError(f"{status} {made}")
        url += f"/{made['id']}"
        peer = self._peer()
        async with joined(peer, session=made["id"]):
            for _ in range(2):
                head = {"Content-Type": "audio/wav"}
                status, answer = await json_of(
                    self._http, "POST", f"{url}/speak", data=_speech(), headers=head
                )
                if status != 202:
                    raise OSError(f"{status} {answer}")
                await self._stay(peer)
                status, answer = await json_of(self._http, "POST", f"{url}/interrupt")
                if status != 200:
                    raise OSError(f"{status} {answer}")
        await self._end(made["id"])

    async def upload(self) -> None:
        """A photo becomes an avatar, is used, and deleted."""
        url = f"{self.server.url}/avatars"
        photo = variant(_pictures()[self._rng.randrange(2)], self._rng)
        head = {"Content-Type": "image/jpeg", "X-Consent": _CONSENT}
        status, made = await json_of(self._http, "POST", url, data=photo, headers=head)
        if status != 201:
            raise OSError(f"{status} {made}")
        peer = self._peer()
        async with joined(peer, avatar=made["id"]):
            await self._stay(peer)
        await self._end(peer.id)
        async with self._http.delete(f"{url}/{made['id']}") as response:
            if response.status != 204:
                raise OSError(f"{response.status} for the deletion of an avatar")

    def _peer(self) -> LoopbackPeer:
        return LoopbackPeer(self._http, self.server.url, Voice(talk(), loop=True), keep=False)

    async def _stay(self, peer: LoopbackPeer) -> None:
        seen = len(peer.pictures)
        await asyncio.sleep(self._rng.uniform(*_STAY_S))
        if len(peer.pictures) == seen:
            raise Lost("no more pictures came")

    async def _end(self, session: str) -> None:
        """End a session, which may be over already; then nothing of it is left."""
        async with self._http.delete(f"{self.server.url}/sessions/{session}") as response:
            if response.status not in (204, 404):
                raise OSError(f"{response.status} for the end of a session")
        await self._alone()

    async def _alone(self) -> None:
        async def guests() -> bool:
            return (await asyncio.to_thread(self.server.scrape))["avatar_sessions"] > 1

        end = asyncio.get_running_loop().time() + _FREE_S
        while await guests():
            if asyncio.get_running_loop().time() > end:
                raise Lost("a place did not become free")
            await asyncio.sleep(0.5)


def vanish(peer: LoopbackPeer) -> None:
    """Cut a peer's wires: nothing is said to the other side, as when a machine loses power."""
    transport = peer.pc.getTransceivers()[0].sender.transport.transport
    for protocol in list(transport._connection._protocols):
        protocol.transport.abort()


def variant(picture: UInt8, rng: random.Random) -> bytes:
    """A JPEG of a picture that no cache has seen: another size, light and quality."""
    scale = rng.uniform(0.9, 1.2)
    image = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    image = cv2.convertScaleAbs(image, alpha=rng.uniform(0.9, 1.05))
    good, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, rng.randrange(80, 99)])
    assert good
    return data.tobytes()


@cache
def _pictures() -> tuple[UInt8, UInt8]:
    """BGR: NASA's portrait of Eileen Collins (public domain), and the default avatar."""
    from skimage.data import astronaut

    default = cv2.imread(str(default_portrait()))
    assert default is not None
    return np.ascontiguousarray(astronaut()[..., ::-1]), np.asarray(default, np.uint8)


@cache
def _speech() -> bytes:
    return wav(breathless(12.0))


async def vitality(peer: LoopbackPeer, seconds: float) -> None:
    """Wait for new pictures.

    Raises:
        TimeoutError: none came.
    """
    seen = len(peer.pictures)
    await until(lambda: len(peer.pictures) > seen, seconds, "a picture")
