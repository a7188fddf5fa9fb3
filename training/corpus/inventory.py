"""What a corpus holds: voices, languages, phones, pace, pauses, company, feelings, noise."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.media import SAMPLES_PER_FRAME
from training.corpus.augment import augment
from training.corpus.phones import VISEMES
from training.corpus.plan import language_of
from training.teacher.emotion import EMOTIONS

Row = dict[str, Any]

ENGLISH = (
    "aa", "ae", "ah", "ao", "aw", "ay", "b", "ch", "d", "dh", "eh", "er", "ey", "f", "g", "hh",
    "ih", "iy", "jh", "k", "l", "m", "n", "ng", "ow", "oy", "p", "r", "s", "sh", "t", "th", "uh",
    "uw", "v", "w", "y", "z", "zh",
)  # fmt: skip
"""The 39 phones of North American English (CMU dictionary)."""
_SAME = {"ax": "ah", "axr": "er", "ix": "ih", "dx": "t", "nx": "n", "en": "n", "el": "l", "em": "m",
         "hv": "hh", "h": "hh"}  # fmt: skip
_SAMPLED = 60  # clips whose augmented signal-to-noise ratio is measured


def language(voice: str) -> str:
    """Return the language that a clip's voice speaks; "" for clips in which nobody speaks."""
    engine, _, name = voice.partition(":")
    if engine == "espeak":
        return name.partition("+")[0].partition("-")[0]
    return "" if engine in ("sound", "listening") else language_of(voice)


def kind(row: Row) -> str:
    """Return ``alone``, ``dialogue``, ``listening`` or ``sound``."""
    if row["other"]:
        return "dialogue" if row["sentences"] else "listening"
    return "alone" if row["sentences"] else "sound"


def tracks(index: Row) -> Iterator[Row]:
    """Go through everything spoken: our person's and the other's part of each clip."""
    for row in index["clips"]:
        if row["sentences"]:
            yield row
        if row["other"]:
            yield row["other"]


def voices(index: Row) -> list[str]:
    """Table of engines: voices, hours of our person's clips by split, seconds of speech."""
    hours: dict[str, Counter[str]] = defaultdict(Counter)
    names: dict[str, set[str]] = defaultdict(set)
    for row in index["clips"]:
        engine, _, name = row["voice"].partition(":")
        group = f"espeak-ng ({'English' if name[:2] == 'en' else 'other languages'})"
        group = group if engine == "espeak" else row["voice"]
        group = f"Kokoro ({language(row['voice'])})" if engine == "kokoro" else group
        hours[group][row["split"]] += row["seconds"] / 3600
        names[group].add(row["voice"])
    lines = ["| source | voices | train, h | dev, h |", "|---|---|---|---|"]
    for group, split in sorted(hours.items(), key=lambda item: -sum(item[1].values())):
        count = 0 if group in ("sound", "listening") else len(names[group])
        lines.append(f"| {group} | {count or ''} | {split['train']:.2f} | {split['dev']:.2f} |")
    return lines


def languages(index: Row) -> Counter[str]:
    """Hours of speech, pauses between words included, by language; both speakers count."""
    total: Counter[str] = Counter()
    for track in tracks(index):
        seconds = sum(end - start for start, end, _ in track["sentences"])
        total[language(track["voice"])] += seconds / 3600
    return total


def phones(index: Row) -> tuple[Counter[str], Counter[str]]:
    """Count the 39 English phones in ARPAbet tracks, and every IPA phone elsewhere."""
    english: Counter[str] = Counter()
    other: Counter[str] = Counter()
    for track in tracks(index):
        engine = track["voice"].partition(":")[0]
        arpabet = engine in ("flite", "recorded") or (
            engine == "festival" and language(track["voice"]) == "en"
        )
        for name, viseme, _, _ in track["phones"]:
            if viseme == "sil":
                continue
            if arpabet:
                low = name.lower()
                english[_SAME.get(low, low)] += 1
            else:
                other[name] += 1
    return english, other


def transitions(index: Row) -> NDArray[np.int64]:
    """Count viseme pairs [first, second] of neighbouring phones, silences included."""
    counts = np.zeros((len(VISEMES), len(VISEMES)), np.int64)
    number = {name: i for i, name in enumerate(VISEMES)}
    for track in tracks(index):
        last = "sil"
        for _, viseme, _, _ in track["phones"]:
            for part in viseme.split("+"):
                counts[number[last], number[part]] += 1
                last = part
    return counts


