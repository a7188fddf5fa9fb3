"""Photo or video frame to faces, 478 landmarks, 52 blendshapes and a matte.

Geometry and constants follow MediaPipe's ``face_landmarker_graph.cc``,
``face_landmarks_detector_graph.cc`` and ``face_blendshapes_graph.cc``; the results agree with
MediaPipe's own (``tests/unit/test_face_analysis.py`` holds the numbers).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from engine.face import detector
from engine.face.detector import Detection
from engine.face.matte import person_matte
from engine.face.networks import FACE_WEIGHTS, FaceNetworks
from engine.face.topology import BLENDSHAPE_POINTS, BLENDSHAPE_SOURCE, EYE_CORNERS, IRIS_CENTRES
from engine.media import Float32, UInt8

CROP = 256
MARGIN = 1.5
MIN_PRESENCE = 0.5


@dataclass(frozen=True, slots=True)
class Region:
    """A turned square of the picture.

    Args:
        x: centre, pixels.
        y: centre, pixels.
        size: side, pixels.
        angle: radians, clockwise as the viewer sees it.
    """

    x: float
    y: float
    size: float
    angle: float

    @property
    def axes(self) -> Float32:
        """Rows: the square's own x and y directions in the picture, [2,2]."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.array([[cos, sin], [-sin, cos]], np.float32)


@dataclass(frozen=True, eq=False)
class FaceObservation:
    """What the networks see of one face.

    Args:
        landmarks: float32 [478,3]: x right and y down in picture pixels (a pixel's centre is a
            whole number); z in pixels of the same scale, smaller is nearer to the camera.
        blendshapes: float32 [52] in ``engine.motion.arkit.BLENDSHAPES`` order, within [0, 1];
            tongueOut is always 0, the network does not know it.
        presence: probability in [0, 1] that the crop showed a face.
    """

    landmarks: Float32
    blendshapes: Float32
    presence: float

    @cached_property
    def eye_distance(self) -> float:
        """Distance of the pupils in pixels, in the picture plane."""
        first, second = self.landmarks[list(IRIS_CENTRES), :2]
        return float(np.linalg.norm(first - second))

    @cached_property
    def box(self) -> Float32:
        """Left, top, right, bottom of the landmarks, float32 [4]."""
        points = self.landmarks[:, :2]
        return np.concatenate([points.min(0), points.max(0)])

    @property
    def width(self) -> float:
        """Width of the face in pixels, cheek to cheek."""
        return float(self.box[2] - self.box[0])


def detection_region(detection: Detection) -> Region:
    """Where the landmark network shall look, from the detector's box and eyes."""
    box, (right, left) = detection.box, detection.keypoints[:2]
    centre = (box[:2] + box[2:]) / 2
    size = MARGIN * float((box[2:] - box[:2]).max())
    direction = left - right
    return Region(float(centre[0]), float(centre[1]), size, float(np.arctan2(*direction[::-1])))


def landmark_region(landmarks: Float32) -> Region:
    """Where the landmark network shall look in the next frame."""
    points = landmarks[:, :2]
    low, high = points.min(0), points.max(0)
    right, left = points[list(EYE_CORNERS)]
    direction = left - right
    centre = (low + high) / 2
    size = MARGIN * float((high - low).max())
    return Region(float(centre[0]), float(centre[1]), size, float(np.arctan2(*direction[::-1])))


def crop(image: UInt8, region: Region, size: int = CROP) -> UInt8:
    """Cut a region out of a picture and bring it to [size,size,3]; outside is the edge's colour."""
    step = region.axes * (region.size / size)
    origin = np.array([region.x, region.y], np.float32) - (size / 2) * step.sum(0)
    matrix = np.concatenate([step.T, origin[:, None]], 1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.uint8)


