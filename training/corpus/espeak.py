"""espeak-ng through its C library: phone onsets come as events while it speaks.

The library is a separate GPL-3 program that only this tool loads; nothing of it is shipped.
Structures and constants: ``espeak-ng/speak_lib.h``.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import re
import subprocess
import sys
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from training.corpus.phones import Phone
from training.corpus.speech import SpeechUnavailable, Utterance, to_16k

_RETRIEVAL, _PHONEME_EVENTS, _PHONEME_IPA, _NO_EXIT = 1, 1, 2, 0x8000
_EVENT_END, _EVENT_PHONEME = 0, 7
_UTF8 = 1
_SEPARATED_IPA = 2 | ord("_") << 8
_RATE, _PITCH, _RANGE = 1, 3, 4
_VOICELESS_STOPS = frozenset("ptkqcʈ")
_BLOCK, _LONGEST_CLOSURE = 0.005, 0.09  # seconds
_QUIET = 120  # of 32768


@dataclass(frozen=True, slots=True)
class Request:
    """A sentence to say; pitch and its span are 0..100, voice e.g. ``en-us+f2``."""

    text: str
    voice: str
    words_per_minute: int = 165
    pitch: int = 50
    span: int = 50


class _Identifier(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identifier),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class Espeak:
    """One engine per process (the library keeps global state).

    Raises:
        SpeechUnavailable: the library is not installed.
    """

    def __init__(self) -> None:
        try:
            self.library = ctypes.CDLL("libespeak-ng.so.1")
        except OSError as error:
            raise SpeechUnavailable("espeak-ng is not installed") from error
        options = _PHONEME_EVENTS | _PHONEME_IPA | _NO_EXIT
        self.rate = self.library.espeak_Initialize(_RETRIEVAL + 1, 0, None, options)
        if self.rate <= 0:
            raise SpeechUnavailable("espeak-ng found no voice data")
        self._audio: list[NDArray[np.int16]] = []
        self._onsets: list[tuple[str, float]] = []
        self._callback = _Callback(self._receive)
        self.library.espeak_SetSynthCallback(self._callback)

    def _receive(self, wave: object, count: int, events: object) -> int:
        if wave and count > 0:
            self._audio.append(np.ctypeslib.as_array(wave, (count,)).copy())
        index = 0
        while events[index].type != _EVENT_END:  # type: ignore[index]
            event = events[index]  # type: ignore[index]
            if event.type == _EVENT_PHONEME:
                name = event.id.string.decode("utf-8", "ignore")
                self._onsets.append((name, event.audio_position / 1000))
            index += 1
        return 0

    def speak(self, request: Request) -> tuple[NDArray[np.int16], list[tuple[str, float]]]:
        """Return samples [N] at ``rate`` Hz and phone onsets (name, seconds).

        Raises:
            SpeechUnavailable: no such voice, or no sound came.
        """
        if self.library.espeak_SetVoiceByName(request.voice.encode()) != 0:
            raise SpeechUnavailable(f"espeak-ng has no voice {request.voice}")
        values = request.words_per_minute, request.pitch, request.span
        for parameter, value in zip((_RATE, _PITCH, _RANGE), values, strict=True):
            self.library.espeak_SetParameter(parameter, value, 0)
        self._audio, self._onsets = [], []
        data = request.text.encode()
        self.library.espeak_Synth(data, len(data) + 1, 0, 0, 0, _UTF8, None, None)
        self.library.espeak_Synchronize()
        if not self._audio or not self._onsets:
            raise SpeechUnavailable(f"espeak-ng {request.voice} said nothing for {request.text!r}")
        return np.concatenate(self._audio), self._onsets


def say(requests: list[Request]) -> list[Utterance]:
    """Speak sentences, always the same way.

    The library's oscillators and noise go on from wherever the last sentence left them, and some
    voices even depend on what freed memory holds. So a server process that does nothing else
    forks for every call, and the fork reads the request, speaks and vanishes.

    Raises:
        SpeechUnavailable: the library or a voice is missing, or nothing was said.
    """
    server = _server()
    if server.stdin is None or server.stdout is None:
        raise SpeechUnavailable("espeak-ng's server has no pipes")
    try:
        server.stdin.write(json.dumps([astuple(r) for r in requests]).encode() + b"\n")
        server.stdin.flush()
        answer = json.loads(server.stdout.readline() or b'{"error": "espeak-ng crashed"}')
        sound = server.stdout.read(2 * sum(answer.get("lengths", ())))
    except OSError as error:
        raise SpeechUnavailable("espeak-ng crashed") from error
    if "error" in answer:
        raise SpeechUnavailable(answer["error"])
    pieces = np.split(np.frombuffer(sound, np.int16), np.cumsum(answer["lengths"])[:-1])
    return [
        _utterance(request, samples, onsets, answer["rate"])
        for request, samples, onsets in zip(requests, pieces, answer["onsets"], strict=True)
    ]


@functools.cache
def _server() -> subprocess.Popen[bytes]:
    """Start this process's server; it ends when its input is closed."""
    _pristine()  # a missing library is reported here
    return subprocess.Popen(
        [sys.executable, "-m", "training.corpus.espeak"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )


def serve() -> None:
    """Fork for every request that arrives, until the input ends."""
    engine = Espeak()
    while True:
        child = os.fork()
        if child == 0:
            _answer(engine)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != 0:
            return


def _answer(engine: Espeak) -> NoReturn:
    """In the fork: read a line, speak, write a line of JSON and the samples, vanish."""
    head: dict[str, object] = {"error": "espeak-ng failed"}
    sound = b""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 65536)
        if not piece:
            os._exit(1)
        line += piece
    try:
        spoken = [engine.speak(Request(*fields)) for fields in json.loads(line)]
        sound = b"".join(samples.tobytes() for samples, _ in spoken)
        head = {
            "rate": engine.rate,
            "lengths": [len(samples) for samples, _ in spoken],
            "onsets": [onsets for _, onsets in spoken],
        }
    except SpeechUnavailable as error:
        head = {"error": str(error)}
    finally:
        with os.fdopen(1, "wb") as pipe:
            pipe.write(json.dumps(head).encode() + b"\n" + sound)
        os._exit(0)


