"""A real Chromium, headless, with a fake microphone; what a test does inside the page."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from engine.media import UInt8
from tests.conftest import require_program

FLAGS = (
    "--use-fake-device-for-media-stream",
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-gpu",
    "--allow-loopback-in-peer-connection",  # for machines that have no network at all
    "--autoplay-policy=no-user-gesture-required",
)

# Keeps every second picture as it is shown, with its RTP time; they are compressed only at the end.
GRAB = """() => {
    const video = document.getElementById("video");
    window.grabbed = [];
    let count = 0;
    const take = async (_, shown) => {
        if (!window.grabbed) return;
        video.requestVideoFrameCallback(take);
        if (count++ % 2) return;
        const picture = await createImageBitmap(video);
        window.grabbed?.push([shown.rtpTimestamp, picture]);
    };
    video.requestVideoFrameCallback(take);
}"""

FETCH = """async ([from, to]) => {
    const canvas = new OffscreenCanvas(512, 512);
    const context = canvas.getContext("2d");
    const out = [];
    for (const [rtp, picture] of window.kept.slice(from, to)) {
        context.drawImage(picture, 0, 0, 512, 512);
        const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
        const bytes = new Uint8Array(await blob.arrayBuffer());
        let text = "";
        for (let i = 0; i < bytes.length; i += 8192) {
            text += String.fromCharCode(...bytes.subarray(i, i + 8192));
        }
        out.push([rtp, picture.width, picture.height, btoa(text)]);
        picture.close();
    }
    return out;
}"""

SUBSCRIBE = """() => {
    window.motion = [];
    vivace.connection.addEventListener("message", (event) => {
        if (event.detail.type === "motion") window.motion.push(event.detail);
    });
    vivace.connection.send({ type: "subscribe", motion: true });
}"""

STATS = """async () => {
    const out = { server: vivace.server };
    for (const report of (await vivace.connection.pc.getStats()).values()) {
        if (report.type === "inbound-rtp") out[report.kind] = report;
        if (report.type === "candidate-pair" && report.nominated) out.pair = report;
    }
    return out;
}"""


_errors: list[str] = []


@contextmanager
def chromium(*flags: str, permit: bool = True) -> Iterator[Browser]:
    """A browser; ``permit`` answers the question for the microphone with yes."""
    path = require_program("chromium")
    wanted = [*FLAGS, *flags, *(["--use-fake-ui-for-media-stream"] if permit else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=wanted, ignore_default_args=["--mute-audio"]
        )
        _errors.clear()
        try:
            yield browser
        finally:
            browser.close()
        assert _errors == [], "the page's own script failed"


def open_page(browser: Browser, address: str, **options: Any) -> Page:
    """Open the web client; a script error in it fails the test."""
    page = browser.new_page(**options)
    page.on("pageerror", lambda error: _errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#start:enabled", timeout=60_000)
    return page


def choose(page: Page, source: str) -> None:
    """Pick ``microphone`` or ``sample``."""
    page.check(f"input[value={source}]", force=True)


def watch(page: Page, seconds: float) -> list[dict[str, Any]]:
    """Statistics once a second."""
    out = []
    for _ in range(round(seconds)):
        time.sleep(1)
        out.append(page.evaluate(STATS))
    return out


def pictures(page: Page) -> list[tuple[int, UInt8]]:
    """The grabbed pictures: RTP time in 90 kHz ticks, RGB. Ends the grabbing."""
    total = page.evaluate("() => { window.kept = grabbed; grabbed = null; return kept.length; }")
    out: list[tuple[int, UInt8]] = []
    for start in range(0, total, 20):
        for rtp, width, height, data in page.evaluate(FETCH, [start, start + 20]):
            # 384: the engine has reduced what it sends; ``_disturbance`` counts that.
            assert width == height and width in (384, 512)
            jpeg = np.frombuffer(base64.b64decode(data), np.uint8)
            bgr = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
            assert bgr is not None
            out.append((rtp, np.ascontiguousarray(bgr[..., ::-1]).astype(np.uint8)))
    return out


def save(page: Page, path: Path) -> None:
    """A screenshot for people to look at."""
    page.screenshot(path=path)
