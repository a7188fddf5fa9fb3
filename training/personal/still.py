"""Which frame of a video makes the best photo: ranked by what it shows, chosen by what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.errors import PortraitError
from engine.face.analysis import FaceAnalyser
from engine.face.portrait import PortraitLimits, prepare_portrait
from engine.face.topology import CHEEKS, IRIS_CENTRES, MOUTH_CENTRE, NOSE_TIP
from engine.media import Float32, UInt8
from engine.motion.arkit import INDEX
from training.personal.footage import Footage
from training.personal.reenact import Still

LIMITS = PortraitLimits(face_width=60)
APART = 8
"""Sampled frames between two candidates: neighbours are the same photo."""
FIRST_TRIES = 10
_GAZE = [i for name, i in INDEX.items() if name.startswith("eyeLook")]
_BLINK = [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]
_MOUTH = [i for n, i in INDEX.items() if n.startswith("mouth") and "Press" not in n]


def restlessness(footage: Footage) -> Float32:
    """How far each frame [T] is from a sharp, frontal face at rest; about 0 to 5.

    Lips together, eyes open and looking ahead, no expression of the mouth, the head as it mostly is
    and from the front, little blur.
    """
    points = footage.landmarks[..., :2]
    eyes = np.linalg.norm(points[:, IRIS_CENTRES[0]] - points[:, IRIS_CENTRES[1]], axis=1)
    unit = np.median(eyes)
    lips = np.linalg.norm(points[:, MOUTH_CENTRE[0]] - points[:, MOUTH_CENTRE[1]], axis=1) / unit
    nose = (points[:, NOSE_TIP] - points[:, list(CHEEKS)].mean(1)) / unit
    turned = np.linalg.norm(nose - np.median(nose, 0), axis=1) + 0.5 * np.abs(nose[:, 0])
    shapes = footage.blendshapes
    blink = np.maximum(shapes[:, _BLINK].mean(1) - np.median(shapes[:, _BLINK]), 0)
    blur = np.maximum(1 - footage.sharpness / np.percentile(footage.sharpness, 80), 0)
    cost = 4 * lips + blink + 0.3 * shapes[:, _GAZE].sum(1) + 0.5 * shapes[:, _MOUTH].sum(1)
    return np.asarray(cost + 3 * turned + 2 * blur, np.float32)


def candidates(
    footage: Footage, within: NDArray[np.int64], most: int, analyser: FaceAnalyser
) -> list[Still]:
    """The most restful frames that can become a portrait.

    Args:
        footage: the video.
        within: numbers of the frames that may be taken.
        most: how many.
        analyser: the face networks.

    Raises:
        PortraitError: none can.
    """
    cost = restlessness(footage)[within]
    order: list[int] = []
    for number in within[np.argsort(cost)]:
        if all(abs(number - other) >= APART for other in order):
            order.append(int(number))
        if len(order) == 2 * most:
            break
    frames = dict(footage.frames(order, full=True))
    return _portraits(footage, ((k, frames[k]) for k in order if k in frames), most, analyser)


def first(footage: Footage, within: Sequence[int], analyser: FaceAnalyser) -> Still | None:
    """The first frame that can become a portrait: a photo taken without looking."""
    frames = footage.frames(within[: FIRST_TRIES * APART : APART], full=True)
    try:
        return _portraits(footage, frames, 1, analyser)[0]
    except PortraitError:
        return None


def _portraits(
    footage: Footage, frames: Iterable[tuple[int, UInt8]], most: int, analyser: FaceAnalyser
) -> list[Still]:
    made: list[Still] = []
    refused: PortraitError | None = None
    for number, frame in frames:
        try:
            made.append(Still.of(footage, number, prepare_portrait(frame, analyser, LIMITS)))
        except PortraitError as error:
            refused = error
        if len(made) == most:
            break
    if not made and refused is not None:
        raise refused
    return made


def best(
    stills: list[Still],
    error: Callable[[Still], float],
    progress: Callable[[Iterable[Still]], Iterator[Still]] = iter,
) -> tuple[Still, list[float]]:
    """The still with the least error, and the errors."""
    errors = [error(still) for still in progress(stills)]
    return stills[int(np.argmin(errors))], errors
