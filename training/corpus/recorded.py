"""Recorded speech, force-aligned by pocketsphinx (its acoustic model travels inside the wheel)."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from pocketsphinx import Decoder

from engine.media import SAMPLE_RATE
from training.corpus import flite
from training.corpus.crops import SPANS
from training.corpus.phones import Phone, is_pause
from training.corpus.speech import Float32, SpeechUnavailable, Utterance, to_16k

_PAD = 0.25  # seconds of silence either side: without it some utterances end mid-search
_FRAME = 0.01
_WORST_LOG_PROBABILITY = -23.5  # mean acoustic score per frame; believable takes: -10 to -23
_WORST_CHECKED = -27.5  # where the words were confirmed otherwise
_MIN_RATE, _MAX_RATE = 6.0, 22.0  # phones per second of speech that a person can produce
_DICTIONARY_PHONES = {"ax": "AH", "axr": "ER", "ix": "IH", "dx": "T", "hv": "HH", "el": "AH L"}


@dataclass(frozen=True, slots=True)
class Recording:
    """A file and what was said in it.

    Args:
        path: of the sound.
        text: its words.
        voice: ``recorded:NAME``.
        checked: the words were confirmed by other means than the alignment.
    """

    path: Path
    text: str
    voice: str
    checked: bool = False


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
        for path in sorted(folder.glob("*.flac")):
            if path.stem in texts:
                found.append(_recording(path, texts[path.stem], name))
    return found


def _recording(path: Path, text: str, name: str) -> Recording:
    span = SPANS.get(path.stem) if name == "author_male" else None
    words = " ".join(text.split()[slice(*span)]) if span else text
    return Recording(path, words, f"recorded:{name}", span is not None)


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


def align(audio: Float32, text: str, worst: float = _WORST_LOG_PROBABILITY) -> list[Phone]:
    """Align 16 kHz audio [N] with its transcript; return phones with times in seconds.

    Args:
        audio: float32 [N].
        text: what is said.
        worst: mean log probability of a frame from which on the result is believed.

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
        return _collect(decoder, len(audio) / SAMPLE_RATE, worst)
    except RuntimeError as error:
        raise SpeechUnavailable(f"alignment failed: {error}") from error


def _pass(decoder: Decoder, pcm: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()


def _collect(decoder: Decoder, seconds: float, worst: float) -> list[Phone]:
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
    if frames == 0 or score / frames < worst:
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
    words = hashlib.sha256(recording.text.encode()).hexdigest()[:8]
    kept = cache / f"{recording.voice.split(':')[1]}_{recording.path.stem}_{words}.json"
    if kept.is_file():
        saved = json.loads(kept.read_text())
    else:
        try:
            worst = _WORST_CHECKED if recording.checked else _WORST_LOG_PROBABILITY
            found = align(audio, recording.text, worst)
            saved = {"phones": [[p.name, round(p.start, 3), round(p.end, 3)] for p in found]}
        except SpeechUnavailable as error:
            saved = {"refused": str(error)}
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(saved))
    if "refused" in saved:
        raise SpeechUnavailable(f"{recording.path.name}: {saved['refused']}")
    phones = tuple(Phone(name, start, end) for name, start, end in saved["phones"])
    return Utterance(audio, phones, recording.text, recording.voice)