class FaceAnalyser:
    """Finds and measures faces. One instance serves any number of threads.

    Args:
        folder: where the networks are.
        threads: inference threads per network.

    Raises:
        ArtifactError: a network is missing or damaged.
    """

    def __init__(self, folder: Path = FACE_WEIGHTS, threads: int = 1) -> None:
        self._networks = FaceNetworks(folder, threads)

    def detect(self, image: UInt8, thorough: bool = False) -> list[Detection]:
        """Faces in an RGB picture [H,W,3], best score first.

        Args:
            image: uint8 RGB.
            thorough: also look at overlapping halves and quarters of the picture, where a face
                smaller than a tenth of it can be seen (about 60 looks instead of one).
        """
        found = detector.detect(self._networks, image)
        if not thorough:
            return found
        for tile, x, y in _tiles(image):
            shift = np.array([x, y], np.float32)
            for seen in detector.detect(self._networks, tile):
                if _inside(seen, tile):
                    box = seen.box + np.tile(shift, 2)
                    found.append(Detection(box, seen.keypoints + shift, seen.score))
        return detector.suppress(found)

    def observe(self, image: UInt8, where: Detection | FaceObservation | Region) -> FaceObservation:
        """Measure one face.

        Args:
            image: uint8 RGB [H,W,3].
            where: a detection, the observation in the previous frame, or a region.

        Returns:
            The observation, whatever its ``presence``: below 0.5 there is no face.
        """
        if isinstance(where, Detection):
            region = detection_region(where)
        elif isinstance(where, FaceObservation):
            region = landmark_region(where.landmarks)
        else:
            region = where
        picture = crop(image, region).astype(np.float32) / np.float32(255)
        points, presence = self._networks.landmarks(picture)
        scale = region.size / CROP
        landmarks = np.empty((478, 3), np.float32)
        centre = np.array([region.x, region.y], np.float32)
        landmarks[:, :2] = (points[:, :2] - CROP / 2) * scale @ region.axes + centre
        landmarks[:, 2] = points[:, 2] * scale
        return FaceObservation(landmarks, self.blendshapes(landmarks), presence)

    def blendshapes(self, landmarks: Float32) -> Float32:
        """Scores [52] in our order for landmarks [478,2 or 3] in pixels."""
        scores = self._networks.blendshapes(landmarks[list(BLENDSHAPE_POINTS), :2])
        ours = np.zeros(52, np.float32)
        known = np.array(BLENDSHAPE_SOURCE) >= 0
        ours[known] = scores[np.array(BLENDSHAPE_SOURCE)[known]]
        return np.clip(ours, 0, 1)

    def observe_all(self, image: UInt8, thorough: bool = False) -> list[FaceObservation]:
        """Every face in an RGB picture that the landmark network confirms, largest first."""
        seen = [self.observe(image, found) for found in self.detect(image, thorough)]
        sure = sorted(
            (face for face in seen if face.presence >= MIN_PRESENCE), key=lambda face: -face.width
        )
        # Two detections may lead to one and the same face.
        distinct: list[FaceObservation] = []
        for face in sure:
            if all(_apart(face, other) for other in distinct):
                distinct.append(face)
        return distinct

    def track(self, frames: Iterable[UInt8]) -> Iterator[FaceObservation | None]:
        """Follow the largest face of a video; None for a frame that shows none."""
        previous: FaceObservation | None = None
        for frame in frames:
            previous = self.follow(frame, previous)
            yield previous

    def follow(self, frame: UInt8, previous: FaceObservation | None) -> FaceObservation | None:
        """One step of ``track``: look where the face was, else search anew."""
        if previous is not None:
            seen = self.observe(frame, previous)
            if seen.presence >= MIN_PRESENCE:
                return seen
        faces = self.observe_all(frame)
        return faces[0] if faces else None

    def matte(self, image: UInt8) -> Float32:
        """How much of each pixel of an RGB picture is the person: float32 [H,W] in [0, 1]."""
        return person_matte(self._networks, image)


def _tiles(image: UInt8) -> Iterator[tuple[UInt8, int, int]]:
    height, width = image.shape[:2]
    for parts in (2, 4):
        size = max(height, width) // parts
        if size < detector.SIZE:
            return
        ys = range(0, max(height - size, 0) + 1, max(size // 2, 1))
        xs = range(0, max(width - size, 0) + 1, max(size // 2, 1))
        for y in ys:
            for x in xs:
                yield image[y : y + size, x : x + size], x, y


def _inside(seen: Detection, tile: UInt8) -> bool:
    """Whether the face is whole: a tile that cuts a face reports a wrong box."""
    height, width = tile.shape[:2]
    margin = 0.05 * seen.width
    low, high = seen.box[:2].min(), (seen.box[2:] - np.array([width, height])).max()
    return bool(low > margin and high < -margin)


def _apart(face: FaceObservation, other: FaceObservation) -> bool:
    """Whether the smaller face's middle lies outside of the larger face."""
    middle = (face.box[:2] + face.box[2:]) / 2
    return bool((middle < other.box[:2]).any() or (middle > other.box[2:]).any())
