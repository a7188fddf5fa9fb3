"""How far a received mouth is open: seen in pixels, and as the server commanded it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from engine.app import default_portrait
from engine.face.analysis import CROP, FaceAnalyser, Region, crop, landmark_region
from engine.face.portrait import SIZE, prepare_portrait
from engine.face.rig import Rig
from engine.face.topology import MOUTH_CENTRE
from engine.media import UInt8

OPEN_SEEN = 0.05
"""A gap beyond the one at rest that counts as open in pixels. The landmarker wavers by up to 0.04
at rest; while somebody speaks the gap is 0.15 to 0.25."""
OPEN_TOLD = 0.03
"""The same, of what is commanded, which does not waver."""


class MouthView:
    """The default avatar's face in received pictures.

    The face is cut out as pictures come; landmarks are found afterwards, when nobody needs the CPU.
    """

    def __init__(self) -> None:
        self._analyser = FaceAnalyser()
        self.portrait = prepare_portrait(default_portrait(), self._analyser)
        self._region = landmark_region(self.portrait.observation.landmarks)

    def look(self, frame: av.VideoFrame) -> UInt8:
        """The face in a picture of any size: luma, uint8 [256,256]."""
        planes = frame.reformat(format="gray").to_ndarray()
        scale = frame.width / SIZE
        region = self._region
        scaled = Region(region.x * scale, region.y * scale, region.size * scale, region.angle)
        return crop(planes, scaled)

    def gap(self, face: UInt8) -> float:
        """Inner-lip gap in pupil distances, of what ``look`` gave."""
        picture = np.asarray(cv2.cvtColor(face, cv2.COLOR_GRAY2RGB), np.uint8)
        seen = self._analyser.observe(picture, Region(CROP / 2, CROP / 2, CROP, 0.0))
        upper, lower = seen.landmarks[list(MOUTH_CENTRE), :2]
        return float(np.linalg.norm(upper - lower)) / seen.eye_distance


def commanded(messages: Iterable[Mapping[str, Any]]) -> dict[int, float]:
    """Inner-lip gap that the server's ``motion`` messages command, by slot, in eye distances."""
    rig = Rig.load()
    return {
        message["slot"]: rig.lip_opening(np.asarray(message["values"], np.float32))
        for message in messages
        if message["type"] == "motion"
    }


def complete(
    pictures: Sequence[tuple[float, int, Any]], came: Mapping[int, float]
) -> NDArray[np.float64]:
    """When each decoded picture's last packet had come.

    aiortc gives a picture to its decoder when the next one begins, 40 ms later: that is the
    receiver's jitter buffer and not the server's doing.

    Args:
        pictures: decoded: when, slot, what.
        came: arrival of every slot's last packet.
    """
    return np.array([came.get(slot, at) for at, slot, _ in pictures])


def held(opening: Mapping[int, float], slots: Iterable[int]) -> NDArray[np.float64]:
    """Openings at the given slots; a slot without a new picture keeps the last one's."""
    known = sorted(opening)
    if not known:
        return np.full(len(list(slots)), np.nan)
    wanted = np.asarray(list(slots))
    index = np.searchsorted(known, wanted, "right") - 1
    values = np.array([opening[slot] for slot in known])
    return np.where(index >= 0, values[np.maximum(index, 0)], np.nan)
