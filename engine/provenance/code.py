"""The watermark's alphabet: a payload of 32 bits as 64 x 64 signs, and back.

The picture's square is cut into 64 x 64 cells; each carries a sign. A keyed permutation deals the
cells out to five patterns. The *reference* is always the same: it tells that there is a mark and
where. Each of four *symbols* carries 12 bits by choosing one of 4096 pseudo-random sign rows
(M-ary signalling as Kalker's JAWS does it with shifts; Kalker et al., "Video watermarking system
for broadcast monitoring", SPIE 3657, 1999). 48 bits: the payload and its CRC-16 (XMODEM).

Signs come from SHAKE-256, which is the same everywhere and for ever, unlike a library's generator.
The key is public, since anybody may verify; so anybody can also forge or remove the mark.
"""

from __future__ import annotations

import hashlib
from binascii import crc_hqx
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from engine.media import Float32

GRID = 64
"""Cells along the longer side of the picture."""
VERSION = 1
ENGINE_ID = 1
"""This engine; others that adopt the format take another."""
MAX_NUMBER = 2**20 - 1
KEY = b"vivace provenance mark, version 1"

_SYMBOLS, _SYMBOL_BITS = 4, 12
_WORDS = 1 << _SYMBOL_BITS
_SYMBOL_CELLS = 736
"""A symbol has to win against 4095 others, the reference against as many places as a search tries:
with this many cells both fail at about the same noise."""
_REFERENCE_CELLS = GRID * GRID - _SYMBOLS * _SYMBOL_CELLS

Int8 = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Payload:
    """What a watermark says.

    Args:
        number: 0 to 2^20 - 1, given by who runs the server; 0 says nothing.
        engine: 0 to 255, which program drew the picture.
        version: 0 to 15, of this format.

    Raises:
        ValueError: one of them is out of range.
    """

    number: int = 0
    engine: int = ENGINE_ID
    version: int = VERSION

    def __post_init__(self) -> None:
        limits = {"number": MAX_NUMBER, "engine": 255, "version": 15}
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise ValueError(f"a watermark's {name} is 0 to {limit}")

    def to_word(self) -> int:
        """48 bits, from the highest: version 4, engine 8, number 20, CRC 16."""
        bits = self.version << 28 | self.engine << 20 | self.number
        return bits << 16 | crc_hqx(bits.to_bytes(4, "big"), 0)

    @classmethod
    def from_word(cls, word: int) -> Payload | None:
        """Back from 48 bits; None when the CRC does not fit."""
        bits, crc = word >> 16, word & 0xFFFF
        if crc_hqx(bits.to_bytes(4, "big"), 0) != crc:
            return None
        return cls(bits & MAX_NUMBER, bits >> 20 & 0xFF, bits >> 28)


def _signs(key: bytes, count: int) -> Int8:
    """``count`` pseudo-random signs, +1 or -1."""
    raw = np.frombuffer(hashlib.shake_256(key).digest((count + 7) // 8), np.uint8)
    return (np.unpackbits(raw)[:count].astype(np.int8) << 1) - 1


class Code:
    """Signs of payloads under one key.

    Args:
        key: another key is another, independent mark.
    """

    def __init__(self, key: bytes = KEY) -> None:
        self._key = key
        draws = np.frombuffer(hashlib.shake_256(key + b"/deal").digest(8 * GRID * GRID), ">u8")
        order = np.argsort(draws, kind="stable")
        self._reference_cells = order[:_REFERENCE_CELLS]
        self._symbol_cells = order[_REFERENCE_CELLS:].reshape(_SYMBOLS, _SYMBOL_CELLS)
        flat = np.zeros(GRID * GRID, np.int8)
        flat[self._reference_cells] = _signs(key + b"/reference", _REFERENCE_CELLS)
        self.reference = flat.reshape(GRID, GRID)
        """int8 [64, 64]: the reference's signs; 0 where a symbol's cell is."""

    @cached_property
    def _books(self) -> Int8:
        """int8 [4, 4096, 736]: the rows a symbol chooses from."""
        rows = [[self._row(s, w) for w in range(_WORDS)] for s in range(_SYMBOLS)]
        return np.array(rows, np.int8)

    def _row(self, symbol: int, word: int) -> Int8:
        return _signs(self._key + b"/symbol %d %d" % (symbol, word), _SYMBOL_CELLS)

    def signs(self, payload: Payload) -> Int8:
        """int8 [64, 64] of +1 and -1: what is drawn."""
        flat = self.reference.ravel().copy()
        word = payload.to_word()
        for symbol, cells in enumerate(self._symbol_cells):
            part = word >> _SYMBOL_BITS * (_SYMBOLS - 1 - symbol) & (_WORDS - 1)
            flat[cells] = self._row(symbol, part)
        return flat.reshape(GRID, GRID)

    def read(self, cells: Float32) -> Payload | None:
        """The likeliest payload of measured cells float32 [64, 64]; None if its CRC is wrong."""
        flat = cells.ravel()
        word = 0
        for book, where in zip(self._books, self._symbol_cells, strict=True):
            word = word << _SYMBOL_BITS | int(np.argmax(book @ flat[where]))
        return Payload.from_word(word)


@cache
def default_code() -> Code:
    """The code everybody can verify."""
    return Code()


def score(cells: Float32, signs: Int8) -> float:
    """Normalised correlation of measured cells with signs (0: not counted); shapes alike.

    For cells that know nothing of the signs this is a Rademacher sum of unit length, so by
    Hoeffding's inequality (JASA 58, 1963) it exceeds z with a probability of at most
    exp(-z^2 / 2), whatever the picture shows.
    """
    counted = cells[signs != 0]
    length = float(np.sqrt(np.square(counted).sum()))
    return float((cells * signs).sum()) / length if length else 0.0
