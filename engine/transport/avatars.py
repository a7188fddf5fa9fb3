"""The HTTP routes of avatars: upload, list, picture, delete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from aiohttp import web

from engine.config import ServerConfig
from engine.errors import PortraitError
from engine.transport.access import refusal

if TYPE_CHECKING:
    from engine.app import Engine

_WAITING_PHOTOS = 4


class AvatarRoutes:
    """Avatars of one engine over HTTP.

    Args:
        engine: holds them.
        config: the server's settings.
    """

    def __init__(self, engine: Engine, config: ServerConfig) -> None:
        self._engine = engine
        self._config = config
        # One photo at a time, and not in the threads that encode.
        self._photos = ThreadPoolExecutor(1, "photo")
        self._photos_waiting = 0

    def routes(self) -> list[web.RouteDef]:
        """What answers where."""
        return [
            web.get("/avatars", self.avatars),
            web.post("/avatars", self.add_avatar),
            web.delete("/avatars/{id}", self.remove_avatar),
            web.get("/avatars/{id}/picture", self.picture),
        ]

    async def lifetime(self, _app: web.Application) -> AsyncIterator[None]:
        """Stop waiting photos with the server."""
        yield
        self._photos.shutdown(wait=False, cancel_futures=True)

    async def avatars(self, _request: web.Request) -> web.StreamResponse:
        """``[{id, picture}]``, the default one first."""
        entries = self._engine.avatars
        return web.json_response([_describe(entry.id) for entry in entries])

    async def add_avatar(self, request: web.Request) -> web.StreamResponse:
        """Make an avatar of the photo in the body (raw bytes of a JPEG, PNG or WebP)."""
        if not self._engine.ready:
            return refusal(503, "starting", "The engine is starting.", **{"Retry-After": "2"})
        try:
            photo = await request.read()
        except web.HTTPRequestEntityTooLarge:
            limit = f"The photo is larger than {self._config.upload_mb} MB."
            return refusal(413, "bad_photo", limit, "too_large")
        if self._photos_waiting >= _WAITING_PHOTOS:
            return refusal(503, "overloaded", "Too many photos at once.", **{"Retry-After": "5"})
        self._photos_waiting += 1
        try:
            loop = asyncio.get_running_loop()
            entry = await loop.run_in_executor(self._photos, self._engine.add_avatar, photo)
        except PortraitError as error:
            return refusal(422, "bad_photo", str(error), error.reason)
        finally:
            self._photos_waiting -= 1
        return web.json_response(_describe(entry.id), status=201)

    async def remove_avatar(self, request: web.Request) -> web.StreamResponse:
        """Forget an uploaded avatar."""
        try:
            self._engine.remove_avatar(request.match_info["id"])
        except KeyError:
            return refusal(404, "no_avatar", "This avatar is not known here (any more).")
        return web.Response(status=204)

    async def picture(self, request: web.Request) -> web.StreamResponse:
        """An avatar's photo as JPEG."""
        try:
            entry = self._engine.avatar(request.match_info["id"])
        except KeyError:
            return refusal(404, "no_avatar", "This avatar is not known here (any more).")
        return web.Response(body=entry.picture, content_type="image/jpeg")


def _describe(avatar_id: str) -> dict[str, str]:
    return {"id": avatar_id, "picture": f"/avatars/{avatar_id}/picture"}
