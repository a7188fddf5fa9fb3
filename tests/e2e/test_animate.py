"""Photo and speech through the offline command's stages: does the picture say what was said?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage import data

from engine.animate import animate, main
from engine.app import default_portrait
from engine.face.analysis import FaceAnalyser
from engine.face.rig import Rig
from engine.media import FPS, AudioChunk, Float32, VideoFrame
from tests.lips import lip_gap
from tests.speech import BILABIAL, OPEN, Spoken, aligned, speak

pytestmark = pytest.mark.slow

TEXT = "My papa bought a map and a big blue boat. | Pick up a pepper, Bob, and maybe a plum."


def gaps(frames: list[VideoFrame], analyser: FaceAnalyser) -> Float32:
    """Inner-lip gap seen by the landmarker, in pupil distances, per frame."""
    seen, out = None, []
    for frame in frames:
        seen = analyser.follow(frame.image, seen)
        assert seen is not None, f"no face in frame {frame.pts}"
        out.append(lip_gap(seen))
    return np.array(out, np.float32)


@pytest.fixture(scope="module")
def spoken() -> Spoken:
    return speak(TEXT)


@pytest.fixture(scope="module", params=["default avatar", "astronaut"])
def rendered(request: pytest.FixtureRequest, spoken: Spoken) -> tuple[list[VideoFrame], Float32]:
    portrait = data.astronaut() if request.param == "astronaut" else default_portrait()
    frames = list(animate(portrait, spoken.audio))
    return frames, gaps(frames, FaceAnalyser())


def _commanded(frames: list[VideoFrame]) -> Float32:
    rig = Rig.load()
    return np.array([rig.lip_opening(f.motion.values) for f in frames], np.float32)


def test_every_frame_of_the_sound_has_its_picture(
    rendered: tuple[list[VideoFrame], Float32], spoken: Spoken
) -> None:
    frames, _ = rendered
    assert [frame.pts for frame in frames] == list(range(spoken.frames))
    assert frames[0].image.shape == (512, 512, 3)


def test_the_picture_does_what_was_commanded(
    rendered: tuple[list[VideoFrame], Float32],
) -> None:
    frames, seen = rendered
    correlation, shift = aligned(seen, _commanded(frames))
    assert correlation > 0.8
    assert abs(shift) <= 1


def test_what_was_commanded_is_what_was_said(
    rendered: tuple[list[VideoFrame], Float32], spoken: Spoken
) -> None:
    frames, _ = rendered
    correlation, shift = aligned(_commanded(frames), spoken.openness())
    assert correlation > 0.5
    assert -3 <= shift <= 1, "lips lead the sound a little; they do not trail it"


def test_lips_meet_on_p_b_m_and_open_on_open_vowels(
    rendered: tuple[list[VideoFrame], Float32], spoken: Spoken
) -> None:
    _, seen = rendered
    closures = [seen[max(0, s.start - 2) : s.stop + 1].min() for s in spoken.frames_of(BILABIAL)]
    vowels = [seen[max(0, s.start - 2) : s.stop + 1].max() for s in spoken.frames_of(OPEN)]
    rest = float(np.median(seen[: FPS // 2]))
    assert np.median(closures) < rest + 0.03
    assert np.mean(np.array(closures) < rest + 0.05) >= 0.8
    assert np.median(vowels) > rest + 0.06


def test_the_mouth_rests_in_silence(
    rendered: tuple[list[VideoFrame], Float32], spoken: Spoken
) -> None:
    frames, seen = rendered
    quiet = np.r_[seen[5 : FPS + 5], seen[-FPS:]]
    # A photo with a toothy smile keeps a hair's breadth that the landmarker sees; lips that speak
    # open several times as far.
    assert np.percentile(quiet, 95) < 0.05
    assert np.percentile(quiet, 95) < 0.3 * np.percentile(seen, 98)
    commanded = _commanded(frames)
    assert np.percentile(np.r_[commanded[5 : FPS + 5], commanded[-FPS:]], 95) < 0.02


def test_the_face_lives_in_silence(rendered: tuple[list[VideoFrame], Float32]) -> None:
    frames, _ = rendered
    poses = np.stack([frame.motion.values[52:58] for frame in frames[-FPS:]])
    assert poses.std(0).max() > 1e-4


def test_the_command_writes_everything(tmp_path: Path, spoken: Spoken) -> None:
    import soundfile

    wav = tmp_path / "said.wav"
    soundfile.write(wav, spoken.audio.samples[: 16_000 * 3], 16_000)
    names = [tmp_path / name for name in ("out.mp4", "out.csv", "out.png")]
    arguments = ["--audio", wav, "--out", names[0], "--motion", names[1], "--sheet", names[2]]
    assert main([str(a) for a in arguments] + ["--quiet"]) == 0
    assert all(path.stat().st_size > 1000 for path in names)
    assert len(names[1].read_text().splitlines()) == 1 + 3 * FPS


@pytest.mark.parametrize(
    ("photo", "sound", "words"),
    [
        (b"only words\n", None, "not an image"),
        (None, b"", "is empty"),
        (None, b"only words\n" * 50, "cannot be read as sound"),
    ],
)
def test_bad_input_is_one_sentence_and_no_file(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoken: Spoken,
    photo: bytes | None,
    sound: bytes | None,
    words: str,
) -> None:
    import soundfile

    wav, out, portrait = tmp_path / "in.wav", tmp_path / "out.mp4", default_portrait()
    if sound is None:
        soundfile.write(wav, spoken.audio.samples[:16_000], 16_000)
    else:
        wav.write_bytes(sound)
    if photo is not None:
        portrait = tmp_path / "photo.jpg"
        portrait.write_bytes(photo)
    code = main(["--portrait", str(portrait), "--audio", str(wav), "--out", str(out), "--quiet"])
    error = capsys.readouterr().err
    assert code == 1
    assert words in error
    assert error.startswith("error: ")
    assert len(error.strip().splitlines()) == 1
    assert not out.exists()


def test_a_face_that_is_spoken_to_listens_with_its_mouth_shut(spoken: Spoken) -> None:
    silence = AudioChunk(np.zeros_like(spoken.audio.samples), 0, spoken.audio.rate)
    alone = list(animate(default_portrait(), silence))
    listening = list(animate(default_portrait(), silence, other=spoken.audio))
    assert len(listening) == len(alone) == spoken.frames
    moved = np.stack([f.motion.values for f in listening])
    idle = np.stack([f.motion.values for f in alone])
    assert np.abs(moved - idle).max() > 0.02
    assert _commanded(listening).max() < 0.02
