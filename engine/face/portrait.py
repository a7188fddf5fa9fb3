"""A photo that somebody chose becomes a portrait that can be animated, or a reason in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import PortraitError
from engine.face.analysis import MIN_PRESENCE, FaceAnalyser, FaceObservation
from engine.face.fit import HeadFit, fit_head
from engine.face.picture import read_picture
from engine.face.rig import Rig
from engine.media import Float32, UInt8

SIZE = 512
FACE_SHARE = 0.44
"""Height of the face (forehead to chin) in the portrait, as a share of it."""
FACE_CENTRE = 0.49
"""Where the face's middle is, from the top."""
LARGEST_SHARE = 0.52
"""How much of the portrait the face may take where the photo leaves no room around it."""
ANALYSIS_SIDE = 2048
"""Photos are looked at in at most this size; landmarks gain nothing from more."""


_UPSIDE_DOWN = 0.05
"""By how much the detector must be surer of the photo turned round."""
_SURE = 0.95
"""Presence from which a second face counts. Badges and folds reached 0.84 (the astronaut's sleeve
in a JPEG), 56 portraits and paintings 0.998 at least."""


@dataclass(frozen=True, slots=True)
class PortraitLimits:
    """What a photo must fulfil.

    Args:
        face_width: least width of the face, cheek to cheek, in the photo's own pixels. A portrait
            shows a face 190 px wide: 80 means enlarging it 2.4 times, which is soft but still the
            person; at 128 nothing visible is missing. The well-known NASA portrait has 90.
        other_face: a second face at least this share as wide as the largest makes it unclear who
            shall speak; smaller ones are background.
        yaw: degrees that the head may be turned aside.
        pitch: degrees that it may look up or down.
        roll: degrees that it may be tilted.
    """

    face_width: float = 80.0
    other_face: float = 0.4
    yaw: float = 30.0
    pitch: float = 25.0
    roll: float = 30.0


@dataclass(frozen=True, eq=False)
class Portrait:
    """A photo ready to be animated.

    Args:
        image: uint8 [512,512,3] RGB, head and shoulders.
        observation: the face in ``image``.
        matte: float32 [512,512]: how much of each pixel is the person.
        fit: the head in ``image``.
        enlargement: how many pixels of ``image`` one pixel of the photo became, along one side.
    """

    image: UInt8
    observation: FaceObservation
    matte: Float32
    fit: HeadFit
    enlargement: float


def prepare_portrait(
    source: Path | bytes | NDArray[Any],
    analyser: FaceAnalyser,
    limits: PortraitLimits | None = None,
    rig: Rig | None = None,
) -> Portrait:
    """Check, crop, matte and fit a photo.

    Args:
        source: a file, its content, or an RGB array.
        analyser: the face networks.
        limits: what the photo must fulfil.
        rig: the average head.

    Raises:
        PortraitError: the photo cannot be used; ``reason`` is one of the words in
            ``engine.errors``, the message says what to do.
    """
    limits = limits or PortraitLimits()
    rig = rig or Rig.load()
    photo = read_picture(source)
    small = _shrink(photo, ANALYSIS_SIDE / max(photo.shape[:2]))
    shrink = small.shape[1] / photo.shape[1]
    face = _only_face(analyser.observe_all(small, thorough=True), shrink, limits)
    _check_upright(small, analyser)
    side, left, top = _frame(face, small)
    image, outside = _cut(photo, side / shrink, left / shrink, top / shrink)
    if outside.any():
        image = _fill(image, outside, analyser.matte(image))
    scale = SIZE / side
    moved = face.landmarks * scale
    moved[:, :2] -= np.array([left, top], np.float32) * scale
    seen = analyser.observe(image, FaceObservation(moved, face.blendshapes, face.presence))
    if seen.presence < MIN_PRESENCE:
        seen = FaceObservation(moved, face.blendshapes, face.presence)
    fit = fit_head(seen, rig)
    _check_pose(fit, limits)
    return Portrait(image, seen, analyser.matte(image), fit, scale * shrink)


def _shrink(image: UInt8, factor: float) -> UInt8:
    if factor >= 1:
        return image
    size = [max(1, round(n * factor)) for n in image.shape[1::-1]]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _only_face(
    faces: list[FaceObservation], shrink: float, limits: PortraitLimits
) -> FaceObservation:
    """The face to animate. Widths are measured in the photo as it came."""
    if not faces:
        raise PortraitError(
            "no_face",
            "No face was found. Use a photo that shows one person's face from the front, "
            "well lit and not covered.",
        )
    main = faces[0]
    rivals = [
        face
        for face in faces[1:]
        if face.width >= limits.other_face * main.width and face.presence >= _SURE
    ]
    if rivals:
        raise PortraitError(
            "several_faces",
            f"The photo shows {1 + len(rivals)} faces. Crop it so that one person is left.",
        )
    width = main.width / shrink
    if width < limits.face_width:
        raise PortraitError(
            "face_too_small",
            f"The face is {width:.0f} px wide; at least {limits.face_width:.0f} px are needed. "
            "Use a larger or closer photo.",
        )
    return main


