"""Fit the average head to one photo: pose, identity, resting expression, personal blendshapes.

Camera: weak perspective. A point ``p`` of the head (rig frame, inter-ocular units) appears at
``scale * rotation @ p + translation``, y then pointing up; pictures have y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine.face import personal
from engine.face.analysis import FaceObservation
from engine.face.personal import Float64
from engine.face.rig import Part, Rig, angles, apply_pose, effective, lid_shares
from engine.face.topology import IRIS_CENTRES, LIP_PAIRS
from engine.media import Float32
from engine.motion.arkit import EXPRESSION, INDEX

ROUNDS = 12
NOISE = np.array([0.02, 0.02, 0.08])
"""Expected error of a landmark in inter-ocular units; the network's depth is the rough one."""
LIP_NOISE = 0.004
"""The gap of the lips is taken at its word: it tells apart a smile and an open mouth."""
EXPRESSION_SPREAD = 0.12
"""How far an expression may be from what the blendshape network says."""
Y_DOWN = np.array([1, -1, -1], np.float32)


@dataclass(frozen=True, eq=False)
class HeadFit:
    """One person's head in one picture.

    Args:
        rotation: float32 [3,3], head to camera.
        scale: pixels per inter-ocular unit.
        translation: float32 [2]: pixel at which the point between the pupils appears.
        neutral: float32 [478,3]: this person's landmarks with the mouth at rest; with ``resting``
            they are exactly what was observed.
        deltas: float32 [52,478,3]: this person's blendshapes. At ``eyeBlink`` 1 the lids meet.
        resting: float32 [52]: the mouth's expression in the picture, as motion values.
        pivot: float32 [3]: where the head turns.
        parts: teeth, tongue and eyeballs, moved and scaled to this person.
        reprojection_error: RMS distance in inter-ocular units of the observed landmarks from the
            average head with this identity and expression: how well the model explains the face.
    """

    rotation: Float32
    scale: float
    translation: Float32
    neutral: Float32
    deltas: Float32
    resting: Float32
    pivot: Float32
    parts: dict[str, Part]
    reprojection_error: float

    @cached_property
    def lids(self) -> Float32:
        """``lid_shares`` of this person."""
        return lid_shares(self.neutral, self.deltas)

    @property
    def angles(self) -> Float32:
        """yaw, pitch, roll [3] of the head in the picture, radians."""
        return angles(self.rotation)

    @property
    def rest(self) -> Float32:
        """The motion vector [58] that shows the picture as it is."""
        return np.concatenate([self.resting, np.zeros(6, np.float32)])

    def head(self, values: Float32) -> Float32:
        """Landmarks [478,3] in the head's frame for a motion vector [58], without pose."""
        return self.neutral + np.tensordot(effective(values, self.lids), self.deltas, 1)

    def place(self, points: Float32, values: Float32) -> Float32:
        """Points [N,3] of the head's frame to the picture, with the pose of a motion vector [58].

        Rotation and translation are relative to the photo, along the picture's axes.

        Returns:
            float32 [N,3]: x, y pixels (y down); z pixels, smaller is nearer.
        """
        turned = apply_pose(points @ self.rotation.T, values, self.rotation @ self.pivot)
        placed = self.scale * turned * Y_DOWN
        placed[:, :2] += self.translation
        return placed.astype(np.float32)

    def project(self, values: Float32) -> Float32:
        """Landmarks [478,2] in pixels for a motion vector [58]."""
        return self.place(self.head(values), values)[:, :2]

    def lip_opening(self, values: Float32) -> float:
        """Gap between landmarks 13 and 14 in inter-ocular units, at least 0."""
        head = self.head(values)
        return max(0.0, float(head[13, 1] - head[14, 1]))


@dataclass
class _State:
    """What the alternation improves."""

    identity: Float64
    shapes: Float64
    rotation: Float64
    scale: float
    shift: Float64


def fit_head(observation: FaceObservation, rig: Rig) -> HeadFit:
    """Fit a head to one observation.

    Alternates a weighted Procrustes alignment (pose, scale) and a regularised least-squares
    solution (24 identity components, 51 blendshapes within [0, 1]).
    """
    seen = (observation.landmarks * Y_DOWN).astype(np.float64)
    weights = np.broadcast_to(1 / NOISE**2, (478, 3)).copy()
    # The iris has no depth of its own in the network's answer.
    weights[468:, 2] = 0
    prior = np.asarray(observation.blendshapes, np.float64)
    state = _State(np.zeros(len(rig.identity)), prior.copy(), np.eye(3), 1.0, np.zeros(3))
    for _ in range(ROUNDS):
        _align(state, _model(rig, state), seen, weights)
        local = (seen - state.shift) @ state.rotation / state.scale
        _solve(state, rig, local, weights, prior)
    _align(state, _model(rig, state), seen, weights)
    return _personal_fit(state, rig, seen)


