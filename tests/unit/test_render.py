"""The renderer: what is commanded shows, what is not commanded stays the photo."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.errors import ArtifactError, BackendError
from engine.face.analysis import FaceAnalyser, FaceObservation
from engine.face.portrait import Portrait, prepare_portrait
from engine.media import MotionFrame, UInt8
from engine.motion.arkit import INDEX, MOTION_SIZE
from engine.render.avatar import Avatar
from engine.render.layout import network_inputs
from engine.render.renderer import Renderer
from engine.runtime.artifact import WEIGHTS
from engine.runtime.base import Backend
from engine.runtime.load import load_network
from engine.stage import run

POSES = {"yaw": 52, "pitch": 53, "roll": 54, "x": 55, "y": 56, "z": 57}


@pytest.fixture(scope="module")
def analyser() -> FaceAnalyser:
    return FaceAnalyser()


@pytest.fixture(scope="module")
def portrait(analyser: FaceAnalyser) -> Portrait:
    return prepare_portrait(WEIGHTS / "avatars" / "default.png", analyser)


@pytest.fixture(scope="module")
def avatar(portrait: Portrait) -> Avatar:
    return Avatar.from_portrait(portrait)


@pytest.fixture(scope="module")
def network() -> Backend:
    return load_network("render_512")


def motion(**values: float) -> np.ndarray:
    """A motion vector by names; ``eyeBlink`` stands for both sides."""
    out = np.zeros(MOTION_SIZE, np.float32)
    for name, value in values.items():
        if name in POSES:
            out[POSES[name]] = value
        elif name in INDEX:
            out[INDEX[name]] = value
        else:
            out[[INDEX[f"{name}Left"], INDEX[f"{name}Right"]]] = value
    return out


def draw(network: Backend, avatar: Avatar, values: np.ndarray) -> UInt8:
    (frame,) = run(Renderer(network, avatar), [MotionFrame(values, 1.0, 0)])
    return frame.image


def gap(analyser: FaceAnalyser, portrait: Portrait, image: UInt8) -> float:
    seen = look(analyser, portrait, image)
    return float((seen.landmarks[14, 1] - seen.landmarks[13, 1]) / seen.eye_distance)


def look(analyser: FaceAnalyser, portrait: Portrait, image: UInt8) -> FaceObservation:
    return analyser.observe(image, portrait.observation)


def test_resting_motion_gives_the_photo(
    network: Backend, avatar: Avatar, portrait: Portrait
) -> None:
    image = draw(network, avatar, portrait.fit.rest)
    error = np.abs(image.astype(int) - portrait.image)
    assert error.mean() < 1.0
    x, y = portrait.observation.landmarks[[13, 14], :2].mean(0).astype(int)
    error[y - 40 : y + 40, x - 60 : x + 60] = 0
    assert np.percentile(error, 99.9) <= 8


def test_jaw_opens_the_lips_and_mouth_close_closes_them(
    network: Backend, avatar: Avatar, portrait: Portrait, analyser: FaceAnalyser
) -> None:
    opened = [
        gap(analyser, portrait, draw(network, avatar, motion(jawOpen=jaw)))
        for jaw in (0.0, 0.2, 0.4)
    ]
    assert opened[0] < 0.03
    assert opened[1] > opened[0] + 0.03
    assert opened[2] > opened[1] + 0.03
    closed = draw(network, avatar, motion(jawOpen=0.2, mouthClose=0.2))
    assert gap(analyser, portrait, closed) < 0.03


def test_lip_opening_follows_the_command(
    network: Backend, avatar: Avatar, portrait: Portrait, analyser: FaceAnalyser
) -> None:
    rng = np.random.default_rng(1)
    commanded, seen = [], []
    for _ in range(24):
        jaw, close = rng.uniform(0, 0.5), rng.uniform(0, 0.3)
        low, up = rng.uniform(0, 0.3, 2)
        values = motion(
            jawOpen=jaw, mouthClose=min(jaw, close), mouthLowerDown=low, mouthUpperUp=up
        )
        values[52:55] = rng.normal(0, 0.05, 3)
        commanded.append(portrait.fit.lip_opening(values))
        seen.append(gap(analyser, portrait, draw(network, avatar, values)))
    assert np.corrcoef(commanded, seen)[0, 1] > 0.8


def test_a_blink_closes_the_eyes(
    network: Backend, avatar: Avatar, portrait: Portrait, analyser: FaceAnalyser
) -> None:
    scores = []
    for blink in (0.0, 0.5, 1.0):
        seen = look(analyser, portrait, draw(network, avatar, motion(eyeBlink=blink)))
        scores.append(seen.blendshapes[[INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]].mean())
    assert scores[2] > scores[1] > scores[0]
    assert scores[2] > scores[0] + 0.3


def test_the_head_turns_where_it_is_told(
    network: Backend, avatar: Avatar, portrait: Portrait, analyser: FaceAnalyser
) -> None:
    values = motion(yaw=0.15, roll=0.1, pitch=0.08)
    wanted = portrait.fit.project(values)
    seen = look(analyser, portrait, draw(network, avatar, values)).landmarks[:, :2]
    still = portrait.fit.project(motion())
    error = np.sqrt(((seen - wanted) ** 2).sum(1).mean())
    assert error < 0.35 * np.sqrt(((still - wanted) ** 2).sum(1).mean())


def test_the_background_does_not_move(network: Backend, avatar: Avatar, portrait: Portrait) -> None:
    person = (avatar.arrays["person"][0, 3] > 0.01).astype(np.uint8)
    far = cv2.distanceTransform(1 - person, cv2.DIST_L2, 5) > 40
    assert far.sum() > 500
    image = draw(network, avatar, motion(yaw=0.15, roll=-0.1, jawOpen=0.4, x=0.05))
    change = np.abs(image.astype(int) - portrait.image).max(-1)
    assert change[far].max() <= 1
    assert (change[~far] > 10).mean() > 0.02


def test_frames_belong_to_the_caller_and_repeat(network: Backend, avatar: Avatar) -> None:
    renderer = Renderer(network, avatar)
    first = next(iter(renderer.push(MotionFrame(motion(jawOpen=0.3), 1.0, 0)))).image
    kept = first.copy()
    second = next(iter(renderer.push(MotionFrame(motion(yaw=0.2), 1.0, 1)))).image
    again = next(iter(renderer.push(MotionFrame(motion(jawOpen=0.3), 1.0, 2)))).image
    assert (first == kept).all()
    assert (first != second).any()
    assert (first == again).all()
    assert list(renderer.flush()) == []


def test_two_avatars_do_not_mix(network: Backend, avatar: Avatar) -> None:
    arrays = {k: np.array(v) for k, v in avatar.arrays.items()}
    arrays["background"][:] = 0
    dark = Renderer(network, Avatar.from_arrays(arrays))
    bright = Renderer(network, avatar)
    frame = MotionFrame(motion(), 1.0, 0)
    before = next(iter(bright.push(frame))).image
    other = next(iter(dark.push(frame))).image
    after = next(iter(bright.push(frame))).image
    assert (before == after).all()
    assert (before != other).any()


def test_an_avatar_survives_the_disk(avatar: Avatar, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    avatar.save(path)
    loaded = Avatar.load(path)
    assert loaded.digest == avatar.digest
    assert set(loaded.arrays) == set(network_inputs()) - {"motion"}
    with pytest.raises(ValueError, match="read-only"):
        loaded.arrays["unit"][0] = 1


def test_a_damaged_avatar_is_refused(avatar: Avatar, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"not an archive")
    with pytest.raises(ArtifactError):
        Avatar.load(path)
    missing = {k: v for k, v in avatar.arrays.items() if k != "unit"}
    with pytest.raises(ValueError, match="unit"):
        Avatar.from_arrays(missing)


def test_a_motion_of_another_length_is_refused(network: Backend, avatar: Avatar) -> None:
    with pytest.raises(BackendError):
        list(Renderer(network, avatar).push(MotionFrame(np.zeros(57, np.float32), 1.0, 0)))
