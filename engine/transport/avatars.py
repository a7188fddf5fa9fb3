"""The HTTP routes of avatars: upload with consent, list, picture, consent record, delete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import BadHttpMessage

from engine.avatars import Declared
from engine.config import ServerConfig
from engine.errors import PortraitError, StorageError
from engine.priority import give_way
from engine.store import Record
from engine.transport.access import consent_needed, refusal

if TYPE_CHECKING:
    from engine.app import Engine

_WAITING_PHOTOS = 4
_ARRIVING_PHOTOS = 16
"""Their bytes are in memory."""
_BODY_SECONDS = 60.0
"""20 MB in this time are 2.7 Mbit/s; who is slower holds a place for nothing."""
_MAX_TEXT = {"consent": 1000, "subject": 200, "name": 80}
"""Characters of the texts that may come with a photo."""


class _Refused(Exception):
    """The request is answered already."""

    def __init__(self, answer: web.Response) -> None:
        super().__init__()
        self.answer = answer


class AvatarRoutes:
    """Avatars of one engine over HTTP.

    Args:
        engine: holds them.
        config: the server's settings.
    """

    def __init__(self, engine: Engine, config: ServerConfig) -> None:
        self._engine = engine
        self._config = config
        self._limit = config.upload_mb * 1_000_000
        # One photo at a time, not in the threads that encode, and after whatever is live.
        self._photos = ThreadPoolExecutor(1, "photo", initializer=give_way)
        self._photos_waiting = 0
        self._photos_arriving = 0

    def routes(self) -> list[web.RouteDef]:
        """What answers where."""
        return [
            web.get("/avatars", self.avatars),
            web.post("/avatars", self.add_avatar),
            web.get("/avatars/{id}", self.avatar),
            web.delete("/avatars/{id}", self.remove_avatar),
            web.get("/avatars/{id}/picture", self.picture),
            web.get("/avatars/{id}/consent", self.consent),
        ]

    async def lifetime(self, _app: web.Application) -> AsyncIterator[None]:
        """Stop waiting photos with the server."""
        yield
        self._photos.shutdown(wait=False, cancel_futures=True)

    async def avatars(self, _request: web.Request) -> web.StreamResponse:
        """``[{id, picture, name, created, consent}]``, the default one first."""
        return web.json_response([_describe(record) for record in self._engine.avatars])

    async def avatar(self, request: web.Request) -> web.StreamResponse:
        """One of the list."""
        record = self._record(request)
        return web.json_response(_describe(record)) if record else _unknown()

    async def consent(self, request: web.Request) -> web.StreamResponse:
        """What was declared when the photo was uploaded."""
        record = self._record(request)
        if record is None:
            return _unknown()
        if record.consent is None:
            return refusal(404, "no_consent", "Nothing was declared when this photo was uploaded.")
        return web.json_response(asdict(record.consent) | {"given": _when(record.consent.given)})

    async def add_avatar(self, request: web.Request) -> web.StreamResponse:
        """Make an avatar of the photo in the body: its raw bytes, or a form with ``photo``.

        ``consent``, ``subject`` and ``name`` come as fields of the form, in the query, or (consent)
        as the header ``X-Consent``.
        """
        try:
            photo, declared = await self._receive(request)
            record = await self._prepare(photo, declared)
        except _Refused as refused:
            return refused.answer
        return web.json_response(_describe(record), status=201)

    async def remove_avatar(self, request: web.Request) -> web.StreamResponse:
        """Delete an uploaded avatar, its picture and its consent record."""
        try:
            await asyncio.to_thread(self._engine.remove_avatar, request.match_info["id"])
        except KeyError:
            return _unknown()
        except StorageError as error:
            return refusal(507, "storage", str(error))
        return web.Response(status=204)

    async def picture(self, request: web.Request) -> web.StreamResponse:
        """An avatar's prepared photo as JPEG."""
        try:
            picture = await asyncio.to_thread(self._engine.picture, request.match_info["id"])
        except KeyError:
            return _unknown()
        private = {"Cache-Control": "private, no-store"}
        return web.Response(body=picture, content_type="image/jpeg", headers=private)

    def _record(self, request: web.Request) -> Record | None:
        wanted = request.match_info["id"]
        return next((record for record in self._engine.avatars if record.id == wanted), None)

    async def _receive(self, request: web.Request) -> tuple[bytes, Declared]:
        if not self._engine.ready:
            starting = {"Retry-After": "2"}
            raise _Refused(refusal(503, "starting", "The engine is starting.", **starting))
        if self._photos_arriving >= _ARRIVING_PHOTOS:
            raise _Refused(_overloaded())
        self._photos_arriving += 1
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                photo, texts = await self._read(request)
        except TimeoutError:
            raise _Refused(refusal(408, "too_slow", "The photo took too long to come.")) from None
        finally:
            self._photos_arriving -= 1
        declared = _declared(texts)
        if not declared.statement and consent_needed(self._config):
            raise _Refused(_no_consent())
        return photo, declared

    async def _prepare(self, photo: bytes, declared: Declared) -> Record:
        if self._photos_waiting >= _WAITING_PHOTOS:
            raise _Refused(_overloaded())
        self._photos_waiting += 1
        try:
            loop = asyncio.get_running_loop()
            add = self._engine.add_avatar
            return await loop.run_in_executor(self._photos, add, photo, declared)
        except PortraitError as error:
            raise _Refused(refusal(422, "bad_photo", str(error), error.reason)) from error
        except StorageError as error:
            raise _Refused(refusal(507, "storage", str(error))) from error
        finally:
            self._photos_waiting -= 1

    async def _read(self, request: web.Request) -> tuple[bytes, dict[str, str]]:
        """The photo, and the texts that came with it."""
        if (request.content_length or 0) > self._limit:
            raise _Refused(self._too_large())  # before its bytes are taken in
        texts = {name: request.query.get(name, "") for name in _MAX_TEXT}
        texts["consent"] = texts["consent"] or request.headers.get("X-Consent", "")
        if request.content_type != "multipart/form-data":
            try:
                return await request.read(), texts
            except web.HTTPRequestEntityTooLarge:
                raise _Refused(self._too_large()) from None
        try:
            photo, fields = await self._read_form(request)
        except (ValueError, AssertionError, RuntimeError, BadHttpMessage, web.HTTPBadRequest):
            raise _Refused(_bad_field("The form cannot be read.")) from None
        return photo, texts | fields

    async def _read_form(self, request: web.Request) -> tuple[bytes, dict[str, str]]:
        photo, fields = b"", dict[str, str]()
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or part.name not in ("photo", *_MAX_TEXT):
                raise _Refused(_bad_field("The form has other fields than photo, consent, "
                                          "subject and name."))  # fmt: skip
            content = await self._read_part(part)
            if part.name == "photo":
                photo = content
            else:
                fields[part.name] = content.decode("utf-8")
        return photo, fields

    async def _read_part(self, part: BodyPartReader) -> bytes:
        content = bytearray()
        while chunk := await part.read_chunk():
            content += chunk
            if len(content) > self._limit:
                raise _Refused(self._too_large())
        return bytes(content)

    def _too_large(self) -> web.Response:
        limit = f"The photo is larger than {self._config.upload_mb} MB."
        return refusal(413, "bad_photo", limit, "too_large")


def _declared(texts: dict[str, str]) -> Declared:
    for name, text in texts.items():
        if len(text) > _MAX_TEXT[name]:
            raise _Refused(_bad_field(f"'{name}' is longer than {_MAX_TEXT[name]} characters."))
        if not all(letter.isprintable() or letter == "\n" for letter in text):
            raise _Refused(_bad_field(f"'{name}' has characters that cannot be shown."))
    return Declared(texts["consent"].strip(), texts["subject"].strip(), texts["name"].strip())


def _describe(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "picture": f"/avatars/{record.id}/picture",
        "name": record.name,
        "created": _when(record.created) if record.created else None,
        "consent": record.consent is not None,
    }


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _unknown() -> web.Response:
    return refusal(404, "no_avatar", "This avatar is not known here (any more).")


def _overloaded() -> web.Response:
    return refusal(503, "overloaded", "Too many photos at once.", **{"Retry-After": "5"})


def _bad_field(message: str) -> web.Response:
    return refusal(400, "bad_field", message)


def _no_consent() -> web.Response:
    return refusal(
        422,
        "no_consent",
        "Say that the person in the photo agrees: send a statement as the form field 'consent', "
        "the query 'consent=' or the header X-Consent.",
    )
