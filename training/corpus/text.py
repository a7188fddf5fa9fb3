"""What is said: hand-written sentences plus a small grammar, in English and eight more languages.

The grammar gives endless variety; the written lists make sure that every English phone occurs in
many neighbourhoods (bilabials before rounded and spread vowels, clusters, all diphthongs), and
that questions, numbers, hesitations and one-word answers are heard. A sentence belongs to the
``dev`` split by a hash of its words, so no sentence is ever in both splits.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

from training.corpus.sentences import FOREIGN, PARTS, WRITTEN

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


def _grammar(rng: random.Random) -> str:
    text = rng.choice(_TEMPLATES)
    while "{" in text:
        start, end = text.index("{"), text.index("}")
        key = text[start + 1 : end]
        word = _number(rng) if key == "number" else rng.choice(PARTS[key])
        text = text[:start] + word + text[end + 1 :]
    return text[0].upper() + text[1:]


def english(rng: random.Random, split: str) -> Line:
    """Draw an English sentence of the given split: 45 % written, the rest from the grammar."""
    while True:
        text = rng.choice(WRITTEN) if rng.random() < 0.45 else _grammar(rng)
        if split_of(text) == split:
            return Line(text)


def foreign(rng: random.Random, split: str) -> Line:
    """Draw a sentence of another language; ``dev`` draws from the few that hash there."""
    pool = [Line(text, lang) for lang, texts in FOREIGN.items() for text in texts]
    usable = [line for line in pool if split_of(line.text) == split]
    return rng.choice(usable)
