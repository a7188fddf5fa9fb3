"""The whole chain in a real Chromium: a fake microphone speaks, and the received pictures tell.

The engine runs as users run it (``python -m engine.serve``), the page is the shipped web client.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from skimage import data

from engine.face.analysis import FaceAnalyser
from engine.face.rig import Rig
from engine.media import FPS, Float32, UInt8
from tests.conftest import ROOT
from tests.e2e.browser import GRAB, SUBSCRIBE, choose, chromium, open_page, pictures, save, watch
from tests.lips import lip_gap
from tests.speech import Spoken, aligned, speak

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TEXT = "My papa bought a map and a big blue boat. | Pick up a pepper, Bob, and maybe a plum."
TICKS = 90_000 // FPS
SECONDS = 16
ATTEMPTS = 5
UNDISTURBED = 0.05


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real server on a free port."""
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "engine.serve", "--port", "0"]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, stderr=output, stdout=output)
    try:
        yield _ready_address(process, log)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0, log.read_text()


def _ready_address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        found = re.search(r"open (http://\S+)", log.read_text())
        if found and _is_ready(found[1]):
            return found[1]
        time.sleep(0.2)
    pytest.fail(f"the server did not become ready: {log.read_text()}")


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=5) as response:  # noqa: S310
            return bool(json.load(response)["ready"])
    except urllib.error.URLError:
        return False


@dataclass
class Call:
    """What one call left behind.

    Args:
        spoken: what the microphone played, over and over.
        stats: ``getStats`` once a second.
        motion: commanded motion by the slot in which it left.
        pictures: RTP time and picture, every second one.
    """

    spoken: Spoken
    stats: list[dict[str, Any]]
    motion: dict[int, dict[str, Any]]
    pictures: list[tuple[int, UInt8]]


@pytest.fixture(scope="module")
def call(server: str, screenshots: Path, tmp_path_factory: pytest.TempPathFactory) -> Call:
    """The first undisturbed call of up to five, else the least disturbed.

    Browser, engine and encoder nearly fill both cores of a small machine, and shared machines
    stall for up to a second by themselves (research: webrtc). A stall is not what is tested here:
    an engine that cannot keep up fails every time.
    """
    spoken = speak(TEXT)
    wav = tmp_path_factory.mktemp("voice") / "said.wav"
    soundfile.write(wav, spoken.audio.samples, spoken.audio.rate, subtype="PCM_16")
    calls: list[Call] = []
    while len(calls) < ATTEMPTS and (not calls or _disturbance(calls[-1]) > UNDISTURBED):
        calls.append(_call(server, screenshots, spoken, wav))
    return min(calls, key=_disturbance)


def _disturbance(call: Call) -> float:
    """Share of the call that was frozen, dropped, shown twice or sent smaller."""
    server = call.stats[-1]["server"]
    repeated = server["playout"]["repeated"] / server["playout"]["slots"]
    small = np.mean([s["video"].get("frameWidth", 512) < 512 for s in call.stats if "video" in s])
    return float(small + _freezes(call) + server["dropped_ms"] / (1000 * SECONDS) + repeated)


def _call(server: str, screenshots: Path, spoken: Spoken, wav: Path) -> Call:
    with chromium(f"--use-file-for-fake-audio-capture={wav}") as browser:
        page = open_page(browser, server)
        choose(page, "microphone")
        page.click("#start")
        page.wait_for_selector(".stage.live", timeout=30_000)
        page.click("#speaker")  # off by default with a microphone
        page.evaluate(SUBSCRIBE)
        page.evaluate(GRAB)
        stats = watch(page, SECONDS)
        save(page, screenshots / "speaking.png")
        motion = page.evaluate("() => window.motion")
        page.click("#start")
        grabbed = pictures(page)
    return Call(spoken, stats, {m["slot"]: m for m in motion}, grabbed)


def _freezes(call: Call) -> int:
    """Freezes after the first second."""
    counts = [s["video"]["freezeCount"] for s in call.stats if "video" in s]
    return int(counts[-1] - counts[0])


def _commanded(call: Call) -> Float32:
    """Commanded inner-lip gap per media frame, from the first received one; gaps interpolated."""
    rig = Rig.load()
    by_pts = {m["pts"]: rig.lip_opening(np.array(m["values"])) for m in call.motion.values()}
    known = np.array(sorted(by_pts))
    line = np.arange(known[0], known[-1] + 1)
    return np.interp(line, known, [by_pts[pts] for pts in known]).astype(np.float32)


@dataclass
class Mouth:
    """Inner-lip gaps in pupil distances (seen) and inter-ocular units (commanded), per picture."""

    seen: Float32
    commanded: Float32


