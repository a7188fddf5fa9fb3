"""Put it all together: phones and sound in, 58 numbers at 25 fps out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.media import FPS, SAMPLES_PER_FRAME
from engine.motion.arkit import INDEX, MOTION_SIZE
from training.corpus.phones import VISEME_ID, VOWELS, Phone, Unit, units
from training.teacher import emotion as feelings
from training.teacher import events, eyes, head, lips, mouth
from training.teacher.head import Sentence
from training.teacher.listening import Listening, Other, listen
from training.teacher.noise import bump, drift
from training.teacher.prosody import RATE, measure, prominence
from training.teacher.style import Style

Float32 = NDArray[np.float32]

_PER_FRAME = RATE // FPS
_ACCENT = 0.62  # prominence of a vowel that may carry a nod or a raised brow
_ACCENT_GAP = 0.28  # seconds between accents


@dataclass(frozen=True, slots=True, eq=False)
class Performance:
    """What the face does in a clip of F frames; frame i is the face at time (i + 0.5) / 25 s.

    Args:
        motion: float32 [F, 58], see ``engine.motion.arkit``.
        viseme: int8 [F], class id at the frame's centre.
        speaking: uint8 [F], 1 within a phone or a pause shorter than 0.3 s.
        closure: uint8 [F], 1 where p, b or m must be seen closed.
    """

    motion: Float32
    viseme: NDArray[np.int8]
    speaking: NDArray[np.uint8]
    closure: NDArray[np.uint8]


def animate(
    audio: Float32,
    phones: list[Phone],
    sentences: list[Sentence],
    style: Style,
    rng: np.random.Generator,
    *,
    emotion: Float32 | None = None,
    other: Other | None = None,
) -> Performance:
    """Animate one clip.

    Args:
        audio: float32 [N] at 16 kHz, N a multiple of 640.
        phones: of the whole clip, in order; gaps are silence. "laugh", "breath" and "um" are
            understood beside the engines' names.
        sentences: in order.
        style: the person's manner.
        rng: decides blinks, gaze, sway; the same generator state gives the same motion.
        emotion: float32 [5], intensities in ``emotion.EMOTIONS``' order; None is neutral.
        other: who else speaks on the same time axis.

    Raises:
        ValueError: not an emotion.
    """
    frames = len(audio) // SAMPLES_PER_FRAME
    count = frames * _PER_FRAME
    feeling = feelings.neutral() if emotion is None else feelings.check(emotion)
    style = feelings.manner(style, feeling)
    phones = events.expand(phones)
    spoken = fill_gaps(units(phones), count / RATE)
    prosody = measure(audio, count)
    stress = prominence(spoken, prosody)
    accents = _accents(spoken, stress)
    curves = mouth.shapes(spoken, stress, prosody, style, count, rng)
    curves |= _upper_face(rng, count, accents, sentences, style)
    heard = listen(rng, count, spoken, other, style)
    felt = feelings.colour(rng, count, feeling, accents, curves["mouthPucker"], curves["jawOpen"])
    mirth, laughed = events.mirth(phones, count)
    for extra in (heard.face, felt.face, mirth):
        for name, curve in extra.items():
            curves[name] = curves[name] + curve if name in curves else curve
    added = felt.pose + laughed
    added[1] += heard.pitch
    added[2] += heard.roll
    pose = head.pose(rng, prosody, accents, sentences, style, feelings.tempo(feeling), added)
    ends = sorted([*(s.end for s in sentences), *heard.ends])
    curves |= _eyes(rng, ends, pose, style, curves, heard, felt)
    motion = np.zeros((count, MOTION_SIZE), np.float32)
    for name, curve in curves.items():
        motion[:, INDEX[name]] = np.clip(curve, 0, 1)
    motion[:, 52:58] = pose.T
    centers = np.arange(frames) * _PER_FRAME + _PER_FRAME // 2
    # The centre of a frame lies between two control points.
    sampled = 0.5 * (motion[centers - 1] + motion[centers])
    viseme, speaking, closure = _labels(spoken, frames)
    sampled = mouth.seal(sampled, closure | _resting(spoken, count)[centers])
    return Performance(sampled.astype(np.float32), viseme, speaking, closure)


def fill_gaps(spoken: list[Unit], seconds: float) -> list[Unit]:
    """Insert silence where no unit is, and merge neighbouring silences."""
    out: list[Unit] = []
    now = 0.0
    for unit in [*spoken, Unit("sil", seconds, seconds, -1)]:
        if unit.viseme == "sil" and unit.phone >= 0:
            continue
        if unit.start > now + 1e-3:
            out.append(Unit("sil", now, unit.start, -1))
        if unit.end > unit.start:
            out.append(unit)
        now = max(now, unit.end)
    return out


def _accents(spoken: list[Unit], stress: Float32) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for unit, value in zip(spoken, stress, strict=True):
        if unit.viseme not in VOWELS or value < _ACCENT:
            continue
        at = 0.5 * (unit.start + unit.end)
        if found and at - found[-1][0] < _ACCENT_GAP:
            if value > found[-1][1]:
                found[-1] = (at, float(value))
            continue
        found.append((at, float(value)))
    return found


def _upper_face(
    rng: np.random.Generator,
    count: int,
    accents: list[tuple[float, float]],
    sentences: list[Sentence],
    style: Style,
) -> dict[str, Float32]:
    times = (np.arange(count, dtype=np.float32) + 0.5) / RATE
    raised = 0.06 + 0.055 * style.lively * drift(rng, count, 1.5)
    lowered = 0.03 + 0.030 * style.lively * drift(rng, count, 2.5)
    for at, strength in accents:
        chance = 0.55 * style.brow * strength
        if rng.random() < chance:
            size = float(rng.uniform(0.20, 0.60)) * strength
            pulse = bump(times, at - 0.03, 0.16, 0.36)
            if rng.random() < 0.8:
                raised = raised + size * pulse
            else:
                lowered = lowered + 0.8 * size * pulse
    for sentence in sentences:
        if sentence.question:
            length = max(sentence.end - sentence.start, 0.5)
            size = float(rng.uniform(0.10, 0.35)) * min(style.brow, 1.2)
            raised = raised + size * bump(times, sentence.end - 0.1, min(length, 0.9), 0.6)
    outer = raised * float(rng.uniform(0.4, 0.8))
    squint = style.squint + 0.02 * style.lively * drift(rng, count, 2.0)
    left, right = 1 + style.brow_tilt, 1 - style.brow_tilt
    wide = 0.25 * np.clip(raised - 0.15, 0, None)
    return {
        "browInnerUp": raised,
        "browOuterUpLeft": outer * left,
        "browOuterUpRight": outer * right,
        "browDownLeft": lowered * left,
        "browDownRight": lowered * right,
        "eyeSquintLeft": squint + 0.3 * lowered,
        "eyeSquintRight": squint + 0.3 * lowered,
        "eyeWideLeft": wide,
        "eyeWideRight": wide,
    }


def _eyes(
    rng: np.random.Generator,
    ends: list[float],
    pose: NDArray[np.float32],
    style: Style,
    curves: dict[str, Float32],
    heard: Listening,
    felt: feelings.Colour,
) -> dict[str, Float32]:
    lid = eyes.blinks(rng, pose.shape[1], ends, style)
    right, up = eyes.gaze(rng, ends, style, heard.attention, heard.idle)
    # The eyes stay on the listener while the head moves (vestibulo-ocular reflex).
    looks = eyes.look_shapes(right - 0.85 * pose[0], up + 0.85 * pose[1] - felt.lowered_gaze)
    rest = 0.02 + 0.35 * looks["eyeLookDownLeft"] + felt.droop
    slack = float(rng.uniform(0.96, 1.0))
    return {
        **looks,
        "eyeBlinkLeft": np.maximum(rest, lid),
        "eyeBlinkRight": np.maximum(rest, lid * slack),
        "eyeWideLeft": curves["eyeWideLeft"] * (1 - lid),
        "eyeWideRight": curves["eyeWideRight"] * (1 - lid),
    }


def _resting(spoken: list[Unit], count: int) -> NDArray[np.uint8]:
    return (lips.rests(spoken, count) > 0.99).astype(np.uint8)


def _labels(
    spoken: list[Unit], frames: int
) -> tuple[NDArray[np.int8], NDArray[np.uint8], NDArray[np.uint8]]:
    centers = (np.arange(frames) + 0.5) / FPS
    viseme = np.zeros(frames, np.int8)
    speaking = np.ones(frames, np.uint8)
    closure = np.zeros(frames, np.uint8)
    for unit in spoken:
        inside = (centers >= unit.start) & (centers < unit.end)
        viseme[inside] = VISEME_ID[unit.viseme]
    for start, end in lips.silences(spoken, frames / FPS):
        speaking[(centers >= start) & (centers < end)] = 0
    _, spans = lips.closures(spoken, frames * _PER_FRAME)
    for start, end in spans:
        closure[(centers >= start) & (centers <= end)] = 1
    return viseme, speaking, closure
