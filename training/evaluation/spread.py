"""Distributions: Fréchet distance with its floor, diversity over seeds, lip vertex error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.face.rig import Rig
from engine.media import Float32
from engine.motion.arkit import EXPRESSION, INDEX, LIPS, POSE
from training.motion.metrics import frechet

_SCALE_FLOOR = 0.02
_LIP_MOVES = 1e-3
GROUPS = {"lips": LIPS, "expression": EXPRESSION, "head": POSE}


def scale_of(truth: Sequence[Float32]) -> Float32:
    """Deviation of every number [58], with a floor for what hardly moves."""
    found: Float32 = np.concatenate(truth).std(0) + np.float32(_SCALE_FLOOR)
    return found


def distance(
    made: Sequence[Float32], truth: Sequence[Float32], scale: Float32, group: str = ""
) -> float:
    """Fréchet distance of 16-frame windows, of all numbers or of one group."""
    index = list(GROUPS[group]) if group else list(range(len(scale)))
    part = scale[index]
    return frechet([m[:, index] for m in made], [t[:, index] for t in truth], part)


def floor(truth: Sequence[Float32], scale: Float32, group: str = "") -> float:
    """The same between two halves of the truth: what sampling alone makes of it."""
    return distance(truth[::2], truth[1::2], scale, group) if len(truth) > 1 else float("nan")


def lip_vertex_error(motion: Float32, truth: Float32) -> float:
    """Mean over frames of the largest error among the lips' landmarks, inter-ocular units.

    The usual definition (MeshTalk) squares it; not squared it reads as a length.
    """
    rig = Rig.load()
    lips = np.flatnonzero(np.abs(rig.deltas[INDEX["mouthClose"]]).sum(-1) > _LIP_MOVES)
    shapes = np.zeros((len(motion), 52), np.float32)
    shapes[:, LIPS] = (rig.effective(motion) - rig.effective(truth))[:, LIPS]
    moved = np.tensordot(shapes, rig.deltas[:, lips], 1)
    return float(np.linalg.norm(moved, axis=-1).max(1).mean())


def diversity(samples: Sequence[Float32], truth: Float32) -> dict[str, float]:
    """How much motions to the same sound differ, by group.

    Root mean square difference over pairs, relative to what two independent draws of the truth's
    spread would differ by (its deviation times the square root of 2): 0 is always the same, 1
    unrelated.
    """
    stack = np.stack(samples)
    pairs = [(a, b) for a in range(len(stack)) for b in range(a)]
    scale = truth.std(0) + 1e-3
    out = {}
    for name, group in GROUPS.items():
        index = list(group)
        gaps = [(stack[a] - stack[b])[:, index] / scale[index] for a, b in pairs]
        out[name] = float(np.sqrt(np.mean(np.square(gaps)) / 2))
    return out
