"""From the command that makes a video to the command that says it was made."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine import animate
from engine.app import Engine
from engine.config import load_config
from engine.media import SAMPLE_RATE, MotionFrame, VideoFrame
from engine.motion.arkit import MOTION_SIZE
from engine.pipeline import build, load_networks
from engine.provenance.code import Payload
from engine.provenance.detect import Detector
from engine.verify import main
from tests.fakes import speechlike

pytestmark = pytest.mark.slow

NUMBER = 4711


def _film(path: Path, *settings: str) -> Path:
    import soundfile

    wav = path.with_suffix(".wav")
    soundfile.write(wav, speechlike(2.0, SAMPLE_RATE), SAMPLE_RATE)
    options = [option for setting in settings for option in ("--set", setting)]
    assert animate.main(["--audio", str(wav), "--out", str(path), "--quiet", *options]) == 0
    return path


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marked")
    return _film(folder / "talk.mp4", f"provenance.number={NUMBER}")


@pytest.fixture(scope="module")
def unmarked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The label alone: only the invisible mark is looked for."""
    return _film(tmp_path_factory.mktemp("plain") / "talk.mp4", "provenance.watermark=false")


def test_a_made_video_says_so(marked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(marked)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("talk.mp4: marked as generated (Vivace, number 4711, format 1)")
    assert len(said.splitlines()) == 1


def test_programs_get_json(marked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "--seconds", "1", str(marked)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["found"] is True
    assert answer["payload"] == {"version": 1, "engine": 1, "number": NUMBER}
    assert answer["log10_false_alarm"] < -6
    assert 0.8 <= answer["seconds"] <= 1.0
    assert abs(answer["place"]["width"] - 512) < 6


def test_off_is_off(unmarked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(unmarked)]) == 1
    assert "no mark found" in capsys.readouterr().out
    assert main(["--json", str(unmarked)]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["found"] is False
    assert answer["payload"] is None


def test_pictures_and_folders_of_pictures(
    marked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = cv2.VideoCapture(str(marked))
    for index in range(10):
        cv2.imwrite(str(tmp_path / f"{index:03}.png"), film.read()[1])
    assert main([str(tmp_path)]) == 0
    assert main([str(tmp_path / "004.png")]) == 0
    assert capsys.readouterr().out.count(f"number {NUMBER}") == 2


def test_a_real_video_is_not_marked(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seconds", "4", str(shared_data / "video/dev/Real3DPortrait_May_5s.mp4")]) == 1
    assert "no mark found" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.mp4", None, "there is no file"),
        ("empty.mp4", b"", "is empty"),
        ("words.mp4", b"only words\n" * 40, "cannot be read as video"),
        ("sound.wav", "sound", "holds no pictures"),
        ("tiny.png", "tiny", "needs 96 pixels"),
        ("folder", "folder", "holds no pictures"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | str | None,
    words: str,
) -> None:
    import soundfile

    path = tmp_path / name
    match content:
        case bytes():
            path.write_bytes(content)
        case "sound":
            soundfile.write(path, np.zeros(1600), SAMPLE_RATE)
        case "tiny":
            cv2.imwrite(str(path), np.zeros((60, 60, 3), np.uint8))
        case "folder":
            path.mkdir()
    assert main([str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert len(error.strip().splitlines()) == 1
    assert main(["--json", str(path)]) == 2
    assert words in json.loads(capsys.readouterr().out)["error"]


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("exit code", "examples", "not a proof"))


def _payload(frame: VideoFrame) -> Payload | None:
    detector = Detector()
    grey = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)
    detector.add(np.asarray(grey, np.uint8), 0.0)
    return detector.search().payload


def test_the_resting_picture_and_every_session_are_marked(tmp_path: Path) -> None:
    config = load_config(
        settings=[f"provenance.number={NUMBER}", "server.sessions=1", f"server.data={tmp_path}"]
    )
    engine = Engine(config)
    engine.start()
    try:
        idle = engine.avatar().idle
        assert _payload(idle) == Payload(NUMBER)
        networks = load_networks(config)
        pipeline = build(config, networks, engine.avatar().avatar)
        rest = MotionFrame(np.zeros(MOTION_SIZE, np.float32), 0.0, 0)
        drawn = next(iter(pipeline.renderer.push(rest)))
        np.testing.assert_array_equal(drawn.image, idle.image)
    finally:
        engine.close()


def test_turning_both_off_leaves_no_stage() -> None:
    from engine.app import default_portrait
    from engine.face.analysis import FaceAnalyser
    from engine.face.portrait import prepare_portrait
    from engine.pipeline import make_stages
    from engine.render.avatar import Avatar

    avatar = Avatar.from_portrait(prepare_portrait(default_portrait(), FaceAnalyser()))
    off = load_config(settings=["provenance.visible=false", "provenance.watermark=false"])
    networks = load_networks(off)
    assert "mark" not in make_stages(off, networks, avatar)
    assert list(make_stages(load_config(), networks, avatar))[-2:] == ["render", "mark"]
