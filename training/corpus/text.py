"""What is said: hand-written sentences plus a small grammar in English, and other languages.

The grammar gives endless variety; the written lists make sure that every English phone occurs in
many neighbourhoods (bilabials before rounded and spread vowels, clusters, all diphthongs), and
that questions, numbers, hesitations and one-word answers are heard. A sentence belongs to the
``dev`` split by a hash of its words, so no sentence is ever in both splits.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

from training.corpus.foreign import FOREIGN
from training.corpus.sentences import PARTS, WRITTEN

DEV_SHARE = 0.06

_TEMPLATES: tuple[str, ...] = (
    "the {adj} {noun} {verbed} the {noun} {place}.",
    "{name} {verbed} {number} {nouns} {place} {time}.",
    "do you think the {noun} will {verb} {time}?",
    "why did {name} {verb} the {adj} {noun}?",
    "{hesitation}, {name} never {verbed} it, as far as I {know}.",
    "{opener}, we {verbed} {number} {nouns}, but the {noun} was {adj}.",
    "please {verb} the {noun} {place}.",
    "if you {verb} the {noun}, {name} and I will {verb} the {nouns} {time}.",
    "my {relative} would rather {verb} a {adj} {noun} than a {adj} one.",
    "what a {adj} {noun}!",
    "{number} {nouns} and {number} {nouns}, is that right?",
    "it costs {number} {currency}, or about {number} {currency} with the {noun}.",
    "can you show me how to {verb} this {noun}?",
    "{opener}, I {know} that {name} {verbed} the {noun} because it was {adj}.",
    "the {noun} {place} is {adj}, {adj} and {adj}.",
    "have you ever {verbed} a {noun} {place}?",
    "call me {time}, at {digit} {digit} {digit}, {digit} {digit} {digit} {digit}.",
    "{hesitation}, I would {verb} the {adj} {noun}, {hesitation}, {time}.",
    "both {name} and {name} {verbed} by the {noun}.",
    "there are {number} {adj} {nouns} {place}.",
    "{answer}",
    "{answer} {opener}, the {noun} is {adj}.",
    "{name}, could you {verb} the {noun} {place}, please?",
    "I {know} we should {verb} the {nouns} and {verb} the {noun}.",
    "{hesitation}, {hesitation}, what was the {noun} called?",
    "the {nouns} were {adj}, but the {noun} {place} was even more {adj}.",
    "is it {digit} point {digit}, or {digit} point {digit}?",
    "{number} percent of the {nouns} are {adj}.",
    "we {verbed} them in {year}, {opener}, and again in {year}.",
    "my {relative} has {number} {nouns}, {number} {nouns} and a {adj} {noun}.",
    "stop! Don't {verb} that {noun}.",
    "who {verbed} my {adj} {noun}?",
    "whether you {verb} or {verb} it, {name} will {know} so.",
    "{time}, {name} {verbed} the {nouns}; {time}, {name} will {verb} them.",
    "for example, the {adj} {noun} and the {adj} {noun} never {verb} the {nouns}.",
    "I really {know} {name} was right about the {noun}.",
)


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence in one language (``en`` or an espeak-ng language)."""

    text: str
    language: str = "en"

    @property
    def question(self) -> bool:
        """Whether it asks."""
        return self.text.rstrip().endswith("?")


def split_of(text: str) -> str:
    """Return ``train`` or ``dev``, decided by the words alone."""
    words = "".join(c for c in text.lower() if c.isalnum() or c == " ")
    number = int.from_bytes(hashlib.sha256(words.encode()).digest()[:4], "big")
    return "dev" if number / 2**32 < DEV_SHARE else "train"


def _number(rng: random.Random) -> str:
    top = rng.choice((10, 21, 100, 1000, 10_000))
    return str(rng.randrange(2, top))


_NUMBERS: dict[str, Callable[[random.Random], str]] = {
    "number": _number,
    "year": lambda rng: str(rng.randrange(1750, 2060)),
}


def _grammar(rng: random.Random) -> str:
    text = rng.choice(_TEMPLATES)
    while "{" in text:
        start, end = text.index("{"), text.index("}")
        key = text[start + 1 : end]
        word = _NUMBERS[key](rng) if key in _NUMBERS else rng.choice(PARTS[key])
        text = text[:start] + word + text[end + 1 :]
    return text[0].upper() + text[1:]


def english(rng: random.Random, split: str) -> Line:
    """Draw an English sentence of the given split: 45 % written, the rest from the grammar."""
    while True:
        text = rng.choice(WRITTEN) if rng.random() < 0.45 else _grammar(rng)
        if split_of(text) == split:
            return Line(text)


def foreign(rng: random.Random, split: str, language: str = "") -> Line:
    """Draw a sentence of another language, or of ``language``.

    ``dev`` draws from the few that hash there; a language without such sentences has no ``dev``.

    Raises:
        ValueError: no sentence of the language belongs to the split.
    """
    usable = _foreign_lines(split, language)
    if not usable:
        raise ValueError(f"no {split} sentence in language {language!r}")
    return rng.choice(usable)


@functools.cache
def _foreign_lines(split: str, language: str) -> list[Line]:
    return [
        Line(text, code)
        for code, texts in FOREIGN.items()
        for text in texts
        if language in ("", code) and split_of(text) == split
    ]


def has(language: str, split: str) -> bool:
    """Tell whether a language has sentences of a split."""
    return language == "en" or bool(_foreign_lines(split, language))
