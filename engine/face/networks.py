"""MediaPipe's four networks (Apache-2.0) behind plain functions, safe to call from any thread."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from engine.media import Float32
from engine.runtime.artifact import WEIGHTS, open_artifact

FACE_WEIGHTS = WEIGHTS / "face"


class Network:
    """One network with one input.

    Args:
        path: a TFLite file with its manifest beside it.
        threads: inference threads.

    Raises:
        ArtifactError: the file is missing or damaged.
        BackendError: the file cannot be compiled.
    """

    def __init__(self, path: Path, threads: int) -> None:
        # Imported where it is used: rendering a prepared avatar does without it.
        from engine.runtime.openvino import OpenVinoBackend

        artifact = open_artifact(path)
        # bf16 moves landmarks by up to a pixel and a half of the 256: always full precision.
        self._backend = OpenVinoBackend(artifact.path, threads=threads, precision="f32")
        (self._input,) = self._backend.inputs
        self._lock = threading.Lock()

    def __call__(self, values: Float32) -> dict[str, Float32]:
        """Run on one input, float32 of the network's shape; outputs by name."""
        with self._lock:
            outputs = self._backend.run({self._input: np.ascontiguousarray(values, np.float32)})
        return outputs


class FaceNetworks:
    """The networks, loaded once.

    Args:
        folder: where the files are.
        threads: inference threads per network.
    """

    def __init__(self, folder: Path = FACE_WEIGHTS, threads: int = 1) -> None:
        self._detector = Network(folder / "face_detector.tflite", threads)
        self._landmarks = Network(folder / "face_landmarks.tflite", threads)
        self._blendshapes = Network(folder / "face_blendshapes.tflite", threads)
        self._selfie = Network(folder / "selfie_segmentation.tflite", threads)

    def detector(self, picture: Float32) -> tuple[Float32, Float32]:
        """Picture [128,128,3] in [-1, 1] to boxes [896,16] and logits [896]."""
        outputs = self._detector(picture[None])
        return outputs["regressors"][0], outputs["classificators"][0, :, 0]

    def landmarks(self, picture: Float32) -> tuple[Float32, float]:
        """Picture [256,256,3] in [0, 1] to landmarks [478,3] in its pixels, presence in [0, 1]."""
        outputs = self._landmarks(picture[None])
        logit = float(outputs["Identity_1"].reshape(()))
        return outputs["Identity"].reshape(478, 3), float(1 / (1 + np.exp(-logit)))

    def blendshapes(self, points: Float32) -> Float32:
        """146 points [146,2] in pixels to 52 scores in MediaPipe's order, ``_neutral`` first."""
        (scores,) = self._blendshapes(points[None]).values()
        return scores.reshape(52)

    def selfie(self, picture: Float32) -> Float32:
        """Picture [256,256,3] in [0, 1] to the probability of a person [256,256]."""
        (mask,) = self._selfie(picture[None]).values()
        return mask.reshape(256, 256)