def _check_upright(picture: UInt8, analyser: FaceAnalyser) -> None:
    """The landmark network sees an upright face in one that is not, and is sure of it; the detector
    is surer of the right way up: 32 portraits and paintings scored 0.86 to 0.97, upside down 0.60
    to 0.84, each less than the right way up."""

    def surest(image: UInt8) -> float:
        return max((found.score for found in analyser.detect(image)), default=0.0)

    if surest(np.ascontiguousarray(picture[::-1, ::-1])) > surest(picture) + _UPSIDE_DOWN:
        raise PortraitError("turned_too_far", "The photo is upside down. Turn it the right way up.")


def _check_pose(fit: HeadFit, limits: PortraitLimits) -> None:
    yaw, pitch, roll = np.degrees(fit.angles)
    for angle, limit, how in (
        (yaw, limits.yaw, "aside"),
        (pitch, limits.pitch, "down" if pitch > 0 else "up"),
        (roll, limits.roll, "over to one shoulder"),
    ):
        if abs(angle) > limit:
            raise PortraitError(
                "turned_too_far",
                f"The head is turned {abs(angle):.0f} degrees {how}; at most {limit:.0f} are "
                "possible. Use a photo that looks into the camera.",
            )


def _frame(face: FaceObservation, image: UInt8) -> tuple[float, float, float]:
    """Side, left and top of the square to cut, in pixels of the picture.

    Where the photo is too tight, the square moves a little and shrinks a little; what is still
    missing then is filled in.
    """
    height, width = image.shape[:2]
    low, high = face.box[:2], face.box[2:]
    centre = (low + high) / 2
    tall = max(float(high[1] - low[1]), 1.15 * float(high[0] - low[0]))
    frames = []
    for share in np.linspace(FACE_SHARE, LARGEST_SHARE, 5):
        side = tall / float(share)
        left = _slide(float(centre[0]) - side / 2, side, width)
        top = _slide(float(centre[1]) - FACE_CENTRE * side, side, height)
        ends = (-left, -top, left + side - width, top + side - height)
        missing = sum(max(end, 0.0) for end in ends) / side
        frames.append((missing, side, left, top))
    # The widest frame of those that lack least; a percent is not worth a tighter picture.
    least = min(frame[0] for frame in frames) + 0.01
    _, side, left, top = next(frame for frame in frames if frame[0] <= least)
    return side, left, top


def _slide(start: float, side: float, length: int) -> float:
    """Move a span towards the inside of [0, length], by at most a twelfth of itself."""
    inside = min(max(start, 0.0), max(length - side, 0.0)) if side <= length else start
    return start + float(np.clip(inside - start, -side / 12, side / 12))


def _cut(photo: UInt8, side: float, left: float, top: float) -> tuple[UInt8, UInt8]:
    """The square as [512,512,3], the photo's edge pixels repeated, and where [512,512] they are."""
    factor = SIZE / side
    source = _shrink(photo, 2 * factor) if factor < 0.5 else photo
    ratio = source.shape[1] / photo.shape[1]
    matrix = np.array([[factor / ratio, 0, -left * factor], [0, factor / ratio, -top * factor]])
    # Pixel centres: a pixel of the square covers the photo from its edge to its edge.
    matrix[:, 2] += 0.5 * (factor / ratio - 1)
    how = cv2.INTER_CUBIC if factor / ratio > 1 else cv2.INTER_AREA
    size = (SIZE, SIZE)
    image = cv2.warpAffine(source, matrix, size, flags=how, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.full(source.shape[:2], 255, np.uint8), matrix, size)
    return np.asarray(image, np.uint8), (inside < 128).astype(np.uint8)


def _fill(image: UInt8, outside: UInt8, matte: Float32) -> UInt8:
    """Make up what lies beyond the photo.

    Repeated edge pixels of wall or jacket pass for wall or jacket; those of cut hair are streaks.
    So beside and above they fade into soft colours of the photo's background (quickly where the
    person is cut); below, clothes go on, ever more blurred.
    """
    known = (1 - outside).astype(np.float32)
    weight = known * np.maximum(1 - matte, 1e-6)
    soft = np.zeros(image.shape, np.float32)
    total = np.full((SIZE, SIZE, 1), 1e-12, np.float32)
    # Wide blurs only speak where the narrow ones have nothing to say.
    for sigma, share in ((16, 1.0), (64, 1e-2), (200, 1e-4)):
        layers = np.dstack([image * weight[..., None], weight])
        spread = share * cv2.GaussianBlur(layers, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
        soft += spread[..., :3]
        total += spread[..., 3:]
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, 5)
    reach = 40 - 34 * matte
    fade = np.clip(distance / reach, 0, 1)[..., None]
    filled = image * (1 - fade) + soft / total * fade
    end = int(np.flatnonzero(known.any(1))[-1]) + 1
    if end < SIZE:
        filled[end:] = filled[end - 1]
        blurred = cv2.GaussianBlur(filled, (0, 0), 10)
        depth = np.arange(1, SIZE - end + 1, dtype=np.float32)[:, None, None]
        share_blurred = np.clip(depth / 32, 0, 1)
        filled[end:] += (blurred[end:] - filled[end:]) * share_blurred
    return np.asarray(np.clip(filled + 0.5, 0, 255), np.uint8)
