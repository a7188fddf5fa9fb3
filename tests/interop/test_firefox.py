"""Firefox ESR with a real sound card (PulseAudio's null sinks): the page, WHIP and WHEP."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import numpy as np
import pytest
import soundfile

from tests.e2e.conftest import serving, until
from tests.e2e.pulse import pulse
from tests.e2e.testcard import CardEngine
from tests.fakes import speechlike
from tests.interop.firefox import Tab, firefox
from tests.interop.talk import FRAMES, TALK, check

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(120)]

T = TypeVar("T")
SECONDS = 10
# Reads the test card as it is shown, and keeps what comes over the data channel.
WATCH = """(() => {
    window.seen = { numbers: [], mouths: [], messages: {} };
    vivace.connection.addEventListener("message", ({ detail }) => {
        seen.messages[detail.type] = (seen.messages[detail.type] ?? 0) + 1;
    });
    vivace.connection.send({ type: "subscribe", motion: true });
    const context = new OffscreenCanvas(512, 512).getContext("2d", { willReadFrequently: true });
    const take = () => {
        if (!vivace.connection) return;
        context.drawImage(video, 0, 0, 512, 512);
        const row = context.getImageData(0, 12, 384, 1).data;
        let number = 0;
        for (let bit = 0; bit < 16; bit++) number |= (row[4 * (bit * 24 + 12) + 1] > 128) << bit;
        const column = context.getImageData(256, 300, 1, 140).data;
        let dark = 0;
        for (let y = 0; y < 140; y++) dark += column[4 * y + 1] < 120;
        seen.numbers.push(number);
        seen.mouths.push(dark / 140);
        video.requestVideoFrameCallback(take);
    };
    video.requestVideoFrameCallback(take);
})()"""
STATS = """(async () => {
    const out = { state: vivace.connection.pc.connectionState };
    const reports = await vivace.connection.pc.getStats();
    for (const report of reports.values()) {
        if (report.type !== "inbound-rtp") continue;
        out[report.kind] = { ...report, codec: reports.get(report.codecId).mimeType };
    }
    return out;
})()"""


@dataclass(frozen=True)
class Stage:
    """A server, a browser and somebody who speaks; all on one loop."""

    runner: asyncio.Runner
    engine: CardEngine
    base: str
    http: aiohttp.ClientSession
    tab: Tab

    def run(self, scenario: Coroutine[Any, Any, T]) -> T:
        """A test's part; the page's scripts must not fail in it."""
        result = self.runner.run(scenario)
        assert self.tab.errors == []
        return result


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Listening on 127.0.0.1, as it does by default; speech in the microphone for a minute."""
    engine, speech = CardEngine(), tmp_path_factory.mktemp("speech") / "speech.wav"
    soundfile.write(speech, speechlike(60, 48_000, seed=3), 48_000)
    with pulse() as sound, tempfile.TemporaryDirectory() as profile, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        base, http = runner.run(stack.enter_async_context(serving(engine)))
        browser = firefox(Path(profile), sound.environment)
        tab = runner.run(stack.enter_async_context(browser))
        speaker = sound.play(speech)
        try:
            yield Stage(runner, engine, base, http, tab)
        finally:
            speaker.kill()
            speaker.wait()
            runner.run(stack.aclose())


async def start(tab: Tab) -> None:
    """Press Start, with the microphone as the source, and wait until it is live."""
    await tab.until("!document.getElementById('start').disabled")
    await tab.evaluate("document.querySelector('input[value=microphone]').click()")
    await tab.click("#start")
    await tab.until("document.querySelector('.stage.live')")


def test_the_page_talks_in_firefox(stage: Stage) -> None:
    tab, engine = stage.tab, stage.engine

    async def scenario() -> tuple[dict[str, Any], list[dict[str, Any]]]:
        await tab.goto(stage.base)
        await start(tab)
        await tab.click("#speaker")  # off by default with a microphone
        await tab.evaluate(WATCH)
        stats = []
        for _ in range(SECONDS):
            await asyncio.sleep(1)
            stats.append(await tab.evaluate(STATS))
        await tab.evaluate("vivace.connection.send({ type: 'interrupt' })")
        await tab.until("seen.messages.interrupted", 5)
        seen = await tab.evaluate("seen")
        await tab.click("#start")
        await until(lambda: not engine.sessions, 5)
        assert await tab.evaluate("document.getElementById('status').textContent") == (
            "Not connected"
        )
        await start(tab)
        assert len(engine.sessions) == 1
        await tab.goto("about:blank")  # as by closing the tab: nobody says goodbye
        await until(lambda: not engine.sessions, 6)
        return seen, stats

    seen, stats = stage.run(scenario())
    assert [now["state"] for now in stats] == ["connected"] * SECONDS
    first, last = stats[0], stats[-1]
    assert last["video"]["codec"] == "video/VP8"  # Debian's Firefox has no H.264 for WebRTC
    assert last["audio"]["codec"] == "audio/opus"
    assert last["video"]["framesDecoded"] - first["video"]["framesDecoded"] > 12 * (SECONDS - 1)
    assert last["audio"]["packetsReceived"] - first["audio"]["packetsReceived"] > 400
    assert last["audio"]["totalAudioEnergy"] > 0.01  # as it is played; 0.3 here
    assert min(np.diff(seen["numbers"])) >= 0
    assert len(set(seen["numbers"])) > 12 * (SECONDS - 1)
    assert np.ptp(seen["mouths"]) > 0.05  # what the microphone heard opened it
    assert seen["messages"]["pong"] >= SECONDS - 2
    assert seen["messages"]["motion"] > 12 * (SECONDS - 1)


def test_firefox_publishes_by_whip_and_plays_by_whep(stage: Stage) -> None:
    async def scenario() -> dict[str, Any]:
        async with stage.http.post(f"{stage.base}/sessions", json={}) as response:
            made = await response.json()
        wanted = {"media": {"audio": True}, "frames": FRAMES}
        parameters = json.dumps({"whip": made["whip"], "whep": made["whep"], **wanted})
        await stage.tab.goto(stage.base)
        seen: dict[str, Any] = await stage.tab.evaluate(f"({TALK})({parameters})")
        await until(lambda: not stage.engine.sessions, 5)
        return seen

    check(stage.run(scenario()))
