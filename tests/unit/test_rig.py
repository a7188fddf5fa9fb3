"""The average head: what its 52 shapes do, and that lips and lids meet where they must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ArtifactError
from engine.face import topology as top
from engine.face.rig import PARTS, Rig, angles, apply_pose, rotation_matrix
from engine.media import Float32
from engine.motion.arkit import BLENDSHAPES, INDEX, MOTION_SIZE, ROTATION, TRANSLATION

UPPER = [pair[0] for pair in top.LIP_PAIRS]
LOWER = [pair[1] for pair in top.LIP_PAIRS]


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig.load()


def motion(**shapes: float) -> Float32:
    values = np.zeros(MOTION_SIZE, np.float32)
    for name, weight in shapes.items():
        values[INDEX[name]] = weight
    return values


def gaps(points: Float32, pairs: tuple[tuple[int, int], ...]) -> Float32:
    upper, lower = (list(side) for side in zip(*pairs, strict=True))
    return np.asarray(points[upper, 1] - points[lower, 1], np.float32)


def test_unit_and_origin_are_the_pupils(rig: Rig) -> None:
    right, left = rig.neutral[list(top.IRIS_CENTRES)]
    assert left[0] - right[0] == pytest.approx(1, abs=1e-3)
    assert (left + right) / 2 == pytest.approx([0, 0, 0], abs=1e-3)
    assert rig.neutral[top.CHIN, 1] < -1 < 0 < rig.neutral[10, 1]
    assert rig.neutral[top.NOSE_TIP, 2] > 0.2


def test_neutral_is_symmetric_and_every_shape_has_its_mirror_image(rig: Rig) -> None:
    flip = np.array([-1, 1, 1])
    assert np.allclose(rig.neutral, rig.neutral[rig.mirror] * flip, atol=1e-5)
    for name in BLENDSHAPES:
        other = name.replace("Left", "#").replace("Right", "Left").replace("#", "Right")
        mirrored = rig.deltas[INDEX[other]][rig.mirror] * flip
        assert np.allclose(rig.deltas[INDEX[name]], mirrored, atol=2e-3), name


def test_lips_rest_closed_and_open_with_the_jaw(rig: Rig) -> None:
    assert np.abs(gaps(rig.neutral, top.LIP_PAIRS)).max() < 1e-5
    assert rig.lip_opening(motion()) == pytest.approx(0, abs=1e-5)
    openings = [rig.lip_opening(motion(jawOpen=w)) for w in (0.1, 0.3, 0.6, 1.0)]
    assert np.all(np.diff(openings) > 0)
    # Real talkers: 0.5 to 0.7 inter-ocular units at full score.
    assert 0.5 < openings[-1] < 0.7


@pytest.mark.parametrize("weight", [0.1, 0.3, 0.7, 1.0])
def test_mouth_close_closes_an_open_jaw(rig: Rig, weight: float) -> None:
    points = rig.landmarks(motion(jawOpen=weight, mouthClose=weight))
    assert np.abs(gaps(points, top.LIP_PAIRS)).max() < 1e-4
    chin = points[top.CHIN, 1] - rig.neutral[top.CHIN, 1]
    assert chin < -0.2 * weight  # the jaw stays down
    assert rig.lip_opening(motion(jawOpen=weight, mouthClose=1)) < 1e-4


def test_upper_lip_stays_and_lower_lip_goes_with_the_jaw(rig: Rig) -> None:
    jaw = rig.deltas[INDEX["jawOpen"]]
    assert np.abs(jaw[13]).max() < 0.03
    assert (jaw[UPPER, 1] > 0.5 * jaw[LOWER, 1]).all()
    assert jaw[LOWER, 1].max() < -0.1
    assert jaw[14, 1] < -0.5


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=52, max_size=52))
def test_no_mixture_pushes_the_lips_through_each_other(weights: list[float]) -> None:
    points = Rig.load().landmarks(np.array(weights, np.float32))
    assert gaps(points, top.LIP_PAIRS).min() > -1e-3


@pytest.mark.parametrize("others", [{}, {"eyeSquintLeft": 0.6}, {"eyeWideLeft": 1.0}])
def test_a_blink_of_one_closes_the_eye(rig: Rig, others: dict[str, float]) -> None:
    points = rig.landmarks(motion(eyeBlinkLeft=1, **others))
    left = gaps(points, top.LEFT_LID_PAIRS)
    assert abs(left.mean()) < 0.005
    assert np.abs(left).max() < 0.03
    right = gaps(points, top.RIGHT_LID_PAIRS)
    assert np.allclose(right, gaps(rig.neutral, top.RIGHT_LID_PAIRS), atol=1e-4)


@pytest.mark.parametrize("name", ["mouthPressLeft", "mouthDimpleLeft"])
def test_what_pulls_a_corner_aside_is_no_smile(rig: Rig, name: str) -> None:
    corner, smile = rig.deltas[INDEX[name]][top.MOUTH_CORNERS[1]], INDEX["mouthSmileLeft"]
    assert corner[0] > 0.03
    assert corner[1] < 0.3 * rig.deltas[smile][top.MOUTH_CORNERS[1]][1]


def test_shapes_move_what_their_names_say(rig: Rig) -> None:
    def moved(name: str, point: int) -> Float32:
        return np.asarray(rig.deltas[INDEX[name]][point])

    corner_right, corner_left = top.MOUTH_CORNERS
    assert moved("mouthSmileLeft", corner_left)[1] > 0.1
    assert np.abs(moved("mouthSmileLeft", corner_right)).max() < 0.06
    assert moved("mouthFrownRight", corner_right)[1] < -0.03
    assert moved("mouthPucker", corner_left)[0] < -0.05
    assert moved("jawLeft", top.CHIN)[0] > 0.05
    assert moved("eyeLookUpLeft", 473)[1] > 0.04
    assert moved("eyeLookOutLeft", 473)[0] > 0.06
    assert moved("eyeLookInRight", 468)[0] > 0.06
    assert moved("browInnerUp", 55)[1] > 0.03
    assert np.abs(rig.deltas[INDEX["tongueOut"]]).max() < 0.05


def test_batches_equal_single_frames(rig: Rig) -> None:
    frames = np.random.default_rng(0).random((5, MOTION_SIZE)).astype(np.float32)
    together = rig.landmarks(frames)
    for frame, points in zip(frames, together, strict=True):
        assert np.allclose(rig.landmarks(frame), points, atol=1e-5)


def test_signs_of_the_head_pose() -> None:
    nose = np.array([[0.0, 0.0, 1.0]], np.float32)
    here = np.zeros(3, np.float32)
    values = motion()
    values[ROTATION] = (0.3, 0, 0)
    assert apply_pose(nose, values, here)[0, 0] > 0.2  # yaw: to the picture's right
    values[ROTATION] = (0, 0.3, 0)
    assert apply_pose(nose, values, here)[0, 1] < -0.2  # pitch: down
    values[ROTATION] = (0, 0, 0.3)
    ear = np.array([[1.0, 0.0, 0.0]], np.float32)
    assert apply_pose(ear, values, here)[0, 1] > 0.2  # roll: counter-clockwise
    values[ROTATION], values[TRANSLATION] = 0, (0.1, 0.2, 0.3)
    assert apply_pose(nose, values, here)[0] == pytest.approx([0.1, 0.2, 1.3])


@given(st.tuples(*[st.floats(-1.2, 1.2)] * 3))
def test_angles_undo_the_rotation(turn: tuple[float, float, float]) -> None:
    rotation = rotation_matrix(*turn)
    assert angles(rotation) == pytest.approx(turn, abs=1e-4)
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)


def test_teeth_and_tongue_follow_skull_and_jaw(rig: Rig) -> None:
    assert set(rig.parts) == set(PARTS)
    shapes = rig.effective(motion(jawOpen=1))
    upper, lower, tongue = (rig.parts[n] for n in ("upper_teeth", "lower_teeth", "tongue"))
    assert np.allclose(upper.at(shapes), upper.points)
    assert (lower.at(shapes) - lower.points)[:, 1].min() < -0.4
    assert (tongue.at(shapes) - tongue.points)[:, 1].min() < -0.3
    out = rig.effective(motion(tongueOut=1))
    assert (tongue.at(out) - tongue.points)[:, 2].max() > 0.3
    for part in rig.parts.values():
        assert part.faces.max() < len(part.points)
    lip = rig.neutral[13]
    assert upper.points[:, 2].max() < lip[2]
    assert upper.points[:, 1].min() < lip[1] + 0.15 < upper.points[:, 1].max() + 0.15


def test_mesh_covers_the_landmarks(rig: Rig) -> None:
    assert rig.faces.shape == (898, 3)
    assert set(rig.faces.ravel()) == set(range(468))
    first, second, third = rig.neutral[rig.faces].transpose(1, 0, 2)
    front = np.cross(second - first, third - first)[:, 2]
    assert (front > 0).mean() > 0.9 or (front < 0).mean() > 0.9


def test_a_missing_rig_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="reinstall"):
        Rig.load(tmp_path / "rig.npz")
    (tmp_path / "bad.npz").write_bytes(b"not a zip")
    with pytest.raises(ArtifactError, match="reinstall"):
        Rig.load(tmp_path / "bad.npz")
