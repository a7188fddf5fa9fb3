"""festival with its HTS voice: one process speaks a whole list, labels come from ``Segment``."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import soundfile

from training.corpus.phones import Phone
from training.corpus.speech import SpeechUnavailable, Utterance, to_16k

VOICE = "cmu_us_slt_arctic_hts"


def _script(texts: list[str], stretch: float, folder: Path) -> str:
    lines = [f"(voice_{VOICE})", f"(Parameter.set 'Duration_Stretch {stretch:.3f})"]
    for index, text in enumerate(texts):
        quoted = text.replace("\\", "").replace('"', "")
        lines += [
            f'(set! u (Utterance Text "{quoted}"))',
            "(utt.synth u)",
            f'(utt.save.segs u "{folder / str(index)}.lab")',
            f'(utt.save.wave u "{folder / str(index)}.wav" \'riff)',
        ]
    return "\n".join(lines)


def _labels(path: Path) -> tuple[Phone, ...]:
    phones, start = [], 0.0
    for line in path.read_text().splitlines():
        words = line.split()
        if len(words) == 3:
            phones.append(Phone(words[2], start, float(words[0])))
            start = float(words[0])
    return tuple(phones)


def say(texts: list[str], stretch: float = 1.0) -> list[Utterance]:
    """Speak sentences with the HTS voice; ``stretch`` > 1 is slower.

    Raises:
        SpeechUnavailable: festival or the voice is missing, or a sentence failed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "say.scm"
        script.write_text(_script(texts, stretch, folder))
        try:
            subprocess.run(
                ["festival", "-b", str(script)], capture_output=True, check=True, timeout=300
            )
            out = []
            for index, text in enumerate(texts):
                samples, rate = soundfile.read(folder / f"{index}.wav", dtype="float32")
                phones = _labels(folder / f"{index}.lab")
                out.append(Utterance(to_16k(samples, rate), phones, text, "festival:slt-hts"))
        except (OSError, subprocess.SubprocessError, soundfile.LibsndfileError) as error:
            raise SpeechUnavailable("festival or its voice cmu_us_slt_arctic_hts failed") from error
    return out
