"""Section D: ten minutes without a reset. The last minute hears what the first one heard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.media import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, Float32
from engine.motion.arkit import ROTATION
from training.evaluation import dynamics, spread
from training.evaluation.performers import Performer, Take
from training.evaluation.pool import perform_all
from training.evaluation.sounds import Clip, Sound
from training.motion.metrics import opening

_MINUTE = 60 * FPS


def sound(clips: Sequence[Clip], minutes: int) -> Sound:
    """Clips in turn, ``minutes`` long; the first and the last minute are the same sound."""
    joined = np.concatenate([c.sound.audio for c in clips])
    size = 60 * SAMPLE_RATE
    middle = np.resize(np.roll(joined, -size), max(minutes - 2, 0) * size)
    first = np.resize(joined, size)
    parts = [first, middle, first] if minutes > 1 else [first]
    audio = np.concatenate(parts).astype(np.float32)
    return Sound("drift", "speech", audio[: len(audio) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME])


def measure(
    performers: Sequence[Performer], clips: Sequence[Clip], minutes: int, jobs: int
) -> dict[str, Any]:
    """First against last minute for every performer; ``clips`` also say what motion is like."""
    ruler = spread.Ruler([c.truth for c in clips])
    scale = spread.scale_of([c.truth for c in clips])
    # The floor: the same minute performed with another noise.
    first = sound(clips, 1)
    twins = [Performer(f"{p.name} again", p.kind, p.source, seed=p.seed + 1) for p in performers]
    again, _ = perform_all(twins, [first], "drift, floor", jobs)
    # One long sound cannot be shared out: the performers are.
    takes, skipped = perform_all(performers, [sound(clips, minutes)], "drift", jobs)
    report: dict[str, Any] = {"minutes": minutes, "skipped": skipped}
    for performer in performers:
        take = takes.get((performer.name, "drift"))
        twin = again.get((f"{performer.name} again", "drift"))
        if take is not None and twin is not None:
            report[performer.name] = _figures(take, twin, ruler, scale)
    return report


def _figures(take: Take, twin: Take, ruler: spread.Ruler, scale: Float32) -> dict[str, Any]:
    first, last = take.made[:_MINUTE], take.made[-_MINUTE:]
    own = spread.Ruler([first], scale=scale)
    report: dict[str, Any] = {
        "frechet_first": ruler.distance([first]),
        "frechet_last": ruler.distance([last]),
        "frechet_first_to_last": own.distance([last]),
        "frechet_to_other_seed": own.distance([twin.made[:_MINUTE]]),
    }
    shown = take.shown
    for name, part in (("first", shown[:_MINUTE]), ("last", shown[-_MINUTE:])):
        report[f"opening_{name}"] = float(opening(part).mean())
        report[f"pose_{name}"] = float(np.abs(part[:, ROTATION]).mean())
        report[f"lip_jerk_{name}"] = dynamics.spread([opening(part)], 3)
        report[f"head_speed_{name}"] = dynamics.spread([part[:, ROTATION]], 1) * FPS
    minutes = [shown[i : i + _MINUTE] for i in range(0, len(shown) - _MINUTE + 1, _MINUTE)]
    report["pose_by_minute"] = [float(np.abs(m[:, ROTATION]).mean()) for m in minutes]
    report["frechet_by_minute"] = [
        ruler.distance([take.made[i * _MINUTE : (i + 1) * _MINUTE]]) for i in range(len(minutes))
    ]
    return report
