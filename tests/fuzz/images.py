"""Fuzzes what reads photos: ``python -m tests.fuzz.images --seconds 60``."""

from __future__ import annotations

import atheris

with atheris.instrument_imports(include=["PIL", "engine.face.picture"]):
    from engine.errors import PortraitError
    from engine.face.picture import read_upload

from tests.badinputs.images import photos
from tests.fuzz.run import fuzz


def target(data: bytes) -> None:
    """Pixels, or refused in words. The memory errors of bombs are the confined process's affair."""
    try:
        assert read_upload(data).ndim == 3
    except PortraitError as error:
        assert error.reason
    except MemoryError:
        pass


if __name__ == "__main__":
    fuzz(target, [case.body for case in photos() if len(case.body) < 65_536])
