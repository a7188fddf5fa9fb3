"""Chromium as a WHIP publisher and as a WHEP player, with nothing but its own JavaScript API."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.e2e.browser import chromium
from tests.e2e.test_page import background
from tests.e2e.testcard import CardEngine

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(60)]

# Both ends in one page: the microphone (Chromium's beeping fake) and camera out by WHIP, the avatar
# back by WHEP, read from the shown pictures, then both leave with DELETE.
TALK = """async ({ whip, whep, frames }) => {
    const connect = async (pc, url) => {
        await pc.setLocalDescription(await pc.createOffer());
        if (pc.iceGatheringState !== "complete") {
            await new Promise((resolve) => {
                pc.onicegatheringstatechange = () =>
                    pc.iceGatheringState === "complete" && resolve();
            });
        }
        const response = await fetch(url, {
            method: "POST",
            headers: { "Content-Type": "application/sdp" },
            body: pc.localDescription.sdp,
        });
        if (response.status !== 201) throw new Error(`${url}: ${await response.text()}`);
        await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
        return response.headers.get("Location");
    };
    const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
    const source = new RTCPeerConnection();
    for (const track of media.getTracks()) source.addTrack(track, media);
    const published = await connect(source, whip);

    const viewer = new RTCPeerConnection();
    for (const kind of ["audio", "video"]) viewer.addTransceiver(kind, { direction: "recvonly" });
    const video = document.createElement("video");
    document.body.append(video);
    const stream = new MediaStream();
    viewer.ontrack = ({ track }) => stream.addTrack(track);
    const played = await connect(viewer, whep);
    video.srcObject = stream;
    await video.play();

    const numbers = [];
    const canvas = new OffscreenCanvas(512, 512);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    await new Promise((resolve) => {
        const take = () => {
            context.drawImage(video, 0, 0, 512, 512);
            const row = context.getImageData(0, 12, 384, 1).data;
            let number = 0;
            for (let bit = 0; bit < 16; bit++) {
                if (row[4 * (bit * 24 + 12) + 1] > 128) number |= 1 << bit;
            }
            numbers.push(number);
            if (numbers.length === frames) resolve();
            else video.requestVideoFrameCallback(take);
        };
        video.requestVideoFrameCallback(take);
    });
    const out = { numbers, left: [] };
    const reports = await viewer.getStats();
    for (const report of reports.values()) {
        if (report.type !== "inbound-rtp") continue;
        out[report.kind] = { ...report, codec: reports.get(report.codecId).mimeType };
    }
    for (const [pc, resource] of [[viewer, played], [source, published]]) {
        out.left.push((await fetch(resource, { method: "DELETE" })).status);
        pc.close();
    }
    return out;
}"""


def test_chromium_publishes_by_whip_and_plays_by_whep() -> None:
    engine = CardEngine()
    with background(engine) as address, chromium() as browser:
        page = browser.new_page()
        page.goto(address)
        response = page.request.post(f"{address}/sessions", data={})
        assert response.status == 201
        made = response.json()
        paths = {name: made[name] for name in ("whip", "whep")}
        seen: dict[str, Any] = page.evaluate(TALK, {**paths, "frames": 50})
    assert seen["left"] == [200, 200]
    assert min(np.diff(seen["numbers"][10:])) >= 0
    assert len(set(seen["numbers"])) > 25
    assert seen["video"]["codec"] in ("video/VP8", "video/H264")
    assert seen["video"]["framesDecoded"] >= 50
    assert seen["audio"]["codec"] == "audio/opus"
    assert seen["audio"]["totalAudioEnergy"] > 0  # Chromium's beeps, through the avatar
