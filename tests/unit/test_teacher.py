"""The motion teacher: contacts, silence, limits, reproducibility."""

from __future__ import annotations

import numpy as np
import pytest

from engine.face.rig import Rig
from engine.media import SAMPLE_RATE, SAMPLES_PER_FRAME
from engine.motion.arkit import INDEX, MOTION_SIZE, ROTATION
from training.corpus.phones import VISEME_ID, VISEMES, Phone, units, visemes_of
from training.teacher.animate import Performance, animate, fill_gaps
from training.teacher.head import LIMITS, Sentence
from training.teacher.lips import silences
from training.teacher.mouth import lip_gap
from training.teacher.style import STYLE_SIZE, Style, draw

SECONDS = 4.0
WORD = ("m", "aa", "p", "uw", "b", "iy", "f", "ae", "w", "ao", "s", "ah", "m")


def spoken(length: float = 0.09, start: float = 1.0) -> list[Phone]:
    return [
        Phone(name, start + i * length, start + (i + 1) * length) for i, name in enumerate(WORD)
    ]


def sound(phones: list[Phone]) -> np.ndarray:
    t = np.arange(int(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    inside = (t > phones[0].start) & (t < phones[-1].end) if phones else np.zeros(len(t), bool)
    tone = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20))
    return (0.1 * tone * inside).astype(np.float32)


def perform(phones: list[Phone], seed: int = 0, style: Style | None = None) -> Performance:
    sentences = [Sentence(phones[0].start, phones[-1].end, False)] if phones else []
    rng = np.random.default_rng(seed)
    return animate(sound(phones), phones, sentences, style or draw(rng), rng)


def opening(done: Performance) -> np.ndarray:
    return np.array([Rig.load().lip_opening(frame) for frame in done.motion])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("length", [0.035, 0.09, 0.16])
def test_every_bilabial_is_seen_closed(seed: int, length: float) -> None:
    phones = spoken(length)
    done = perform(phones, seed)
    gaps = opening(done)
    assert gaps[done.closure == 1].max() <= 2e-3
    centers = (np.arange(len(gaps)) + 0.5) / 25
    for phone in phones:
        if phone.name in "mpb":
            near = (centers > phone.start - 0.06) & (centers < phone.end)
            assert (done.closure[near] == 1).any()
            assert gaps[near].min() <= 2e-3


def test_vowels_open_wider_than_consonants_and_by_their_kind() -> None:
    done = perform(spoken(0.16), style=Style())
    gaps = opening(done)
    by_name = {n: gaps[done.viseme == VISEME_ID[n]].max() for n in ("aa", "oo", "ee", "fv", "w")}
    assert by_name["aa"] > 0.12
    assert by_name["aa"] > by_name["ee"] > by_name["fv"] * 0.5
    assert by_name["aa"] > 1.5 * by_name["oo"]


def test_rounding_is_seen_in_u_and_w_and_starts_before_the_vowel() -> None:
    phones = [Phone("t", 1.0, 1.1), Phone("uw", 1.1, 1.3), Phone("t", 1.3, 1.4)]
    pucker = perform(phones, style=Style()).motion[:, INDEX["mouthPucker"]]
    vowel = round(1.2 * 25)
    assert pucker[vowel] > 0.35
    assert pucker[int(1.06 * 25)] > 0.25 * pucker[vowel]
    assert pucker[int(0.5 * 25)] < 0.05


def test_lower_lip_meets_teeth() -> None:
    phones = [Phone("aa", 1.0, 1.2), Phone("f", 1.2, 1.32), Phone("aa", 1.32, 1.5)]
    done = perform(phones, style=Style())
    middle = int(1.26 * 25)
    assert done.motion[middle, INDEX["mouthRollLower"]] > 0.25
    assert lip_gap(done.motion)[middle] < 0.45 * lip_gap(done.motion).max()


def test_silence_is_closed_and_alive() -> None:
    done = perform([], 3)
    assert opening(done).max() <= 2e-3
    assert not done.speaking.any() and not done.closure.any() and not done.viseme.any()
    assert np.abs(np.diff(done.motion[:, ROTATION], axis=0)).max(axis=1).min() > 0
    assert done.motion[:, INDEX["jawOpen"]].max() < 0.02


def test_mouth_closes_in_a_long_pause_but_not_in_a_short_gap() -> None:
    first, second = spoken(0.09, 0.3), spoken(0.09, 2.4)
    done = perform([*first, *second], style=Style())
    pause = opening(done)[int((first[-1].end + 0.4) * 25) : int((second[0].start - 0.15) * 25)]
    assert pause.max() <= 2e-3
    gaps = silences(fill_gaps(units([*first, *second]), SECONDS), SECONDS)
    assert (first[-1].end, second[0].start) in gaps


def test_louder_is_wider_and_faster_is_narrower() -> None:
    slow, fast = perform(spoken(0.16), style=Style()), perform(spoken(0.05), style=Style())
    assert lip_gap(slow.motion).max() > 1.1 * lip_gap(fast.motion).max()


def test_same_seed_same_motion_and_another_seed_another() -> None:
    one, two, other = (perform(spoken(), seed).motion for seed in (7, 7, 8))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 0.01


@pytest.mark.parametrize("seed", range(6))
def test_values_stay_in_range(seed: int) -> None:
    motion = perform(spoken(), seed).motion
    assert motion.shape == (int(SECONDS * 25), MOTION_SIZE) and motion.dtype == np.float32
    assert motion[:, :52].min() >= 0 and motion[:, :52].max() <= 1
    assert (np.abs(motion[:, 52:]) <= LIMITS).all()


@pytest.mark.slow
def test_blink_rate_and_length() -> None:
    audio = np.zeros(SAMPLES_PER_FRAME * 25 * 240, np.float32)
    rng = np.random.default_rng(0)
    lid = animate(audio, [], [], Style(), rng).motion[:, INDEX["eyeBlinkLeft"]]
    shut = lid > 0.4
    starts = np.flatnonzero(shut[1:] & ~shut[:-1])
    assert 13 <= len(starts) / 4 <= 22
    assert 2 <= shut.sum() / len(starts) <= 5


def test_style_vector_is_centred() -> None:
    drawn = np.stack([draw(np.random.default_rng(i)).vector() for i in range(200)])
    assert drawn.shape[1] == STYLE_SIZE
    assert np.abs(np.median(drawn, axis=0)).max() < 0.5
    assert 0.3 < np.abs(drawn).mean() < 1.0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pau", ("sil",)), ("", ("sil",)), ("SIL", ("sil",)), ("m", ("pbm",)), ("M", ("pbm",)),
        ("ow", ("oh", "oo")), ("oʊ", ("oh", "oo")), ("tʃ", ("sh",)), ("ɑː", ("aa",)),
        ("əl", ("ax",)), ("yː", ("ue",)), ("ɡ", ("kg",)), ("ts", ("sz",)), ("AY", ("aa", "ee")),
    ],
)  # fmt: skip
def test_phone_names_of_every_engine(name: str, expected: tuple[str, ...]) -> None:
    assert visemes_of(name) == expected
    assert set(expected) <= set(VISEMES)
