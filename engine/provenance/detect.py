"""Finds the watermark in pictures that were encoded, scaled, cropped or shown in a larger one.

What is known of the mark: its signs stand still. So residuals of the pictures (what is left after
their surroundings are subtracted, clipped so that edges count little) are averaged over time;
the average is whitened, which makes it noise as far as the picture goes; and the reference is
looked for at every size and place by correlation (Fourier). At the best one the payload is read.

How sure: under ``code.score``'s bound, N tests (sizes x places x parts of the video) exceed z by
chance with a probability of at most ``N exp(-z^2 / 2)``. Half of ``FALSE_ALARM`` is spent on the
reference alone, half on a weaker reference with a payload whose CRC fits, which chance manages
once in 2^16.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np

from engine.media import Float32, UInt8
from engine.provenance.code import GRID, Code, Payload, default_code, score

FALSE_ALARM = 1e-6
"""Most a whole verification of an unmarked video may err by."""
WINDOW_SECONDS = 2.0
MAX_SIDE = 1280
"""Larger pictures should be reduced to this before they are added."""

_SURROUNDINGS = 13
_CLIP = 1.0
_BLOCK = 64
_FLOOR = 0.1
"""Of a block's mean power: weaker waves are not raised to the strength of the others."""
_PER_CELL = 3
_FINE = 6
_SIZE_STEP = 1.015
_SMALLEST = 192
_LARGEST = 1.6
_MARGIN = 64
_MAX_WINDOWS = 64
_MAX_PARTS = 16
_INTERVAL = 1 / 13
_LEAST_SEEN = 0.1
"""Share of the best place's signal below which a place shows too little of the picture to count."""

Tick = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the marked picture lies, in pixels of the pictures added.

    Args:
        left, top: of its upper left corner; negative where it is cropped.
        width, height: its size.
        mirrored: left and right are swapped (``left`` counts in the mirrored picture).
    """

    left: float
    top: float
    width: float
    height: float
    mirrored: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer.

    Args:
        found: whether the mark is there.
        payload: what it says, if that could be read.
        z: how strongly the reference was seen, in standard deviations of chance.
        log10_chance: upper bound of the probability that an unmarked video does as well.
        place: where the best match lies.
        spans: seconds from, to, where the mark was seen.
        seconds: how much was looked at.
    """

    found: bool
    payload: Payload | None
    z: float
    log10_chance: float
    place: Place | None
    spans: tuple[tuple[float, float], ...]
    seconds: float


@dataclass(slots=True)
class _Window:
    start: float
    end: float
    total: Float32
    count: int


@dataclass(frozen=True, slots=True)
class _Match:
    z: float
    place: Place


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """What every cell float32 [64, 64] of the picture at ``place`` seems to carry."""

    values: Float32
    place: Place


