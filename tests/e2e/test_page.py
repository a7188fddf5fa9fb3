"""The web client's words and behaviour when something goes wrong, in Chromium, on the test card."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page

from engine.config import ServerConfig
from engine.face.picture import DAMAGED
from tests.e2e.browser import choose, chromium, open_page, save
from tests.e2e.conftest import serving
from tests.e2e.testcard import CardEngine

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@contextmanager
def background(
    engine: CardEngine, config: ServerConfig | None = None, token: str = ""
) -> Iterator[str]:
    """The server in a thread of its own, as the browser is driven synchronously."""
    started, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    address: list[str] = []

    async def run() -> None:
        async with serving(engine, config, token) as (base, _):
            address.append(base)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert started.wait(10)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(15)
        assert not thread.is_alive()
        loop.close()


def notice(page: Page) -> str:
    page.wait_for_selector("#notice:not([hidden])", timeout=10_000)
    return page.inner_text("#notice p")


def status(page: Page) -> str:
    return page.inner_text("#status")


def test_a_refused_microphone_is_explained_and_the_clip_still_works(screenshots: Path) -> None:
    engine = CardEngine()
    with background(engine) as address, chromium("--deny-permission-prompts", permit=False) as tab:
        page = open_page(tab, address)
        choose(page, "microphone")
        page.click("#start")
        assert "not allowed" in notice(page)
        assert page.inner_text("#start") == "Start"
        save(page, screenshots / "denied.png")
        assert engine.sessions == []
        choose(page, "sample")
        page.click("#start")
        page.wait_for_selector(".stage.live", timeout=20_000)
        assert page.is_hidden("#notice")
        assert status(page) == "Live"
        page.click("#start")
        assert status(page) == "Not connected"


def test_a_full_server_is_waited_for(screenshots: Path) -> None:
    engine = CardEngine(capacity=1)
    with background(engine) as address, chromium() as tab:
        taken = engine.create_session()
        page = open_page(tab, address)
        choose(page, "sample")
        page.click("#start")
        page.wait_for_selector("text=Trying again in 7 s", timeout=10_000)
        save(page, screenshots / "full.png")
        taken.close()
        page.wait_for_selector(".stage.live", timeout=20_000)
        page.click("#start")


def test_a_lost_connection_comes_back_by_itself() -> None:
    engine = CardEngine()
    with background(engine) as address, chromium() as tab:
        page = open_page(tab, address)
        choose(page, "sample")
        page.click("#start")
        page.wait_for_selector(".stage.live", timeout=20_000)
        first = engine.sessions[0]
        first.close()  # as a crashed worker would
        page.wait_for_selector("text=Connection lost", timeout=10_000)
        page.wait_for_selector(".stage.live", timeout=20_000)
        assert [session.id for session in engine.sessions] != [first.id]
        page.click("#start")


def test_leaving_the_page_frees_the_session() -> None:
    engine = CardEngine()
    with background(engine) as address, chromium() as tab:
        page = open_page(tab, address)
        choose(page, "sample")
        page.click("#start")
        page.wait_for_selector(".stage.live", timeout=20_000)
        page.goto("about:blank")
        deadline = threading.Event()
        for _ in range(40):
            if not engine.sessions:
                break
            deadline.wait(0.1)
        assert engine.sessions == []


def test_photos_are_taken_or_refused_in_words(tmp_path: Path, screenshots: Path) -> None:
    engine = CardEngine()
    text, photo, large = (tmp_path / name for name in ("notes.txt", "me.jpg", "large.jpg"))
    text.write_text("not a picture")
    photo.write_bytes(engine.avatars[0].picture)
    large.write_bytes(b"x" * 1_200_000)
    with background(engine, ServerConfig(upload_mb=1)) as address, chromium() as tab:
        page = open_page(tab, address)
        page.set_input_files("#photo", text)
        assert "agrees" in notice(page)
        page.click("#consent")  # the photo chosen before is sent now
        page.wait_for_selector(f"text={DAMAGED}", timeout=10_000)
        save(page, screenshots / "refused_photo.png")
        page.click("#consent")
        page.set_input_files("#photo", large)
        page.wait_for_selector("text=larger than 1 MB", timeout=10_000)
        page.wait_for_selector("#consent:not(:checked)")
        page.set_input_files("#photo", photo)
        page.click("#consent")
        page.wait_for_selector("#avatars label:nth-child(2) input:checked", state="attached")
        assert page.is_hidden("#notice")
        assert page.evaluate("() => vivace.avatar") == engine.avatars[1].id
        consent = engine.avatars[1].consent
        assert consent is not None
        assert consent.statement == page.inner_text("#statement")
        assert not page.is_checked("#consent"), "another photo may show another person"
        save(page, screenshots / "own_photo.png")
        page.hover("#avatars label:nth-child(2)")
        page.click("#avatars label:nth-child(2) button")
        page.wait_for_selector("#avatars", state="hidden")
        assert len(engine.avatars) == 1
        assert page.evaluate("() => vivace.avatar") == "default"


def test_somebody_else_of_the_gallery_is_chosen_during_a_call(screenshots: Path) -> None:
    engine = CardEngine()
    engine.avatars.append(replace(engine.avatars[0], id="kofi", name="Kofi"))
    with background(engine) as address, chromium() as tab:
        page = open_page(tab, address)
        assert page.locator("#avatars label").all_inner_texts() == ["Default", "Kofi"]
        assert page.locator("#avatars button").count() == 0, "built in: there is nothing to delete"
        choose(page, "sample")
        page.click("#start")
        page.wait_for_selector(".stage.live", timeout=20_000)
        first = engine.sessions[0]
        page.click("#avatars label:nth-child(2)")
        page.wait_for_selector(".stage:not(.live)", timeout=10_000)
        page.wait_for_selector(".stage.live", timeout=20_000)
        assert page.evaluate("() => vivace.connection.avatar") == "kofi"
        assert [session.id for session in engine.sessions] != [first.id]
        save(page, screenshots / "gallery.png")
        page.click("#start")


def test_a_token_is_asked_for_and_taken_from_the_address() -> None:
    engine = CardEngine()
    with background(engine, token="let me in") as address, chromium() as tab:  # noqa: S106
        page = tab.new_page()
        page.goto(address)
        assert "asks for a token" in notice(page)
        page.goto("about:blank")
        page = open_page(tab, f"{address}/#token=let%20me%20in")
        assert "token" not in page.url
        choose(page, "sample")
        page.click("#start")
        page.wait_for_selector(".stage.live", timeout=20_000)
        page.click("#start")


def test_a_page_loaded_again_comes_back_to_its_session() -> None:
    engine = CardEngine(capacity=1)
    with background(engine) as address, chromium() as tab:
        page = open_page(tab, address)
        choose(page, "sample")
        page.click("#start")
        page.wait_for_selector(".stage.live", timeout=20_000)
        before = page.evaluate("vivace.connection.id")
        page.reload()
        page.wait_for_selector("#start:enabled", timeout=20_000)
        choose(page, "sample")
        page.click("#start")
        page.wait_for_selector(".stage.live", timeout=20_000)
        assert page.evaluate("vivace.connection.id") == before
        page.click("#start")  # Stop says goodbye: the next start is another session
        page.wait_for_function("!vivace.running")
        page.click("#start")
        page.wait_for_selector(".stage.live", timeout=20_000)
        assert page.evaluate("vivace.connection.id") != before
