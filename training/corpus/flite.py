"""flite as a command: ``-psdur`` prints every phone with its end time."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import soundfile

from training.corpus.phones import Phone
from training.corpus.speech import SpeechUnavailable, Utterance, to_16k

_PAIR = re.compile(r"(\S+):(\d+\.\d+)")


def say(text: str, voice: str, stretch: float = 1.0, pitch: float | None = None) -> Utterance:
    """Speak one sentence; ``stretch`` > 1 is slower; ``pitch`` (Hz) works for ``kal`` voices only.

    Raises:
        SpeechUnavailable: flite is missing or refused.
    """
    settings = ["--setf", f"duration_stretch={stretch:.3f}"]
    if pitch is not None:
        settings += ["--setf", f"int_f0_target_mean={pitch:.1f}"]
    with tempfile.TemporaryDirectory() as folder:
        wave = Path(folder, "speech.wav")
        command = ["flite", "-voice", voice, *settings, "-psdur", "-t", text, "-o", str(wave)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
            samples, rate = soundfile.read(wave, dtype="float32")
        except (OSError, subprocess.SubprocessError, soundfile.LibsndfileError) as error:
            raise SpeechUnavailable(f"flite {voice} failed for {text!r}") from error
    phones, start = [], 0.0
    for name, end in _PAIR.findall(done.stdout):
        if float(end) < start:
            # A second sentence in one text restarts its clock: the caller must send one at a time.
            raise SpeechUnavailable(f"flite split {text!r} into several utterances")
        phones.append(Phone(name, start, float(end)))
        start = float(end)
    return Utterance(to_16k(samples, rate), tuple(phones), text, f"flite:{voice}")
