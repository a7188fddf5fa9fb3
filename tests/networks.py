"""Inputs for the shipped networks: avatars without a photo, sound without a microphone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.media import FeatureFrame
from engine.render.avatar import Avatar
from engine.render.layout import network_inputs
from engine.runtime.base import TensorSpec


def random_avatar(seed: int) -> Avatar:
    """A smooth picture, small motion fields: constants that exercise the whole graph."""
    rng = np.random.default_rng(seed)
    arrays = {k: _constant(k, s, rng) for k, s in network_inputs().items() if k != "motion"}
    axes = np.zeros(network_inputs()["mouth_card_axes"].shape, np.float32)
    axes[:, 0, 0], axes[:, 1, 1] = 60, -40
    arrays["mouth_card_axes"] = axes
    arrays["eyes_card_axes"] = axes
    return Avatar.from_arrays(arrays)


def _constant(name: str, spec: TensorSpec, rng: np.random.Generator) -> NDArray[np.generic]:
    if spec.dtype == "int64":
        return rng.integers(100, 200, spec.shape)
    if name.endswith("basis"):
        return rng.normal(0, 0.2, spec.shape).astype(np.float32)
    if name.endswith(("person", "upper", "lower", "cards", "background")):
        y, x = np.mgrid[: spec.shape[-2], : spec.shape[-1]]
        phase = rng.uniform(0, 6, 2)
        wave = 0.5 + 0.5 * np.sin(x / 17 + phase[0]) * np.cos(y / 23 + phase[1])
        picture = np.broadcast_to(wave * 200, spec.shape).astype(np.float32).copy()
        if spec.shape[1] == 4:
            picture[:, 3] = wave
        return picture
    return rng.uniform(0, 0.5, spec.shape).astype(np.float32)


def speech_features(count: int, seed: int) -> list[FeatureFrame]:
    """Frames of plausible log-mel."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(-4, 2, (count, 320)).astype(np.float32)
    return [FeatureFrame(row, 1.0, pts) for pts, row in enumerate(rows)]
