"""The motion teacher: contacts, silence, limits, reproducibility."""

from __future__ import annotations

import numpy as np
import pytest

from engine.face.rig import Rig
from engine.media import SAMPLE_RATE, SAMPLES_PER_FRAME
from engine.motion import condition
from engine.motion.arkit import INDEX, MOTION_SIZE, ROTATION
from training.corpus.phones import VISEME_ID, VISEMES, Phone, units, visemes_of
from training.motion.metrics import best_lag
from training.teacher import measure
from training.teacher.animate import Performance, animate, fill_gaps
from training.teacher.calibrate import sentences_of
from training.teacher.emotion import EMOTIONS
from training.teacher.events import expand, laughs
from training.teacher.head import LIMITS, Sentence
from training.teacher.lips import silences
from training.teacher.listening import Other
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


def perform(
    phones: list[Phone],
    seed: int = 0,
    style: Style | None = None,
    emotion: np.ndarray | None = None,
    other: Other | None = None,
) -> Performance:
    sentences = [Sentence(phones[0].start, phones[-1].end, False)] if phones else []
    rng = np.random.default_rng(seed)
    style = style or draw(rng)
    return animate(sound(phones), phones, sentences, style, rng, emotion=emotion, other=other)


def feeling(**strength: float) -> np.ndarray:
    return np.array([strength.get(name, 0.0) for name in EMOTIONS], np.float32)


def mean_of(done: Performance, name: str) -> float:
    return float(done.motion[:, INDEX[name]].mean())


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


def test_emotions_are_those_of_the_engine() -> None:
    assert EMOTIONS == condition.EMOTIONS


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("happy", {"mouthSmileLeft": 0.25, "cheekSquintRight": 0.25}),
        ("sad", {"browInnerUp": 0.3, "mouthFrownLeft": 0.25}),
        ("angry", {"browDownLeft": 0.35, "noseSneerRight": 0.12}),
        ("surprised", {"browInnerUp": 0.3, "browOuterUpRight": 0.25, "eyeWideLeft": 0.25}),
    ],
)
def test_an_emotion_is_seen_and_leaves_the_closures_closed(
    name: str, shown: dict[str, float]
) -> None:
    plain, half, full = (
        perform(spoken(), 3, Style(), feeling(**{name: x})) for x in (0.0, 0.5, 1.0)
    )
    for shape, least in shown.items():
        assert mean_of(full, shape) > mean_of(plain, shape) + least
        assert mean_of(plain, shape) < mean_of(half, shape) < mean_of(full, shape)
    assert opening(full)[full.closure == 1].max() <= 2e-3
    assert opening(full)[:15].max() <= 2e-3
    r = np.corrcoef(lip_gap(full.motion), lip_gap(plain.motion))[0, 1]
    assert r > 0.97
    # Closing the lips must not make the feeling flicker.
    steps = np.abs(np.diff(full.motion[:, [INDEX[s] for s in shown]], axis=0))
    assert steps.max() < 0.2


def test_feelings_change_the_pace_of_the_head() -> None:
    def speed(**strength: float) -> float:
        found = [perform(spoken(), k, Style(), feeling(**strength)).motion for k in range(4)]
        return float(np.mean([np.abs(np.diff(m[:, ROTATION], axis=0)).mean() for m in found]))

    assert speed(sad=1.0) < 0.75 * speed() < 0.75 * speed(happy=1.0)
    assert speed(calm=1.0) < 0.8 * speed()
    low = [mean_pitch(perform([], k, Style(), feeling(sad=1.0))) for k in range(4)]
    assert np.mean(low) > 0.02 + np.mean([mean_pitch(perform([], k, Style())) for k in range(4)])


def mean_pitch(done: Performance) -> float:
    return float(done.motion[:, ROTATION.start + 1].mean())


def test_no_emotion_is_neutral_and_wrong_ones_are_refused() -> None:
    plain, zero = perform(spoken(), 5), perform(spoken(), 5, emotion=feeling())
    np.testing.assert_array_equal(plain.motion, zero.motion)
    both = perform(spoken(), 5, emotion=feeling(happy=0.5, surprised=0.5))
    assert mean_of(both, "mouthSmileLeft") > mean_of(plain, "mouthSmileLeft") + 0.1
    assert mean_of(both, "browInnerUp") > mean_of(plain, "browInnerUp") + 0.1
    for wrong in (feeling(happy=1.2), feeling(sad=-0.1), feeling(happy=1, sad=1, calm=1)):
        with pytest.raises(ValueError, match="emotion"):
            perform([], emotion=wrong)
    with pytest.raises(ValueError, match="5 numbers"):
        perform([], emotion=np.zeros(4, np.float32))