def _utterance(
    request: Request, samples: NDArray[np.int16], onsets: list[tuple[str, float]], rate: int
) -> Utterance:
    # "(en)" tells of a switch of language, not of a phone; "y" would be read as English "yes".
    named = [("ʏ" if n == "y" else n, t) for n, t in onsets if not n.startswith("(")]
    begun = _with_closures(named, samples, rate)
    ends = [t for _, t in begun[1:]] + [len(samples) / rate]
    phones = tuple(
        Phone(name, start, end)
        for (name, start), end in zip(begun, ends, strict=True)
        if end > start
    )
    return Utterance(to_16k(samples, rate), phones, request.text, f"espeak:{request.voice}")


def _with_closures(
    onsets: list[tuple[str, float]], samples: NDArray[np.int16], rate: int
) -> list[tuple[str, float]]:
    """Move the onset of voiceless stops from the burst back to where their closure begins.

    espeak-ng reports them when the burst sounds and counts the silence before it, about 55 ms,
    to the phone before: measured, the other phones are reported where they begin.
    """
    block = round(_BLOCK * rate)
    moved: list[tuple[str, float]] = []
    for name, onset in onsets:
        start = onset
        if name[:1] in _VOICELESS_STOPS and moved:
            earliest = max(onset - _LONGEST_CLOSURE, moved[-1][1] + 2 * _BLOCK)
            while start - _BLOCK >= earliest:
                first = round((start - _BLOCK) * rate)
                if np.abs(samples[first : first + block].astype(np.int32)).max() > _QUIET:
                    break
                start -= _BLOCK
        moved.append((name, start))
    return moved


def clauses(text: str, voice: str) -> list[tuple[list[list[str]], str]]:
    """Transcribe text: for each clause its words as lists of IPA phones, and the mark after it.

    Raises:
        SpeechUnavailable: the library or the voice is missing.
    """
    library = _pristine().library
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise SpeechUnavailable(f"espeak-ng has no voice {voice}")
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    out = []
    for piece, mark in re.findall(r"([^,.;:!?…]+)([,.;:!?…]?)", text):
        rest = ctypes.c_char_p(piece.encode())
        heard = []
        while rest.value:
            found = library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _SEPARATED_IPA)
            heard.append((found or b"").decode("utf-8", "ignore"))
        words = [[p for p in w.split("_") if p.strip("ˈˌ")] for w in " ".join(heard).split()]
        if words := [word for word in words if word]:
            out.append((words, mark or "."))
    return out


@functools.cache
def _pristine() -> Espeak:
    """Return this process's engine; it transcribes and never speaks."""
    return Espeak()


if __name__ == "__main__":
    serve()
