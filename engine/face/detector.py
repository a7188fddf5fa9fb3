"""BlazeFace short range: anchors, decoding, weighted non-maximum suppression.

Source of the numbers: MediaPipe's ``face_detector_graph.cc`` (128x128, strides 8, 16, 16, 16,
anchors of size one at cell centres, score threshold 0.5, suppression at IoU 0.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from engine.face.networks import FaceNetworks
from engine.media import Float32, UInt8

SIZE = 128
MIN_SCORE = 0.5
MIN_OVERLAP = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """A face that the detector saw.

    Args:
        box: float32 [4]: left, top, right, bottom in pixels (forehead to chin, no hair or ears).
        keypoints: float32 [6,2] pixels: the eye on the picture's left, the eye on its right,
            nose tip, mouth, and the two ears.
        score: in [0, 1].
    """

    box: Float32
    keypoints: Float32
    score: float

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return float(self.box[2] - self.box[0])


def _anchors() -> Float32:
    """Cell centres [896,2] in [0, 1]: two per cell at stride 8, six at stride 16."""
    rows = []
    for stride, repeat in ((8, 2), (16, 6)):
        cells = SIZE // stride
        y, x = np.mgrid[:cells, :cells]
        centres = (np.stack([x.ravel(), y.ravel()], 1) + 0.5) / cells
        rows.append(np.repeat(centres, repeat, axis=0))
    return np.concatenate(rows).astype(np.float32)


ANCHORS = _anchors()


def detect(networks: FaceNetworks, image: UInt8) -> list[Detection]:
    """Faces in an RGB picture [H,W,3], best first."""
    height, width = image.shape[:2]
    side = max(height, width)
    left, top = (side - width) / 2, (side - height) / 2
    scale = SIZE / side
    # No half-pixel shift, plain bilinear: as the network saw its training pictures.
    matrix = np.array([[scale, 0, left * scale], [0, scale, top * scale]], np.float64)
    small = cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
    boxes, logits = networks.detector(small.astype(np.float32) / 127.5 - 1)
    scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
    keep = scores >= MIN_SCORE
    values = boxes[keep].reshape(-1, 8, 2) / SIZE
    centres = ANCHORS[keep]
    points = values + centres[:, None]
    half = values[:, 1] / 2
    points[:, 1] = points[:, 0] + half
    points[:, 0] -= half
    points = points * side - np.array([left, top], np.float32)
    return suppress([_detection(p, float(s)) for p, s in zip(points, scores[keep], strict=True)])


def _detection(points: Float32, score: float) -> Detection:
    return Detection(points[:2].reshape(4).astype(np.float32), points[2:].astype(np.float32), score)


def overlap(first: Detection, second: Detection) -> float:
    """Intersection over union of two boxes."""
    low = np.maximum(first.box[:2], second.box[:2])
    high = np.minimum(first.box[2:], second.box[2:])
    common = float(np.prod(np.maximum(high - low, 0)))
    areas = [float(np.prod(d.box[2:] - d.box[:2])) for d in (first, second)]
    return common / max(sum(areas) - common, 1e-9)


def suppress(found: list[Detection]) -> list[Detection]:
    """Merge overlapping detections into their score-weighted mean; best score first."""
    rest = sorted(found, key=lambda d: -d.score)
    merged = []
    while rest:
        best = rest[0]
        group = [d for d in rest if overlap(best, d) > MIN_OVERLAP]
        rest = [d for d in rest[1:] if overlap(best, d) <= MIN_OVERLAP]
        weights = np.array([d.score for d in group], np.float32)
        weights /= weights.sum()
        box = np.tensordot(weights, np.stack([d.box for d in group]), 1)
        points = np.tensordot(weights, np.stack([d.keypoints for d in group]), 1)
        merged.append(Detection(box, points, best.score))
    return merged