def _model(rig: Rig, state: _State) -> Float64:
    identity = np.tensordot(state.identity, rig.identity, 1)
    model: Float64 = rig.neutral + identity + np.tensordot(state.shapes, rig.deltas, 1)
    return model


def _align(state: _State, model: Float64, seen: Float64, weights: Float64) -> None:
    """Rotation, scale and shift that bring the model onto what was seen.

    Depth counts less: the observed depth is first pulled towards the model's as the weights say.
    """
    share = weights[:, 2] / weights[:, 0]
    if state.scale != 1.0:
        posed = state.scale * model @ state.rotation.T + state.shift
        seen = seen.copy()
        seen[:, 2] = share * seen[:, 2] + (1 - share) * posed[:, 2]
    else:
        seen = seen.copy()
        seen[468:, 2] = seen[[33, 263], 2].mean()
    low, high = model.mean(0), seen.mean(0)
    a, b = model - low, seen - high
    u, _, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    state.rotation = (u * sign) @ vt
    # The unit is the pupils' distance: the rest of the face is a matter of identity.
    pupils = [points[list(IRIS_CENTRES)] for points in (model @ state.rotation.T, seen)]
    apart = [float(np.linalg.norm(pair[0, :2] - pair[1, :2])) for pair in pupils]
    state.scale = apart[1] / apart[0]
    state.shift = high - state.scale * state.rotation @ low


def _solve(state: _State, rig: Rig, local: Float64, weights: Float64, prior: Float64) -> None:
    """Identity and expression for given pose, by ridge regression with bounds."""
    count = len(rig.identity)
    basis = np.concatenate([rig.identity, rig.deltas]).reshape(count + 52, -1).astype(np.float64)
    target = (local - rig.neutral).ravel()
    upper, lower = (list(side) for side in zip(*LIP_PAIRS, strict=True))
    gaps = basis.reshape(-1, 478, 3)[:, upper, 1] - basis.reshape(-1, 478, 3)[:, lower, 1]
    gap = local[upper, 1] - local[lower, 1]
    spread = np.concatenate([np.ones(count), np.full(52, EXPRESSION_SPREAD)])
    mean = np.concatenate([np.zeros(count), prior])
    # Neighbouring landmarks err together: 478 of them are worth about a tenth.
    w = 0.1 * weights.ravel()
    normal = (basis * w) @ basis.T + gaps @ gaps.T / LIP_NOISE**2 + np.diag(spread**-2)
    right = (basis * w) @ target + gaps @ gap / LIP_NOISE**2 + mean / spread**2
    free = np.ones(count + 52, bool)
    free[count + INDEX["tongueOut"]] = False
    value = np.zeros(count + 52)
    for _ in range(4):
        fixed = right[free] - normal[np.ix_(free, ~free)] @ value[~free]
        value[free] = np.linalg.solve(normal[np.ix_(free, free)], fixed)
        shapes = value[count:]
        beyond = (shapes < 0) | (shapes > 1)
        if not beyond.any():
            break
        value[count:] = np.clip(shapes, 0, 1)
        free[count:] &= ~beyond
    state.identity, state.shapes = value[:count], np.clip(value[count:], 0, 1)
    close, jaw = INDEX["mouthClose"], INDEX["jawOpen"]
    state.shapes[close] = min(state.shapes[close], state.shapes[jaw])


def _personal_fit(state: _State, rig: Rig, seen: Float64) -> HeadFit:
    """Turn the solution into this person's own head, on which nothing of the photo is lost."""
    model = _model(rig, state)
    posed = state.scale * model @ state.rotation.T + state.shift
    error = float(np.sqrt(((posed - seen)[:, :2] ** 2).sum(1).mean()) / state.scale)
    # Depth comes from the model: the network's own is too rough to be turned by a pose.
    placed = np.concatenate([seen[:, :2], posed[:, 2:]], 1)
    observed = (placed - state.shift) @ state.rotation / state.scale
    # Only the mouth is brought to rest. Narrow eyes, a raised brow, full cheeks are taken for the
    # person: opening the eyes of somebody who squints makes a stranger of them.
    state.shapes[list(EXPRESSION)] = 0
    own_neutral, own_deltas = personal.fit_deltas(rig, observed, state.shapes)
    neutral, deltas = own_neutral.astype(np.float32), own_deltas.astype(np.float32)
    resting = state.shapes.astype(np.float32)
    return HeadFit(
        rotation=state.rotation.astype(np.float32),
        scale=state.scale,
        translation=(state.shift[:2] * [1, -1]).astype(np.float32),
        neutral=neutral,
        deltas=deltas,
        resting=resting,
        pivot=rig.pivot,
        parts=personal.fit_parts(rig, own_neutral),
        reprojection_error=error,
    )
