"""Any file somebody may drop: a portrait comes out, or a reason in words."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from engine.avatars import default_portrait
from engine.errors import PortraitError
from engine.face import topology as top
from engine.face.analysis import FaceAnalyser
from engine.face.picture import MAX_BYTES, read_picture
from engine.face.portrait import Portrait, PortraitLimits, prepare_portrait
from engine.media import UInt8


@pytest.fixture(scope="module")
def analyser() -> FaceAnalyser:
    return FaceAnalyser()


@pytest.fixture(scope="module")
def photo() -> UInt8:
    return np.asarray(astronaut(), np.uint8)


@pytest.fixture(scope="module")
def portrait(analyser: FaceAnalyser, photo: UInt8) -> Portrait:
    return prepare_portrait(photo, analyser)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def reason(source: Path | bytes | UInt8, analyser: FaceAnalyser) -> tuple[str, str]:
    with pytest.raises(PortraitError) as caught:
        prepare_portrait(source, analyser)
    return caught.value.reason, str(caught.value)


def test_head_and_shoulders(portrait: Portrait) -> None:
    assert portrait.image.shape == (512, 512, 3)
    assert portrait.image.dtype == np.uint8
    assert portrait.matte.shape == (512, 512)
    left, upper, right, lower = portrait.observation.box
    assert 0.40 < (lower - upper) / 512 < 0.54
    assert abs((left + right) / 2 - 256) < 45
    assert upper > 80
    assert portrait.enlargement == pytest.approx(2.1, abs=0.3)
    assert portrait.matte[int(upper) + 60, 256] > 0.9
    assert portrait.matte[:30, :30].max() < 0.1


def test_landmarks_are_in_the_portraits_pixels(analyser: FaceAnalyser, portrait: Portrait) -> None:
    again = analyser.observe_all(portrait.image)[0]
    apart = np.linalg.norm(again.landmarks - portrait.observation.landmarks, axis=1)
    assert apart.mean() / again.eye_distance < 0.04
    projected = portrait.fit.project(portrait.fit.rest)
    assert np.abs(projected - portrait.observation.landmarks[:, :2]).max() < 0.05


def test_the_crop_shows_the_photo_unchanged(portrait: Portrait, photo: UInt8) -> None:
    """Shrunk back, the portrait is found in the photo where the face is."""
    small = cv2.resize(
        portrait.image, None, fx=1 / portrait.enlargement, fy=1 / portrait.enlargement,
        interpolation=cv2.INTER_AREA,
    )  # fmt: skip
    size = small.shape[0]
    match = cv2.matchTemplate(photo, small[4 : size - 4, 4 : size - 4], cv2.TM_CCOEFF_NORMED)
    assert match.max() > 0.98


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "L", "LA"])
def test_every_colour_mode_is_understood(mode: str, photo: UInt8) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    image = read_picture(encoded(Image.fromarray(photo).convert(mode), kind))
    assert image.shape == photo.shape
    expected = photo if mode in ("RGBA", "P", "CMYK") else photo.mean(2, keepdims=True)
    assert np.abs(image.astype(float) - expected).mean() < 16


def test_sixteen_bit_gray_and_transparency(photo: UInt8) -> None:
    gray = photo.mean(2).astype(np.uint16) * 257
    image = read_picture(encoded(Image.fromarray(gray)))
    assert np.abs(image[..., 0].astype(float) - photo.mean(2)).mean() < 2
    clear = np.dstack([photo, np.zeros((512, 512), np.uint8)])
    assert np.abs(read_picture(encoded(Image.fromarray(clear))).astype(int) - 128).max() <= 1


def test_exif_orientation_is_applied(analyser: FaceAnalyser, photo: UInt8) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: turn by 90 degrees clockwise to view
    lying = Image.fromarray(np.rot90(photo))
    data = encoded(lying, "JPEG", quality=95, exif=exif.tobytes())
    upright = read_picture(data)
    assert np.abs(upright.astype(int) - photo).mean() < 5
    assert abs(np.degrees(prepare_portrait(data, analyser).fit.angles[2])) < 10


def test_a_tight_photo_is_filled_up(analyser: FaceAnalyser, photo: UInt8) -> None:
    tight = np.ascontiguousarray(photo[55:195, 160:290])
    result = prepare_portrait(tight, analyser)
    upper, lower = result.observation.box[[1, 3]]
    assert 0.4 < (lower - upper) / 512 < 0.6
    assert result.image.std(axis=(0, 1)).min() > 20
    # What was made up is smooth: no streaks at the very edge.
    assert np.abs(np.diff(result.image[2].astype(int), axis=0)).max() < 12


def test_a_large_photo_is_not_enlarged(analyser: FaceAnalyser, photo: UInt8) -> None:
    large = cv2.resize(photo, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
    result = prepare_portrait(np.asarray(large, np.uint8), analyser)
    assert result.enlargement == pytest.approx(2.1 / 6, abs=0.06)


def test_text_is_not_an_image(analyser: FaceAnalyser, tmp_path: Path) -> None:
    assert reason(b"I am not a photo", analyser)[0] == "not_an_image"
    path = tmp_path / "portrait.jpg"
    path.write_text("hello")
    assert reason(path, analyser)[0] == "not_an_image"
    assert reason(b"", analyser)[0] == "not_an_image"
    kind, message = reason(tmp_path / "absent.png", analyser)
    assert kind == "not_an_image"
    assert "absent.png" in message


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_a_truncated_file_is_not_an_image(analyser: FaceAnalyser, photo: UInt8, kind: str) -> None:
    data = encoded(Image.fromarray(photo), kind)
    assert reason(data[: len(data) // 3], analyser)[0] == "not_an_image"


@pytest.mark.parametrize("shape", [(5, 5, 2), (0, 10, 3), (4,)])
def test_an_odd_array_is_not_an_image(analyser: FaceAnalyser, shape: tuple[int, ...]) -> None:
    assert reason(np.zeros(shape, np.uint8), analyser)[0] == "not_an_image"
    assert reason(np.zeros((9, 9, 3), np.float32), analyser)[0] == "not_an_image"  # type: ignore[arg-type]


def test_too_many_bytes_or_pixels(analyser: FaceAnalyser, tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert reason(path, analyser)[0] == "too_large"
    assert reason(bytes(MAX_BYTES + 1), analyser)[0] == "too_large"
    bomb = encoded(Image.new("1", (30_000, 20_000)))
    assert len(bomb) < 200_000
    assert reason(bomb, analyser)[0] == "too_large"
    kind, message = reason(encoded(Image.new("L", (7000, 6000))), analyser)
    assert kind == "too_large"
    assert "42 megapixels" in message


def test_upside_down(analyser: FaceAnalyser) -> None:
    photo = read_picture(default_portrait())
    prepare_portrait(photo, analyser)
    word, sentence = reason(np.ascontiguousarray(photo[::-1, ::-1]), analyser)
    assert word == "turned_too_far"
    assert "upside down" in sentence


def test_no_face(analyser: FaceAnalyser) -> None:
    assert reason(np.full((400, 400, 3), 200, np.uint8), analyser)[0] == "no_face"
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    assert reason(noise, analyser)[0] == "no_face"
    assert reason(np.zeros((1, 1, 3), np.uint8), analyser)[0] == "no_face"


def test_two_people_but_not_a_small_one_behind(analyser: FaceAnalyser, photo: UInt8) -> None:
    both = np.hstack([photo, photo[:, ::-1]])
    kind, message = reason(both, analyser)
    assert kind == "several_faces"
    assert "2 faces" in message
    behind = photo.copy()
    behind[20:148, 330:458] = cv2.resize(photo, (128, 128), interpolation=cv2.INTER_AREA)
    assert prepare_portrait(behind, analyser).observation.width > 150


@pytest.mark.parametrize("quality", [75, 90, 95])
def test_a_sleeve_is_nobody_however_a_photo_is_saved(
    analyser: FaceAnalyser, photo: UInt8, quality: int
) -> None:
    saved = encoded(Image.fromarray(photo), "JPEG", quality=quality, subsampling=2)
    assert prepare_portrait(saved, analyser).observation.width > 150
    # What OpenCV made of it at 95 has a badge that is a face with a presence of 0.84.
    bgr = cv2.cvtColor(photo, cv2.COLOR_RGB2BGR)
    saved = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    assert prepare_portrait(saved, analyser).observation.width > 150


def test_a_small_face_says_its_size(analyser: FaceAnalyser, photo: UInt8) -> None:
    small = cv2.resize(photo, (275, 275), interpolation=cv2.INTER_AREA)
    canvas = np.full((600, 600, 3), 128, np.uint8)
    canvas[100:375, 150:425] = small
    kind, message = reason(canvas, analyser)
    assert kind == "face_too_small"
    width = int(message.split(" px")[0].rsplit(" ", 1)[1])
    assert width == pytest.approx(48, abs=3)
    assert "at least 80 px" in message
    strict = PortraitLimits(face_width=128)
    with pytest.raises(PortraitError, match="at least 128 px"):
        prepare_portrait(photo, analyser, strict)


def test_a_turned_head_is_refused_in_words(analyser: FaceAnalyser, photo: UInt8) -> None:
    matrix = cv2.getRotationMatrix2D((225, 125), 45, 1.0)
    tilted = np.asarray(cv2.warpAffine(photo, matrix, (512, 512)), np.uint8)
    kind, message = reason(tilted, analyser)
    assert kind == "turned_too_far"
    assert "shoulder" in message
    with pytest.raises(PortraitError, match="down"):
        prepare_portrait(photo, analyser, PortraitLimits(pitch=1.0))


@pytest.mark.slow
def test_many_real_portraits(analyser: FaceAnalyser, shared_data: Path) -> None:
    paths = sorted((shared_data / "portrait/senate").glob("*.jpg"))[::15]
    paths += sorted((shared_data / "portrait/painting").glob("*.jpg"))
    assert len(paths) >= 8
    for path in paths:
        result = prepare_portrait(path, analyser)
        upper, lower = result.observation.box[[1, 3]]
        assert 0.36 < (lower - upper) / 512 < 0.56, path.name
        assert result.fit.reprojection_error < 0.05, path.name
        face = result.observation.landmarks[list(top.FACE_OVAL), :2]
        inside = face.mean(0).astype(int)
        assert result.matte[inside[1], inside[0]] > 0.95, path.name


def test_animals_are_refused(analyser: FaceAnalyser, shared_data: Path) -> None:
    for name in ("s23.jpg", "s40.jpg"):
        assert reason(shared_data / "portrait/hard" / name, analyser)[0] == "no_face"
