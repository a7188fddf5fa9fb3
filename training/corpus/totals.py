"""The motion of a whole corpus, end to end."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.teacher.mouth import lip_gap

Float32 = NDArray[np.float32]


@dataclass(slots=True)
class Totals:
    """Frames of all clips, end to end: motion [F, 58], gap [F], labels [F], clip starts."""

    motion: Float32
    gap: Float32
    viseme: NDArray[np.int8]
    speaking: NDArray[np.bool_]
    closure: NDArray[np.bool_]
    joint: NDArray[np.bool_]
    """True at the first frame of a clip: no velocity is taken there."""


def gather(folder: Path, index: dict[str, Any]) -> Totals:
    """Read the motion of every clip of a corpus."""
    parts: dict[str, list[NDArray[Any]]] = defaultdict(list)
    for row in index["clips"]:
        with np.load(folder / row["file"]) as clip:
            for key in ("motion", "viseme", "speaking", "closure"):
                parts[key].append(clip[key])
        joint = np.zeros(len(parts["motion"][-1]), bool)
        joint[0] = True
        parts["joint"].append(joint)
    whole = {key: np.concatenate(value) for key, value in parts.items()}
    motion = whole["motion"].astype(np.float32)
    return Totals(
        motion,
        np.maximum(lip_gap(motion), 0),
        whole["viseme"],
        whole["speaking"] > 0,
        whole["closure"] > 0,
        whole["joint"],
    )
