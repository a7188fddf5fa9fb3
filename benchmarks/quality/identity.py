"""Is it still the person? Distance of dlib's 128-number face descriptors.

dlib's network (King 2017; 99.38 % on LFW) calls two pictures the same person below 0.6. Its
weights and the 5-point predictor come from ``face_recognition_models`` 0.3.0 (CC0 as packaged); the
68-point predictor in that package was learned from data that is not free and stays unused.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Unavailable
from engine.media import Float32, UInt8

SAME = 0.6
_REACH = 0.85
"""Half side of the square that is looked at, in half widths of the landmarks' box: what dlib's own
detector would give; the descriptor changes by 0.04 with it."""


class Describer:
    """Pictures to face descriptors. 0.3 s of CPU each.

    Raises:
        Unavailable: dlib or its models are not installed.
    """

    def __init__(self) -> None:
        try:
            import dlib
        except ImportError as error:
            raise Unavailable("dlib is not installed: pip install -e '.[measure]'") from error
        models = _models()
        self._rectangle = dlib.rectangle
        self._predictor = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
        network = models / "dlib_face_recognition_resnet_model_v1.dat"
        self._network = dlib.face_recognition_model_v1(str(network))

    def __call__(self, picture: UInt8, landmarks: Float32) -> NDArray[np.float64]:
        """Descriptor [128] of the face whose landmarks [478,2] are about there."""
        low, high = landmarks.min(0), landmarks.max(0)
        middle, half = (low + high) / 2, _REACH * float(high[0] - low[0]) / 2
        box = self._rectangle(*(round(float(v)) for v in (*(middle - half), *(middle + half))))
        picture = np.ascontiguousarray(picture)
        shape = self._predictor(picture, box)
        return np.array(self._network.compute_face_descriptor(picture, shape))


def _models() -> Path:
    """Folder of the weights. The package itself needs ``pkg_resources`` and is not imported."""
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise Unavailable("face_recognition_models is not installed: pip install -e '.[measure]'")
    return Path(spec.origin).parent / "models"
