"""Blinks and gaze."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.teacher.noise import step_to
from training.teacher.prosody import RATE
from training.teacher.style import Style

Float32 = NDArray[np.float32]

_SHORTEST_GAP = 0.9  # seconds between blinks
_SNAP, _SNAP_CHANCE = 0.9, 0.6  # a blink this near a phrase end usually waits for it
_LOOK_ANGLE = 0.55  # radians of eye rotation at eyeLook* = 1 (about 32 degrees)
_SACCADE = 0.045  # seconds


def blinks(rng: np.random.Generator, count: int, phrase_ends: list[float], style: Style) -> Float32:
    """Return lid closure [T] in 0..1 at 100 Hz.

    Lids close faster than they open; whole blinks last 170 to 300 ms, half of it
    more than half closed, as on the tracked faces.
    """
    times = (np.arange(count, dtype=np.float32) + 0.5) / RATE
    closed = np.zeros(count, np.float32)
    mean = 60.0 / style.blinks
    # Log-normal intervals have the mean exp(mu + sigma^2 / 2).
    sigma = 0.55
    now = float(rng.uniform(0, mean))
    while now < count / RATE:
        near = [e for e in phrase_ends if abs(e - now) < _SNAP]
        at = now
        if near and rng.random() < _SNAP_CHANCE:
            at = min(near, key=lambda e: abs(e - now)) + float(rng.uniform(-0.08, 0.2))
        full = float(rng.uniform(0.17, 0.30))
        rise, hold = 0.32 * full, 0.12 * full
        fall = full - rise - hold
        up = np.clip((times - at) / rise, 0, 1)
        down = np.clip((at + full - times) / fall, 0, 1)
        shape = np.minimum(np.sin(0.5 * np.pi * up) ** 2, np.sin(0.5 * np.pi * down) ** 1.5)
        depth = 1.0 if rng.random() < 0.88 else float(rng.uniform(0.5, 0.8))
        closed = np.maximum(closed, depth * shape).astype(np.float32)
        gap = float(rng.lognormal(np.log(mean) - sigma**2 / 2, sigma))
        now = max(at, now) + max(gap, _SHORTEST_GAP)
    return closed


def gaze(
    rng: np.random.Generator,
    phrase_ends: list[float],
    style: Style,
    attention: Float32,
    idle: Float32,
) -> tuple[Float32, Float32]:
    """Return gaze angles at 100 Hz (radians; right in the picture, up), two float32 [T].

    The talker looks at the listener, with small fixational jumps, and sometimes away; looking away
    is likelier while a new phrase is planned (Kendon 1967). Who listens looks steadily; who does
    neither lets the eyes wander, not far.

    Args:
        rng: the clip's generator.
        phrase_ends: seconds, our own and the other's.
        style: the person's manner.
        attention: float32 [T], 1 while listening.
        idle: float32 [T], 1 while nobody speaks.
    """
    count = len(attention)
    times = (np.arange(count, dtype=np.float32) + 0.5) / RATE
    seconds = count / RATE
    right, up = np.zeros(count, np.float32), np.zeros(count, np.float32)
    x, y, now = 0.0, 0.0, 0.0
    while now < seconds:
        planning = any(0 <= now - e < 0.6 for e in phrase_ends)
        listens, waits = (float(c[min(int(now * RATE), count - 1)]) for c in (attention, idle))
        chance = (0.3 if planning else 0.08) * style.gaze
        if rng.random() < chance * (1 - 0.75 * listens) * (1 + 0.8 * waits):
            reach = 1 - 0.35 * max(listens, waits)
            nx, ny = reach * rng.normal(0, 0.14), reach * rng.normal(-0.02, 0.07)
            hold = float(rng.uniform(0.4, 1.1))
        else:
            nx, ny = (1 - 0.3 * listens) * rng.normal(0, 0.025), rng.normal(0, 0.015)
            hold = float(np.clip(rng.exponential(1.1), 0.25, 4.0))
        rise = step_to(times, now, _SACCADE + 0.08 * float(np.hypot(nx - x, ny - y)))
        right += (nx - x) * rise
        up += (ny - y) * rise
        x, y = nx, ny
        now += hold
    return np.clip(right, -0.4, 0.4), np.clip(up, -0.25, 0.25)


def look_shapes(right: Float32, up: Float32) -> dict[str, Float32]:
    """Turn gaze angles [T] into the eyeLook shapes (picture's right is the person's left)."""
    positive, negative = np.clip(right, 0, None), np.clip(-right, 0, None)
    raised, lowered = np.clip(up, 0, None), np.clip(-up, 0, None)
    values = {
        "eyeLookOutLeft": positive,
        "eyeLookInRight": positive,
        "eyeLookInLeft": negative,
        "eyeLookOutRight": negative,
        "eyeLookUpLeft": raised,
        "eyeLookUpRight": raised,
        "eyeLookDownLeft": lowered,
        "eyeLookDownRight": lowered,
    }
    return {k: np.clip(v / _LOOK_ANGLE, 0, 1).astype(np.float32) for k, v in values.items()}
