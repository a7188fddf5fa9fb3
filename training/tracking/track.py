"""Follow one person through a clip: motion of the fitted head, and measures of the bare landmarks.

The head is fitted to the clip's most restful frame (mouth shut, eyes open, head turned least), the
motion of every frame is solved on it; head pose is then made relative to the clip's median.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache as once
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from tqdm import tqdm

from engine.errors import MediaError
from engine.face.analysis import FaceAnalyser, FaceObservation
from engine.face.fit import HeadFit, fit_head
from engine.face.rig import Rig, rotation_matrix
from engine.face.topology import LEFT_LID_PAIRS, MOUTH_CENTRE, MOUTH_CORNERS, RIGHT_LID_PAIRS
from engine.media import FPS, SAMPLES_PER_FRAME, Float32
from engine.motion.arkit import INDEX, MOTION_SIZE, ROTATION, TRANSLATION
from training.tracking.clips import SOUND_LATE
from training.tracking.media import cut, pictures, sound
from training.tracking.solve import LIPS, project, solve_motion

CAMERA = 12.0
"""Assumed distance of the camera in inter-ocular units (about 75 cm): what z is measured with."""
_VERSION = 4  # of what the cache holds
_IRIS = 1.0
_Z_SMOOTH = 1.5  # frames
_CLOSED_EYE = 0.18  # gap of closed lids in the network's landmarks, as a share of the open eye's
_GAZE = tuple(i for name, i in INDEX.items() if name.startswith("eyeLook"))


@dataclass(frozen=True, slots=True, eq=False)
class Tracked:
    """A clip of T frames at 25 fps; frame i is the picture shown at i/25 s.

    Args:
        motion: float32 [T,58], see ``engine.motion.arkit``. Blendshapes are relative to the face
            in the clip's most restful frame with the lips closed, pose to the clip's median.
        opening: float32 [T], gap of the inner lips (landmarks 13, 14) along the head's own y axis
            in inter-ocular units, straight from the landmarks.
        width: float32 [T], distance of the mouth's corners along the head's own x axis.
        blink: float32 [T], 0 open to 1 closed, from the lids' landmarks.
        seen: bool [T]; where no face was found the other arrays are interpolated.
        audio: float32 [T * 640], 16 kHz mono on the same time axis.
        error: float32 [T], how far the lips' landmarks are from the solution's (RMS, inter-ocular
            units).
        network_error: float32 [T], the same for the blendshape network's 52 values on this head.
    """

    motion: Float32
    opening: Float32
    width: Float32
    blink: Float32
    seen: NDArray[np.bool_]
    audio: Float32
    error: Float32
    network_error: Float32


def track(path: Path, cache: Path | None = None) -> Tracked:
    """Track the largest face of a clip.

    Args:
        path: a video with sound.
        cache: folder that keeps results by the file's hash; None keeps nothing.

    Raises:
        MediaError: not a readable video with sound, or a face in less than half of it.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:20]
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror}.") from error
    kept = cache / f"{digest}_{_VERSION}.npz" if cache else None
    if kept and kept.is_file():
        with np.load(kept) as file:
            return Tracked(**{field.name: file[field.name] for field in fields(Tracked)})
    found = _track(path)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part.npz")
        np.savez(part, **{field.name: getattr(found, field.name) for field in fields(Tracked)})
        part.replace(kept)
    return found


@once
def _analyser() -> FaceAnalyser:
    return FaceAnalyser()


def _track(path: Path) -> Tracked:
    times, faces = _observe(path)
    start, audio = sound(path)
    start -= SOUND_LATE.get(path.stem, 0.0)
    origin, count = times[0], round((times[-1] - times[0]) * FPS) + 1
    points, shapes, seen = _resample(times, faces, origin + np.arange(count) / FPS)
    if seen.mean() < 0.5:
        raise MediaError(f"{path.name}: a face is seen in only {seen.mean():.0%} of the frames.")
    fit = fit_head(_reference(faces), Rig.load())
    motion = np.empty((count, MOTION_SIZE), np.float32)
    errors = np.empty((2, count), np.float32)
    before = fit.rest
    for i in tqdm(range(count), f"solve {path.stem}", leave=False):
        motion[i], error = solve_motion(
            fit, points[i, :, :2], before, iris=_IRIS, camera=CAMERA, rounds=4 if i == 0 else 2
        )
        before = motion[i]
        errors[:, i] = error / fit.scale, _network_error(fit, points[i], shapes[i], motion[i])
    opening, width, lids = _measure(fit, points, motion)
    motion[:, ROTATION.start :] -= np.median(motion[seen, ROTATION.start :], axis=0)
    # Scale is seen less exactly than place, and the assumed distance multiplies its noise.
    motion[:, TRANSLATION.stop - 1] = gaussian_filter1d(motion[:, TRANSLATION.stop - 1], _Z_SMOOTH)
    sounds = cut(audio, start, origin, count * SAMPLES_PER_FRAME)
    return Tracked(motion, opening, width, _blink(lids), seen, sounds, *errors)


