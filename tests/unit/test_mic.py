"""The microphone client's parts, without a sound card, a screen or a network."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from clients.mic.capture import Block, Converter, Inlet, Listener, Microphone
from clients.mic.devices import MicrophoneError, find, listing, microphones, portaudio
from clients.mic.meter import Meter, bar
from clients.mic.pace import RETRIES, Backoff, Latency, Pacer, Rate
from clients.mic.program import main
from clients.mic.remote import OutputClock, Packets
from clients.mic.sinks import Jar, Recorder, Threaded, VirtualCamera, virtual_cameras
from engine.clock import ManualClock, SystemClock
from engine.errors import MediaError
from engine.media import FPS, Float32, UInt8
from engine.slots import RATE, SLOT_SAMPLES
from engine.transport.files import read_audio
from tests.conftest import ROOT


def tone(seconds: float, rate: int = RATE, amplitude: float = 0.5) -> Float32:
    """A sine of 440 Hz."""
    return (amplitude * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def picture(value: int, size: int = 64) -> UInt8:
    """A grey square."""
    return np.full((size, size, 3), value, np.uint8)


# ---- meter and pace


def test_the_meter_reads_decibels_of_full_scale() -> None:
    meter = Meter()
    meter.add(tone(1), RATE)
    level = meter.read()
    assert level.rms_db == pytest.approx(-9.03, abs=0.05)  # a sine of amplitude one half
    assert level.peak_db == pytest.approx(-6.02, abs=0.05)
    assert not level.clipped
    assert meter.read().rms_db == -120
    meter.add(np.array([1.0, 0.0], np.float32), RATE)
    assert meter.read().clipped


def test_the_meter_says_mute_after_five_silent_seconds_and_not_of_a_quiet_room() -> None:
    meter = Meter()
    for _ in range(249):
        meter.add(np.zeros(960, np.float32), RATE)
    assert not meter.mute
    for _ in range(2):
        meter.add(np.full(960, 1e-5, np.float32), RATE)
    assert meter.mute
    meter.add(np.full(960, 1e-3, np.float32), RATE)  # -60 dBFS: a microphone's own noise
    assert not meter.mute and meter.silent_s == 0


@pytest.mark.parametrize(("level", "filled"), [(-120, 0), (-60, 0), (-30, 10), (-3, 19), (3, 20)])
def test_the_bar_ends_at_full_scale(level: float, filled: int) -> None:
    assert bar(level) == "#" * filled + "-" * (20 - filled)


def test_waiting_times_are_the_web_page_s() -> None:
    page = (ROOT / "clients" / "web" / "client.js").read_text()
    assert f"const RETRIES = {[round(wait) for wait in RETRIES]};" in page
    backoff = Backoff()
    assert [backoff.next() for _ in range(6)] == [1, 2, 4, 8, 8, None]
    backoff.reset()
    assert (backoff.next(7.0), backoff.next()) == (7.0, 2.0)
    patient = Backoff((1.0, 2.0), last=False)
    assert [patient.next() for _ in range(4)] == [1, 2, 2, 2]


def test_overdue_pictures_are_left_out_instead_of_sent_at_once() -> None:
    pacer = Pacer(25, 10.0)
    dues = []
    for now in (10.0, 10.04, 10.085, 10.25, 10.28):
        dues.append(round(pacer.due, 3))
        pacer.take(now)
    assert dues == [10.0, 10.04, 10.08, 10.12, 10.28]
    assert pacer.missed == 3


def test_latency_is_the_time_from_a_sample_to_its_picture() -> None:
    latency = Latency(RATE)
    assert latency.seconds is None
    for block in range(1, 51):  # 20 ms each, delivered when complete
        latency.heard(block * 960, 100 + block * 0.02)
    for slot in range(10):
        latency.shown(slot * SLOT_SAMPLES, 100 + slot * 0.04 + 0.3)
    assert latency.seconds == pytest.approx(0.3)
    latency.shown(10 * RATE, 200.0)  # not heard of: not counted
    assert latency.seconds == pytest.approx(0.3)


def test_rates_are_of_the_time_between_two_readings() -> None:
    rate = Rate()
    assert rate.read(5.0) == 0
    for _ in range(25):
        rate.add()
    assert rate.read(6.0) == 25
    assert rate.read(7.0) == 0


# ---- capture


def test_the_inlet_drops_the_oldest_and_counts() -> None:
    inlet = Inlet(3)
    for number in range(5):
        inlet.put(Block(np.zeros((1, 1), np.float32), number, 0.0))
    taken = [inlet.get(0) for _ in range(4)]
    assert [block.pts for block in taken if block] == [2, 3, 4]
    assert taken[3] is None and inlet.dropped == 2


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000, 96_000])
def test_any_rate_and_two_channels_become_one_line_at_48_khz(rate: int) -> None:
    voice = tone(1.0, rate)
    stereo = np.stack([voice * 1.5, voice * 0.5], axis=1)
    converter, size, out = Converter(rate), rate // 50, []
    for start in range(0, rate, size):
        out.append(converter.convert(Block(stereo[start : start + size], start, 0.0)))
    line = np.concatenate(out)
    assert len(line) == pytest.approx(RATE, abs=100)
    spectrum = np.abs(np.fft.rfft(line[:RATE] * np.hanning(len(line[:RATE]))))
    assert np.argmax(spectrum) * RATE / len(line[:RATE]) == pytest.approx(440, abs=1)
    assert np.abs(line[4800:-4800]).max() == pytest.approx(0.5, abs=0.01)


def test_lost_blocks_are_silence_and_broken_samples_too() -> None:
    converter = Converter(RATE)
    ones = np.ones((960, 1), np.float32)
    first = converter.convert(Block(ones, 0, 0.0))
    broken = ones.copy()
    broken[5] = np.nan
    later = converter.convert(Block(broken, 960 * 4, 0.0))
    assert len(first) == 960 and len(later) == 960 * 4
    assert not later[: 960 * 3].any()
    assert later[960 * 3 + 5] == 0 and later[960 * 3 + 6] == 1


class PortAudioError(Exception):
    """As sounddevice raises it."""


class FakeStream:
    """An input stream driven by the test."""

    latency = 0.01

    def __init__(self, audio: FakeAudio, **settings: Any) -> None:
        if audio.broken:
            raise PortAudioError("Device unavailable")
        self.settings, self.active, self.closed = settings, False, False
        audio.streams.append(self)

    def start(self) -> None:
        self.active = True

    def abort(self) -> None:
        self.active = False

    def close(self) -> None:
        self.closed = True

    def deliver(self, samples: Float32) -> None:
        block = np.repeat(samples[:, None], self.settings["channels"], axis=1)
        self.settings["callback"](block, len(block), None, None)
        block[:] = np.nan  # PortAudio uses its buffer again


class FakeAudio:
    """Behaves as the sounddevice module for the calls the client makes."""

    PortAudioError = PortAudioError

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.broken = False
        self.refreshed = 0
        self.streams: list[FakeStream] = []
        self.default = SimpleNamespace(device=(-1, -1))

    def query_devices(self, kind: str | None = None) -> Any:
        entries = [
            {"index": i, "name": name, "max_input_channels": 0 if "Speaker" in name else 4,
             "default_samplerate": 48_000.0}
            for i, name in enumerate(self.names)
        ]  # fmt: skip
        if kind == "input":
            inputs = [entry for entry in entries if entry["max_input_channels"]]
            if not inputs:
                raise PortAudioError("Error querying device -1")
            return inputs[-1]
        return entries

    def InputStream(self, **settings: Any) -> FakeStream:
        return FakeStream(self, **settings)

    def _terminate(self) -> None:
        self.refreshed += 1

    def _initialize(self) -> None:
        pass


def test_devices_are_found_by_number_name_or_part_of_it() -> None:
    audio = FakeAudio("Speakers", "USB Mic", "USB Mic 2", "Built-in")
    assert [device.name for device in microphones(audio)] == ["USB Mic", "USB Mic 2", "Built-in"]
    assert find(audio, None).name == "Built-in"
    assert find(audio, "1").name == "USB Mic"
    assert find(audio, "built").index == 3
    assert find(audio, "USB Mic").index == 1
    with pytest.raises(MicrophoneError, match="several microphones; give a number of 1: USB Mic, "):
        find(audio, "usb")
    with pytest.raises(MicrophoneError, match=r"no microphone 'Speakers'; .*--list-devices"):
        find(audio, "Speakers")
    assert "*   3  Built-in  (4 ch, 48000 Hz)" in listing(microphones(audio))
    with pytest.raises(MicrophoneError, match="no microphone that PortAudio can see"):
        find(FakeAudio("Speakers"), None)


def test_a_busy_device_is_one_sentence() -> None:
    audio = FakeAudio("USB Mic")
    audio.broken = True
    with pytest.raises(MicrophoneError, match="'USB Mic' cannot be opened: Device unavailable"):
        Microphone(audio, find(audio, None), ManualClock())


def test_an_unplugged_microphone_is_opened_again_and_time_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clients.mic.capture._REOPEN", (0.01,))
    audio, clock = FakeAudio("USB Mic"), ManualClock()
    said: list[tuple[int, int, float]] = []
    told: list[str] = []
    listener = Listener(
        audio, None, clock, lambda samples, start, _: said.append((start, len(samples),
                                                                   float(samples.max()))),
        told.append, alone=True,
    )  # fmt: skip
    first = audio.streams[0]
    assert first.settings["samplerate"] == 48_000 and first.settings["channels"] == 2
    listener.start()
    for _ in range(3):
        first.deliver(np.full(960, 0.25, np.float32))
    _until(lambda: len(said) == 3)
    assert said == [(0, 960, 0.25), (960, 960, 0.25), (1920, 960, 0.25)]
    assert listener.level() == pytest.approx(-12.04, abs=0.01)
    audio.names.clear()
    clock.advance(1.0)
    first.active = False
    _until(lambda: bool(told))
    assert told == ["the microphone 'USB Mic' is gone; trying to open it again"]
    _until(lambda: audio.refreshed > 1)
    assert first.closed and len(audio.streams) == 1
    audio.names.append("USB Mic")
    _until(lambda: len(told) == 2)
    assert told[1] == "listening to 'USB Mic' again"
    audio.streams[1].deliver(np.full(960, 0.5, np.float32))
    _until(lambda: len(said) == 4)
    assert said[3] == (RATE, 960, 0.5)
    listener.close()
    assert audio.streams[1].closed and listener.error is None


def test_a_device_that_falls_silent_without_a_word_counts_as_gone() -> None:
    audio, clock, told = FakeAudio("USB Mic"), ManualClock(), list[str]()
    listener = Listener(audio, None, clock, lambda *_: None, told.append, alone=True)
    listener.start()
    time.sleep(0.3)
    assert told == []
    clock.advance(2.1)
    _until(lambda: bool(told))
    listener.close()


def test_a_muted_microphone_is_mentioned_once() -> None:
    audio, told = FakeAudio("USB Mic"), list[str]()
    heard = threading.Semaphore(0)
    listener = Listener(
        audio, None, ManualClock(), lambda *_: heard.release(), told.append, alone=True
    )
    listener.start()
    for _ in range(300):
        audio.streams[0].deliver(np.zeros(960, np.float32))
        assert heard.acquire(timeout=5)
    listener.close()
    assert told == ["no sound arrives from 'USB Mic'; is it muted?"]


def test_what_fails_behind_the_microphone_is_reported_not_lost() -> None:
    def refuse(*_: object) -> None:
        raise MediaError("no more")

    audio = FakeAudio("USB Mic")
    listener = Listener(audio, None, ManualClock(), refuse, lambda _: None, alone=True)
    listener.start()
    audio.streams[0].deliver(np.zeros(960, np.float32))
    _until(lambda: listener.error is not None)
    assert str(listener.error) == "no more"
    listener.close()


def _until(condition: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


# ---- to a server


def test_packets_are_20_ms_and_follow_the_line() -> None:
    packets = Packets()
    ramp = np.arange(RATE, dtype=np.float32)
    out = [*packets.push(ramp[:441], 0), *packets.push(ramp[441:3000], 441)]
    assert [start for start, _ in out] == [0, 960, 1920]
    assert np.array_equal(np.concatenate([part for _, part in out]), ramp[:2880])
    jumped = packets.push(ramp[9600:11_000], 9600)
    assert [(start, part[0]) for start, part in jumped] == [(9600, 9600)]


def test_both_tracks_and_the_next_connection_share_one_line() -> None:
    line = OutputClock(100.0)
    assert line.begin(101.0) == 25
    assert line.begin(101.12) == 25  # the same slot, slower to arrive
    assert line.begin(101.5) == 38  # its beginning was lost on the way
    line.reconnect()
    assert line.begin(110.0) == 250


# ---- sinks


def test_a_recording_keeps_time_through_holes(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    recorder = Recorder(path)
    voice = tone(4)
    recorder.sound(voice[:1920], 99 * SLOT_SAMPLES)  # before the first picture: not in the file
    for slot in (*range(100, 125), *range(175, 200)):  # two seconds without a server
        start = (slot - 100) * SLOT_SAMPLES
        size = 64 if slot < 190 else 32  # a server that saves
        recorder.picture(picture(100 if slot < 150 else 200, size), slot)
        recorder.sound(voice[start : start + SLOT_SAMPLES], slot * SLOT_SAMPLES)
        recorder.sound(voice[start : start + 960], slot * SLOT_SAMPLES)  # twice: only once in it
    assert recorder.seconds == pytest.approx(4)
    assert not path.exists()
    recorder.close()
    with av.open(str(path)) as container:
        shown = {round(float(f.time) * FPS): f.to_ndarray(format="gray").mean()
                 for f in container.decode(video=0)}  # fmt: skip
    assert list(shown) == [*range(25), *range(75, 100)]
    assert {round(shown[n], -1) for n in range(25)} == {100}
    assert {round(shown[n], -1) for n in range(75, 100)} == {200}
    sound = read_audio(path)
    assert len(sound.samples) / sound.rate == pytest.approx(4, abs=0.05)
    parts = [sound.samples[int(s * RATE) : int((s + 0.6) * RATE)] for s in (0.2, 1.3, 2.2, 3.2)]
    loud = [float(np.sqrt(np.mean(np.square(part)))) for part in parts]
    assert loud == pytest.approx([0.354, 0, 0, 0.354], abs=0.03)


def test_a_recording_without_a_picture_is_no_file(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4")
    recorder.sound(tone(1), 0)
    recorder.close()
    assert list(tmp_path.iterdir()) == []


class Slow:
    """A sink that waits for permission."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.slots: list[int] = []
        self.closed = False

    def picture(self, image: UInt8, slot: int) -> None:
        self.gate.acquire()
        self.slots.append(slot)

    def sound(self, samples: Float32, start: int) -> None:
        raise OSError("disk full")

    def close(self) -> None:
        self.closed = True


