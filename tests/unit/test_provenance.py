"""The marks that say a picture is generated: what they change, what not, and what they say."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data
from skimage.metrics import structural_similarity

from engine.config import CORNERS, ProvenanceConfig, load_config
from engine.errors import ConfigError
from engine.media import MotionFrame, UInt8, VideoFrame
from engine.provenance.code import GRID, MAX_NUMBER, Code, Payload, default_code, score
from engine.provenance.disclosure import Disclosure
from engine.provenance.mark import Mark
from engine.provenance.watermark import Watermark

STILL = MotionFrame(np.zeros(58, np.float32), 0.0, 0)
PICTURE: UInt8 = data.astronaut()
SIGNS = "76ee41f2ec4c0338d563287245ac71ba59c3b73d92f2f718418adfbaf8968619"
WHITE, BLACK = np.full_like(PICTURE, 255), np.zeros_like(PICTURE)
LABEL = ProvenanceConfig(watermark=False)
HIDDEN = ProvenanceConfig(visible=False)


def marked(config: ProvenanceConfig, image: UInt8, resting: UInt8 = PICTURE) -> UInt8:
    return next(iter(Mark(config, resting).push(VideoFrame(image, STILL, 0)))).image


def planes(image: UInt8) -> UInt8:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420), np.uint8)


@given(st.integers(0, MAX_NUMBER), st.integers(0, 255), st.integers(0, 15))
def test_a_payload_comes_back_and_any_wrong_bit_is_noticed(
    number: int, engine: int, version: int
) -> None:
    payload = Payload(number, engine, version)
    word = payload.to_word()
    assert Payload.from_word(word) == payload
    assert all(Payload.from_word(word ^ 1 << bit) is None for bit in range(48))


@pytest.mark.parametrize("wrong", [{"number": MAX_NUMBER + 1}, {"engine": 256}, {"version": -1}])
def test_a_payload_out_of_range_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Payload(**wrong)


def test_the_signs_are_the_published_ones() -> None:
    """Videos marked today must be readable for ever: these bytes never change."""
    signs = default_code().signs(Payload(12345))
    assert hashlib.sha256(signs.tobytes()).hexdigest() == SIGNS


def test_every_cell_carries_a_sign_and_the_reference_does_not_depend_on_the_payload() -> None:
    code = default_code()
    one, two = code.signs(Payload(1)), code.signs(Payload(2))
    assert one.shape == (GRID, GRID)
    assert set(np.unique(one)) == {-1, 1}
    reference = code.reference != 0
    np.testing.assert_array_equal(one[reference], code.reference[reference])
    np.testing.assert_array_equal(two[reference], code.reference[reference])
    assert (one != two).any()


def test_noise_stronger_than_the_signs_is_read_through() -> None:
    rng = np.random.default_rng(5)
    signs = default_code().signs(Payload(MAX_NUMBER))
    cells = (signs + 2.5 * rng.standard_normal(signs.shape)).astype(np.float32)
    assert default_code().read(cells) == Payload(MAX_NUMBER)
    assert default_code().read(rng.standard_normal(signs.shape).astype(np.float32)) is None


def test_what_knows_nothing_of_the_signs_scores_as_chance_does() -> None:
    """The bound that the false-alarm rate rests on, on a real picture and many keys."""
    grey = cv2.resize(cv2.cvtColor(PICTURE, cv2.COLOR_RGB2GRAY), (GRID, GRID)).astype(np.float32)
    z = np.array([score(grey, Code(b"%d" % key).reference) for key in range(600)])
    assert abs(z.mean()) < 0.2
    assert 0.85 < z.std() < 1.15
    for limit in (1.5, 2.0, 2.5, 3.0):
        allowed = np.exp(-(limit**2) / 2)
        assert (z > limit).mean() <= allowed + 3 * np.sqrt(allowed / len(z))


def test_the_watermark_is_faint_still_and_without_tint() -> None:
    watermark = Watermark(Payload(7), PICTURE)
    first = watermark.apply(PICTURE)
    change = first.astype(int) - PICTURE
    mse = np.square(change).mean()
    assert 10 * np.log10(255**2 / mse) > 43
    assert structural_similarity(PICTURE, first, channel_axis=2) > 0.98
    assert np.abs(change).max() <= 5
    inside = (PICTURE > 5).all(-1) & (PICTURE < 250).all(-1)
    assert np.ptp(change[inside], axis=-1).max() == 0
    assert abs(change[inside].mean()) < 0.05
    # Nothing moves: another picture is changed by the same amounts.
    grey = np.full_like(PICTURE, 128)
    other = watermark.apply(grey).astype(int) - 128
    np.testing.assert_array_equal(other[inside], change[inside])


def test_plain_surfaces_are_changed_less_than_textured_ones() -> None:
    picture = np.full((512, 512, 3), 128, np.uint8)
    rng = np.random.default_rng(0)
    picture[:, 256:] = rng.integers(60, 200, (512, 256, 1), dtype=np.uint8)
    change = np.abs(Watermark(Payload(), picture).apply(picture).astype(int) - picture)
    plain, textured = change[:, :224].mean(), change[:, 288:].mean()
    assert plain < 0.75
    assert textured > 2 * plain


def test_black_and_white_saturate() -> None:
    watermark = Watermark(Payload(), PICTURE)
    assert watermark.apply(WHITE).min() >= 250
    assert watermark.apply(BLACK).max() <= 5


@pytest.mark.parametrize("config", [ProvenanceConfig(), LABEL, HIDDEN])
def test_marking_leaves_what_it_was_given_alone(config: ProvenanceConfig) -> None:
    image, plane = PICTURE.copy(), planes(PICTURE)
    image.setflags(write=False)
    plane.setflags(write=False)
    frame = VideoFrame(image, STILL, 3, planes=plane)
    made = next(iter(Mark(config, PICTURE).push(frame)))
    assert made.planes is not None
    np.testing.assert_array_equal(image, PICTURE)
    np.testing.assert_array_equal(plane, planes(PICTURE))
    assert (made.image != image).any()
    assert (made.planes != plane).any()
    assert (made.pts, made.rate, made.motion) == (3, 25, STILL)


@pytest.mark.parametrize("config", [ProvenanceConfig(), LABEL, HIDDEN])
def test_planes_are_marked_as_the_picture_is(config: ProvenanceConfig) -> None:
    soft = cv2.GaussianBlur(PICTURE, (0, 0), 2)  # its colours mean the same at half resolution
    made = next(iter(Mark(config, soft).push(VideoFrame(soft, STILL, 0, planes=planes(soft)))))
    assert made.planes is not None
    difference = made.planes.astype(int) - planes(made.image)
    assert np.abs(difference).mean() < 0.3
    assert np.percentile(np.abs(difference), 99.9) <= 3
    luma = (slice(0, 512), slice(0, 512))
    change = made.planes[luma].astype(float) - planes(soft)[luma]
    asked = planes(made.image)[luma].astype(float) - planes(soft)[luma]
    assert np.corrcoef(change.ravel(), asked.ravel())[0, 1] > 0.8


def test_a_smaller_picture_gets_smaller_marks() -> None:
    mark = Mark(ProvenanceConfig(), PICTURE)
    small = cv2.resize(PICTURE, (384, 384), interpolation=cv2.INTER_AREA)
    made = next(iter(mark.push(VideoFrame(small, STILL, 0)))).image
    assert made.shape == (384, 384, 3)
    changed = np.abs(made.astype(int) - small).max(-1) > 8
    rows, columns = np.nonzero(changed)
    assert rows.min() > 384 * 0.9
    assert columns.min() > 384 * 0.85


@pytest.mark.parametrize("corner", CORNERS)
def test_the_label_is_in_its_corner_and_nowhere_else(corner: str) -> None:
    changed = (marked(replace(LABEL, corner=corner), PICTURE) != PICTURE).any(-1)
    rows, columns = np.nonzero(changed)
    assert changed.mean() < 0.01
    assert (rows.max() < 64) == corner.startswith("top")
    assert (rows.min() > 448) == corner.startswith("bottom")
    assert (columns.max() < 96) == corner.endswith("left")
    assert (columns.min() > 416) == corner.endswith("right")


@pytest.mark.parametrize("level", [0, 40, 128, 200, 235, 255])
def test_the_label_is_legible_on_any_picture(level: int) -> None:
    made = marked(LABEL, np.full_like(PICTURE, level))
    # Inside the label: letters against the glass.
    inside = made[476:498, 476:498].astype(float).mean(-1) / 255
    letters, glass = np.percentile(inside, 99), np.median(inside)
    light, dark = (
        ((v + 0.055) / 1.055) ** 2.4 if v > 0.04 else v / 12.92 for v in (letters, glass)
    )
    assert (light + 0.05) / (dark + 0.05) > 3


def test_opacity_scales_the_label() -> None:
    faint = np.abs(marked(replace(LABEL, opacity=0.3), PICTURE).astype(int) - PICTURE).sum()
    strong = np.abs(marked(replace(LABEL, opacity=1.0), PICTURE).astype(int) - PICTURE).sum()
    assert 2.5 < strong / faint < 4.5


def test_a_longer_text_makes_a_wider_label() -> None:
    widths = []
    for text in ("AI", "AI generated"):
        columns = np.nonzero((marked(replace(LABEL, text=text), PICTURE) != PICTURE).any((0, 2)))[0]
        widths.append(np.ptp(columns))
    assert widths[1] > 2 * widths[0]


@pytest.mark.parametrize(
    ("text", "font", "words"),
    [
        ("AI", "no/such/font.ttf", "cannot read"),
        ("W" * 32, "", "too long"),
        ("\U00013080\U00012031", "", "set provenance.font"),
    ],
)
def test_a_label_that_cannot_be_drawn_says_why(text: str, font: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Disclosure(text, "top-left", 0.8, (512, 512), font)


@pytest.mark.parametrize(
    "setting",
    [
        "provenance.corner=middle", "provenance.opacity=0.1", "provenance.number=-1",
        "provenance.number=1048576", "provenance.text='  '", 'provenance.text="a\\nb"',
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"provenance\."):
        load_config(settings=[setting])


def test_both_marks_are_on_unless_somebody_says_otherwise() -> None:
    default = load_config().provenance
    assert default.visible
    assert default.watermark
    off = load_config(settings=["provenance.visible=false", "provenance.watermark=false"])
    assert not off.provenance.visible
    assert not off.provenance.watermark