@pytest.fixture(scope="module")
def mouth(call: Call, screenshots: Path) -> Mouth:
    """What the landmarker sees in the received pictures, beside what was commanded for them.

    RTP time starts at a random number, so the slot of the first picture is not known. Pictures and
    motion were recorded from the same moment on; within a second of that the best fit decides.
    """
    gaps = _gaps([picture for _, picture in call.pictures])
    Image.fromarray(call.pictures[int(np.argmax(gaps))][1]).save(screenshots / "widest.png")
    slots = [((rtp - call.pictures[0][0]) % 2**32) // TICKS for rtp, _ in call.pictures]
    rig = Rig.load()
    sent = {s: rig.lip_opening(np.array(m["values"])) for s, m in call.motion.items()}
    first, opening = min(sent), {}
    for slot in range(first, max(sent) + 1):  # a slot without a new picture shows the last one
        opening[slot] = sent.get(slot, opening.get(slot - 1, 0.0))
    fits = []
    for offset in range(first - 12, first + 25):
        placed = zip(gaps, slots, strict=True)
        both = [(gap, opening[s + offset]) for gap, s in placed if s + offset in opening]
        seen, commanded = np.array(both, np.float32).T
        fits.append((float(np.corrcoef(seen, commanded)[0, 1]), offset, seen, commanded))
    _, _, seen, commanded = max(fits, key=lambda fit: fit[0])
    return Mouth(seen, commanded)


def _gaps(images: list[UInt8]) -> list[float]:
    """Inner-lip gap in pupil distances per picture."""
    analyser, seen, gaps = FaceAnalyser(), None, []
    for image in images:
        seen = analyser.follow(image, seen)
        assert seen is not None, "no face in a received picture"
        gaps.append(lip_gap(seen))
    return gaps


def test_video_is_fluent(call: Call) -> None:
    video = [s["video"] for s in call.stats if "video" in s]
    assert (video[-1]["frameWidth"], video[-1]["frameHeight"]) == (512, 512)
    times = [v["timestamp"] / 1000 for v in video]
    decoded = [v["framesDecoded"] for v in video]
    rates = np.diff(decoded) / np.diff(times)
    assert times[-1] - times[0] >= 10
    assert np.median(rates) >= 24
    assert _freezes(call) == 0


def test_sound_arrives_whole(call: Call) -> None:
    sound = [s["audio"] for s in call.stats if "audio" in s]
    energy = sound[-1]["totalAudioEnergy"] - sound[0]["totalAudioEnergy"]
    samples = sound[-1]["totalSamplesReceived"] - sound[0]["totalSamplesReceived"]
    hidden = sound[-1]["concealedSamples"] - sound[0]["concealedSamples"]
    assert np.sqrt(energy / SECONDS) > 0.01
    assert hidden / samples < 0.1


def test_the_engine_kept_up(call: Call) -> None:
    assert _disturbance(call) < 0.2
    assert call.stats[-1]["server"]["delay_ms"] < 550


def test_the_received_mouth_does_what_was_commanded(mouth: Mouth) -> None:
    assert len(mouth.seen) > 60
    assert np.corrcoef(mouth.seen, mouth.commanded)[0, 1] > 0.8


def test_the_commanded_mouth_says_the_sentence(call: Call) -> None:
    commanded = _commanded(call)
    said = np.tile(call.spoken.openness(), 4)
    # Where in the looping recording the call began follows from speech and pauses alone.
    speech = {m["pts"]: m["speech"] for m in call.motion.values()}
    first = min(speech)
    line = np.array([speech.get(first + i, 0.0) for i in range(len(commanded))], np.float32)
    spoken = np.tile(_speaking(call.spoken), 4)
    period = call.spoken.frames
    fits = [float(np.corrcoef(line, spoken[s : s + len(line)])[0, 1]) for s in range(period)]
    start = int(np.argmax(fits))
    assert fits[start] > 0.45
    window = np.roll(said, -start)[: len(commanded)]
    correlation, shift = aligned(commanded, window)
    assert correlation > 0.5
    assert abs(shift) <= 4


def test_the_received_mouth_rests_in_silence(mouth: Mouth) -> None:
    still = mouth.seen[mouth.commanded < 0.01]
    assert len(still) > 10
    assert np.percentile(still, 90) < 0.05


def _speaking(spoken: Spoken) -> Float32:
    out = np.zeros(spoken.frames, np.float32)
    for name, start, end in spoken.phones:
        if name not in ("pau", "sil"):
            out[int(start * FPS) : int(end * FPS) + 1] = 1
    return out


def test_a_photo_becomes_the_avatar(server: str, screenshots: Path, tmp_path: Path) -> None:
    words, photo = tmp_path / "words.txt", tmp_path / "astronaut.png"
    words.write_text("no picture")
    Image.fromarray(data.astronaut()).save(photo)
    with chromium() as browser:
        page = open_page(browser, server)
        page.click("#consent")
        page.set_input_files("#photo", words)
        page.wait_for_selector("#notice:not([hidden])", timeout=20_000)
        assert "image" in page.inner_text("#notice")
        page.wait_for_selector("#consent:not(:checked)")
        page.click("#consent")
        page.set_input_files("#photo", photo)
        # Only what was uploaded can be deleted; the project's own avatars stand beside it.
        page.wait_for_selector("#avatars label:has(button) input:checked", state="attached")
        choose(page, "sample")
        page.click("#start")
        page.wait_for_selector(".stage.live", timeout=30_000)
        stats = watch(page, 4)
        save(page, screenshots / "astronaut.png")
        page.click("#start")
    assert stats[-1]["video"]["framesDecoded"] > 40


def test_the_sample_clip_works_without_any_microphone(server: str, screenshots: Path) -> None:
    with chromium() as browser:
        page = open_page(browser, server, viewport={"width": 390, "height": 844})
        page.add_init_script("navigator.mediaDevices.getUserMedia = () => { throw Error(); }")
        choose(page, "sample")
        page.click("#start")
        page.wait_for_selector(".stage.live", timeout=30_000)
        stats = watch(page, 5)
        save(page, screenshots / "phone.png")
        page.click("#start")
    assert stats[-1]["server"]["ingest"]["received_ms"] > 2000
    assert stats[-1]["audio"]["totalAudioEnergy"] > 0.001
    assert stats[-1]["video"]["framesDecoded"] > 50