def test_a_slow_sink_loses_its_oldest_and_never_blocks() -> None:
    slow, told = Slow(), list[str]()
    sink = Threaded(slow, told.append)
    sink.picture(picture(0), 0)
    _until(sink._queue.empty)  # the thread holds the first one
    for slot in range(1, 300):
        sink.picture(picture(0), slot)
    assert sink.dropped == 49
    for _ in range(300):
        slow.gate.release()
    sink.close()
    assert slow.slots == [0, *range(50, 300)]
    assert slow.closed and told == []


def test_a_sink_that_fails_says_so_once_and_the_rest_goes_on() -> None:
    slow, told = Slow(), list[str]()
    sink = Threaded(slow, told.append)
    for _ in range(20):
        sink.sound(tone(0.02), 0)
    sink.close()
    assert told == ["disk full"]


def test_a_target_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    told: list[str] = []
    sink = Threaded(Recorder(tmp_path / "none" / "out.mp4"), told.append)
    for slot in range(3):
        sink.picture(picture(0), slot)
    sink.close()
    assert len(told) == 1 and told[0].startswith("cannot write")


def test_the_loudspeaker_s_jar_is_bounded_and_never_waits() -> None:
    jar = Jar(ahead=100)
    ramp = np.arange(300, dtype=np.float32)
    for start in range(0, 300, 50):
        jar.put(ramp[start : start + 50])
    assert np.array_equal(jar.take(70), ramp[200:270])
    assert np.array_equal(jar.take(50), [*ramp[270:], *[0] * 20])
    assert not jar.take(10).any()


