"""Laughs, breaths and hesitations among the phones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.corpus.phones import VOWELS, Phone, visemes_of
from training.teacher.noise import bump
from training.teacher.prosody import RATE

Float32 = NDArray[np.float32]

_BURST = 0.20  # seconds of one "ha"
_FEWEST = 3  # bursts that make a laugh
_LONGEST_BURST = 0.42
_LAUGHING = {"mouthSmile": 0.5, "cheekSquint": 0.55, "eyeSquint": 0.4, "mouthUpperUp": 0.12}
_SIDES = ("Left", "Right")
_ASPIRATES = frozenset(("hh", "h", "hv"))


def expand(phones: list[Phone]) -> list[Phone]:
    """Replace what is no phone by phones whose lips look like it.

    A laugh is open vowels with breath between, a breath leaves the lips a little apart, "um" is a
    vowel that ends with closed lips, "uh" just the vowel.
    """
    out: list[Phone] = []
    for phone in phones:
        name = phone.name.lower()
        if name == "laugh":
            count = max(1, round((phone.end - phone.start) / _BURST))
            edges = np.linspace(phone.start, phone.end, 2 * count + 1)
            names = ("hh", "ah") * count
            out += [
                Phone(n, float(a), float(b))
                for n, a, b in zip(names, edges[:-1], edges[1:], strict=True)
            ]
        elif name == "um":
            middle = phone.start + 0.55 * (phone.end - phone.start)
            out += [Phone("ah", phone.start, middle), Phone("m", middle, phone.end)]
        elif name in ("breath", "uh"):
            out.append(Phone("t" if name == "breath" else "ah", phone.start, phone.end))
        else:
            out.append(phone)
    return out


def laughs(phones: list[Phone]) -> list[tuple[float, float]]:
    """Return when somebody laughs: at least three times h and the same vowel, quickly repeated."""
    found: list[tuple[float, float]] = []
    index = 0
    while index < len(phones):
        bursts = _bursts(phones, index)
        if bursts >= _FEWEST:
            found.append((phones[index].start, phones[index + 2 * bursts - 1].end))
        index += max(2 * bursts, 1)
    return found


def _bursts(phones: list[Phone], start: int) -> int:
    count = 0
    while start + 2 * count + 1 < len(phones):
        breath, vowel = phones[start + 2 * count : start + 2 * count + 2]
        shape = visemes_of(vowel.name)
        same = vowel.name == phones[start + 1].name and len(shape) == 1 and shape[0] in VOWELS
        quick = vowel.end - breath.start < _LONGEST_BURST
        if breath.name.lower() not in _ASPIRATES or not same or not quick:
            break
        count += 1
    return count


def mirth(phones: list[Phone], count: int) -> tuple[dict[str, Float32], Float32]:
    """Return what laughing adds at 100 Hz: shapes [T] by ARKit name, and to the pose [6, T]."""
    times = (np.arange(count, dtype=np.float32) + 0.5) / RATE
    curve, bob = np.zeros(count, np.float32), np.zeros(count, np.float32)
    for start, end in laughs(phones):
        middle, half = 0.5 * (start + end), 0.5 * (end - start)
        # A smile comes before the laugh and outlasts it.
        whole = np.clip(1.6 * bump(times, middle, half + 0.4, half + 1.0), 0, 1)
        curve = np.maximum(curve, whole).astype(np.float32)
        for phone in phones:
            if start <= phone.start < end and visemes_of(phone.name)[0] in VOWELS:
                bob += bump(times, 0.5 * (phone.start + phone.end), 0.09, 0.11)
    pose = np.zeros((6, count), np.float32)
    pose[1] = 0.022 * bob - 0.05 * curve
    face = (
        {name + side: amount * curve for name, amount in _LAUGHING.items() for side in _SIDES}
        if curve.any()
        else {}
    )
    return face, pose
