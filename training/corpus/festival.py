"""festival: one process speaks a whole list, labels come from ``Segment``."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import soundfile

from training.corpus.festival_voices import VOICES, FestivalVoice, rename
from training.corpus.phones import Phone
from training.corpus.speech import SpeechUnavailable, Utterance, to_16k

_HOME = Path("/usr/share/festival/voices")


def missing_packages(names: Iterable[str]) -> list[str]:
    """Return the Debian packages of those of the named voices that are not installed."""
    present = {folder.name for folder in _HOME.glob("*/*")}
    wanted = {VOICES[name].package: VOICES[name].function for name in names}
    return sorted(package for package, function in wanted.items() if function not in present)


def _script(texts: list[str], voice: FestivalVoice, stretch: float, folder: Path) -> bytes:
    lines = [f"(voice_{voice.function})", f"(Parameter.set 'Duration_Stretch {stretch:.3f})"]
    for index, text in enumerate(texts):
        quoted = text.replace("\\", "").replace('"', "")
        lines += [
            f'(set! u (Utterance Text "{quoted}"))',
            "(utt.synth u)",
            f'(utt.save.segs u "{folder / str(index)}.lab")',
            f'(utt.save.wave u "{folder / str(index)}.wav" \'riff)',
        ]
    return "\n".join(lines).encode(voice.encoding, "ignore")


def _labels(path: Path, voice: FestivalVoice) -> tuple[Phone, ...]:
    phones, start = [], 0.0
    for line in path.read_text("latin-1").splitlines():
        words = line.split()
        if len(words) == 3 and float(words[0]) > start:
            phones.append(Phone(rename(voice, words[2]), start, float(words[0])))
            start = float(words[0])
    return tuple(phones)


def say(texts: list[str], stretch: float = 1.0, name: str = "slt-hts") -> list[Utterance]:
    """Speak sentences; ``stretch`` > 1 is slower; ``name`` is a key of ``VOICES``.

    Raises:
        SpeechUnavailable: festival or the voice is missing, or a sentence failed.
    """
    voice = VOICES[name]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        script = folder / "say.scm"
        script.write_bytes(_script(texts, voice, stretch, folder))
        try:
            subprocess.run(
                ["festival", "-b", str(script)], capture_output=True, check=True, timeout=300
            )
            out = []
            for index, text in enumerate(texts):
                samples, rate = soundfile.read(folder / f"{index}.wav", dtype="float32")
                phones = _labels(folder / f"{index}.lab", voice)
                out.append(Utterance(to_16k(samples, rate), phones, text, f"festival:{name}"))
        except (OSError, subprocess.SubprocessError, soundfile.LibsndfileError) as error:
            raise SpeechUnavailable(
                f"festival's voice {name} failed; is {voice.package} installed?"
            ) from error
    return out