class Camera:
    """A pyvirtualcam camera that keeps what it is sent."""

    device = "/dev/video7"

    def __init__(self, width: int, height: int, fps: float, fmt: object) -> None:
        self.shape, self.fps, self.format = (height, width, 3), fps, fmt
        self.sent: list[int] = []
        self.closed = False

    def send(self, frame: UInt8) -> None:
        assert frame.shape == self.shape and frame.flags.c_contiguous
        self.sent.append(int(frame[0, 0, 0]))

    def close(self) -> None:
        self.closed = True


def test_the_camera_is_fed_steadily_whatever_comes() -> None:
    module = SimpleNamespace(Camera=Camera, PixelFormat=SimpleNamespace(RGB="rgb"))
    camera = VirtualCamera(module, (64, 64), SystemClock())
    inner = camera._camera
    assert (camera.name, inner.fps, inner.format) == ("/dev/video7", 25, "rgb")
    _until(lambda: camera.sent >= 2)  # black before the first picture
    camera.picture(picture(90), 0)
    _until(lambda: inner.sent.count(90) >= 3)  # the same one again while no newer one comes
    camera.picture(picture(180, 32), 1)  # of another size
    _until(lambda: 180 in inner.sent)
    camera.close()
    assert inner.closed and inner.sent[0] == 0
    assert inner.sent == sorted(inner.sent)


