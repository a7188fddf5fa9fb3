"""libdatachannel (the stack inside OBS) in Node: publishes by WHIP as OBS does, plays by WHEP."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.interop.conftest import HERE, node
from tests.interop.test_werift import complete, opus
from tests.interop.viewer import seen_by, seen_of

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(60)]


def test_what_obs_would_publish_is_seen_and_heard(packages: Path, tmp_path: Path) -> None:
    speech = tmp_path / "speech.json"
    speech.write_text(json.dumps(opus(6)))
    program = str(HERE / "libdatachannel.mjs")
    said, _ = asyncio.run(seen_of(lambda url: ["node", program, url, str(speech)], packages))
    assert json.loads(said)["left"] == 200
    assert json.loads(said)["sent"] > 100


def test_libdatachannel_plays_over_whep(packages: Path) -> None:
    seen = asyncio.run(seen_by(lambda url: node(packages, "libdatachannel.mjs", url)))
    assert seen["left"] == 200
    for kind in ("sounds", "pictures"):
        complete(seen[kind])
