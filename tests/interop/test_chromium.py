"""Chromium as a WHIP publisher and as a WHEP player, with nothing but its own JavaScript API."""

from __future__ import annotations

import pytest

from tests.e2e.browser import chromium
from tests.e2e.test_page import background
from tests.e2e.testcard import CardEngine
from tests.interop.talk import FRAMES, TALK, check

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(60)]


def test_chromium_publishes_by_whip_and_plays_by_whep() -> None:
    engine = CardEngine()
    with background(engine) as address, chromium() as browser:
        page = browser.new_page()
        page.goto(address)
        response = page.request.post(f"{address}/sessions", data={})
        assert response.status == 201
        made = response.json()
        wanted = {"media": {"audio": True, "video": True}, "frames": FRAMES}
        check(page.evaluate(TALK, {"whip": made["whip"], "whep": made["whep"], **wanted}))
