"""Phones of every engine, reduced to the visemes (mouth shapes) that can be told apart.

Engines name phones differently: flite and festival use ARPAbet-like names in lower case,
pocketsphinx the same in upper case, espeak-ng IPA. Both alphabets end up in ``VISEMES``.
The grouping follows the usual confusions of lip readers (bilabial, labiodental, dental, alveolar,
post-alveolar, velar, rounded and spread vowels), with vowels kept finer because they differ in
jaw opening and rounding: Fisher 1968; Cohen and Massaro 1993.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

VISEMES: tuple[str, ...] = (
    "sil", "pbm", "fv", "th", "td", "l", "sz", "sh", "kg", "r", "w",
    "aa", "eh", "ee", "oh", "oo", "er", "ax", "ue",
)  # fmt: skip
"""Class names; a class id is the position. ``ue`` is a front rounded vowel (French u, German ö)."""

VISEME_ID: dict[str, int] = {name: i for i, name in enumerate(VISEMES)}
VOWELS: frozenset[str] = frozenset(("aa", "eh", "ee", "oh", "oo", "er", "ax", "ue"))


@dataclass(frozen=True, slots=True)
class Phone:
    """One phone as an engine named it; times in seconds; ``name`` is "" for a pause."""

    name: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Unit:
    """A stretch with one viseme: a phone, or half a diphthong. Times in seconds."""

    viseme: str
    start: float
    end: float
    phone: int
    """Index of the phone it came from."""


_ARPABET: dict[str, str] = {
    "p": "pbm", "b": "pbm", "m": "pbm", "f": "fv", "v": "fv", "th": "th", "dh": "th",
    "t": "td", "d": "td", "n": "td", "dx": "td", "nx": "td", "en": "td", "l": "l", "el": "l",
    "s": "sz", "z": "sz", "sh": "sh", "zh": "sh", "ch": "sh", "jh": "sh",
    "k": "kg", "g": "kg", "ng": "kg", "hh": "kg", "hv": "kg", "h": "kg", "y": "ee", "r": "r",
    "w": "w", "aa": "aa", "ae": "eh", "ah": "ax", "ax": "ax", "eh": "eh", "ih": "ee",
    "iy": "ee", "ix": "ee", "ao": "oh", "uh": "oo", "uw": "oo", "er": "er", "axr": "er",
    "em": "pbm", "aw": "aa oo", "ay": "aa ee", "ey": "eh ee", "oy": "oh ee", "ow": "oh oo",
}  # fmt: skip

_IPA: dict[str, str] = {
    **dict.fromkeys("pbmɱβɸʘɓ", "pbm"), **dict.fromkeys("fvʋ", "fv"), **dict.fromkeys("θð", "th"),
    **dict.fromkeys("tdnɾɗʈɖɳ", "td"), **dict.fromkeys("lɫɬɮɭʎ", "l"), **dict.fromkeys("sz", "sz"),
    **dict.fromkeys("ʃʒɕʑʂʐ", "sh"), **dict.fromkeys("kɡgŋxɣqɢχʁħʕhɦʔcɟɲçʝɴʀ", "kg"),
    **dict.fromkeys("rɹɻɽɺ", "r"), **dict.fromkeys("wʍɰ", "w"), "j": "ee", "ɥ": "ue",
    **dict.fromkeys("aɑɐäʌ", "aa"), "æ": "eh", "ɛ": "eh", "e": "eh", "ɜ": "er", "ɝ": "er",
    "ɚ": "er", "ə": "ax", "ɘ": "ax", "ᵻ": "ee", "i": "ee", "ɪ": "ee", "ɨ": "ee", "ɯ": "ee",
    "ɔ": "oh", "o": "oh", "ɒ": "oh", "ɤ": "ax", "u": "oo", "ʊ": "oo", "ʉ": "oo", "ɵ": "oo",
    **dict.fromkeys("yʏøœɞɶ", "ue"),
}  # fmt: skip
_FIRST_PART = 0.55  # a diphthong's first target holds slightly longer than its glide
_PAUSES = frozenset(("", "pau", "sil", "h#", "brth", "ssil", "<sil>", "+noise+", "+spn+"))


def visemes_of(name: str) -> tuple[str, ...]:
    """Return the one or two visemes of a phone name in either alphabet.

    Unknown IPA letters (clicks, tone marks) count as a velar consonant, which leaves the lips to
    their neighbours.
    """
    low = name.lower()
    if low in _PAUSES:
        return ("sil",)
    if low in _ARPABET:
        return tuple(_ARPABET[low].split())
    return _from_ipa(name)


def _from_ipa(name: str) -> tuple[str, ...]:
    letters = re.sub(r"[^\w]|[ˈˌːˑ˞ʲʰʷˠˤ̩̯̃0-9_^]", "", name)
    if not letters:
        return ("sil",)
    if letters in ("tʃ", "dʒ", "tɕ", "dʑ", "ʈʂ", "ɖʐ", "tʂ"):
        return ("sh",)
    if letters in ("ts", "dz"):
        return ("sz",)
    found = [_IPA.get(letter, "kg") for letter in letters]
    vowels = [v for v in found if v in VOWELS]
    kept = vowels if vowels else found
    merged = [v for i, v in enumerate(kept) if i == 0 or v != kept[i - 1]]
    return tuple(merged[:2])


def units(phones: list[Phone]) -> list[Unit]:
    """Turn phones into viseme units, in order, splitting diphthongs."""
    out: list[Unit] = []
    for index, phone in enumerate(phones):
        shapes = visemes_of(phone.name)
        if len(shapes) == 1:
            out.append(Unit(shapes[0], phone.start, phone.end, index))
            continue
        middle = phone.start + _FIRST_PART * (phone.end - phone.start)
        out.append(Unit(shapes[0], phone.start, middle, index))
        out.append(Unit(shapes[1], middle, phone.end, index))
    return out


def is_pause(name: str) -> bool:
    """Tell whether an engine's phone name stands for silence or breath."""
    return visemes_of(name) == ("sil",)
