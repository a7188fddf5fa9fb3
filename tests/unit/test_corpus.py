"""The corpus: text, augmentation, sounds, and one clip through a real engine."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from engine.media import SAMPLE_RATE, SAMPLES_PER_FRAME
from tests.conftest import require_program
from training.corpus import espeak, flite, sounds, text
from training.corpus.augment import augment
from training.corpus.clip import Job, make
from training.corpus.command import main
from training.corpus.phones import Phone, is_pause, visemes_of
from training.corpus.plan import HELD_OUT, ClipSpec, plan
from training.corpus.recorded import Recording, align
from training.corpus.speech import SpeechUnavailable, Utterance, level, trim, warp
from training.corpus.text import split_of


@pytest.fixture
def speech_engines() -> None:
    """The programs that speak; skips without them, except in CI."""
    for program in ("espeak-ng", "flite", "festival"):
        require_program(program)


needs_engines = pytest.mark.usefixtures("speech_engines")


def tone(seconds: float = 1.0) -> np.ndarray:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    chirp = np.sin(2 * np.pi * (150 * t + 600 * t**2)) * (np.sin(2 * np.pi * 3 * t) > 0)
    return (0.2 * chirp).astype(np.float32)


def test_no_sentence_is_in_both_splits_and_the_grammar_is_rich() -> None:
    rng = random.Random(1)
    train = {text.english(rng, "train").text for _ in range(400)}
    dev = {text.english(rng, "dev").text for _ in range(60)}
    assert not train & dev
    assert len(train) > 200
    assert all("{" not in line for line in train | dev)
    assert any(line.endswith("?") for line in train)
    for split in ("train", "dev"):
        assert split_of(text.foreign(rng, split).text) == split


@pytest.mark.slow
@needs_engines
def test_text_covers_every_english_phone() -> None:
    said = espeak.say([espeak.Request(sentence, "en-us") for sentence in text.WRITTEN])
    heard = {phone.name for speech in said for phone in speech.phones}
    wanted = set("pbtdkmnŋfvθðszʃʒhlɹwjæɛɪʊ") | {"ɡ", "tʃ", "dʒ", "aɪ", "aʊ", "eɪ", "oʊ", "ɔɪ"}
    assert wanted <= {name.rstrip("ː") for name in heard}


@needs_engines
def test_espeak_reports_stops_where_their_silence_begins() -> None:
    speech = espeak.say([espeak.Request("a pie, a tie, a kite, a copy", "en-us", 150)])[0]
    found = 0
    for before, phone in pairwise(speech.phones):
        if phone.name in "ptk" and not is_pause(before.name):
            first = round((phone.start + 0.005) * SAMPLE_RATE)
            found += np.abs(speech.audio[first : first + 320]).max() < 0.02
    assert found >= 4


@needs_engines
def test_a_clip_has_the_promised_format_and_is_reproducible(tmp_path: Path) -> None:
    spec = ClipSpec(3, "espeak:en-us+f3", "train")
    row = make(Job(spec, _folder(tmp_path / "a"), 5))
    make(Job(spec, _folder(tmp_path / "b"), 5))
    with np.load(tmp_path / "a" / row["file"]) as one, np.load(tmp_path / "b" / row["file"]) as two:
        frames = len(one["motion"])
        assert one["audio"].dtype == np.int16 and len(one["audio"]) == frames * SAMPLES_PER_FRAME
        assert 8 * 25 <= frames <= 20 * 25 and one["motion"].dtype == np.float16
        for key in ("viseme", "speaking", "closure"):
            assert one[key].shape == (frames,)
        for key in one.files:
            np.testing.assert_array_equal(one[key], two[key])
        assert one["speaking"].any() and not one["speaking"].all()
    names = [p for p in row["phones"] if p[1] != "sil"]
    assert len(names) > 30
    assert all(a[3] <= b[2] + 1e-3 for a, b in pairwise(names))


def test_motion_alone_can_be_made_again(tmp_path: Path) -> None:
    job = Job(ClipSpec(0, "sound", "train"), _folder(tmp_path), 1)
    make(job)
    with np.load(job.path) as before:
        kept = {key: before[key] for key in before.files}
    np.savez(job.path, **(kept | {"motion": np.zeros_like(kept["motion"])}))
    make(job)
    with np.load(job.path) as untouched:
        assert not untouched["motion"].any()
    make(Job(job.spec, job.out, 1, again=True))
    with np.load(job.path) as after:
        np.testing.assert_array_equal(after["motion"], kept["motion"])
        np.testing.assert_array_equal(after["audio"], kept["audio"])


@needs_engines
def test_a_missing_voice_is_reported() -> None:
    with pytest.raises(SpeechUnavailable, match="no voice"):
        espeak.say([espeak.Request("hello", "xx-nowhere")])


def _folder(path: Path) -> Path:
    (path / "clips").mkdir(parents=True)
    return path


@needs_engines
def test_forced_alignment_finds_the_times_the_engine_reports() -> None:
    speech = flite.say("the quick brown fox jumps over the lazy dog", "slt")
    found = [p for p in align(speech.audio, speech.text) if p.name != "sil"]
    told = [p for p in speech.phones if not is_pause(p.name)]
    pairs = [
        abs(a.start - b.start)
        for a, b in zip(found, told, strict=True)
        if visemes_of(a.name) == visemes_of(b.name)
    ]
    assert len(pairs) >= 25
    assert np.median(pairs) < 0.02
    with pytest.raises(SpeechUnavailable):
        align(speech.audio, "completely different words were expected here, and many more of them")


@pytest.mark.slow
@needs_engines
def test_the_command_makes_a_corpus_and_goes_on(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path), "--hours", "0.008", "--jobs", "1"]
    arguments += ["--speech", str(tmp_path / "none")]
    assert main(arguments) == 0
    files = sorted((tmp_path / "clips").glob("*.npz"))
    index = json.loads((tmp_path / "index.json").read_text("utf-8"))
    assert [tmp_path / row["file"] for row in index["clips"]] == files
    files[0].unlink()
    kept = {f: f.stat().st_mtime_ns for f in files[1:]}
    assert main([*arguments, "--report", str(tmp_path / "corpus.md")]) == 0
    assert json.loads((tmp_path / "index.json").read_text("utf-8")) == index
    assert {f: f.stat().st_mtime_ns for f in files[1:]} == kept
    assert "p, b, m closed" in (tmp_path / "corpus.md").read_text("utf-8")
    assert main([*arguments, "--seed", "1"]) == 1


def test_plan_keeps_held_out_voices_and_their_sentences_out_of_train() -> None:
    takes = [
        (Recording(Path(f"{i}.flac"), f"sentence number {i}", voice), 6.0)
        for voice in ("recorded:author_male", *HELD_OUT)
        for i in range(30)
    ]
    specs = plan(1.0, 0, takes)
    assert specs == plan(1.0, 0, takes) != plan(1.0, 1, takes)
    assert [s.index for s in specs] == list(range(len(specs)))
    assert all(s.split == "dev" for s in specs if s.recordings)
    shares = np.mean([s.voice == "sound" for s in specs])
    assert 0.06 < shares < 0.1
    assert len({s.voice for s in specs}) >= 20


def test_warp_and_trim_move_phones_with_the_sound() -> None:
    audio = np.zeros(SAMPLE_RATE, np.float32)
    audio[8000:12000] = tone(0.25)
    phones = (Phone("pau", 0, 0.5), Phone("aa", 0.5, 0.75), Phone("pau", 0.75, 1.0))
    faster = warp(Utterance(audio, phones, "a", "v"), 1.25)
    assert len(faster.audio) == pytest.approx(SAMPLE_RATE / 1.25, abs=2)
    assert faster.phones[1].start == pytest.approx(0.4)
    short = trim(faster, 0.06)
    spoken = next(p for p in short.phones if p.name == "aa")
    assert spoken.start == pytest.approx(0.06)
    first = np.flatnonzero(np.abs(short.audio) > 0.02)[0] / SAMPLE_RATE
    assert first == pytest.approx(spoken.start, abs=0.01)
    with pytest.raises(SpeechUnavailable):
        trim(Utterance(audio, (Phone("pau", 0, 1),), "", "v"))


def test_level_sets_loudness_without_clipping() -> None:
    speech = Utterance(tone(2.0), (), "", "v")
    assert np.abs(level(speech, 0.0).audio).max() <= 0.981
    quiet = level(speech, -40).audio
    assert 20 * np.log10(np.sqrt(np.mean(quiet[quiet != 0] ** 2))) == pytest.approx(-40, abs=3)


@pytest.mark.slow
def test_augment_keeps_length_and_timing() -> None:
    audio = tone(4.0)
    changed = 0
    for seed in range(40):
        out = augment(audio, np.random.default_rng(seed))
        assert out.shape == audio.shape and out.dtype == np.float32
        assert np.isfinite(out).all() and np.abs(out).max() <= 1
        spectrum = np.fft.rfft(out, 2**18) * np.conj(np.fft.rfft(audio, 2**18))
        correlation = np.abs(np.fft.irfft(spectrum))
        near = np.concatenate([correlation[-800:], correlation[:800]])
        assert abs(int(near.argmax()) - 800) <= 32  # 2 ms
        changed += not np.allclose(out, audio, atol=1e-3)
    assert changed >= 38
    twice = [augment(audio, np.random.default_rng(3)) for _ in range(2)]
    np.testing.assert_array_equal(*twice)


def test_augment_of_silence_stays_quiet() -> None:
    silence = np.zeros(3 * SAMPLE_RATE, np.float32)
    loud = [np.sqrt(np.mean(augment(silence, np.random.default_rng(i)) ** 2)) for i in range(30)]
    assert max(loud) < 0.05


@pytest.mark.parametrize("kind", sorted(sounds.KINDS))
def test_sounds_are_finite_and_have_unit_power(kind: str) -> None:
    made = sounds.KINDS[kind](np.random.default_rng(0), 3 * SAMPLE_RATE)
    assert made.shape == (3 * SAMPLE_RATE,) and np.isfinite(made).all()
    power = np.sqrt(np.mean(made**2))
    assert power == pytest.approx(0 if kind == "silence" else 1, abs=0.1)


def test_unknown_letters_leave_the_lips_alone() -> None:
    assert visemes_of("ǂ") == ("kg",)