class Detector:
    """Takes pictures of one size, then searches. Not thread-safe.

    Args:
        code: whose mark to look for.
    """

    def __init__(self, code: Code | None = None) -> None:
        self._code = code or default_code()
        self._windows: list[_Window] = []
        self._length = WINDOW_SECONDS
        self._next = -math.inf
        self._end = 0.0

    def add(self, luma: UInt8, seconds: float) -> None:
        """Take one picture; about 13 a second are used, the others passed over.

        Args:
            luma: uint8 [H, W], any H and W, but the same for all.
            seconds: its time; must not fall.

        Raises:
            ValueError: the size changed.
        """
        self._end = max(self._end, seconds)
        if seconds < self._next:
            return
        self._next = seconds + _INTERVAL
        windows = self._windows
        if windows and windows[-1].total.shape != luma.shape:
            raise ValueError(f"a picture of {luma.shape} after one of {windows[-1].total.shape}")
        if not windows or seconds >= windows[-1].start + self._length:
            if len(windows) == _MAX_WINDOWS:
                self._thin()
            self._windows.append(_Window(seconds, seconds, np.zeros(luma.shape, np.float32), 0))
        window = self._windows[-1]
        window.total += _residual(luma)
        window.count += 1
        window.end = seconds

    def _thin(self) -> None:
        """Join windows in pairs: a long video costs no more memory than a short one."""
        pairs = zip(self._windows[::2], self._windows[1::2], strict=True)
        self._windows = [
            _Window(a.start, b.end, a.total + b.total, a.count + b.count) for a, b in pairs
        ]
        self._length *= 2

    def search(self, tick: Tick = lambda _: None) -> Finding:
        """Look for the mark in all that was added.

        The whole is searched first, then its mirror image, then ever smaller parts, since a short
        marked passage drowns in a long unmarked one.

        Args:
            tick: told the share of the work done so far, 0 to 1.

        Raises:
            ValueError: no picture was added.
        """
        if not self._windows:
            raise ValueError("there is no picture to search")
        tests = self._plan()
        shape = self._windows[0].total.shape
        log_count = math.log(len(tests)) + math.log(_tests(shape))
        best: _Match | None = None
        for index, (start, stop, mirrored) in enumerate(tests):
            picture = _whiten(self._mean(start, stop))
            match = _best_match(picture, self._code, mirrored)
            cells = _refined(picture, match.place, self._code)
            payload = self._code.read(cells.values)
            if _is_mark(match.z, payload, log_count):
                tick(1.0)
                return self._finding(True, match.z, payload, cells.place, log_count)
            if best is None or match.z > best.z:
                best = _Match(match.z, cells.place)
            tick((index + 1) / len(tests))
        assert best is not None
        return self._finding(False, best.z, None, best.place, log_count)

    def _plan(self) -> list[tuple[int, int, bool]]:
        """First and last window of every part to search, and whether mirrored."""
        count = len(self._windows)
        plan = [(0, count, False), (0, count, True)]
        parts = 2
        while parts <= min(count, _MAX_PARTS):
            edges = [round(i * count / parts) for i in range(parts + 1)]
            plan += [(a, b, False) for a, b in pairwise(edges)]
            parts *= 2
        return plan

    def _mean(self, start: int, stop: int) -> Float32:
        windows = self._windows[start:stop]
        total = np.sum([w.total for w in windows], axis=0)
        return np.asarray(total / sum(w.count for w in windows), np.float32)

    def _finding(
        self, found: bool, z: float, payload: Payload | None, place: Place, log_count: float
    ) -> Finding:
        chance = (log_count - z * z / 2) / math.log(10)
        if payload is not None:
            chance -= 16 * math.log10(2)
        spans = self._spans(payload, place) if found else ()
        first = self._windows[0].start
        return Finding(found, payload, z, min(0.0, chance), place, spans, self._end - first)

    def _spans(self, payload: Payload | None, place: Place) -> tuple[tuple[float, float], ...]:
        """Where in time the mark is, now that everything about it is known."""
        signs = self._code.signs(payload) if payload else self._code.reference
        enough = math.sqrt(2 * math.log(len(self._windows) / 1e-3))
        spans: list[tuple[float, float]] = []
        for index, window in enumerate(self._windows):
            cells = _cells(_whiten(self._mean(index, index + 1)), place)
            if score(cells, signs) < enough:
                continue
            last = index + 1 == len(self._windows)
            end = self._end if last else self._windows[index + 1].start
            if spans and spans[-1][1] == window.start:
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((window.start, end))
        return tuple(spans)


def _residual(luma: UInt8) -> Float32:
    """What differs from the surroundings, clipped: float32, shape alike."""
    grey = luma.astype(np.float32)
    rest = grey - cv2.blur(grey, (_SURROUNDINGS, _SURROUNDINGS))
    return _float(np.clip(rest, -_CLIP, _CLIP))


def _float(array: object) -> Float32:
    return np.asarray(array, np.float32)


def _whiten(mean: Float32) -> Float32:
    """What is left of float32 [H, W] when every block's spectrum is made even; shape alike.

    Nearly phase-only correlation (Kalker and Janssen's SPOMF, ICIP 1999), but in overlapping blocks
    of ``_BLOCK`` pixels, since hair has another spectrum than a wall. Nothing here knows the signs,
    so ``score``'s bound holds.
    """
    step = _BLOCK // 2
    height, width = mean.shape
    edges = [(step, step + -side % _BLOCK + _BLOCK) for side in (height, width)]
    padded = np.pad(mean, edges)
    out = np.zeros_like(padded)
    arch = np.sin(np.pi * (np.arange(_BLOCK) + 0.5) / _BLOCK)
    window = np.outer(arch, arch).astype(np.float32)  # its square, overlapped by halves, adds to 1
    for top in (0, step):
        for left in (0, step):
            part = padded[top:, left:]
            rows, columns = part.shape[0] // _BLOCK, part.shape[1] // _BLOCK
            inside = (slice(rows * _BLOCK), slice(columns * _BLOCK))
            shape = (rows, _BLOCK, columns, _BLOCK)
            blocks = part[inside].reshape(shape).transpose(0, 2, 1, 3) * window
            spectrum = np.fft.rfft2(blocks)
            power = np.square(np.abs(spectrum))
            floor = _FLOOR * power.mean((2, 3), keepdims=True) + 1e-12
            even = np.fft.irfft2(spectrum / np.sqrt(power + floor), (_BLOCK, _BLOCK)) * window
            out[top:, left:][inside] += even.transpose(0, 2, 1, 3).reshape(part[inside].shape)
    return _float(out[step : step + height, step : step + width])


def _sizes(shape: tuple[int, ...]) -> list[float]:
    """Sizes in pixels that the marked picture's longer side may have."""
    largest = _LARGEST * max(shape)
    smallest = min(_SMALLEST, *shape)
    count = math.ceil(math.log(largest / smallest) / math.log(_SIZE_STEP))
    return [smallest * _SIZE_STEP**i for i in range(count + 1)]


def _map_shape(shape: tuple[int, ...], size: float) -> tuple[int, int]:
    """Height and width at ``_PER_CELL`` pixels a cell, with room for what is cropped away."""
    height, width = (max(1, round(side * GRID * _PER_CELL / size)) for side in shape)
    least = GRID * _PER_CELL
    return _smooth(max(least, height + _MARGIN)), _smooth(max(least, width + _MARGIN))


