"""What the landmarker sees of a mouth."""

from __future__ import annotations

import numpy as np

from engine.face.analysis import FaceObservation
from engine.face.topology import MOUTH_CENTRE


def lip_gap(seen: FaceObservation) -> float:
    """Inner-lip gap in pupil distances."""
    upper, lower = seen.landmarks[list(MOUTH_CENTRE), :2]
    return float(np.linalg.norm(upper - lower)) / seen.eye_distance
