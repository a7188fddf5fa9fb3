"""``python -m clients.mic`` as a person runs it, with PulseAudio as the sound card."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import ImageGrab
from scipy.signal import fftconvolve

from engine.audio.resample import Resampler
from engine.face.analysis import FaceAnalyser
from engine.media import FPS, Float32, UInt8
from engine.slots import RATE, SLOT_SAMPLES
from engine.transport.files import read_audio
from engine.transport.routes import WEB_CLIENT
from tests.conftest import ROOT, require_program
from tests.e2e.pulse import NAME, Pulse, pulse
from tests.e2e.testcard import CardEngine, read_number
from tests.e2e.threaded import served
from tests.lips import lip_gap

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SAMPLE = WEB_CLIENT / "sample.wav"
_READY_SECONDS = 90.0
_END_SECONDS = 60.0


@pytest.fixture(scope="module")
def sound() -> Iterator[Pulse]:
    """A sound card."""
    with pulse() as daemon:
        yield daemon


class Client:
    """A running client; its lines are collected as they come."""

    def __init__(self, environment: dict[str, str], *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "clients.mic", *words],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.said: list[str] = []
        self.status: list[str] = []
        pairs = ((self.process.stderr, self.said), (self.process.stdout, self.status))
        self._readers = [
            threading.Thread(target=lines.extend, args=(pipe,), daemon=True)
            for pipe, lines in pairs
        ]
        for reader in self._readers:
            reader.start()

    def wait_for(self, words: str, seconds: float = _READY_SECONDS) -> None:
        """Until a sentence with these words has been written."""
        deadline = time.monotonic() + seconds
        while not any(words in line for line in list(self.said)):
            assert self.process.poll() is None, f"ended early: {self.said}"
            assert time.monotonic() < deadline, f"no '{words}' in {self.said}"
            time.sleep(0.05)

    def wait_for_status(self, words: str, seconds: float = _READY_SECONDS) -> None:
        """Until a status line that is still to come has these words."""
        seen, deadline = len(self.status), time.monotonic() + seconds
        while not any(words in line for line in self.status[seen:]):
            assert self.process.poll() is None, f"ended early: {self.said}"
            assert time.monotonic() < deadline, f"no '{words}' in {self.status}"
            time.sleep(0.05)

    def end(self) -> int:
        """Press Ctrl-C; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(_END_SECONDS)
        for reader in self._readers:
            reader.join(5)
        return code


@contextmanager
def running(environment: dict[str, str], *words: str) -> Iterator[Client]:
    """A client that is gone afterwards, however the test ends."""
    client = Client(environment, *words)
    try:
        yield client
    finally:
        if client.process.poll() is None:
            client.process.kill()
            client.process.wait()


