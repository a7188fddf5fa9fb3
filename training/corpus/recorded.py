"""Recorded speech, force-aligned by pocketsphinx (its acoustic model travels inside the wheel)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from pocketsphinx import Decoder

from engine.media import SAMPLE_RATE
from training.corpus import flite
from training.corpus.phones import Phone, is_pause
from training.corpus.speech import Float32, SpeechUnavailable, Utterance, to_16k

_PAD = 0.25  # seconds of silence either side: without it some utterances end mid-search
_FRAME = 0.01
_WORST_LOG_PROBABILITY = -23.5  # mean acoustic score per frame; believable takes: -10 to -23
_MIN_RATE, _MAX_RATE = 6.0, 22.0  # phones per second of speech that a person can produce
_DICTIONARY_PHONES = {"ax": "AH", "axr": "ER", "ix": "IH", "dx": "T", "hv": "HH", "el": "AH L"}


@dataclass(frozen=True, slots=True)
class Recording:
    """A file and what was said in it."""

    path: Path
    text: str
    voice: str


def recordings(root: Path) -> list[Recording]:
    """List the speech corpora under ``root`` that have transcripts, sorted; empty if none."""
    found = []
    for name, table in (
        ("author_male", "metadata_all.csv"),
        ("ljspeech", "../author_male/metadata_all.csv"),
    ):
        folder = root / name
        if not (folder / table).is_file():
            continue
        rows = [line.split("|") for line in (folder / table).read_text("utf-8").splitlines()]
        texts = {row[0]: row[2] for row in rows if len(row) >= 3}
        found += [
            Recording(path, texts[path.stem], f"recorded:{name}")
            for path in sorted(folder.glob("*.flac"))
            if path.stem in texts
        ]
    return found


def _words(decoder: Decoder, text: str) -> str:
    plain = re.sub(r"[^a-z' ]", " ", text.lower().replace("’", "'"))
    words = [word.strip("'") for word in plain.split()]
    for word in words:
        if word and decoder.lookup_word(word) is None:
            decoder.add_word(word, _pronounce(word), True)
    return " ".join(word for word in words if word)


def _pronounce(word: str) -> str:
    """Ask flite's letter-to-sound rules for a word the dictionary lacks."""
    names = [p.name for p in flite.say(word, "kal").phones if not is_pause(p.name)]
    return " ".join(_DICTIONARY_PHONES.get(name, name.upper()) for name in names)


def align(audio: Float32, text: str) -> list[Phone]:
    """Align 16 kHz audio [N] with its transcript; return phones with times in seconds.

    Raises:
        SpeechUnavailable: a word is unknown, the search failed, or the result is not believable
            (wrong transcript, cropped take).
    """
    # A new decoder each time: an old one goes on adapting, and results would depend on the order.
    decoder = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL", lm=None, cmn="batch")
    words = _words(decoder, text)
    if not words:
        raise SpeechUnavailable("empty transcript")
    pad = np.zeros(round(_PAD * SAMPLE_RATE), np.float32)
    pcm = (np.concatenate([pad, audio, pad]) * 32767).clip(-32768, 32767).astype(np.int16)
    try:
        decoder.set_align_text(words)
        _pass(decoder, pcm.tobytes())
        if decoder.hyp() is None:
            raise SpeechUnavailable("no path through the transcript")
        decoder.set_alignment()
        _pass(decoder, pcm.tobytes())
        return _collect(decoder, len(audio) / SAMPLE_RATE)
    except RuntimeError as error:
        raise SpeechUnavailable(f"alignment failed: {error}") from error


def _pass(decoder: Decoder, pcm: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()


def _collect(decoder: Decoder, seconds: float) -> list[Phone]:
    phones, score, frames = [], 0.0, 0
    for word in decoder.get_alignment():
        speech = not word.name.startswith(("<", "[", "+"))
        for phone in word:
            start = min(max(phone.start * _FRAME - _PAD, 0.0), seconds)
            end = min(max((phone.start + phone.duration) * _FRAME - _PAD, 0.0), seconds)
            if end > start:
                phones.append(Phone(phone.name if speech else "sil", start, end))
            if speech:
                score += phone.score
                frames += phone.duration
    spoken = sum(p.name != "sil" for p in phones)
    if frames == 0 or score / frames < _WORST_LOG_PROBABILITY:
        raise SpeechUnavailable("the recording does not fit its transcript")
    if not _MIN_RATE <= spoken / (frames * _FRAME) <= _MAX_RATE:
        raise SpeechUnavailable("impossible speech rate: cropped take or wrong transcript")
    return phones


def load(recording: Recording, cache: Path) -> Utterance:
    """Read and align one recording; the alignment is kept in ``cache`` (a folder) as JSON.

    Raises:
        SpeechUnavailable: the recording cannot be aligned (remembered as well).
    """
    samples, rate = soundfile.read(recording.path, dtype="float32")
    audio = to_16k(samples, rate)
    kept = cache / f"{recording.voice.split(':')[1]}_{recording.path.stem}.json"
    if kept.is_file():
        saved = json.loads(kept.read_text())
    else:
        try:
            found = align(audio, recording.text)
            saved = {"phones": [[p.name, round(p.start, 3), round(p.end, 3)] for p in found]}
        except SpeechUnavailable as error:
            saved = {"refused": str(error)}
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(saved))
    if "refused" in saved:
        raise SpeechUnavailable(f"{recording.path.name}: {saved['refused']}")
    phones = tuple(Phone(name, start, end) for name, start, end in saved["phones"])
    return Utterance(audio, phones, recording.text, recording.voice)
