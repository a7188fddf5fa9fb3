"""What a program wants said: a sound file, or raw samples that are said while they still arrive.

``audio/L16;rate=24000`` is 16 bit big-endian as RFC 3551 has it, ``audio/pcm;rate=24000`` the same
in little-endian, as voice services send it. Any other ``audio/...`` is a file that FFmpeg knows.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import numpy as np
from aiohttp import web

from engine.errors import MediaError
from engine.media import Float32
from engine.transport.problems import Refused
from engine.transport.soundbox import SoundBox

if TYPE_CHECKING:
    from engine.session import Session

_RAW = {"audio/l16": ">i2", "audio/pcm": "<i2"}
_RATES = range(8000, 192_001)
_MAX_NAME = 64
MAX_SECONDS = 300.0
"""Sound in one request."""


async def say_body(session: Session, request: web.Request, box: SoundBox) -> str:
    """Let a session say a request's body; returns the utterance's name.

    The query may hold ``utterance`` (a name for the events; requests of one name are one utterance)
    and ``final=false`` (more will follow).

    Raises:
        MediaError: empty, unreadable, too long, or an impossible rate.
        Refused: 415: not sound.
    """
    name = request.query.get("utterance") or secrets.token_urlsafe(6)
    if len(name) > _MAX_NAME or not name.isprintable():
        raise MediaError(f"an utterance's name has at most {_MAX_NAME} printable characters")
    final = request.query.get("final", "true").lower() != "false"
    kind = request.content_type.lower()
    if kind in _RAW:
        rate, parts = _rate(request), _samples(request, _RAW[kind])
        async for samples in parts:
            session.say(samples, rate, name, final=False)
        if final:
            session.say(np.zeros(0, np.float32), rate, name, final=True)
        return name
    if not kind.startswith("audio/"):
        raise Refused(415, "content_type", "Send sound: audio/wav, audio/ogg, audio/L16;rate=...")
    data = await request.read()
    sound = await asyncio.to_thread(box.decode, data)
    session.say(sound.samples, sound.rate, name, final=final)
    return name


def _rate(request: web.Request) -> int:
    from email.message import Message

    header = Message()
    header["Content-Type"] = request.headers["Content-Type"]
    rate, channels = header.get_param("rate"), header.get_param("channels", "1")
    if not (isinstance(rate, str) and rate.isdigit() and int(rate) in _RATES):
        raise MediaError(f"raw sound needs its rate, {_RATES[0]} to {_RATES[-1]} Hz: ;rate=24000")
    if channels != "1":
        raise MediaError("raw sound must have one channel")
    return int(rate)


async def _samples(request: web.Request, encoding: str) -> AsyncIterator[Float32]:
    rest = b""
    count = 0
    async for data in request.content.iter_any():
        whole = rest + data
        even = len(whole) // 2 * 2
        rest = whole[even:]
        count += even
        if even:
            yield np.frombuffer(whole[:even], encoding).astype(np.float32) / np.float32(32768)
    if rest or not count:
        raise MediaError("raw sound is a whole number of 16 bit samples, at least one")