def once(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run the client to its own end."""
    return subprocess.run(
        [sys.executable, "-m", "clients.mic", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_END_SECONDS,
        check=False,
    )  # fmt: skip


def spoken() -> Float32:
    """What is played into the microphone, at 48 kHz."""
    sample = read_audio(SAMPLE)
    return Resampler(sample.rate, RATE).push(sample.samples)


def place(part: Float32, line: Float32) -> tuple[int, float]:
    """Where in a line a part is, and how well the waveforms agree (1: exactly)."""
    scores = fftconvolve(line, part[::-1], "valid")
    energy = fftconvolve(np.square(line), np.ones(len(part), np.float32), "valid")
    scores /= np.sqrt(np.maximum(energy, 0.01 * np.sum(np.square(part))) * np.sum(np.square(part)))
    return int(np.argmax(scores)), float(scores.max())


def places(voice: Float32, line: Float32, seconds: Sequence[int]) -> list[tuple[int, float]]:
    """Offset and agreement of each loud second of the voice."""
    found = []
    for second in seconds:
        part = voice[second * RATE : (second + 1) * RATE]
        at, score = place(part, line)
        found.append((at - second * RATE, score))
    return found


def pictures(path: Path) -> dict[int, UInt8]:
    """Frame number to RGB picture of a recording."""
    with av.open(str(path)) as container:
        return {
            round(float(frame.time) * FPS): np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            for frame in container.decode(video=0)
        }


def loudness(line: Float32) -> Float32:
    """Root mean square of every slot."""
    whole = line[: len(line) // SLOT_SAMPLES * SLOT_SAMPLES].reshape(-1, SLOT_SAMPLES)
    return np.asarray(np.sqrt(np.mean(np.square(whole), axis=1)), np.float32)


def correlation_at(shown: dict[int, float], heard: Float32, lag: int) -> float:
    """How what is shown follows what is heard ``lag`` slots earlier."""
    pairs = [(v, heard[n - lag]) for n, v in shown.items() if 0 <= n - lag < len(heard)]
    return float(np.corrcoef(np.array(pairs).T)[0, 1])


def test_what_is_said_into_the_microphone_is_recorded_with_lips_that_move(
    sound: Pulse, tmp_path: Path, screenshots: Path
) -> None:
    # A machine that stalls costs sound: the first undisturbed recording of up to three.
    for attempt in range(3):
        out = tmp_path / f"out{attempt}.mp4"
        with running(sound.environment, "--headless", "--record", str(out)) as client:
            client.wait_for("listening to")
            client.wait_for_status("recorded 1 s")
            player = sound.play(SAMPLE)
            player.wait(60)
            time.sleep(2)
            assert not out.exists(), "a half-written file must not look finished"
            assert client.end() == 0, client.said
        assert not list(tmp_path.glob("*.partial"))
        # Sound: what was played, second by second; a few of them may be a slot short.
        voice, line = spoken(), read_audio(out).samples
        found = places(voice, line, range(1, 12))
        score = np.median([score for _, score in found])
        if score > 0.95:
            break
    assert score > 0.95
    # Picture: one face in every frame, its lips open with the voice and shut in the silence before.
    shown = pictures(out)
    assert len(shown) > 0.6 * max(shown)
    analyser, seen, gaps = FaceAnalyser(), None, {}
    for number, image in shown.items():
        seen = analyser.follow(image, seen)
        assert seen is not None, f"no face in frame {number}"
        gaps[number] = lip_gap(seen)
    begin = round(np.median([at for at, _ in found]) / SLOT_SAMPLES)
    before = [gap for number, gap in gaps.items() if 5 <= number < begin - 5]
    during = [gap for number, gap in gaps.items() if begin + 5 <= number < begin + 13 * FPS]
    assert np.percentile(during, 90) > 3 * np.percentile(before, 90) + 0.02
    # They follow this voice and no other: the correlation falls when the sound is moved.
    heard = np.convolve(loudness(line), np.ones(3) / 3, "same").astype(np.float32)
    right = max(correlation_at(gaps, heard, lag) for lag in (-2, -1, 0, 1, 2))
    wrong = [correlation_at(gaps, heard, lag) for lag in (-40, -30, -20, 20, 30, 40)]
    assert right > 0.35
    assert right > max(wrong) + 0.1
    # The report: a level, pictures, a latency that can be.
    assert any("#" in line and "dBFS" in line for line in client.status)
    summary = next(line for line in client.said if "latency" in line)
    latency = float(summary.split("latency ")[1].split(" ms")[0])
    assert 121 < latency < 1500  # never less than the look-ahead
    loud = [number for number in sorted(shown) if gaps[number] > np.percentile(during, 80)][:4]
    quiet = sorted(shown)[10:14]
    tiles = [np.hstack([shown[n] for n in numbers]) for numbers in (quiet, loud)]
    sheet = cv2.cvtColor(cv2.resize(np.vstack(tiles), None, fx=0.5, fy=0.5), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(screenshots / "mic.png"), sheet)


def test_devices_are_listed_and_chosen_by_name(sound: Pulse) -> None:
    listed = once(sound.environment, "--list-devices")
    assert listed.returncode == 0
    assert NAME in listed.stdout
    assert "* is the default" in listed.stdout
    wrong = once(sound.environment, "--headless", "--device", "gramophone")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "no microphone 'gramophone'" in wrong.stderr
    assert len(wrong.stderr.splitlines()) == 1


def test_without_a_microphone_one_sentence_says_so(tmp_path: Path) -> None:
    nothing = {**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    listed = once(nothing, "--list-devices")
    assert (listed.returncode, listed.stdout.strip()) == (0, "no microphone found")
    ended = once(nothing, "--headless")
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: this machine has no microphone")
    assert len(ended.stderr.splitlines()) == 1


def test_a_server_s_avatar_is_recorded_in_step_and_found_again(tmp_path: Path) -> None:
    engine, out = CardEngine(capacity=1), tmp_path / "out.mp4"
    with pulse() as sound, served(engine) as base:
        words = ("--server", base, "--headless", "--device", NAME, "--record", str(out))
        with running(sound.environment, *words) as client:
            client.wait_for("listening to")
            client.wait_for_status("recorded 1 s")
            sound.play(SAMPLE).wait(60)
            time.sleep(1)
            # A session that ends under the client is replaced.
            before = engine.sessions[0].id
            engine.sessions[0].close()
            client.wait_for("trying again in 1 s")
            deadline = time.monotonic() + 30
            while [session.id for session in engine.sessions] in ([], [before]):
                assert time.monotonic() < deadline, client.said
                time.sleep(0.1)
            client.wait_for_status("25.")
            # Neither is the microphone lost for ever when the sound server goes.
            sound.stop()
            client.wait_for("is gone; trying to open it again")
            sound.start()
            client.wait_for(f"listening to '{NAME}' again")
            assert client.end() == 0, client.said
        deadline = time.monotonic() + 10
        while engine.sessions:
            assert time.monotonic() < deadline, "it did not say goodbye"
            time.sleep(0.1)
    voice, line = spoken(), read_audio(out).samples
    assert np.median([score for _, score in places(voice, line, range(1, 12))]) > 0.9
    # The card's mouth opens with the loudness of the very sound that belongs to the picture.
    shown = pictures(out)
    numbers = [read_number(image) for number, image in sorted(shown.items()) if number < 12 * FPS]
    assert np.mean(np.diff(numbers) == 1) > 0.7
    mouth = {n: openness(image) for n, image in shown.items() if n < 15 * FPS}
    heard = loudness(line)
    best = max(range(-8, 9), key=lambda lag: correlation_at(mouth, heard, lag))
    assert abs(best) <= 2
    assert correlation_at(mouth, heard, best) > 0.7


def openness(image: UInt8) -> float:
    """Height of the test card's mouth: dark red pixels in its middle column."""
    column = image[300:440, 256].astype(int)
    return float(np.sum((column[:, 0] > column[:, 1] + 50) & (column[:, 0] < 170)))


def test_a_full_server_is_asked_again_when_it_says_and_a_wrong_token_is_not(sound: Pulse) -> None:
    engine = CardEngine(capacity=1)
    with served(engine, token="secret") as base:  # noqa: S106 - a test's
        words = ("--server", base, "--headless", "--seconds", "60")
        refused = once(sound.environment, *words)
        assert refused.returncode == 1
        assert "VIVACE_TOKEN" in refused.stderr
        place_taken = engine.create_session()
        knowing = {**sound.environment, "VIVACE_TOKEN": "secret"}
        with running(knowing, *words) as client:
            client.wait_for("trying again in 7 s")  # the test card's Retry-After
            place_taken.close()
            client.wait_for_status("25.")
            assert client.end() == 0
            assert not any("secret" in line for line in [*client.said, *client.status])
    gone = once(sound.environment, *words)
    assert gone.returncode == 1
    assert "does not answer. Is it running?" in gone.stderr


def test_the_preview_window_shows_the_avatar(sound: Pulse, screenshots: Path) -> None:
    with screen() as display:
        environment = {**sound.environment, "DISPLAY": display}
        with running(environment, "--set", "motion.steps=1") as client:
            client.wait_for("listening to")
            deadline = time.monotonic() + 30
            analyser = FaceAnalyser()
            while True:
                image = np.asarray(ImageGrab.grab(xdisplay=display).convert("RGB"), np.uint8)
                if analyser.follow(image, None) is not None:
                    break
                assert time.monotonic() < deadline, "no face on the screen"
                time.sleep(0.5)
            ImageGrab.grab(xdisplay=display).save(screenshots / "mic_window.png")
            assert client.end() == 0, client.said


@contextmanager
def screen() -> Iterator[str]:
    """A virtual X screen: its name."""
    read, write = os.pipe()
    server = subprocess.Popen(
        [require_program("Xvfb"), "-displayfd", str(write), "-screen", "0", "800x700x24",
         "-nolisten", "tcp"],
        pass_fds=(write,), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write)
    try:
        with os.fdopen(read) as pipe:
            number = pipe.readline().strip()
        assert number, "Xvfb did not start"
        yield f":{number}"
    finally:
        server.terminate()
        server.wait(10)