def test_without_a_virtual_camera_a_sentence_says_how_to_get_one() -> None:
    if list(Path("/dev").glob("video*")):
        pytest.skip("this machine has video devices")
    with pytest.raises(MicrophoneError, match="there is no virtual camera: ") as caught:
        VirtualCamera(virtual_cameras(), (64, 64), SystemClock())
    assert "modprobe v4l2loopback" in str(caught.value)


# ---- the command


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--server", "127.0.0.1:8080"], "such as http://127.0.0.1:8080"),
        (["--server", "http://x", "--portrait", "me.jpg"], "--portrait is for the avatar in this"),
        (["--avatar", "a"], "are for --server"),
        (["--record", "out.avi"], "should end in .mp4"),
        (["--server", "http://x", "--local"], "not allowed with"),
        (["--play", "--no-sound"], "not allowed with"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for words in ("examples:", "--list-devices", "the default: it needs nothing else", "Ctrl-C"):
        assert words in text


@pytest.mark.parametrize(
    ("package", "need"),
    [("sounddevice", portaudio), ("pyvirtualcam", virtual_cameras)],
)
def test_a_missing_package_is_named_with_the_command_that_brings_it(
    package: str, need: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MicrophoneError, match=rf"{package}, which is not installed: pip install"):
        need()


def test_a_missing_portaudio_library_is_named(tmp_path: Path) -> None:
    """In a process where the dynamic linker finds none, as on a bare Debian."""
    script = (
        "import ctypes.util; ctypes.util.find_library = lambda name: None\n"
        "from clients.mic.program import main; raise SystemExit(main(['--list-devices']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "finds no PortAudio library; install it" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
