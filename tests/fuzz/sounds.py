"""Fuzzes what reads sounds: ``python -m tests.fuzz.sounds --seconds 60``."""

from __future__ import annotations

import io

import atheris

with atheris.instrument_imports(include=["engine.transport.files"]):
    from engine.errors import MediaError
    from engine.transport.files import decode_audio

from tests.badinputs.sounds import sounds
from tests.fuzz.run import fuzz


def target(data: bytes) -> None:
    """Samples, or refused in words."""
    try:
        sound = decode_audio(io.BytesIO(data), "The sound", 300.0)
    except MediaError:
        return
    assert len(sound.samples)


if __name__ == "__main__":
    fuzz(target, [case.body for case in sounds() if len(case.body) < 65_536])
