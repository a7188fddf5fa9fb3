"""Sound files of every kind in, MP4 and motion out."""

from __future__ import annotations

import csv
import json
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from engine.audio.framer import Framer
from engine.errors import MediaError
from engine.media import SAMPLE_RATE, AudioChunk, MotionFrame, VideoFrame
from engine.motion.arkit import INDEX
from engine.stage import run
from engine.transport.files import (
    LIVE_LINK,
    Mp4Writer,
    live_link,
    read_audio,
    write_motion,
    write_sheet,
)


def _tone(rate: int, seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def _encode(path: Path, samples: np.ndarray, rate: int, codec: str, layout: str) -> None:
    """Write [channels, N] with FFmpeg's own encoder."""
    form = {"pcm_mulaw": "s16", "pcm_f32le": "flt"}[codec]
    data = np.ascontiguousarray(samples.T.reshape(1, -1))
    data = (data * 32767).astype(np.int16) if form == "s16" else data.astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(data, format=form, layout=layout)
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _dominant(samples: np.ndarray, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


def test_8_khz_stereo_mu_law(tmp_path: Path) -> None:
    path = tmp_path / "phone.wav"
    _encode(path, np.stack([_tone(8_000)] * 2), 8_000, "pcm_mulaw", "stereo")
    audio = read_audio(path)
    assert (audio.rate, audio.samples.dtype) == (8_000, np.float32)
    assert len(audio.samples) == pytest.approx(8_000, abs=200)
    at_16 = np.concatenate([c.samples for c in run(Framer(8_000), [audio])])
    assert _dominant(at_16[:16_000], SAMPLE_RATE) == pytest.approx(440, abs=3)
    assert np.abs(at_16[2_000:14_000]).max() == pytest.approx(0.5, abs=0.05)


def test_96_khz_float(tmp_path: Path) -> None:
    path = tmp_path / "studio.wav"
    _encode(path, _tone(96_000)[None], 96_000, "pcm_f32le", "mono")
    audio = read_audio(path)
    assert audio.rate == 96_000
    np.testing.assert_allclose(audio.samples, _tone(96_000), atol=1e-6)
    at_16 = np.concatenate([c.samples for c in run(Framer(96_000), [audio])])
    assert _dominant(at_16[:16_000], SAMPLE_RATE) == pytest.approx(440, abs=3)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.wav", b"", "is empty"),
        ("text.wav", b"this is not sound at all, only words\n" * 40, "cannot be read as sound"),
        ("cut.wav", b"RIFF\x24\x00\x00\x00WAVEfmt ", "cannot be read as sound"),
    ],
)
def test_what_is_not_sound_is_refused_in_words(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MediaError, match=words):
        read_audio(path)


def test_a_header_without_samples_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "silent.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
    with pytest.raises(MediaError):
        read_audio(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"no sound file at .*none\.wav"):
        read_audio(tmp_path / "none.wav")


def test_mp4_holds_picture_and_sound(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    rest = MotionFrame(np.zeros(58, np.float32), 0.0, 0)
    audio = AudioChunk(_tone(48_000, 1.0).astype(np.float32), 0, 48_000)
    with Mp4Writer(path, (64, 48), audio.rate) as writer:
        for pts in range(25):
            writer.write(VideoFrame(np.full((48, 64, 3), pts * 9, np.uint8), rest, pts))
        writer.sound(audio.samples)
        assert not path.exists(), "a half-written file must not look finished"
    with av.open(str(path)) as container:
        pictures = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(pictures) == 25
    assert pictures[20].mean() == pytest.approx(180, abs=6)
    sound = read_audio(path)
    assert len(sound.samples) / sound.rate == pytest.approx(1.0, abs=0.06)
    assert _dominant(sound.samples, sound.rate) == pytest.approx(440, abs=4)


def test_a_failed_render_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with pytest.raises(RuntimeError), Mp4Writer(path, (64, 48), None):
        raise RuntimeError("stage failed")
    assert list(tmp_path.iterdir()) == []


def _motion() -> list[MotionFrame]:
    values = np.zeros((3, 58), np.float32)
    values[1, INDEX["jawOpen"]] = 0.5
    values[1, INDEX["eyeLookOutLeft"]] = 1.0
    values[2, 52:] = (0.1, -0.2, 0.3, 0.01, 0.02, 0.03)
    return [MotionFrame(row, 1.0, i) for i, row in enumerate(values)]


def test_csv_is_live_links(tmp_path: Path) -> None:
    path = tmp_path / "motion.csv"
    write_motion(path, _motion())
    rows = list(csv.DictReader(path.open()))
    assert len(LIVE_LINK) == 61
    assert list(rows[0])[:3] == ["Timecode", "BlendshapeCount", "EyeBlinkLeft"]
    assert float(rows[1]["JawOpen"]) == 0.5
    assert float(rows[2]["HeadPitch"]) == pytest.approx(-0.2)
    assert rows[2]["Timecode"] == "00:00:00:02"
    # The person's left eye looking outwards turns to the picture's right: yaw is positive.
    assert live_link(_motion()[1].values)[LIVE_LINK.index("LeftEyeYaw")] > 0


def test_jsonl_goes_by_name(tmp_path: Path) -> None:
    path = tmp_path / "motion.jsonl"
    write_motion(path, _motion())
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[1]["blendshapes"]["jawOpen"] == 0.5
    assert lines[2]["rotation"] == pytest.approx([0.1, -0.2, 0.3])
    assert lines[2]["time"] == 0.08


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"\.csv or \.jsonl"):
        write_motion(tmp_path / "motion.bvh", _motion())


def test_contact_sheet(tmp_path: Path) -> None:
    rest = MotionFrame(np.zeros(58, np.float32), 0.0, 0)
    frames = [VideoFrame(np.full((64, 64, 3), 20 * i, np.uint8), rest, i) for i in range(10)]
    path = tmp_path / "sheet.png"
    write_sheet(path, frames, columns=4)
    with av.open(str(path)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert picture.shape == (3 * 32, 4 * 32, 3)
    assert picture[28, 28].mean() == 0
    assert picture[2 * 32 + 28, 32 + 28].mean() == pytest.approx(180, abs=1)
    with pytest.raises(MediaError):
        write_sheet(tmp_path / "sheet.nothing", frames)
