"""A video looked at once: the face of every sampled frame, kept so that a second run goes on."""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import MediaError
from engine.face.analysis import FaceAnalyser, FaceObservation
from engine.media import Float32, UInt8
from training.tracking.media import pictures

MIN_SECONDS, MAX_SECONDS = 8.0, 120.0
ADVISED_SECONDS = 20.0
MOST_FRAMES = 600
"""Frames looked at: a face repeats itself, and looking is what takes the time."""
SIDE = 960
"""Longer side in pixels in which frames are looked at; the photo is taken from the frame itself."""
RIVAL_WIDTH, RIVAL_PRESENCE = 0.4, 0.95
"""From which a second face is somebody, as for photos (engine.face.portrait)."""
RIVAL_EVERY = 20
MAX_RIVALS = 0.1
MIN_SEEN = 0.6
_SAVE_EVERY = 60
_VERSION = 1  # of what is kept


@dataclass(frozen=True, eq=False)
class Footage:
    """Sampled frames of a video, T of them, in which a face was seen.

    Args:
        path: of the video.
        digest: hex SHA-256 of its bytes.
        index: int [T], which frame of the video.
        landmarks: float32 [T,478,3], pixels of the frame at ``SIDE``.
        blendshapes: float32 [T,52].
        sharpness: float32 [T], see ``sharpness``.
    """

    path: Path
    digest: str
    index: NDArray[np.int64]
    landmarks: Float32
    blendshapes: Float32
    sharpness: Float32

    def observation(self, k: int) -> FaceObservation:
        """The face in sampled frame ``k``."""
        return FaceObservation(self.landmarks[k], self.blendshapes[k], 1.0)

    def frames(self, chosen: Collection[int], full: bool = False) -> Iterator[tuple[int, UInt8]]:
        """Sampled frames (number, RGB) in order; at ``SIDE``, or as large as they are."""
        wanted = {int(self.index[k]): k for k in chosen}
        last = max(wanted, default=-1)
        for number, (_, picture) in enumerate(islice(pictures(self.path), last + 1)):
            if number in wanted:
                yield wanted[number], picture if full else shrink(picture)


def shrink(picture: UInt8) -> UInt8:
    """A frame in the size in which it is looked at."""
    factor = SIDE / max(picture.shape[:2])
    if factor >= 1:
        return picture
    size = [round(n * factor) for n in picture.shape[1::-1]]
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def sharpness(picture: UInt8, face: FaceObservation) -> float:
    """Fine detail of a face: RMS of the Laplacian, in levels, of the face at 160 pixels' width."""
    low, high = np.floor(face.box[:2]).astype(int), np.ceil(face.box[2:]).astype(int)
    cut = picture[max(low[1], 0) : high[1], max(low[0], 0) : high[0]]
    if min(cut.shape[:2]) < 8:
        return 0.0
    grey = cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY)
    size = (160, max(1, round(160 * cut.shape[0] / cut.shape[1])))
    detail = cv2.Laplacian(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), cv2.CV_32F)
    return float(np.sqrt((detail**2).mean()))


def length(path: Path) -> tuple[float, int]:
    """Seconds of a video that are used, and every how manieth of its frames is looked at.

    Raises:
        MediaError: not a video, or too short.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise MediaError(f"{path.name} has no pictures.")
            seconds = (container.duration or 0) / av.time_base
            rate = float(container.streams.video[0].average_rate or 25)
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path.name} cannot be read as a video ({error}).") from error
    if seconds < MIN_SECONDS:
        raise MediaError(
            f"{path.name} lasts {seconds:.1f} s; at least {MIN_SECONDS:.0f} s are needed, and "
            f"{ADVISED_SECONDS:.0f} to {MAX_SECONDS:.0f} s are best."
        )
    seconds = min(seconds, MAX_SECONDS)
    return seconds, max(1, math.ceil(seconds * rate / MOST_FRAMES))


def look(
    path: Path,
    every: int,
    analyser: FaceAnalyser,
    kept: Path,
    progress: Callable[[Iterator[tuple[int, UInt8]]], Iterator[tuple[int, UInt8]]],
) -> Footage:
    """Follow the face through a video.

    Args:
        path: of the video.
        every: use every so many frames (``length``).
        analyser: the face networks.
        kept: file in which what was seen is kept; looking goes on where it ends.
        progress: passes on the frames that are looked at.

    Raises:
        MediaError: no face, or more people than one.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    key = f"{digest} {every} {_VERSION}"
    rows = _load(kept, key)
    known, before = len(rows), None
    for row, (number, picture) in enumerate(progress(_sampled(path, every))):
        if row < known:
            continue
        small = shrink(picture)
        before = analyser.follow(small, before)
        several = row % RIVAL_EVERY == 0 and _several(analyser.observe_all(small))
        rows.append(_row(number, before, small, several))
        if len(rows) % _SAVE_EVERY == 0:
            _save(kept, key, rows)
    if len(rows) > known:
        _save(kept, key, rows)
    return _footage(path, digest, np.stack(rows))


def _sampled(path: Path, every: int) -> Iterator[tuple[int, UInt8]]:
    start: float | None = None
    for number, (time, picture) in enumerate(pictures(path)):
        start = time if start is None else start
        if time - start > MAX_SECONDS:
            return
        if number % every == 0:
            yield number, picture


def _several(faces: list[FaceObservation]) -> bool:
    return any(
        face.width >= RIVAL_WIDTH * faces[0].width and face.presence >= RIVAL_PRESENCE
        for face in faces[1:]
    )


def _row(number: int, face: FaceObservation | None, picture: UInt8, several: bool) -> Float32:
    """One frame as numbers: which, whether a face and whether several, detail, the face."""
    if face is None:
        return np.array([number, 0, several, 0, *np.zeros(478 * 3 + 52)], np.float32)
    head = [number, 1, several, sharpness(picture, face)]
    return np.concatenate([head, face.landmarks.ravel(), face.blendshapes]).astype(np.float32)


def _footage(path: Path, digest: str, rows: Float32) -> Footage:
    seen, several = rows[:, 1] > 0, rows[:, 2]
    if seen.mean() < MIN_SEEN:
        raise MediaError(
            f"{path.name} shows a face in {seen.mean():.0%} of its frames; {MIN_SEEN:.0%} are "
            "needed. Use a video of one person who looks into the camera."
        )
    if several.sum() > MAX_RIVALS * -(-len(rows) // RIVAL_EVERY):
        raise MediaError(
            f"{path.name} shows several people. Crop it so that one is left, then try again."
        )
    own = rows[seen]
    landmarks = own[:, 4:-52].reshape(-1, 478, 3)
    return Footage(path, digest, own[:, 0].astype(np.int64), landmarks, own[:, -52:], own[:, 3])


def _save(path: Path, key: str, rows: list[Float32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez(part, key=np.array(key), rows=np.stack(rows))
    part.replace(path)


def _load(path: Path, key: str) -> list[Float32]:
    try:
        with np.load(path) as file:
            return list(file["rows"]) if str(file["key"]) == key else []
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return []  # nothing kept, or half of it
