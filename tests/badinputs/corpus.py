"""All bad inputs in one list."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from tests.badinputs import bodies, images, sdp, sessions, sounds
from tests.badinputs.case import Case, Request
from tests.badinputs.messages import messages
from tests.badinputs.wire import wire


def _offers() -> Iterator[Request]:
    for name, (text, word) in sdp.refused().items():
        yield sdp.offer(f"sdp/{name}", text, 415 if word == "codec" else 400, word)
    for name, text in sdp.accepted().items():
        yield sdp.offer(f"sdp/odd-{name}", text, 200)


@cache
def corpus() -> tuple[Case, ...]:
    """Every case; the same on every machine."""
    return (
        *_offers(),
        *bodies.json_bodies(),
        *bodies.kinds_of_content(),
        *bodies.origins(),
        *bodies.paths(),
        *bodies.methods(),
        *sessions.options(),
        *sessions.changes(),
        *sessions.whip(),
        *sessions.fragments(),
        *sounds.sounds(),
        *images.photos(),
        *wire(),
        *messages(),
    )


def guarded() -> tuple[Request, ...]:
    """Those for a server that wants a token."""
    return tuple(bodies.authorisation())
