"""Strangers' sound is decoded in a confined process."""

from __future__ import annotations

import os
import signal
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from engine.errors import MediaError
from engine.transport.soundbox import SoundBox
from tests.e2e.test_agent import wav

pytestmark = pytest.mark.slow
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
TONE = (0.4 * np.sin(np.arange(24_000) * 0.1)).astype(np.float32)


@pytest.fixture
def box() -> Iterator[SoundBox]:
    box = SoundBox(most=2, seconds=5)
    yield box
    box.close()


def test_a_wav_comes_back_as_samples(box: SoundBox) -> None:
    sound = box.decode(wav(TONE, 24_000))
    assert sound.rate == 24_000
    np.testing.assert_allclose(sound.samples, TONE, atol=1e-3)


def test_what_is_too_long_or_no_sound_is_refused_in_words(box: SoundBox) -> None:
    long = wav(np.tile(TONE, 3), 24_000)
    for data, words in (
        (long, "longer than 2 seconds"),
        (b"", "cannot be read"),
        (b"v=0", "cannot"),
    ):
        with pytest.raises(MediaError, match=words):
            box.decode(data)
    assert box.restarts == 0


def test_many_channels_cost_a_refusal_not_the_server(box: SoundBox) -> None:
    """PyAV 18 reads planes that do not exist for eight channels and more."""
    channels, frames = 16, 4800
    data = bytes(2 * channels * frames)
    head = struct.pack("<HHIIHH", 1, channels, 48_000, 96_000 * channels, 2 * channels, 16)
    body = (
        b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", len(data)) + data
    )
    with pytest.raises(MediaError):
        box.decode(b"RIFF" + struct.pack("<I", len(body)) + body)
    assert box.decode(wav(TONE, 24_000)).rate == 24_000


@linux
def test_the_process_can_do_nothing_else(box: SoundBox) -> None:
    box.decode(wav(TONE, 24_000))
    limits = Path(f"/proc/{box.pid}/limits").read_text()
    held = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
    assert (held["Max open files"], held["Max file size"]) == ("3", "0")


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_killed_or_frozen_over_a_sound(number: signal.Signals) -> None:
    box = SoundBox(most=2, seconds=2)
    errors: list[Exception] = []

    def decode() -> None:
        try:
            box.decode(wav(TONE, 24_000))
        except MediaError as error:
            errors.append(error)

    try:
        box.decode(wav(TONE, 24_000))
        assert box.pid is not None
        os.kill(box.pid, signal.SIGSTOP)  # so that it certainly is in the middle of it
        thread = threading.Thread(target=decode)
        thread.start()
        os.kill(box.pid, number)
        thread.join(20)
        assert not thread.is_alive() and len(errors) == 1
        assert box.decode(wav(TONE, 24_000)).rate == 24_000
        assert box.restarts <= 1  # none if it died before it was asked
    finally:
        box.close()


@pytest.mark.parametrize("suffix", ["flac", "mp3", "ogg", "opus", "m4a", "webm", "aiff"])
def test_what_people_have(suffix: str, box: SoundBox, tmp_path: Path) -> None:
    path = tmp_path / f"voice.{suffix}"
    with av.open(str(path), "w") as out:
        codecs = {
            "mp3": "mp3",
            "ogg": "libopus",
            "opus": "libopus",
            "m4a": "aac",
            "webm": "libopus",
        }
        stream = out.add_stream(
            codecs.get(suffix, "flac" if suffix == "flac" else "pcm_s16be"), 48_000
        )
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray((TONE * 32767).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate = 48_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    sound = box.decode(path.read_bytes())
    assert abs(len(sound.samples) / sound.rate - 0.5) < 0.1
    assert float(np.abs(sound.samples).max()) > 0.3
