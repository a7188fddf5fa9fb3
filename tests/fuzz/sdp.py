"""Fuzzes what reads offers: ``python -m tests.fuzz.sdp --seconds 60``."""

from __future__ import annotations

import atheris

with atheris.instrument_imports(include=["aiortc.sdp", "engine.transport.offer"]):
    from engine.transport.offer import OfferError, read_offer

from tests.badinputs.sdp import accepted, damaged, refused
from tests.fuzz.run import fuzz


def target(data: bytes) -> None:
    """Taken or refused in words."""
    try:
        read_offer(data.decode("utf-8", "replace"))
    except OfferError as error:
        assert error.reason


if __name__ == "__main__":
    texts = [*(text for text, _ in refused().values()), *accepted().values()]
    texts += [text for _, text in damaged()]
    fuzz(target, [text.encode("utf-8", "replace")[:65_536] for text in texts])
