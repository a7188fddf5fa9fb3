"""The watermark against what happens to video: real codecs, scaling, cropping, screens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import cv2
import numpy as np
import pytest
from skimage import data

from benchmarks.watermark import CODECS, send
from engine.config import ProvenanceConfig
from engine.face.analysis import FaceAnalyser
from engine.face.portrait import prepare_portrait
from engine.media import FPS, MotionFrame, UInt8, VideoFrame
from engine.provenance.code import Code, Payload
from engine.provenance.detect import FALSE_ALARM, Detector, Finding
from engine.provenance.mark import Mark

pytestmark = pytest.mark.slow

PAYLOAD = Payload(654321)
FRAMES = 2 * FPS


@cache
def portrait() -> UInt8:
    """A photo as the renderer gets it."""
    return prepare_portrait(data.astronaut(), FaceAnalyser()).image


@cache
def talking() -> tuple[UInt8, ...]:
    """An avatar's portrait whose head sways before a background that does not."""
    photo = portrait()
    near = cv2.GaussianBlur(
        cv2.ellipse(np.zeros((512, 512), np.float32), (256, 200), (150, 200), 0, 0, 360, 1, -1),
        (0, 0), 20,
    )[..., None]  # fmt: skip
    frames = []
    for index in range(FRAMES):
        phase = 2 * np.pi * index / FPS
        move = np.array([[1, 0, 3 * np.sin(phase)], [0, 1, 2 * np.cos(1.7 * phase)]])
        moved = cv2.warpAffine(photo, move, photo.shape[:2], borderMode=cv2.BORDER_REFLECT)
        frames.append((near * moved + (1 - near) * photo).astype(np.uint8))
    return tuple(frames)


@cache
def marked() -> tuple[UInt8, ...]:
    mark = Mark(ProvenanceConfig(number=PAYLOAD.number), portrait())
    still = MotionFrame(np.zeros(58, np.float32), 0.0, 0)
    return tuple(next(iter(mark.push(VideoFrame(f, still, 0)))).image for f in talking())


def through(codec: str, frames: Sequence[UInt8], bitrate: int) -> list[UInt8]:
    """RGB pictures after the server's own encoder and a decoder."""
    received = send(frames, codec, bitrate // 1000)
    assert len(received) == len(frames)
    return received


@cache
def sent() -> tuple[UInt8, ...]:
    """What a receiver has of the marked video at 500 kbit/s."""
    return tuple(through("vp8", marked(), 500_000))


def look(frames: Sequence[UInt8], code: Code | None = None) -> Finding:
    detector = Detector(code)
    for index, frame in enumerate(frames):
        detector.add(np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8), index / FPS)
    return detector.search()


def scaled(side: int) -> list[UInt8]:
    return [cv2.resize(f, (side, side), interpolation=cv2.INTER_AREA) for f in sent()]


def screen(side: int, left: int, top: int) -> list[UInt8]:
    """A recording of a page with a picture in it."""
    rng = np.random.default_rng(1)
    page = np.full((720, 1280, 3), 244, np.uint8)
    for line in range(20, 700, 24):
        page[line : line + 10, 30 : 30 + int(rng.integers(200, 1200))] = 40
    out = []
    for frame in sent()[::2]:
        shot = page.copy()
        big = cv2.resize(frame, (side, side), interpolation=cv2.INTER_LINEAR)
        shot[top : top + side, left : left + side] = big
        out.append(shot)
    return through("h264", out, 1_500_000)


@pytest.mark.parametrize("codec", CODECS)
def test_it_survives_the_servers_codecs_at_500_kbit(codec: str) -> None:
    found = look(through(codec, marked(), 500_000))
    assert found.found
    assert found.payload == PAYLOAD
    assert found.log10_chance < -12
    assert found.spans == ((0.0, (FRAMES - 1) / FPS),)


ATTACKS: dict[str, Callable[[], Sequence[UInt8]]] = {
    "encoded twice": lambda: through("h264", sent(), 500_000),
    "to 384 and back": lambda: [cv2.resize(f, (512, 512)) for f in scaled(384)],
    "at 384, encoded": lambda: through("h264", scaled(384), 400_000),
    "cropped": lambda: [np.ascontiguousarray(f[16:500, 24:496]) for f in sent()],
    "brighter": lambda: [cv2.convertScaleAbs(f, alpha=1.0, beta=25) for f in sent()],
    "less contrast": lambda: [cv2.convertScaleAbs(f, alpha=0.75, beta=20) for f in sent()],
    "more contrast": lambda: [cv2.convertScaleAbs(f, alpha=1.3, beta=-25) for f in sent()],
    "mirrored": lambda: [np.ascontiguousarray(f[:, ::-1]) for f in sent()],
    "stretched": lambda: [cv2.resize(f, (520, 512)) for f in sent()],
    "one picture, unencoded": lambda: marked()[7:8],
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_it_survives(attack: str) -> None:
    found = look(ATTACKS[attack]())
    assert found.found
    assert found.payload == PAYLOAD


@pytest.mark.parametrize(("side", "left", "top"), [(512, 700, 90), (640, 320, 40)])
def test_it_is_found_in_a_recorded_screen_and_says_where(side: int, left: int, top: int) -> None:
    found = look(screen(side, left, top))
    assert found.found
    assert found.payload == PAYLOAD
    assert found.place is not None
    assert abs(found.place.left - left) < 8
    assert abs(found.place.top - top) < 8
    assert abs(found.place.width - side) < 8


def test_without_the_mark_nothing_is_found() -> None:
    for frames in (talking(), through("vp8", talking(), 500_000)):
        found = look(frames)
        assert not found.found
        assert found.payload is None
        assert found.spans == ()
        assert found.log10_chance > np.log10(FALSE_ALARM)


def test_a_marked_video_has_no_mark_under_other_keys() -> None:
    """Each key is an independent trial of the false-alarm rate, on marked and encoded pictures."""
    strongest = [look(sent()[:13], Code(b"other %d" % key)) for key in range(3)]
    assert not any(found.found for found in strongest)
    assert max(found.z for found in strongest) < 7


def test_a_passage_of_a_longer_video_is_found_and_placed_in_time() -> None:
    """Six seconds, of which the third and fourth are marked."""
    frames = [*talking(), *marked(), *talking()]
    found = look(frames)
    assert found.found
    assert found.payload == PAYLOAD
    assert found.spans == ((2.0, 4.0),)
    assert found.seconds == pytest.approx(len(frames) / FPS, abs=0.1)


def test_a_long_video_is_kept_in_bounded_memory() -> None:
    detector = Detector()
    small = [cv2.resize(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), (128, 128)) for f in marked()[:2]]
    for second in range(400):
        detector.add(small[second % 2], float(second))
    assert 32 <= len(detector._windows) <= 64
    assert sum(window.count for window in detector._windows) == 400


def test_impossible_use_is_refused() -> None:
    detector = Detector()
    with pytest.raises(ValueError, match="no picture"):
        detector.search()
    detector.add(np.zeros((128, 128), np.uint8), 0.0)
    with pytest.raises(ValueError, match="128"):
        detector.add(np.zeros((128, 256), np.uint8), 1.0)


def test_pictures_without_any_content_are_not_marked() -> None:
    detector = Detector()
    for index in range(3):
        detector.add(np.full((256, 256), 128, np.uint8), index / 10)
    found = detector.search()
    assert not found.found
    assert np.isfinite(found.z)
