"""What a network has to beat: rules on known phones, loudness, MFCC templates.

Each takes a ``Sound`` and gives motion float32 [T,58], or None where it cannot say anything.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import zlib
from collections.abc import Callable
from functools import cache as once
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, sosfilt

from engine.media import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, Float32
from engine.motion.arkit import INDEX, MOTION_SIZE
from training.corpus.phones import Phone, visemes_of
from training.evaluation.sounds import CACHE, Sound
from training.teacher.animate import animate
from training.teacher.head import Sentence
from training.teacher.style import Style

TOOLS = CACHE / "tools"
"""A virtual environment of its own for foreign packages (``evaluate --install-tools``)."""
FOREIGN = "pylipsync==0.2.1"
"""MIT; MFCC templates of five vowels. Measured, not shipped: its numba wants an older numpy."""
_SCRIPT = Path(__file__).with_name("foreign.py")
_PAUSE = 0.3
_BAND = (250.0, 3400.0)
_WIDEST_JAW = 0.35
_POSES: dict[str, dict[str, float]] = {
    "aa": {"jawOpen": 0.40, "mouthLowerDownLeft": 0.15, "mouthLowerDownRight": 0.15},
    "ee": {"jawOpen": 0.12, "mouthStretchLeft": 0.3, "mouthStretchRight": 0.3},
    "ih": {"jawOpen": 0.18, "mouthStretchLeft": 0.15, "mouthStretchRight": 0.15},
    "oh": {"jawOpen": 0.28, "mouthFunnel": 0.35},
    "ou": {"jawOpen": 0.12, "mouthPucker": 0.45},
}
"""ARKit shapes of the template matcher's five vowels at full weight."""


def rule(sound: Sound) -> Float32 | None:
    """The corpus's own rules with an average manner, on the same phones."""
    if not sound.phones:
        return None
    rng = np.random.default_rng(zlib.crc32(sound.name.encode()))
    phones = list(sound.phones)
    done = animate(sound.audio, phones, sentences(phones), Style(), rng)
    return np.asarray(done.motion, np.float32)


def sentences(phones: list[Phone]) -> list[Sentence]:
    """Stretches of speech between pauses of 0.3 s and more; none of them counts as a question."""
    spoken = [phone for phone in phones if visemes_of(phone.name) != ("sil",)]
    out: list[Sentence] = []
    for phone in spoken:
        if out and phone.start - out[-1].end < _PAUSE:
            out[-1] = Sentence(out[-1].start, phone.end, False)
        else:
            out.append(Sentence(phone.start, phone.end, False))
    return out


def energy(sound: Sound) -> Float32:
    """A jaw that follows loudness (dB of 250 to 3400 Hz, between the clip's own extremes)."""
    filters = butter(4, _BAND, "bandpass", fs=SAMPLE_RATE, output="sos")
    power = np.square(sosfilt(filters, sound.audio)).reshape(-1, SAMPLES_PER_FRAME).mean(1)
    loudness = gaussian_filter1d(10.0 * np.log10(power + 1e-7), 0.8)
    low, high = np.percentile(loudness, (10, 95))
    motion = np.zeros((sound.frames, MOTION_SIZE), np.float32)
    share = np.clip((loudness - low) / max(high - low, 6.0), 0.0, 1.0)
    motion[:, INDEX["jawOpen"]] = _WIDEST_JAW * share
    return motion


def templates(sound: Sound) -> Float32 | None:
    """``pylipsync``: MFCC templates of five vowels, blended into ARKit poses."""
    python = TOOLS / "bin" / "python"
    digest = hashlib.sha256(FOREIGN.encode() + sound.audio.tobytes()).hexdigest()[:20]
    kept = CACHE / "pylipsync" / f"{digest}.json"
    if not kept.is_file():
        if not python.is_file():
            return None
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(_foreign(python, sound.audio))
    weights = json.loads(kept.read_text())
    motion = np.zeros((sound.frames, MOTION_SIZE), np.float32)
    for row, frame in zip(motion, weights, strict=False):
        for vowel, weight in frame.items():
            for shape, value in _POSES.get(vowel, {}).items():
                row[INDEX[shape]] += weight * value
    return np.asarray(gaussian_filter1d(motion, 0.8, axis=0), np.float32)


def _foreign(python: Path, audio: Float32) -> str:
    """What ``foreign.py`` says: one line of JSON.

    Raises:
        RuntimeError: it ended instead.
    """
    process = _process(python)
    assert process.stdin is not None
    assert process.stdout is not None
    with TemporaryDirectory() as folder:
        wav = Path(folder) / "sound.wav"
        soundfile.write(wav, audio, SAMPLE_RATE, subtype="FLOAT")
        process.stdin.write(f"{wav}\n")
        process.stdin.flush()
        answer = process.stdout.readline()
    if not answer:
        raise RuntimeError(f"{FOREIGN} gave no answer")
    return answer


@once
def _process(python: Path) -> subprocess.Popen[str]:
    """Stays for the next sound, since starting takes seconds; ends when its input is closed."""
    command = [str(python), str(_SCRIPT), str(FPS)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


BASELINES: dict[str, Callable[[Sound], Float32 | None]] = {
    "rule": rule,
    "energy": energy,
    "pylipsync": templates,
}
"""Kind to what performs it."""
