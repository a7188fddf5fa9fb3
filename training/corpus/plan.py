"""Which clip is made from what: decided up front from the seed, so that any clip can be remade."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from training.corpus import kokoro, text
from training.corpus.festival_voices import VOICES
from training.corpus.recorded import Recording

CLIP_SECONDS = 15.0
"""Typical length of a clip."""
DEV_SHARE = 0.06
HELD_OUT = (
    "recorded:ljspeech", "festival:ked", "espeak:en-us+anika", "kokoro:bf_emma",
    "kokoro:am_michael",
)  # fmt: skip
"""Voices that are only ever in ``dev``."""
NEURAL_FROM, RECORDED_FROM = 60_000, 80_000
"""Number of the first clip of neural voices, and of recordings."""
PARTS = ("synthetic", "neural", "recorded")
"""What a corpus consists of, in the order of the clips' numbers."""
SOUND_SHARE = 0.08
BLEND_SHARE = 0.5
"""Share of English neural clips spoken by a person between two voices."""
DIALOGUE_SHARE, LISTENING_SHARE = 0.15, 0.06

_ENGLISH = ("slt-hts", "kal", "ked")
_SHARES: dict[str, float] = {
    "flite:slt": 0.11, "flite:rms": 0.14, "flite:awb": 0.14, "flite:kal16": 0.05,
    "festival:slt-hts": 0.08, "festival:kal": 0.04, "festival:ked": 0.02,
    **{f"festival:{name}": 0.015 for name in VOICES if name not in _ENGLISH},
    "espeak": 0.14, "espeak-foreign": 0.10,
}  # fmt: skip
ESPEAK_VOICES: tuple[str, ...] = (
    "en-us", "en-us+f1", "en-us+f2", "en-us+f3", "en-us+f4", "en-us+f5", "en-us+m1", "en-us+m2",
    "en-us+m3", "en-us+m4", "en-us+m5", "en-us+m6", "en-us+m7", "en-us+Alicia", "en-us+Andrea",
    "en-us+anika", "en-us+belinda", "en-us+benjamin", "en-us+iven", "en-us+Michael",
    "en-us+victor", "en-us+steph", "en-us+grandma", "en-us+grandpa", "en+f2", "en+m3",
    "en-gb-scotland+m2", "en-gb-x-rp+f4", "en-gb-x-gbclan+m7", "en-029+f3",
)  # fmt: skip
FOREIGN_VARIANTS: tuple[str, ...] = (
    "m1", "m2", "m3", "m5", "m7", "f1", "f2", "f3", "f4", "Alicia", "Michael", "belinda", "iven",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """One clip to make.

    Args:
        index: its number; with the corpus seed it decides every random choice.
        voice: ``flite:slt``, ``festival:NAME``, ``espeak:VOICE``, ``espeak-foreign:VARIANT``,
            ``recorded:NAME``, ``listening`` (only the other one speaks) or ``sound``.
        split: ``train`` or ``dev``.
        recordings: for recorded voices, what is played in order.
        warp: playback factor for recorded voices (1: as recorded).
        other: voice of the other speaker, "" if there is none.
    """

    index: int
    voice: str
    split: str
    recordings: tuple[Recording, ...] = field(default=())
    warp: float = 1.0
    other: str = ""


def _recorded(usable: list[tuple[Recording, float]], rng: random.Random) -> list[ClipSpec]:
    """Group recordings into clips, each talker's own order shuffled; train takes come twice."""
    held_texts = {r.text for r, _ in usable if r.voice in HELD_OUT}
    groups: dict[tuple[str, str], list[tuple[Recording, float]]] = {}
    for recording, seconds in usable:
        dev = recording.text in held_texts or text.split_of(recording.text) == "dev"
        groups.setdefault((recording.voice, "dev" if dev else "train"), []).append(
            (recording, seconds)
        )
    specs = []
    for (voice, split), takes in sorted(groups.items(), key=lambda item: item[0][::-1]):
        for factor in (1.0,) if split == "dev" else (1.0, rng.choice((0.88, 1.13))):
            rng.shuffle(takes)
            for chunk in _chunks([(r, s / factor) for r, s in takes]):
                specs.append(ClipSpec(0, voice, split, chunk, factor))
    return specs


def _chunks(takes: list[tuple[Recording, float]]) -> list[tuple[Recording, ...]]:
    out: list[tuple[Recording, ...]] = []
    current: list[Recording] = []
    total = 0.0
    for recording, seconds in takes:
        if current and total + seconds > CLIP_SECONDS:
            out.append(tuple(current))
            current, total = [], 0.0
        current.append(recording)
        total += seconds + 0.8
    if current:
        out.append(tuple(current))
    return out


def plan(
    hours: float,
    seed: int,
    usable: list[tuple[Recording, float]],
    neural_hours: float = 0.0,
) -> list[ClipSpec]:
    """Plan about ``hours`` hours of synthetic speech and sounds, neural voices, recordings.

    Each of the three parts is in random order and does not depend on the others: the beginning
    of a part is a small corpus, and a corpus made without recordings can get them later.

    Args:
        hours: length of the part spoken by rule-based and concatenating engines.
        seed: decides everything.
        usable: recordings that align, with their length in seconds; at most as many hours of
            them as of synthetic speech are used.
        neural_hours: length of the part spoken by neural voices.
    """
    rng = random.Random(seed)
    total = max(1, round(hours * 3600 / CLIP_SECONDS))
    specs = [ClipSpec(0, "sound", _split(rng)) for _ in range(round(total * SOUND_SHARE))]
    specs += [_synthetic(rng) for _ in range(max(0, total - len(specs)))]
    rng.shuffle(specs)
    neural = random.Random(seed + 3)
    count = round(neural_hours * 3600 / CLIP_SECONDS)
    talking = [_with_other(_neural(neural), neural) for _ in range(count)]
    spoken = _recorded(usable, random.Random(seed + 1))[:total]
    random.Random(seed + 2).shuffle(spoken)
    return [
        *(replace(spec, index=i) for i, spec in enumerate(specs)),
        *(replace(spec, index=NEURAL_FROM + i) for i, spec in enumerate(talking)),
        *(replace(spec, index=RECORDED_FROM + i) for i, spec in enumerate(spoken)),
    ]


def part_of(index: int) -> str:
    """Return which of ``PARTS`` a clip belongs to."""
    return PARTS[(index >= NEURAL_FROM) + (index >= RECORDED_FROM)]


def _synthetic(rng: random.Random) -> ClipSpec:
    return _with_other(_voice(rng), rng)


def _with_other(voice: str, rng: random.Random) -> ClipSpec:
    """Decide split and company of a voice."""
    split = _split(rng)
    if voice in HELD_OUT or not text.has(language_of(voice), split):
        split = "dev" if voice in HELD_OUT else "train"
    kind = rng.random()
    if kind >= DIALOGUE_SHARE + LISTENING_SHARE:
        return ClipSpec(0, voice, split)
    other = _voice(rng)
    while other == voice or other in HELD_OUT or not text.has(language_of(other), split):
        other = _voice(rng)
    return ClipSpec(0, "listening" if kind < LISTENING_SHARE else voice, split, other=other)


def _neural(rng: random.Random) -> str:
    """A neural voice; half of the English ones are a blend of two, of which there are hundreds."""
    voice = rng.choice(kokoro.VOICES)
    others = [v for v in kokoro.VOICES if v[0] in "ab" and f"kokoro:{v}" not in HELD_OUT]
    if voice in others and rng.random() < BLEND_SHARE:
        voice += f"+{rng.choice([v for v in others if v != voice])}"
    return f"kokoro:{voice}"


def _voice(rng: random.Random) -> str:
    voice = rng.choices(list(_SHARES), list(_SHARES.values()))[0]
    if voice == "espeak":
        return f"espeak:{rng.choice(ESPEAK_VOICES)}"
    return f"espeak-foreign:{rng.choice(FOREIGN_VARIANTS)}" if voice == "espeak-foreign" else voice


def language_of(voice: str) -> str:
    """Return the language a voice is bound to; "" for a voice that speaks several."""
    engine, _, name = voice.partition(":")
    if engine == "festival":
        return VOICES[name].language
    if engine == "kokoro":
        return kokoro.LANGUAGES[name[0]][0]
    return "" if engine == "espeak-foreign" else "en"


def _split(rng: random.Random) -> str:
    return "dev" if rng.random() < DEV_SHARE else "train"
