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

from engine.transport.schemas import JSON, SCHEMAS, array, record, ref, text

PATH = "/openapi.json"
_BYTES: JSON = {"description": "Raw bytes."}
_SOUNDS = ("audio/wav", "audio/ogg", "audio/mpeg", "audio/flac", "audio/L16", "audio/pcm")


def routes() -> list[web.RouteDef]:
    """The route that serves the document."""
    return [web.get(PATH, _serve)]


async def _serve(_request: web.Request) -> web.StreamResponse:
    return web.json_response(document())


@cache
def document() -> JSON:
    """The whole document. Callers must not change it."""
    paths = _pages() | _sessions() | _live() | _whip() | _avatars()
    for operations in paths.values():
        for operation in operations.values():
            _finish(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Vivace",
            "version": version("vivace"),
            "summary": "A portrait and live audio in, a talking head over WebRTC out.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Wanted when the server runs with VIVACE_TOKEN.",
                }
            },
        },
    }


def _content(kind: str, schema: JSON) -> JSON:
    return {"content": {kind: {"schema": schema}}}


def _json(about: str, schema: JSON) -> JSON:
    return {"description": about, **_content("application/json", schema)}


def _refusal(about: str, *words: str, headers: JSON | None = None) -> JSON:
    """A refusal; ``words`` are its ``error``, or ``error/reason`` where these differ."""
    told = f"{about} Stable words: {', '.join(words)}."
    return _json(told, ref("Error")) | ({"headers": headers} if headers else {})


def _header(about: str, schema: JSON | None = None) -> JSON:
    return {"description": about, "required": True, "schema": schema or text()}


_RETRY = {"Retry-After": _header("Seconds.", {"type": "integer", "minimum": 1})}
_NOTHING = {"description": "Done; no content."}
_ANYWHERE: JSON = {
    "401": _refusal("A token is needed.", "unauthorized"),
    "403": _refusal("A foreign page, or a foreign name of this server.", "forbidden"),
    "408": _refusal("It came too slowly.", "too_slow"),
    "413": _refusal("More than this server takes.", "too_large", "bad_photo/too_large"),
    "429": _refusal("Too often.", "too_many", headers=_RETRY),
}
_OF_BODIES = ("408", "413")
_NO_SESSION = {"404": _refusal("No such session.", "no_session")}
_NO_AVATAR = {"404": _refusal("No such avatar.", "no_avatar")}
_BAD_JSON = {"400": _refusal("Not a JSON object.", "bad_request", "bad_offer/not_json")}
_BAD_OPTION = {"422": _refusal("A setting that does not exist or is impossible.", "bad_option")}
_NO_PLACE = {"503": _refusal("No place is free, or not yet.", "overloaded", headers=_RETRY)}
_NOT_RUNNING = {"409": _refusal("It is parked or over.", "not_running")}
_BAD_OFFER = {
    "400": _refusal("No offer.", "bad_offer/not_json", "bad_offer/not_sdp", "bad_offer/no_media",
                    "bad_offer/too_large"),
    "415": _refusal("Not the type, or no codec in common.", "bad_offer/content_type",
                    "bad_offer/codec"),
}  # fmt: skip


def _finish(operation: JSON) -> None:
    """Add what any route may answer."""
    for status, response in _ANYWHERE.items():
        open_to_all = operation.get("security") == []
        if not (open_to_all and status == "401") and (
            status != "413" or "requestBody" in operation
        ):
            operation["responses"].setdefault(status, response)


def _operation(name: str, summary: str, responses: JSON, **more: Any) -> JSON:
    return {"operationId": name, "summary": summary, "responses": responses, **more}


def _in_path(*names: str) -> list[JSON]:
    return [{"name": name, "in": "path", "required": True, "schema": text()} for name in names]


def _body(*kinds: str, schema: JSON | None = None, required: bool = True) -> JSON:
    content = {kind: {"schema": schema or _BYTES} for kind in kinds}
    return {"required": required, "content": content}


def _pages() -> JSON:
    """What is not about one session or avatar. Only the first four need no token."""
    page = {"description": "HTML.", **_content("text/html", text())}
    ready = {"200": _json("Ready.", ref("Ready")), "503": _json("Not now.", ref("Ready"))}
    alive = {"200": _json("Up.", record("ok", ok={"const": True}))}
    metrics = {"description": "Prometheus' text format.", **_content("text/plain", text())}
    this = {"200": _json("OpenAPI 3.1.", {"type": "object"})}
    servers = {"200": _json("As RTCConfiguration wants it.", ref("IceServers"))}
    open_to_all: JSON = {"security": []}
    return {
        "/": {"get": _operation("page", "The web client", {"200": page}, **open_to_all)},
        PATH: {"get": _operation("openapi", "This document", this, **open_to_all)},
        "/healthz": {"get": _operation("healthz", "The process is up", alive, **open_to_all)},
        "/readyz": {
            "get": _operation("readyz", "Warm, and able to take a session", ready, **open_to_all)
        },
        "/metrics": {"get": _operation("metrics", "Counters", {"200": metrics})},
        "/ice": {"get": _operation("ice", "STUN and TURN servers for the client", servers)},
    }


