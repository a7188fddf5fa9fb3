"""From landmarks to motion fields over the photo: exact at the landmarks, smooth between, still far
from the face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.face.personal import close_over_jaw, part_lips
from engine.face.topology import (
    FACE_OVAL,
    LEFT_LID_PAIRS,
    LIP_PAIRS,
    LIP_RINGS,
    RIGHT_LID_PAIRS,
)
from engine.media import Float32
from engine.motion.arkit import INDEX


class Spread:
    """Interpolates values given at places of the picture to anywhere in it.

    Radial basis ``phi(r) = r`` with a constant: the interpolant of least bending that neither
    overshoots far from its centres nor needs a scale.

    Args:
        centres: float32 [N,2] px, where values are given.
        softness: how far, in px, values may be missed; smooths the jitter of landmarks.
    """

    def __init__(self, centres: Float32, softness: float) -> None:
        self._centres = centres.astype(np.float64)
        count = len(centres)
        system = np.zeros((count + 1, count + 1))
        system[:count, :count] = softness * np.eye(count) - _distances(centres, centres)
        system[count, :count] = system[:count, count] = 1
        self._system = system

    def __call__(self, values: Float32, places: Float32) -> Float32:
        """Values [N,C] at the centres to values [M,C] at places [M,2]."""
        right = np.concatenate([values, np.zeros((1, values.shape[1]))])
        coefficients = np.linalg.solve(self._system, right)
        spread = self._kernel(places) @ coefficients
        return np.asarray(spread, np.float32)

    def matrix(self, places: Float32) -> NDArray[np.float64]:
        """What values at the centres are multiplied with to give those at places, [M,N]."""
        weights = np.linalg.solve(self._system, self._kernel(places).T).T
        return np.asarray(weights[:, :-1], np.float64)

    def _kernel(self, places: Float32) -> NDArray[np.float64]:
        """[M,N+1]; the system is symmetric."""
        return np.concatenate([-_distances(places, self._centres), np.ones((len(places), 1))], 1)


def _distances(first: Float32, second: NDArray[np.floating]) -> NDArray[np.float64]:
    a, b = first.astype(np.float64), second.astype(np.float64)
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squares, 0)), np.float64)


def unfold(basis: Float32, rest: Float32) -> Float32:
    """Limit how far each blendshape squeezes the lips.

    A funnel turns the lip outwards, which in the picture's plane folds it; a field cannot fold.

    Args:
        basis: [52,478,3], y up.
        rest: [478,3].

    Returns:
        a new basis in which no shape makes a lip thinner than ``1 - MAX_SQUEEZE`` of itself.
    """
    out = basis.copy()
    for rings in LIP_RINGS:
        outer, inner = list(rings[0]), list(rings[-1])
        height = rest[inner, 1] - rest[outer, 1]
        squeeze = -(basis[:, inner, 1] - basis[:, outer, 1]) / height
        factor = MAX_SQUEEZE / np.maximum(squeeze, MAX_SQUEEZE)
        for ring_points in rings[1:]:
            points = list(ring_points)
            relative = basis[:, points] - basis[:, outer]
            out[:, points] = basis[:, outer] + relative * factor[..., None]
    return out


def meet(basis: Float32, rest: Float32, shapes: Float32) -> Float32:
    """Let lips that are open in the photo come together, as ``unfold`` may no longer let them.

    Args:
        basis: [52,478,3], y up, camera pixels.
        rest: [478,3], the photo's.
        shapes: [52], what of the photo's expression a closed mouth gives up.

    Returns:
        a new basis.
    """
    out = basis.astype(np.float64)
    upper, lower = (list(side) for side in zip(*LIP_PAIRS, strict=True))
    open_by = (rest[upper] - rest[lower]) * UPWARDS
    still = open_by - np.tensordot(shapes, out[:, upper] - out[:, lower], 1) * UPWARDS
    part_lips(out, shapes, still)
    close_over_jaw(out)
    return out.astype(np.float32)


def unroll_lids(basis: Float32) -> Float32:
    """Let closing lids take the skin above them along.

    A lid that closes unrolls skin from its crease. In the picture's plane the next best is to
    stretch the skin between crease and brow, not the few pixels of lashes at the margin.

    Args:
        basis: [52,478,3].
    """
    out = basis.copy()
    margin, crease, fold = (list(points) for points in LID_RINGS)
    for name in ("eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight"):
        shape = INDEX[name]
        out[shape, crease] = CREASE_SHARE * basis[shape, margin]
        out[shape, fold] = FOLD_SHARE * basis[shape, margin]
    return out


def ring(landmarks: Float32, above: float, below: float) -> Float32:
    """The outline of the face moved outwards, [36,2] px.

    Args:
        landmarks: [478,2] px.
        above: factor at the forehead, about the face's centre.
        below: factor at the chin.
    """
    outline = landmarks[list(FACE_OVAL), :2]
    centre = (outline.min(0) + outline.max(0)) / 2
    reach = outline - centre
    down = np.clip(reach[:, 1] / np.abs(reach[:, 1]).max() * 0.5 + 0.5, 0, 1)
    factor = above + (below - above) * down**2
    return np.asarray(centre + reach * factor[:, None], np.float32)


def frame_points(size: int, count: int = 7) -> Float32:
    """Points on the picture's edge, [4*(count-1),2] px."""
    line = np.linspace(-0.1 * size, 1.1 * size, count)
    low, high = line[0], line[-1]
    top = np.stack([line[:-1], np.full(count - 1, low)], 1)
    right = np.stack([np.full(count - 1, high), line[:-1]], 1)
    bottom = np.stack([line[1:], np.full(count - 1, high)], 1)
    left = np.stack([np.full(count - 1, low), line[1:]], 1)
    return np.concatenate([top, right, bottom, left]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Layer:
    """One side of a hole: whose movements it follows.

    Args:
        copies: (from, to): the far rim of the hole moves as the near one, so that the field runs on
            smoothly across the hole instead of squeezing into it.
        without: landmarks of the far side that it does not follow.
    """

    copies: tuple[tuple[int, int], ...]
    without: tuple[int, ...]

    def values(self, values: Float32) -> Float32:
        """Values [...,478,C] at landmarks as this side sees them."""
        out = values.copy()
        for source, target in self.copies:
            out[..., target, :] = values[..., source, :]
        return out

    @property
    def landmarks(self) -> NDArray[np.int64]:
        """Landmarks that carry the layer."""
        return np.setdiff1d(np.arange(SKIN_COUNT), self.without)


_UPPER_LIP = (
    185, 40, 39, 37, 0, 267, 269, 270, 409, 184, 74, 73, 72, 11, 302, 303, 304, 408,
    183, 42, 41, 38, 12, 268, 271, 272, 407,
)  # fmt: skip
_LOWER_LIP = (
    146, 91, 181, 84, 17, 314, 405, 321, 375, 77, 90, 180, 85, 16, 315, 404, 320, 307,
    96, 89, 179, 86, 15, 316, 403, 319, 325,
)  # fmt: skip
MAX_SQUEEZE = 0.45
"""Share of a lip's height that one blendshape may take from it: more would fold the skin."""
UPWARDS = np.array([0.0, 1.0, 0.0])
MEETING = 2.5
"""Pixels of gap up to which lips count as closed in the photo: landmarks waver by as much."""
LID_RINGS = (
    (246, 161, 160, 159, 158, 157, 173, 466, 388, 387, 386, 385, 384, 398),
    (247, 30, 29, 27, 28, 56, 190, 467, 260, 259, 257, 258, 286, 414),
    (113, 225, 224, 223, 222, 221, 189, 342, 445, 444, 443, 442, 441, 413),
)
"""Upper lids of both eyes: margin, crease, the fold above."""
CREASE_SHARE, FOLD_SHARE = 0.85, 0.35
"""Of the margin's movement, how much crease and fold make."""
_UPPER_LIDS = (247, 30, 29, 27, 28, 56, 190, 467, 260, 259, 257, 258, 286, 414)
_LOWER_LIDS = (
    25, 110, 24, 23, 22, 26, 112, 31, 228, 229, 230, 231, 232, 233,
    255, 339, 254, 253, 252, 256, 341, 261, 448, 449, 450, 451, 452, 453,
)  # fmt: skip
_LIDS = RIGHT_LID_PAIRS + LEFT_LID_PAIRS
LAYERS = {
    "mouth": (
        Layer(LIP_PAIRS, _LOWER_LIP),
        Layer(tuple((b, a) for a, b in LIP_PAIRS), _UPPER_LIP),
    ),
    "eyes": (
        Layer(_LIDS, _LOWER_LIDS),
        Layer(tuple((b, a) for a, b in _LIDS), _UPPER_LIDS),
    ),
}
"""Upper and lower layer of each kind of hole."""
WHOLE = Layer((), ())
"""The face without holes."""
SKIN_COUNT = 468
"""The first landmarks lie on skin, the rest on the irises."""
