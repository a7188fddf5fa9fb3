"""The HTTP surface as an OpenAPI 3.1 document, served at ``/openapi.json``.

Written by hand, because the routes take raw bodies (photos, sound, session descriptions) that no
generator could read off their code. ``tests/unit/test_openapi.py`` compares it with the routes that
the application really registers, and ``tests/e2e/test_schemathesis.py`` the answers with the
schemas. ``docs/api.md`` is the same for people.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

from aiohttp import web

JSON = dict[str, Any]

PATH = "/openapi.json"
_WORDS = "Stable words: "


def routes() -> list[web.RouteDef]:
    """The route that serves the document."""
    return [web.get(PATH, _serve)]


async def _serve(_request: web.Request) -> web.StreamResponse:
    return web.json_response(document())


@cache
def document() -> JSON:
    """The whole document. Callers must not change it."""
    paths = _pages() | _offers() | _avatars()
    for operations in paths.values():
        for operation in operations.values():
            if isinstance(operation, dict):
                _finish(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Vivace",
            "version": version("vivace"),
            "summary": "A portrait and live audio in, a talking head over WebRTC out.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Needed when the server runs with VIVACE_TOKEN.",
                }
            },
        },
    }


def _ref(name: str) -> JSON:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: str, **properties: JSON) -> JSON:
    """An object; ``required`` are names separated by blanks. Further members may come."""
    return {"type": "object", "required": required.split(), "properties": properties}


def _text(about: str = "", **more: Any) -> JSON:
    return {"type": "string"} | ({"description": about} if about else {}) | more


def _count(about: str = "", **more: Any) -> JSON:
    return {"type": "integer", "minimum": 0} | ({"description": about} if about else {}) | more


def _array(items: JSON, **more: Any) -> JSON:
    return {"type": "array", "items": items, **more}


_SCHEMAS: JSON = {
    "Error": _object(
        "error reason message",
        error=_text("What kind of refusal: a stable word."),
        reason=_text("Why, more exactly: a stable word."),
        message=_text("One sentence for people."),
    ),
    "Ready": _object(
        "ready sessions capacity",
        ready={"type": "boolean"},
        sessions=_count("Open now."),
        capacity=_count("That may be open at once."),
    ),
    "Avatar": _object(
        "id picture", id=_text("``default`` or an unguessable word."), picture=_text("Its path.")
    ),
    "Offer": _object(
        "sdp type",
        sdp=_text("The whole offer; candidates may be left out."),
        type={"const": "offer"},
        avatar={"type": ["string", "null"], "description": "An avatar's id; else the default."},
    ),
    "Answer": _object(
        "sdp type id",
        sdp=_text("With all of the server's candidates in it."),
        type={"const": "answer"},
        id=_text("The session."),
    ),
}


def _content(kind: str, schema: JSON) -> JSON:
    return {"content": {kind: {"schema": schema}}}


def _json(about: str, schema: JSON) -> JSON:
    return {"description": about, **_content("application/json", schema)}


def _error(*words: str, about: str = "", headers: JSON | None = None) -> JSON:
    """A refusal. ``words``: the ``error/reason`` pairs it may carry, in short."""
    told = " ".join(part for part in (about, _WORDS + ", ".join(words) + ".") if part)
    return _json(told, _ref("Error")) | ({"headers": headers} if headers else {})


_RETRY = {"Retry-After": {"description": "Seconds.", "schema": _count(), "required": True}}
_NOTHING = {"description": "Done; no content."}
_ANYWHERE: JSON = {
    "401": _error("unauthorized", about="A token is needed."),
    "403": _error("forbidden", about="A foreign page's origin, or a foreign host name."),
}


def _finish(operation: JSON) -> None:
    """Add what any route may answer."""
    for status, response in _ANYWHERE.items():
        if status != "401" or operation.get("security") != []:
            operation["responses"].setdefault(status, response)


def _operation(name: str, summary: str, responses: JSON, **more: Any) -> JSON:
    return {"operationId": name, "summary": summary, "responses": responses, **more}


def _id(what: str, name: str = "id") -> list[JSON]:
    return [
        {"name": name, "in": "path", "required": True, "description": what, "schema": _text()}
    ]


def _body(*kinds: tuple[str, JSON], required: bool = True) -> JSON:
    return {"required": required, "content": {kind: {"schema": schema} for kind, schema in kinds}}


def _pages() -> JSON:
    """Paths that need no token, but for the metrics."""
    page = {"description": "HTML.", **_content("text/html", _text())}
    metrics = {"description": "Prometheus' text format.", **_content("text/plain", _text())}
    return {
        "/": {"get": _operation("page", "The web client", {"200": page}, security=[])},
        PATH: {
            "get": _operation(
                "openapi", "This document", {"200": _json("", {"type": "object"})}, security=[]
            )
        },
        "/healthz": {
            "get": _operation(
                "healthz",
                "The process is up",
                {"200": _json("", _object("ok", ok={"const": True}))},
                security=[],
            )
        },
        "/readyz": {
            "get": _operation(
                "readyz",
                "Networks are loaded and warm",
                {"200": _json("Ready.", _ref("Ready")), "503": _json("Starting.", _ref("Ready"))},
                security=[],
            )
        },
        "/metrics": {"get": _operation("metrics", "Counters", {"200": metrics})},
        "/ice": {
            "get": _operation(
                "ice",
                "STUN and TURN servers for the client's own connection",
                {
                    "200": _json(
                        "As RTCConfiguration wants it.",
                        _object("iceServers", iceServers=_array(_object("urls"))),
                    )
                },
            )
        },
    }


def _offers() -> JSON:
    refusals = {
        "400": _error("bad_offer/not_json", "bad_offer/not_sdp", "bad_offer/no_media"),
        "404": _error("no_avatar", about="No such avatar."),
        "415": _error("bad_offer/codec", about="No codec in common."),
        "503": _error("overloaded", "starting", about="No place is free.", headers=_RETRY),
    }
    return {
        "/offer": {
            "post": _operation(
                "offer",
                "Microphone in, avatar out, over one connection",
                {"200": _json("The session has begun.", _ref("Answer"))} | refusals,
                requestBody=_body(("application/json", _ref("Offer"))),
            )
        },
        "/sessions/{id}": {
            "delete": _operation(
                "end_session",
                "End a session; answers when everything is freed",
                {"204": _NOTHING, "404": _error("no_session")},
                parameters=_id("The session."),
            )
        },
    }


def _avatars() -> JSON:
    photo = {"description": "A JPEG, PNG or WebP."}
    return {
        "/avatars": {
            "get": _operation(
                "avatars",
                "All avatars, the default one first",
                {"200": _json("", _array(_ref("Avatar"), minItems=1))},
            ),
            "post": _operation(
                "add_avatar",
                "Make an avatar of a photo",
                {
                    "201": _json("Ready to be used.", _ref("Avatar")),
                    "413": _error("bad_photo/too_large"),
                    "422": _error(
                        *(f"bad_photo/{word}" for word in _PHOTO_WORDS), about="Unusable."
                    ),
                    "503": _error("starting", "overloaded", headers=_RETRY),
                },
                requestBody=_body(("image/jpeg", photo), ("image/png", photo)),
            ),
        },
        "/avatars/{id}": {
            "delete": _operation(
                "remove_avatar",
                "Forget an uploaded avatar and all that was derived from it",
                {"204": _NOTHING, "404": _error("no_avatar")},
                parameters=_id("The avatar."),
            )
        },
        "/avatars/{id}/picture": {
            "get": _operation(
                "picture",
                "An avatar's photo",
                {
                    "200": {"description": "", **_content("image/jpeg", {})},
                    "404": _error("no_avatar"),
                },
                parameters=_id("The avatar."),
            )
        },
    }


_PHOTO_WORDS = (
    "not_an_image",
    "too_large",
    "no_face",
    "several_faces",
    "face_too_small",
    "turned_too_far",
)
