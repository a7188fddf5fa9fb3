"""Tracking: a rendered clip gives back the motion it was rendered from; time axes; transcripts."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from engine.app import default_portrait
from engine.errors import MediaError
from engine.face.analysis import FaceAnalyser
from engine.face.portrait import Portrait, prepare_portrait
from engine.media import SAMPLE_RATE, SAMPLES_PER_FRAME
from engine.motion.arkit import INDEX, MOTION_SIZE, ROTATION
from training.tracking.clips import clips, grid_sentence, transcript
from training.tracking.media import cut, pictures, sound
from training.tracking.solve import project, solve_motion
from training.tracking.track import CAMERA, track


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return prepare_portrait(default_portrait(), FaceAnalyser())


def write_clip(
    path: Path, images: list[np.ndarray], rate: int, audio: np.ndarray, audio_late: float = 0.0
) -> None:
    """An MP4 (H.264, AAC) whose sound starts ``audio_late`` seconds after its picture."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=rate, options={"crf": "12"})
        video.height, video.width = images[0].shape[:2]
        video.pix_fmt = "yuv420p"
        voice = out.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, rate)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        samples = av.AudioFrame.from_ndarray(audio[None].astype(np.float32), "fltp", "mono")
        samples.sample_rate, samples.time_base = SAMPLE_RATE, Fraction(1, SAMPLE_RATE)
        samples.pts = round(audio_late * SAMPLE_RATE)
        out.mux(voice.encode(samples))
        out.mux(voice.encode(None))


def click(seconds: float, at: float) -> np.ndarray:
    audio = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    start = round(at * SAMPLE_RATE)
    audio[start : start + 400] = 0.8 * np.sin(np.arange(400) * 0.4)
    return audio


def test_solver_gives_back_the_motion_that_was_projected(portrait: Portrait) -> None:
    fit = portrait.fit
    wanted = fit.rest.copy()
    wanted[INDEX["jawOpen"]] += 0.4
    wanted[INDEX["mouthSmileLeft"]] += 0.3
    wanted[INDEX["eyeBlinkRight"]] = 0.8
    wanted[ROTATION] = 0.12, -0.08, 0.05
    wanted[55:58] = 0.05, -0.03, 0.2
    seen = project(fit, wanted, CAMERA)
    solved, error = solve_motion(fit, seen, fit.rest, iris=1.0, camera=CAMERA, rounds=6)
    assert error < 0.01 * fit.scale
    assert solved[ROTATION] == pytest.approx(wanted[ROTATION], abs=0.01)
    assert solved[57] == pytest.approx(0.2, abs=0.05)
    assert solved[INDEX["eyeBlinkRight"]] == pytest.approx(0.8, abs=0.15)
    assert fit.lip_opening(solved) == pytest.approx(fit.lip_opening(wanted), abs=0.015)
    assert solved[:52].min() >= 0 and solved[:52].max() <= 1


def test_a_nearer_head_is_larger_only_with_a_camera(portrait: Portrait) -> None:
    near = portrait.fit.rest.copy()
    near[57] = 1.0
    sizes = [
        np.ptp(project(portrait.fit, values, camera), axis=0)
        for values, camera in (
            (portrait.fit.rest, CAMERA), (near, CAMERA), (near, None),
        )
    ]  # fmt: skip
    assert sizes[1] == pytest.approx(sizes[0] * CAMERA / (CAMERA - 1), rel=0.01)
    assert sizes[2] == pytest.approx(sizes[0], rel=1e-3)


