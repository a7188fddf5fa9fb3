"""Fuzzes what reads trickled candidates: ``python -m tests.fuzz.fragments --seconds 60``."""

from __future__ import annotations

import atheris

with atheris.instrument_imports(include=["aiortc.sdp", "engine.transport.sdpfrag"]):
    from engine.transport.offer import OfferError
    from engine.transport.sdpfrag import read_fragment

from tests.badinputs.sessions import fragments
from tests.fuzz.run import fuzz


def target(data: bytes) -> None:
    """Taken or refused in words."""
    try:
        fragment = read_fragment(data.decode("utf-8", "replace"))
    except OfferError as error:
        assert error.reason
        return
    assert all(0 < candidate.port <= 65_535 for candidate in fragment.candidates)


if __name__ == "__main__":
    fuzz(target, [case.body for case in fragments()])
