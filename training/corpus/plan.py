"""Which clip is made from what: decided up front from the seed, so that any clip can be remade."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from training.corpus.recorded import Recording
from training.corpus.text import split_of

CLIP_SECONDS = 13.0
"""Typical length of a clip."""
DEV_SHARE = 0.06
HELD_OUT = ("recorded:ljspeech",)
"""Voices that are only ever in ``dev``."""
SOUND_SHARE = 0.08

_SHARES: dict[str, float] = {
    "flite:slt": 0.13, "flite:rms": 0.18, "flite:awb": 0.18, "flite:kal16": 0.06,
    "festival:slt-hts": 0.11, "espeak": 0.34,
}  # fmt: skip
ESPEAK_VOICES: tuple[str, ...] = (
    "en-us", "en-us+f1", "en-us+f2", "en-us+f3", "en-us+f4", "en-us+f5", "en-us+m1", "en-us+m2",
    "en-us+m3", "en-us+m4", "en-us+m5", "en-us+m6", "en-us+m7", "en-us+Alicia", "en-us+Andrea",
    "en-us+anika", "en-us+belinda", "en-us+benjamin", "en-us+iven", "en-us+Michael",
    "en-us+victor", "en-us+steph", "en-us+grandma", "en-us+grandpa", "en+f2", "en+m3",
    "en-gb-scotland+m2", "en-gb-x-rp+f4", "en-gb-x-gbclan+m7", "en-029+f3",
)  # fmt: skip
FOREIGN_VARIANTS: tuple[str, ...] = ("m1", "m3", "m7", "f2", "f3", "f4", "Alicia", "Michael")
_FOREIGN_SHARE = 0.35  # of the espeak-ng clips


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """One clip to make.

    Args:
        index: its number; with the corpus seed it decides every random choice.
        voice: ``flite:slt``, ``festival:slt-hts``, ``espeak:VOICE``, ``espeak-foreign:VARIANT``,
            ``recorded:NAME`` or ``sound``.
        split: ``train`` or ``dev``.
        recordings: for recorded voices, what is played in order.
        warp: playback factor for recorded voices (1: as recorded).
    """

    index: int
    voice: str
    split: str
    recordings: tuple[Recording, ...] = field(default=())
    warp: float = 1.0


def _recorded(usable: list[tuple[Recording, float]], rng: random.Random) -> list[ClipSpec]:
    """Group recordings into clips, each talker's own order shuffled; train takes come twice."""
    held_texts = {r.text for r, _ in usable if r.voice in HELD_OUT}
    groups: dict[tuple[str, str], list[tuple[Recording, float]]] = {}
    for recording, seconds in usable:
        dev = recording.text in held_texts or split_of(recording.text) == "dev"
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


def plan(hours: float, seed: int, usable: list[tuple[Recording, float]]) -> list[ClipSpec]:
    """Plan about ``hours`` hours.

    Args:
        hours: length of the corpus.
        seed: decides everything.
        usable: recordings that align, with their length in seconds.
    """
    rng = random.Random(seed)
    total = max(1, round(hours * 3600 / CLIP_SECONDS))
    specs = _recorded(usable, rng)[: total // 2]
    sounds = round(total * SOUND_SHARE)
    specs += [ClipSpec(0, "sound", _split(rng)) for _ in range(sounds)]
    rest = max(0, total - len(specs))
    for voice in rng.choices(list(_SHARES), list(_SHARES.values()), k=rest):
        name = voice
        if voice == "espeak" and rng.random() < _FOREIGN_SHARE:
            name = f"espeak-foreign:{rng.choice(FOREIGN_VARIANTS)}"
        elif voice == "espeak":
            name = f"espeak:{rng.choice(ESPEAK_VOICES)}"
        specs.append(ClipSpec(0, name, _split(rng)))
    rng.shuffle(specs)
    return [ClipSpec(i, s.voice, s.split, s.recordings, s.warp) for i, s in enumerate(specs)]


def _split(rng: random.Random) -> str:
    return "dev" if rng.random() < DEV_SHARE else "train"