@pytest.fixture(scope="module")
def moved(portrait: Portrait, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The portrait shifted right and left at 50 fps, gone in the last fifth; sound 0.2 s late."""
    images = []
    for i in range(50):
        shift = round(20 * np.sin(2 * np.pi * i / 50))
        image = np.roll(portrait.image, shift, axis=1)
        images.append(np.full_like(image, 90) if i >= 40 else image)
    path = tmp_path_factory.mktemp("clip") / "moved.mp4"
    write_clip(path, images, 50, click(0.9, 0.3), audio_late=0.2)
    return path


def test_track_resamples_keeps_time_and_survives_a_lost_face(
    moved: Path, portrait: Portrait, tmp_path: Path
) -> None:
    found = track(moved, tmp_path)
    count = len(found.motion)
    assert count == 25 and found.motion.shape == (count, MOTION_SIZE)
    assert found.motion.dtype == np.float32 and np.isfinite(found.motion).all()
    assert len(found.audio) == count * SAMPLES_PER_FRAME
    assert found.seen[:20].all() and not found.seen[21:].any()
    expected = 20 * np.sin(2 * np.pi * np.arange(20) / 25) / portrait.fit.scale
    x = found.motion[:20, 55]
    assert x - x.mean() == pytest.approx(expected - expected.mean(), abs=0.03)
    assert np.abs(found.motion[:20, 57]).max() < 0.5
    # The click lies 0.3 s into a sound that starts 0.2 s late.
    heard = np.flatnonzero(np.abs(found.audio) > 0.3)[0] / SAMPLE_RATE
    assert heard == pytest.approx(0.5, abs=0.01)
    again = track(moved, tmp_path)
    np.testing.assert_array_equal(again.motion, found.motion)
    assert len(list(tmp_path.glob("*.npz"))) == 1


def test_pictures_and_sound_report_the_containers_times(moved: Path) -> None:
    times = [time for time, _ in pictures(moved)]
    assert np.diff(times) == pytest.approx(np.full(49, 0.02), abs=1e-3)
    start, audio = sound(moved)
    first = np.flatnonzero(np.abs(audio) > 0.3)[0] / SAMPLE_RATE
    assert start + first == pytest.approx(0.5 + times[0], abs=0.01)


def test_cut_pads_with_silence_on_both_sides() -> None:
    audio = np.ones(SAMPLE_RATE, np.float32)
    part = cut(audio, start=0.5, origin=0.25, samples=2 * SAMPLE_RATE)
    spoken = np.flatnonzero(part)
    assert (spoken[0], spoken[-1]) == (4000, 19999)


def test_what_cannot_be_tracked_is_said_in_one_line(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    blank = tmp_path / "blank.mp4"
    write_clip(blank, [np.full((128, 128, 3), 90, np.uint8)] * 10, 25, click(0.4, 0.1))
    for path, reason in (
        (tmp_path / "none.mp4", "cannot be read"),
        (text, "cannot be read"),
        (blank, "a face is seen in only 0%"),
    ):
        with pytest.raises(MediaError, match=reason) as caught:
            track(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("bbaf2n", "bin blue at f two now"),
        ("lwbsza", "lay white by s zero again"),
        ("pgir9p", "place green in r nine please"),
    ],
)
def test_grid_codes(code: str, sentence: str) -> None:
    assert grid_sentence(code) == sentence
    assert transcript(Path(f"grid_{code}.mpg"))[0].text == sentence


@pytest.mark.parametrize("code", ["bbaf2", "xbaf2n", "bbaw2n", ""])
def test_what_is_no_grid_code(code: str) -> None:
    with pytest.raises(ValueError, match="GRID"):
        grid_sentence(code)


def test_transcripts_are_in_order_and_splits_are_checked(tmp_path: Path) -> None:
    passages = transcript(Path("uncrop_Obama.mp4"))
    assert len(passages) > 1
    assert all(a.end <= b.start for a, b in itertools.pairwise(passages))
    assert transcript(Path("unknown.mp4")) == []
    (tmp_path / "dev").mkdir()
    for name in ("b.mp4", "a.mpg", "notes.txt"):
        (tmp_path / "dev" / name).touch()
    assert [p.name for p in clips("dev", tmp_path)] == ["a.mpg", "b.mp4"]
    assert clips("train", tmp_path) == []
    with pytest.raises(ValueError, match="split"):
        clips("test", tmp_path)
