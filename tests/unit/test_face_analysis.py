"""Detector, landmarks, blendshapes, tracking and matte on real pictures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from engine.errors import ArtifactError
from engine.face import topology
from engine.face.analysis import FaceAnalyser, FaceObservation
from engine.face.matte import guided_filter
from engine.media import UInt8
from engine.motion.arkit import BLENDSHAPES, INDEX

# What mediapipe 0.10.21's FaceLandmarker (image mode) answers for the same picture.
LANDMARKS = {
    1: (223.53, 131.05, -22.87), 4: (223.68, 126.97, -24.65), 10: (226.03, 72.24, -11.91),
    13: (223.29, 143.16, -5.67), 14: (222.99, 149.20, -2.93), 33: (195.28, 100.58, 4.22),
    61: (202.28, 139.17, 7.57), 133: (213.59, 103.62, 0.64), 152: (221.43, 177.42, 9.63),
    159: (202.57, 97.82, -1.50), 145: (204.20, 104.18, -0.34), 234: (180.87, 109.88, 41.10),
    263: (255.32, 103.79, 3.46), 291: (244.49, 140.55, 7.13), 362: (236.41, 104.92, 0.30),
    454: (269.76, 114.44, 39.79), 468: (203.47, 101.12, 0.06), 473: (246.03, 103.52, -0.12),
}  # fmt: skip
SCORES = {
    "browDownLeft": 0.028, "browDownRight": 0.034, "browInnerUp": 0.022, "browOuterUpLeft": 0.118,
    "browOuterUpRight": 0.098, "eyeBlinkLeft": 0.04, "eyeBlinkRight": 0.027,
    "eyeLookDownLeft": 0.146, "eyeLookDownRight": 0.138, "eyeLookInLeft": 0.061,
    "eyeLookInRight": 0.065, "eyeLookOutLeft": 0.064, "eyeLookOutRight": 0.064,
    "eyeLookUpLeft": 0.075, "eyeLookUpRight": 0.072, "eyeSquintLeft": 0.35,
    "eyeSquintRight": 0.271, "eyeWideLeft": 0.021, "eyeWideRight": 0.041,
    "mouthDimpleLeft": 0.027, "mouthDimpleRight": 0.021, "mouthLowerDownLeft": 0.061,
    "mouthLowerDownRight": 0.139, "mouthPressLeft": 0.106, "mouthPressRight": 0.175,
    "mouthRollUpper": 0.031, "mouthShrugUpper": 0.023, "mouthSmileLeft": 0.899,
    "mouthSmileRight": 0.904, "mouthStretchRight": 0.024, "mouthUpperUpLeft": 0.468,
    "mouthUpperUpRight": 0.474,
}  # fmt: skip


@pytest.fixture(scope="module")
def analyser() -> FaceAnalyser:
    return FaceAnalyser()


@pytest.fixture(scope="module")
def photo() -> UInt8:
    return np.asarray(astronaut(), np.uint8)


@pytest.fixture(scope="module")
def seen(analyser: FaceAnalyser, photo: UInt8) -> FaceObservation:
    (found,) = analyser.detect(photo)
    return analyser.observe(photo, found)


def test_landmarks_agree_with_mediapipe(seen: FaceObservation) -> None:
    expected = np.array(list(LANDMARKS.values()))
    error = np.abs(seen.landmarks[list(LANDMARKS)] - expected) / seen.eye_distance
    assert error[:, :2].max() < 0.01
    assert error[:, 2].max() < 0.02
    assert seen.presence > 0.99


def test_blendshapes_agree_with_mediapipe_by_name(seen: FaceObservation) -> None:
    expected = np.array([SCORES.get(name, 0.01) for name in BLENDSHAPES])
    expected[INDEX["tongueOut"]] = 0
    error = np.abs(seen.blendshapes - expected)
    assert error.mean() < 0.01
    assert error.max() < 0.03
    assert seen.blendshapes.shape == (52,)
    assert seen.blendshapes[INDEX["tongueOut"]] == 0


def test_in_a_mirrored_picture_left_is_still_the_pictures_right(
    analyser: FaceAnalyser, photo: UInt8
) -> None:
    flipped = np.ascontiguousarray(photo[:, ::-1])
    (there,) = analyser.observe_all(flipped)
    (here,) = analyser.observe_all(photo)
    right, left = topology.IRIS_CENTRES
    assert there.landmarks[right, 0] == pytest.approx(511 - here.landmarks[left, 0], abs=1.5)
    apart = (
        there.landmarks[topology.MOUTH_CORNERS[0], 0]
        - 511
        + here.landmarks[topology.MOUTH_CORNERS[1], 0]
    )
    assert abs(apart) < 1.5


@pytest.mark.parametrize("angle", [-40, 35])
def test_a_tilted_head_is_found_upright(
    analyser: FaceAnalyser, photo: UInt8, seen: FaceObservation, angle: int
) -> None:
    matrix = cv2.getRotationMatrix2D((225, 125), angle, 1.0)
    turned = np.asarray(cv2.warpAffine(photo, matrix, (512, 512)), np.uint8)
    found = analyser.observe_all(turned)[0]
    expected = seen.landmarks[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    error = np.linalg.norm(found.landmarks[:, :2] - expected, axis=1) / seen.eye_distance
    assert error.mean() < 0.05


def test_small_faces_need_the_thorough_look(analyser: FaceAnalyser, photo: UInt8) -> None:
    canvas = np.full((1600, 1600, 3), 120, np.uint8)
    canvas[900:1156, 600:856] = cv2.resize(photo, (256, 256), interpolation=cv2.INTER_AREA)
    assert analyser.observe_all(canvas) == []
    (found,) = analyser.observe_all(canvas, thorough=True)
    assert found.landmarks[4, :2] == pytest.approx([600 + 112, 900 + 63], abs=3)


def test_two_faces_are_two_faces(analyser: FaceAnalyser, photo: UInt8) -> None:
    both = np.hstack([photo, photo[:, ::-1]])
    assert len(analyser.observe_all(both, thorough=True)) == 2


@pytest.mark.parametrize("colour", [0, 127, 255])
def test_nothing_in_nothing(analyser: FaceAnalyser, colour: int) -> None:
    blank = np.full((300, 500, 3), colour, np.uint8)
    assert analyser.observe_all(blank, thorough=True) == []
    assert list(analyser.track([blank, blank])) == [None, None]


def test_track_follows_loses_and_finds_again(analyser: FaceAnalyser, photo: UInt8) -> None:
    shifted = [np.roll(photo, 6 * k, axis=1) for k in range(4)]
    blank = np.full_like(photo, 90)
    path = list(analyser.track([*shifted, blank, photo]))
    xs = [face.landmarks[4, 0] for face in path[:4] if face is not None]
    assert np.diff(xs) == pytest.approx([6, 6, 6], abs=1.2)
    assert path[4] is None
    assert path[5] is not None


def test_track_follows_a_real_talker(analyser: FaceAnalyser, shared_data: Path) -> None:
    with av.open(str(shared_data / "video/train/grid_lbax4n.mpg")) as clip:
        frames = [f.to_ndarray(format="rgb24") for _, f in zip(range(40), clip.decode(video=0))]  # noqa: B905
    path = list(analyser.track(frames))
    assert all(face is not None and face.presence > 0.9 for face in path)
    alone = analyser.observe_all(frames[-1])[0]
    last = path[-1]
    assert last is not None
    apart = np.linalg.norm(last.landmarks[:, :2] - alone.landmarks[:, :2], axis=1)
    assert apart.mean() / alone.eye_distance < 0.03


def test_threads_share_one_analyser(
    analyser: FaceAnalyser, photo: UInt8, seen: FaceObservation
) -> None:
    (found,) = analyser.detect(photo)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: analyser.observe(photo, found), range(12)))
    for result in results:
        assert np.array_equal(result.landmarks, seen.landmarks)
        assert np.array_equal(result.blendshapes, seen.blendshapes)


def test_matte_separates_the_person(analyser: FaceAnalyser, photo: UInt8) -> None:
    matte = analyser.matte(photo)
    assert matte.shape == (512, 512)
    assert matte.dtype == np.float32
    assert matte.min() >= 0
    assert matte.max() <= 1
    assert matte[90:150, 195:255].min() > 0.95  # the face
    assert matte[300:450, 100:250].mean() > 0.95  # the suit
    assert matte[20:200, 320:500].max() < 0.1  # wall and shuttle


def test_guided_filter_moves_a_coarse_edge_to_the_pictures() -> None:
    guide = np.zeros((64, 64, 3), np.float32)
    guide[:, 32:] = (0.8, 0.6, 0.5)
    coarse = np.tile(np.clip((np.arange(64, dtype=np.float32) - 20) / 16, 0, 1), (64, 1))
    refined = guided_filter(guide, coarse, 12, 1e-4)
    across = refined[32]
    assert across[33] - across[30] > 0.5
    assert coarse[32, 33] - coarse[32, 30] < 0.2


def test_missing_or_damaged_weights_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="missing"):
        FaceAnalyser(tmp_path)


def test_every_landmark_list_is_of_this_mesh() -> None:
    lists = (topology.INNER_UPPER_LIP, topology.RIGHT_UPPER_LID, topology.FACE_OVAL)
    assert all(0 <= i < 468 for row in lists for i in row)
    assert len(set(topology.BLENDSHAPE_POINTS)) == 146
    assert sorted(topology.BLENDSHAPE_SOURCE) == [-1, *range(1, 52)]