def _smooth(length: int) -> int:
    """The next length that Fourier transforms like: even, with factors 2, 3 and 5."""
    return int(cv2.getOptimalDFTSize((length + 1) // 2)) * 2


def _tests(shape: tuple[int, ...]) -> int:
    """Sizes times places that one search tries."""
    return sum(math.prod(_map_shape(shape, size)) for size in _sizes(shape))


def _is_mark(z: float, payload: Payload | None, log_count: float) -> bool:
    log_chance = log_count - z * z / 2
    if payload is not None:
        log_chance -= 16 * math.log(2)
    return z > 0 and log_chance <= math.log(FALSE_ALARM / 2)


def _best_match(picture: Float32, code: Code, mirrored: bool) -> _Match:
    """The size and place where the reference fits best."""
    seen = np.ascontiguousarray(picture[:, ::-1]) if mirrored else picture
    best = _Match(-math.inf, Place(0, 0, 1, 1))
    for size in _sizes(seen.shape):
        z, top, left = _correlate(seen, size, code)
        if z > best.z:
            best = _Match(z, Place(left, top, size, size, mirrored))
    return best


def _correlate(picture: Float32, size: float, code: Code) -> tuple[float, float, float]:
    """Best z, top and left in pixels, of a marked picture of ``size`` pixels."""
    scale = GRID * _PER_CELL / size
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=way)
    shape = _map_shape(picture.shape, size)
    field = np.zeros(shape, np.float32)
    height, width = min(scaled.shape[0], shape[0]), min(scaled.shape[1], shape[1])
    field[:height, :width] = scaled[:height, :width]
    # The mean over a cell whose upper left corner is here.
    box = (_PER_CELL, _PER_CELL)
    field = _float(cv2.blur(field, box, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT))
    comb = np.zeros(shape, np.float32)
    span = GRID * _PER_CELL
    comb[:span:_PER_CELL, :span:_PER_CELL] = code.reference
    along = _correlation(field, comb)
    length = _correlation(field * field, np.abs(comb))
    floor = max(_LEAST_SEEN * float(length.max()), 1e-12)
    z = np.where(length > floor, along / np.sqrt(np.maximum(length, floor)), 0)
    top, left = np.unravel_index(int(np.argmax(z)), z.shape)
    at = _signed(int(top), shape[0]) / scale, _signed(int(left), shape[1]) / scale
    return float(z[top, left]), *at


def _correlation(field: Float32, kernel: Float32) -> Float32:
    """Sum of ``field[x + s] * kernel[x]`` for every shift s, around the edges."""
    product = np.fft.rfft2(field) * np.conj(np.fft.rfft2(kernel))
    return np.asarray(np.fft.irfft2(product, field.shape), np.float32)


def _signed(shift: int, side: int) -> int:
    """Shifts into the margin mean a picture that begins before the frame."""
    return shift - side if shift >= side - _MARGIN else shift


def _cells(picture: Float32, place: Place) -> Float32:
    """float32 [64, 64]: the mean of every cell of the marked picture; 0 beyond the frame."""
    seen = np.ascontiguousarray(picture[:, ::-1]) if place.mirrored else picture
    side = GRID * _FINE
    steps = (place.width / side, place.height / side)
    blur = [max(1, int(step)) for step in steps]
    if max(blur) > 1:
        seen = _float(cv2.blur(seen, (blur[0], blur[1])))
    matrix = np.array(
        [
            [steps[0], 0, place.left + steps[0] / 2 - 0.5],
            [0, steps[1], place.top + steps[1] / 2 - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    square = cv2.warpAffine(seen, matrix, (side, side), flags=flags)
    return _float(cv2.resize(square, (GRID, GRID), interpolation=cv2.INTER_AREA))


def _refined(picture: Float32, place: Place, code: Code) -> _Cells:
    """Climb to where the reference fits best: place, size and aspect, to a sixteenth of a cell."""
    best = _Cells(_cells(picture, place), place)
    best_z = score(best.values, code.reference)
    step = 0.5
    while step > 1 / 32:
        improved = False
        for move in _moves(best.place, step * best.place.width / GRID):
            cells = _Cells(_cells(picture, move), move)
            z = score(cells.values, code.reference)
            if z > best_z:
                best, best_z, improved = cells, z, True
        if not improved:
            step /= 2
    return best


def _moves(place: Place, step: float) -> list[Place]:
    """Neighbours of a place: moved, widened or heightened about the centre, by ``step`` pixels."""
    moves = []
    for by in (-step, step):
        moves.append(replace(place, left=place.left + by))
        moves.append(replace(place, top=place.top + by))
        wide = replace(place, left=place.left - by / 2, width=place.width + by)
        moves.append(wide)
        moves.append(replace(wide, top=place.top - by / 2, height=place.height + by))
        moves.append(replace(place, top=place.top - by / 2, height=place.height + by))
    return moves