def conversation(seconds: float = 24.0) -> tuple[Other, np.ndarray]:
    """Six sentences of 2.2 s by the other, every second a question."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    starts = np.arange(6) * 4.0 + 0.5
    voice = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 20))
    inside = sum(((t > s) & (t < s + 2.2)).astype(float) for s in starts)
    sentences = [Sentence(s, s + 2.2, bool(i % 2)) for i, s in enumerate(starts)]
    return Other((0.1 * voice * inside).astype(np.float32), sentences), np.zeros_like(t, np.float32)


def test_listening_nods_after_the_others_phrases_raises_brows_and_looks_at_them() -> None:
    other, silent = conversation()
    after, before, brows, alone_brows, away, alone_away = [], [], [], [], [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        motion = animate(silent, [], [], Style(), rng, other=other).motion
        alone = animate(silent, [], [], Style(), np.random.default_rng(seed)).motion
        pitch = motion[:, ROTATION.start + 1]
        for sentence in other.sentences:
            end = round(sentence.end * 25)
            # A nod goes down and up again within the second that follows the delay.
            after.append(np.ptp(np.diff(pitch[end + 5 : end + 30])))
            before.append(np.ptp(np.diff(pitch[end - 45 : end - 20])))
            if sentence.question:
                brows.append(motion[end : end + 15, INDEX["browInnerUp"]].max())
                alone_brows.append(alone[end : end + 15, INDEX["browInnerUp"]].max())
        looks = [INDEX[f"eyeLook{x}Left"] for x in ("Out", "In")]
        away.append((motion[:, looks].max(1) > 0.3).mean())
        alone_away.append((alone[:, looks].max(1) > 0.3).mean())
        assert lip_gap(motion).max() <= 2e-3
    assert np.mean(after) > 1.5 * np.mean(before)
    assert np.mean(brows) > np.mean(alone_brows) + 0.1
    assert np.mean(away) < np.mean(alone_away)


def test_nobody_listens_while_speaking_himself() -> None:
    other, silent = conversation()
    phones = spoken(0.16, 2.6)
    sentences = [Sentence(phones[0].start, phones[-1].end, False)]
    talk = silent.copy()
    talk[: int(SECONDS * SAMPLE_RATE)] = sound(phones)
    done, alone = (
        animate(talk, phones, sentences, Style(), np.random.default_rng(1), other=who)
        for who in (other, None)
    )
    np.testing.assert_array_equal(done.viseme, alone.viseme)
    assert np.corrcoef(lip_gap(done.motion), lip_gap(alone.motion))[0, 1] > 0.99


def test_a_head_is_never_frozen() -> None:
    other, silent = conversation()
    for who in (None, other):
        for strength in ({}, {"calm": 1.0}, {"sad": 1.0}):
            rng = np.random.default_rng(4)
            done = animate(silent, [], [], Style(), rng, emotion=feeling(**strength), other=who)
            pose = np.degrees(done.motion[:, ROTATION])
            windows = np.lib.stride_tricks.sliding_window_view(pose, 50, axis=0)
            assert np.ptp(windows, axis=-1).max(axis=1).min() > 0.25


def test_laugh_breath_and_hesitation() -> None:
    laughing = perform([Phone("laugh", 1.0, 2.2)], style=Style())
    plain = perform([Phone("ah", 1.0, 2.2)], style=Style())
    inside = slice(28, 54)
    assert laughing.motion[inside, INDEX["mouthSmileLeft"]].min() > 0.3
    assert laughing.motion[inside, INDEX["cheekSquintLeft"]].mean() > 0.3
    gap = lip_gap(laughing.motion)[inside]
    peaks = (gap[1:-1] > gap[:-2]) & (gap[1:-1] >= gap[2:])
    assert 4 <= peaks.sum() <= 7
    assert plain.motion[inside, INDEX["mouthSmileLeft"]].max() < 0.3
    breath = lip_gap(perform([Phone("breath", 1.0, 1.5)], style=Style()).motion)
    assert 0.02 < breath[25:38].max() < 0.75 * lip_gap(plain.motion).max()
    um = perform([Phone("um", 1.0, 1.6)], style=Style())
    assert lip_gap(um.motion)[26:32].max() > 0.05
    assert um.closure[35:39].any()


def test_speech_is_not_taken_for_laughter() -> None:
    names = ["hh", "ah", "hh", "ah", "hh", "ah"]
    laugh = [Phone(n, 1 + 0.1 * i, 1.1 + 0.1 * i) for i, n in enumerate(names)]
    assert laughs(laugh) == [pytest.approx((1.0, 1.6))]
    assert laughs(laugh[:4]) == [] and laughs(spoken()) == []
    changed = [Phone("iy" if i == 3 else p.name, p.start, p.end) for i, p in enumerate(laugh)]
    assert laughs(changed) == []
    assert expand(spoken()) == spoken()


def test_measures_of_known_motion() -> None:
    count, t = 250, np.arange(250) / 25
    motion = np.zeros((count, MOTION_SIZE), np.float32)
    motion[:, ROTATION.start] = 0.1 * np.sin(2 * np.pi * 0.75 * t)
    opening = (0.1 + 0.1 * np.sin(2 * np.pi * 2 * t)).astype(np.float32)
    blink = np.zeros(count, np.float32)
    for start in (20, 90, 200):
        blink[start : start + 4] = 1
    found = measure.figures(motion, opening, opening, blink)
    assert found.opening_std == pytest.approx(0.1 / np.sqrt(2), rel=0.02)
    assert found.opening_speed == pytest.approx(0.1 * 2 * np.pi * 2 / np.sqrt(2), rel=0.05)
    assert found.blinks_per_minute == pytest.approx(18)
    assert found.blink_seconds == pytest.approx(0.16)
    assert found.head_half_to_1_hz > 0.9
    assert found.yaw_range == pytest.approx(np.degrees(0.2), rel=0.15)
    late = np.roll(opening, 2)
    r, lag = best_lag(late, opening, 4)
    assert (r, lag) == (pytest.approx(1.0, abs=1e-3), 2)


def test_sentences_split_at_pauses() -> None:
    phones = [*spoken(0.09, 0.2), Phone("SIL", 1.37, 2.0), *spoken(0.09, 2.0)]
    found = sentences_of(phones)
    assert [(round(s.start, 2), round(s.end, 2)) for s in found] == [(0.2, 1.37), (2.0, 3.17)]