def pace(index: Row) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return phones per second of each sentence, and the pauses between sentences in seconds."""
    rates, pauses = [], []
    for row in index["clips"]:
        starts = np.array([p[2] for p in row["phones"] if p[1] != "sil"])
        ends = np.array([p[3] for p in row["phones"] if p[1] != "sil"])
        for start, end, _ in row["sentences"]:
            inside = (starts >= start) & (ends <= end + 0.05)
            if inside.sum() > 5:
                rates.append(inside.sum() / (ends[inside].max() - starts[inside].min()))
        if not row["other"]:
            pairs = zip(row["sentences"], row["sentences"][1:], strict=False)
            pauses += [after[0] - before[1] for before, after in pairs]
    return np.array(rates), np.array(pauses)


def _decibels(audio: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    blocks = audio.reshape(-1, SAMPLES_PER_FRAME)[where]
    return float(10 * np.log10(np.mean(np.square(blocks)) + 1e-10))


def noise(folder: Path, index: Row) -> NDArray[np.float64]:
    """Measure levels [clips, 3]: speech dBFS, and speech over pauses in dB, clean and augmented."""
    spoken = [row for row in index["clips"] if kind(row) == "alone"]
    found = []
    for number, row in enumerate(spoken[:: max(1, len(spoken) // _SAMPLED)]):
        with np.load(folder / row["file"]) as clip:
            audio, speaking = clip["audio"].astype(np.float32) / 32768, clip["speaking"] > 0
        if speaking.all() or not speaking.any():
            continue
        heard = augment(audio, np.random.default_rng([7, number]))
        level = _decibels(audio, speaking)
        ratios = [_decibels(x, speaking) - _decibels(x, ~speaking) for x in (audio, heard)]
        found.append([level, *ratios])
    return np.array(found).reshape(-1, 3)


def summary(folder: Path, index: Row) -> list[str]:
    """Return the bullet points of the report about what is in the corpus."""
    seconds = Counter[str]()
    feelings = Counter[str]()
    for row in index["clips"]:
        seconds[kind(row)] += row["seconds"]
        strongest = int(np.argmax(row["emotion"]))
        felt = EMOTIONS[strongest] if row["emotion"][strongest] > 0 else "neutral"
        feelings[felt] += row["seconds"]
    total = sum(seconds.values())
    english, other = phones(index)
    unseen = [name for name in ENGLISH if not english[name]]
    pairs = transitions(index)
    rates, pauses = pace(index)
    levels = noise(folder, index)
    rarest = ", ".join(f"{n} {english[n]}" for n in sorted(ENGLISH, key=english.__getitem__)[:3])
    events = sum(len(row["breaths"]) for row in index["clips"])
    laughs = sum(t == "[laugh]" for track in tracks(index) for t in track["text"])
    questions = [s[2] for track in tracks(index) for s in track["sentences"]]
    spread = _spread
    return [
        "- Clips: " + ", ".join(f"{k} {100 * s / total:.0f} %" for k, s in seconds.most_common()),
        "- Feelings: "
        + ", ".join(f"{k} {100 * s / total:.0f} %" for k, s in feelings.most_common()),
        f"- English phones: {39 - len(unseen)} of 39 occur"
        + (f" (not: {', '.join(unseen)})" if unseen else f"; the rarest: {rarest}")
        + f". {len(other)} names of phones in other alphabets.",
        f"- Neighbouring visemes: {(pairs >= 20).sum()} of {pairs.size} ordered pairs occur at "
        "least 20 times.",
        f"- Pace of a sentence: {spread(rates)} phones a second; pauses between sentences "
        f"{spread(pauses)} s (5 %, median, 95 %).",
        f"- {len(questions)} sentences, {100 * np.mean(questions):.0f} % questions; {events} "
        f"audible breaths, {laughs} laughs.",
        f"- Speech level {spread(levels[:, 0])} dBFS; speech over pauses, one augmented variant: "
        f"{spread(levels[:, 2])} dB ({len(levels)} clips; clean: {spread(levels[:, 1])} dB).",
    ]


def _spread(values: NDArray[np.float64]) -> str:
    if not len(values):
        return "none"
    low, middle, high = np.percentile(values, (5, 50, 95))
    return f"{low:.1f}, {middle:.1f}, {high:.1f}"