def _sessions() -> JSON:
    not_found = {"404": _refusal("No such session or avatar.", "no_session", "no_avatar")}
    answer = {"200": _json("The client may connect.", ref("Answer"))}
    made = _json("Open; clients have a minute to connect.", ref("Session"))
    made["headers"] = {"Location": _header("The session's path.")}
    shown = {"200": _json("As it is now.", ref("Session"))}
    return {
        "/offer": {
            "post": _operation(
                "offer",
                "Microphone in and avatar out over one connection: a new session, or one that is",
                answer | _BAD_OFFER | not_found | _NOT_RUNNING | _BAD_OPTION | _NO_PLACE,
                requestBody=_body("application/json", schema=ref("Offer")),
            )
        },
        "/sessions": {
            "post": _operation(
                "create_session",
                "Open a session that clients connect to afterwards",
                {"201": made} | _BAD_JSON | _NO_AVATAR | _BAD_OPTION | _NO_PLACE,
                requestBody=_body("application/json", schema=ref("Options"), required=False),
            )
        },
        "/sessions/{id}": {
            "get": _operation(
                "show_session", "A session", shown | _NO_SESSION, parameters=_in_path("id")
            ),
            "patch": _operation(
                "change_session",
                "Change emotion, style or barge-in while it runs",
                shown | _BAD_JSON | _NO_SESSION | _NOT_RUNNING | _BAD_OPTION,
                parameters=_in_path("id"),
                requestBody=_body("application/json", schema=ref("Changes")),
            ),
            "delete": _operation(
                "end_session",
                "End a session; answers when everything is freed",
                {"204": _NOTHING} | _NO_SESSION,
                parameters=_in_path("id"),
            ),
        },
    }


def _live() -> JSON:
    """What a program does with a session."""
    query = [
        {
            "name": "utterance",
            "in": "query",
            "description": "A name for the events; requests of one name are one utterance.",
            "schema": text(maxLength=64),
        },
        {
            "name": "final",
            "in": "query",
            "description": "false: more of this utterance will follow.",
            "schema": {"enum": ["true", "false"], "default": "true"},
        },
    ]
    speak = {
        "202": _json("It will be said, after what waits already.", ref("Utterance")),
        "409": _refusal("Not in agent mode, parked or over.", "wrong_mode", "not_running"),
        "415": _refusal("Not a type of sound.", "content_type"),
        "422": _refusal("No sound, damaged, too long, or an impossible rate.", "bad_audio"),
    }
    played = {"200": _json("What had been played.", ref("Played"))}
    events = {"description": "Events as docs/api.md lists them, until the session ends."}
    return {
        "/sessions/{id}/speak": {
            "post": _operation(
                "speak",
                "Say the sound in the body: a file, or raw samples while they still arrive",
                speak | _NO_SESSION,
                parameters=_in_path("id") + query,
                requestBody=_body(*_SOUNDS),
            )
        },
        "/sessions/{id}/interrupt": {
            "post": _operation(
                "interrupt",
                "Be silent at once. Valid at any moment",
                played | _NO_SESSION | _NOT_RUNNING,
                parameters=_in_path("id"),
            )
        },
        "/sessions/{id}/events": {
            "get": _operation(
                "events",
                "Follow what happens",
                {"200": events | _content("text/event-stream", text())}
                | _NO_SESSION
                | {"429": _refusal("Too often, or enough follow already.", "too_many")},
                parameters=_in_path("id"),
            )
        },
    }


def _whip() -> JSON:
    """WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep)."""
    paths: JSON = {"/whip": _endpoint("whip_new", "Publish into a new session", _NO_AVATAR)}
    for name, what in (("whip", "Publish into a session"), ("whep", "Play a session")):
        joins = _NO_SESSION | _NOT_RUNNING
        paths[f"/{name}/{{id}}"] = _endpoint(name, what, joins, *_in_path("id"))
        paths[f"/{name}/{{id}}/{{connection}}"] = _resource(name)
    return paths


