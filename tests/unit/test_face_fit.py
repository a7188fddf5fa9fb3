"""Fitting the head to photos, real and made from the rig itself."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from engine.face import topology as top
from engine.face.analysis import FaceAnalyser, FaceObservation
from engine.face.fit import HeadFit, fit_head
from engine.face.rig import Rig, angles, rotation_matrix
from engine.media import Float32
from engine.motion.arkit import BLENDSHAPES, EXPRESSION, INDEX, LIPS, MOTION_SIZE, ROTATION


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig.load()


@pytest.fixture(scope="module")
def analyser() -> FaceAnalyser:
    return FaceAnalyser()


@pytest.fixture(scope="module")
def seen(analyser: FaceAnalyser) -> FaceObservation:
    return analyser.observe_all(np.asarray(astronaut(), np.uint8))[0]


@pytest.fixture(scope="module")
def fit(seen: FaceObservation, rig: Rig) -> HeadFit:
    return fit_head(seen, rig)


def motion(**shapes: float) -> Float32:
    values = np.zeros(MOTION_SIZE, np.float32)
    for name, weight in shapes.items():
        values[INDEX[name]] = weight
    return values


def gaps(points: Float32, pairs: tuple[tuple[int, int], ...]) -> Float32:
    upper, lower = (list(side) for side in zip(*pairs, strict=True))
    return np.asarray(np.linalg.norm(points[upper, :2] - points[lower, :2], axis=1), np.float32)


def test_rest_is_the_photo_exactly(fit: HeadFit, seen: FaceObservation) -> None:
    assert np.abs(fit.project(fit.rest) - seen.landmarks[:, :2]).max() < 0.01
    assert fit.reprojection_error < 0.04
    assert fit.scale == pytest.approx(seen.eye_distance, rel=0.1)


def test_a_smile_with_teeth_can_close(fit: HeadFit, seen: FaceObservation) -> None:
    assert gaps(seen.landmarks, top.LIP_PAIRS).max() / seen.eye_distance > 0.1
    assert fit.resting[INDEX["mouthSmileLeft"]] > 0.4
    closed = fit.project(motion())
    assert gaps(closed, top.LIP_PAIRS).max() / seen.eye_distance < 0.02
    width = [np.linalg.norm(points[61] - points[291]) for points in (closed, seen.landmarks[:, :2])]
    assert width[0] < 0.9 * width[1]


@pytest.mark.parametrize("jaw", [0.2, 0.5])
def test_bilabials_meet_on_an_open_jaw(fit: HeadFit, jaw: float) -> None:
    closed = fit.project(motion(jawOpen=jaw, mouthClose=jaw))
    assert gaps(closed, top.LIP_PAIRS).max() / fit.scale < 0.02
    assert fit.lip_opening(motion(jawOpen=jaw)) > 0.4 * jaw
    assert fit.lip_opening(motion(jawOpen=jaw, mouthClose=jaw)) < 0.005


def test_a_blink_closes_this_persons_lids(fit: HeadFit, seen: FaceObservation) -> None:
    shut = fit.project(motion(eyeBlinkLeft=1, eyeBlinkRight=1))
    for pairs in (top.LEFT_LID_PAIRS, top.RIGHT_LID_PAIRS):
        assert gaps(shut, pairs).max() < 0.1 * gaps(seen.landmarks, pairs).max()


def test_the_network_recognises_what_the_fit_shows(fit: HeadFit, analyser: FaceAnalyser) -> None:
    """Independent judge: scores of moved landmarks against those of the neutral face."""
    neutral = analyser.blendshapes(fit.project(motion()))
    expected = {
        "eyeBlinkLeft": 0.4, "eyeBlinkRight": 0.4, "jawOpen": 0.35, "mouthPucker": 0.3,
        "mouthSmileLeft": 0.35, "mouthSmileRight": 0.35, "eyeWideLeft": 0.3, "browInnerUp": 0.15,
        "browDownRight": 0.2, "mouthLeft": 0.15,
    }  # fmt: skip
    for name, rise in expected.items():
        scores = analyser.blendshapes(fit.project(motion(**{name: 0.8})))
        assert scores[INDEX[name]] - neutral[INDEX[name]] > rise, name


def test_pose_moves_the_head_as_the_signs_say(fit: HeadFit) -> None:
    rest = fit.project(fit.rest)
    nose, iris = top.NOSE_TIP, top.IRIS_CENTRES[0]
    for index, axis, sign in ((0, 0, 1), (1, 1, 1)):
        values = fit.rest.copy()
        values[ROTATION.start + index] = 0.2
        moved = fit.project(values) - rest
        assert sign * moved[nose, axis] > 0.05 * fit.scale
    values = fit.rest.copy()
    values[55:57] = (0.1, 0.1)
    shift = fit.project(values) - rest
    assert shift[iris] == pytest.approx([0.1 * fit.scale, -0.1 * fit.scale], rel=1e-3)


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (0.35, -0.1, 0.2), (-0.3, 0.25, -0.15)])
def test_recovers_a_head_made_from_the_rig(rig: Rig, turn: tuple[float, float, float]) -> None:
    truth = motion(mouthSmileLeft=0.5, mouthSmileRight=0.5, jawOpen=0.3, browInnerUp=0.4)
    head = rig.landmarks(truth) + np.tensordot([1.0, -0.8, 0.5], rig.identity[:3], 1)
    placed = 90 * head @ rotation_matrix(*turn).T * [1, -1, -1] + [256, 240, 0]
    scores = truth[:52].copy()
    made = fit_head(FaceObservation(placed.astype(np.float32), scores, 1.0), rig)
    assert made.angles == pytest.approx(turn, abs=0.05)
    assert made.scale == pytest.approx(90, rel=0.03)
    assert made.reprojection_error < 0.006
    assert np.abs(made.resting - truth[:52])[list(LIPS)].max() < 0.12
    # Brows and eyes are the person's own, not an expression to be taken away.
    assert not made.resting[list(EXPRESSION)].any()
    assert angles(made.rotation) == pytest.approx(made.angles)


def test_parts_sit_inside_the_face(fit: HeadFit) -> None:
    values = motion(jawOpen=0.4)
    face = fit.project(values)
    for name, part in fit.parts.items():
        points = fit.place(part.at(values[:52]), values)[:, :2]
        low, high = face.min(0), face.max(0)
        assert (points.mean(0) > low).all(), name
        assert (points.mean(0) < high).all(), name
    eyes = [
        fit.place(fit.parts[n].points, values)[:, :2].mean(0) for n in ("right_eye", "left_eye")
    ]
    for eye, iris in zip(eyes, top.IRIS_CENTRES, strict=True):
        assert np.linalg.norm(eye - face[iris]) < 0.2 * fit.scale


def test_portraits_are_explained(analyser: FaceAnalyser, rig: Rig, shared_data: Path) -> None:
    errors = []
    for path in sorted((shared_data / "portrait/senate").glob("*.jpg"))[::12]:
        image = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
        fit = fit_head(analyser.observe_all(image)[0], rig)
        errors.append(fit.reprojection_error)
        assert np.degrees(np.abs(fit.angles)).max() < 30, path.name
        opening = gaps(fit.neutral, top.LEFT_LID_PAIRS)
        assert 0.02 < opening.mean() < 0.3, path.name
    assert len(errors) >= 6
    assert np.median(errors) < 0.04


def test_shapes_are_finite_and_named(fit: HeadFit) -> None:
    assert fit.deltas.shape == (len(BLENDSHAPES), 478, 3)
    assert np.isfinite(fit.deltas).all()
    assert fit.resting.shape == (52,)
    assert fit.resting.min() >= 0