def _observe(path: Path) -> tuple[list[float], list[FaceObservation | None]]:
    times: list[float] = []
    faces: list[FaceObservation | None] = []
    before: FaceObservation | None = None
    for time, picture in tqdm(pictures(path), f"look {path.stem}", leave=False):
        before = _analyser().follow(picture, before)
        times.append(time)
        faces.append(before)
    if len(times) < 2:
        raise MediaError(f"{path.name} has no pictures.")
    return times, faces


def _resample(
    times: Sequence[float], faces: Sequence[FaceObservation | None], wanted: NDArray[np.float64]
) -> tuple[Float32, Float32, NDArray[np.bool_]]:
    """Landmarks [T,478,3], blendshapes [T,52] at the wanted times, and whether a face was there.

    Landmarks are interpolated, not repeated: a repeated frame would look like a jerk.
    """
    known = [(t, face) for t, face in zip(times, faces, strict=True) if face is not None]
    if not known:
        return np.zeros((len(wanted), 478, 3), np.float32), *_nothing(len(wanted))
    at = np.array([t for t, _ in known])
    rows = np.stack([np.concatenate([f.landmarks.ravel(), f.blendshapes]) for _, f in known])
    after = np.clip(np.searchsorted(at, wanted - 1e-6), 0, len(at) - 1)
    previous = np.clip(after - 1, 0, None)
    gap = np.maximum(at[after] - at[previous], 1e-6)
    share = np.clip((wanted - at[previous]) / gap, 0, 1)
    share[after == previous] = 1.0
    mixed = rows[previous] + share[:, None] * (rows[after] - rows[previous])
    nearest = np.abs(np.asarray(times)[None] - wanted[:, None]).argmin(1)
    seen = np.array([faces[i] is not None for i in nearest])
    points = mixed[:, : 478 * 3].reshape(-1, 478, 3).astype(np.float32)
    return points, mixed[:, 478 * 3 :].astype(np.float32), seen


def _nothing(count: int) -> tuple[Float32, NDArray[np.bool_]]:
    return np.zeros((count, 52), np.float32), np.zeros(count, bool)


def _reference(faces: Sequence[FaceObservation | None]) -> FaceObservation:
    """The most restful frame: lips together, eyes open, head as it mostly is."""
    known = [face for face in faces if face is not None]
    rows = []
    for face in known:
        points = face.landmarks / face.eye_distance
        lips = np.linalg.norm(points[MOUTH_CENTRE[0], :2] - points[MOUTH_CENTRE[1], :2])
        blink = face.blendshapes[[INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]].mean()
        gaze = face.blendshapes[list(_GAZE)].sum()
        # The nose between the cheeks and between brow and chin tells yaw and pitch well enough.
        turn = points[1, :2] - points[[234, 454], :2].mean(0)
        rows.append([lips, blink, gaze, *turn])
    table = np.array(rows)
    turned = np.linalg.norm(table[:, 3:] - np.median(table[:, 3:], axis=0), axis=1)
    cost = 4 * table[:, 0] + table[:, 1] + 0.3 * table[:, 2] + 3 * turned
    return known[int(cost.argmin())]


def _network_error(fit: HeadFit, seen: Float32, shapes: Float32, motion: Float32) -> float:
    values = np.concatenate([shapes, motion[ROTATION.start :]]).astype(np.float32)
    off = (project(fit, values, CAMERA) - seen[:, :2])[LIPS]
    return float(np.sqrt((off**2).sum(1).mean()) / fit.scale)


def _measure(fit: HeadFit, points: Float32, motion: Float32) -> tuple[Float32, Float32, Float32]:
    """Lip opening, mouth width and opening of the lids [T], inter-ocular units, pose undone.

    A length h along an axis e of the head appears as h * scale * (R e), of which the picture shows
    x and y; h is the least-squares solution.
    """
    rows = []
    for seen, values in zip(points, motion, strict=True):
        turn = rotation_matrix(*(float(v) for v in values[ROTATION])) @ fit.rotation
        growth = CAMERA / (CAMERA - float(values[TRANSLATION.stop - 1]))
        flat = seen[:, :2] * np.array([1, -1], np.float32) / (fit.scale * growth)
        across, along = (turn[:2, k] / (turn[:2, k] @ turn[:2, k]) for k in (0, 1))
        opening = (flat[MOUTH_CENTRE[0]] - flat[MOUTH_CENTRE[1]]) @ along
        width = (flat[MOUTH_CORNERS[1]] - flat[MOUTH_CORNERS[0]]) @ across
        lids = np.mean([(flat[u] - flat[d]) @ along for u, d in RIGHT_LID_PAIRS + LEFT_LID_PAIRS])
        rows.append((opening, width, lids))
    opening, width, lids = np.array(rows, np.float32).T
    return np.maximum(opening, 0), width, lids


def _blink(lids: Float32) -> Float32:
    """Closure 0..1 of lids whose gap is given, [T]; open is what the eyes mostly are."""
    wide = float(np.percentile(lids, 70))
    return np.clip((wide - lids) / (wide * (1 - _CLOSED_EYE)), 0, 1).astype(np.float32)