def _endpoint(name: str, summary: str, refusals: JSON, *parameters: JSON) -> JSON:
    answer = {
        "description": "The answer, with all of the server's candidates in it.",
        "headers": {
            "Location": _header("The connection's path."),
            "ETag": _header("Names its ICE session, for If-Match."),
            "Accept-Patch": _header("The type of fragments."),
        },
        **_content("application/sdp", text()),
    }
    post = _operation(
        name,
        summary,
        {"201": answer} | _BAD_OFFER | refusals | _NO_PLACE,
        requestBody=_body("application/sdp", schema=text()),
        parameters=list(parameters),
    )
    return {"post": post, "options": _allowed(f"{name}_options", *parameters)}


def _allowed(name: str, *parameters: JSON) -> JSON:
    headers = {"Accept-Post": _header("application/sdp"), "Accept-Patch": _header("Fragments.")}
    responses = {"204": _NOTHING | {"headers": headers}}
    return _operation(name, "What may be sent", responses, parameters=list(parameters))


def _resource(name: str) -> JSON:
    parameters = _in_path("id", "connection")
    tag = {
        "name": "If-Match",
        "in": "header",
        "required": False,
        "description": "The ETag of the answer; missing: 428.",
        "schema": text(),
    }
    refusals = {
        "400": _refusal("Not a fragment of candidates.", "bad_offer/not_sdp",
                        "bad_offer/too_large"),
        "412": _refusal("Another ICE session is meant.", "if_match"),
        "415": _refusal("Not the type.", "bad_offer/content_type"),
        "422": _refusal("ICE restarts are not supported.", "bad_offer/ice_restart"),
        "428": _refusal("If-Match is missing.", "if_match"),
    }  # fmt: skip
    trickle = _operation(
        f"{name}_trickle",
        "Candidates that the offer did not hold (RFC 8840)",
        {"204": _NOTHING} | refusals | _NO_SESSION,
        parameters=[*parameters, tag],
        requestBody=_body("application/trickle-ice-sdpfrag", schema=text()),
    )
    leave = _operation(
        f"{name}_leave",
        "Leave; nobody left, the session ends after its grace period",
        {"200": {"description": "Gone."}} | _NO_SESSION,
        parameters=parameters,
    )
    options = _allowed(f"{name}_resource_options", *parameters)
    return {"patch": trickle, "delete": leave, "options": options}


_PHOTO_WORDS = ("not_an_image", "too_large", "bad_shape", "undecodable", "no_face",
                "several_faces", "face_too_small", "turned_too_far")  # fmt: skip
_DECLARED = {
    "consent": "That the person shown agrees, in words. Also as header X-Consent.",
    "subject": "Who declares it.",
    "name": "Of the avatar.",
}


def _avatars() -> JSON:
    storage = {"507": _refusal("It cannot be kept: the disk.", "storage")}
    refusals = {
        "400": _refusal("A form or text that cannot be read.", "bad_field"),
        "422": _refusal("A photo that cannot be used, or no consent.", "no_consent",
                        *(f"bad_photo/{word}" for word in _PHOTO_WORDS)),
        "503": _refusal("Not yet, or too many photos at once.", "starting", "overloaded",
                        headers=_RETRY),
    }  # fmt: skip
    texts = {name: text(about) for name, about in _DECLARED.items()}
    form = record("photo", photo={"contentMediaType": "image/*"}, **texts)
    body = _body("image/jpeg", "image/png", "image/webp")
    body["content"]["multipart/form-data"] = {"schema": form}
    query = [
        {"name": name, "in": "query", "schema": text(), "description": about}
        for name, about in _DECLARED.items()
    ]
    add = _operation(
        "add_avatar",
        "Make an avatar of a photo",
        {"201": _json("Ready to be used.", ref("Avatar"))} | refusals | storage,
        requestBody=body,
        parameters=query,
    )
    listing = {"200": _json("The default one first.", array(ref("Avatar"), minItems=1))}
    picture = {"200": {"description": "512 x 512.", **_content("image/jpeg", _BYTES)}}
    declared = {
        "200": _json("As it was declared.", ref("Consent")),
        "404": _refusal("Not known, or nothing was declared.", "no_avatar", "no_consent"),
    }
    one = {"parameters": _in_path("id")}
    gone = {"204": _NOTHING} | _NO_AVATAR | storage
    return {
        "/avatars": {"get": _operation("avatars", "All avatars", listing), "post": add},
        "/avatars/{id}": {
            "get": _operation(
                "avatar", "An avatar", {"200": _json("It.", ref("Avatar"))} | _NO_AVATAR, **one
            ),
            "delete": _operation(
                "remove_avatar", "Delete an avatar and all that was made of its photo", gone, **one
            ),
        },
        "/avatars/{id}/picture": {
            "get": _operation("picture", "Its portrait", picture | _NO_AVATAR, **one)
        },
        "/avatars/{id}/consent": {
            "get": _operation("consent", "What was declared with the photo", declared, **one)
        },
    }
