"""What ``talk.js`` sees in a browser, whichever it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.interop.conftest import HERE

TALK = (HERE / "talk.js").read_text()
FRAMES = 50


def check(seen: dict[str, Any]) -> None:
    """Pictures in order, sound with energy, both connections left well."""
    assert seen["left"] == [200, 200]
    assert min(np.diff(seen["numbers"][10:])) >= 0
    assert len(set(seen["numbers"])) > 25
    assert seen["video"]["codec"] in ("video/VP8", "video/H264")
    assert seen["video"]["framesDecoded"] >= FRAMES
    assert seen["audio"]["codec"] == "audio/opus"
    assert seen["audio"]["totalAudioEnergy"] > 0  # the microphone, through the avatar
