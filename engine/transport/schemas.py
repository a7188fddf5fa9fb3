"""Parts of the OpenAPI document: schemas of bodies, and helpers that write JSON Schema briefly."""

from __future__ import annotations

from typing import Any

JSON = dict[str, Any]


def ref(name: str) -> JSON:
    """A reference to one of ``SCHEMAS``."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(required: str, **properties: JSON) -> JSON:
    """An object; ``required`` are names separated by blanks. Further members may come."""
    return {"type": "object", "required": required.split(), "properties": properties}


def text(about: str = "", **more: Any) -> JSON:
    """A string."""
    return {"type": "string", **more} | ({"description": about} if about else {})


def maybe_text(about: str = "") -> JSON:
    """A string or null."""
    return {"type": ["string", "null"]} | ({"description": about} if about else {})


def count(about: str = "") -> JSON:
    """A natural number."""
    return {"type": "integer", "minimum": 0} | ({"description": about} if about else {})


def milliseconds(about: str) -> JSON:
    """A time, not negative."""
    return {"type": "number", "minimum": 0, "description": about}


def array(items: JSON, **more: Any) -> JSON:
    """An array."""
    return {"type": "array", "items": items, **more}


_CHOICES: JSON = {
    "avatar": maybe_text("An avatar's id; else the default one."),
    "mode": {
        "enum": ["mirror", "agent", None],
        "description": "mirror (the default): the client's sound is what the avatar says. agent: "
        "it says what speak is given, and listens to the client's sound.",
    },
    "emotion": maybe_text('"happy=0.8", also sad, angry, surprised, calm: 0 to 1.'),
    "style": maybe_text('"smile=1, head=-0.5": -2 to 2; names in engine/motion/condition.py.'),
    "barge_in": {
        "type": ["boolean", "null"],
        "description": "In agent mode: the client's voice interrupts.",
    },
}
_CHANGES = {name: _CHOICES[name] for name in ("emotion", "style", "barge_in")}

SCHEMAS: JSON = {
    "Error": record(
        "error reason message",
        error=text("What kind of refusal: a stable word."),
        reason=text("Why, more exactly: a stable word."),
        message=text("One sentence for people."),
    ),
    "Ready": record(
        "ready sessions capacity",
        ready={"type": "boolean"},
        sessions=count("Open now."),
        capacity=count("That may be open at once."),
    ),
    "Avatar": record(
        "id picture name created consent",
        id=text("default, a built-in one's name, or an unguessable word."),
        picture=text("Path of its picture."),
        name=text("As given with the photo, or a built-in one's; may be empty."),
        created=maybe_text("When, ISO 8601; null for built-in ones."),
        consent={"type": "boolean", "description": "Whether a statement came with the photo."},
    ),
    "Consent": record(
        "statement subject given photo_sha256",
        statement=text("In the words in which it came."),
        subject=text("Who declares it; may be empty."),
        given=text("When, ISO 8601."),
        photo_sha256=text("Of the uploaded bytes, hexadecimal."),
    ),
    "Offer": record(
        "sdp type",
        sdp=text("The whole offer; candidates may be missing."),
        type={"const": "offer"},
        session=maybe_text("Join this session (from POST /sessions)."),
        resume=maybe_text("Come back to the session this token was given for."),
        **_CHOICES,
    ),
    "Answer": record(
        "sdp type id resume resumed",
        sdp=text("With all of the server's candidates in it."),
        type={"const": "answer"},
        id=text("The session."),
        resume=text("Token with which a client that was lost comes back."),
        resumed={"type": "boolean", "description": "Whether the session was there before."},
        avatar=text("Who is shown."),
    ),
    "Options": {
        "type": "object",
        "properties": {
            **_CHOICES,
            "ttl_s": {
                "type": ["number", "null"],
                "exclusiveMinimum": 0,
                "exclusiveMaximum": 1e7,
                "description": "Seconds after which it ends, at most what the server allows.",
            },
        },
    },
    "Changes": {"type": "object", "properties": _CHANGES, "additionalProperties": False},
    "Session": record(
        "id mode avatar state connections expires_in_s whip whep events",
        id=text("Unguessable."),
        mode={"enum": ["mirror", "agent"]},
        avatar=maybe_text("As asked for; null is the default one."),
        state={"enum": ["speaking", "listening", "idle", "parked"]},
        connections=count("Clients connected or connecting."),
        expires_in_s={
            "type": ["number", "null"],
            "minimum": 0,
            "description": "Seconds until it ends if nobody connects or its time is up.",
        },
        whip=text("Where a client publishes its sound."),
        whep=text("Where a client plays the avatar."),
        events=text("Where its events are told."),
        resume=text("Only when it is made: token with which a client that was lost comes back."),
    ),
    "Utterance": record("utterance", utterance=text("Its name in the events.")),
    "Played": record(
        "utterance played_ms position_ms",
        utterance=maybe_text("What was interrupted; null if nothing was being said."),
        played_ms=milliseconds("How much of it had been played."),
        position_ms=milliseconds("Of the session's line, from its beginning."),
    ),
    "IceServers": record(
        "iceServers",
        iceServers=array(
            record("urls", urls={"type": ["string", "array"]}, username=text(), credential=text())
        ),
    ),
}
