"""Hop and look-ahead: the shipped profiles, and what each frame of look-ahead buys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.media import FPS
from training.evaluation import dynamics
from training.evaluation.on_corpus import Rulers, lip_figures, make_rulers, whole_figures
from training.evaluation.on_real import REACH
from training.evaluation.performers import Performer
from training.evaluation.pool import Takes, perform_all
from training.evaluation.real_clips import RealClip
from training.evaluation.sounds import Clip
from training.evaluation.statistics import summary
from training.motion import metrics
from training.motion.metrics import opening

PROFILES = ((2, 2), (3, 2), (5, 3))
LOOKAHEADS = (0, 1, 2, 3, 4, 5)
_PRICE_HOP = 2


def measure(
    base: Performer,
    clips: Sequence[Clip],
    real: Sequence[RealClip],
    jobs: int,
    *,
    few: bool = False,
) -> dict[str, Any]:
    """Figures of one network under all settings.

    Args:
        base: the network.
        clips: corpus clips with speech.
        real: real clips, may be empty.
        jobs: processes.
        few: only the profiles, not the price of look-ahead.
    """
    settings = list(PROFILES)
    if not few:
        settings += [(_PRICE_HOP, a) for a in LOOKAHEADS if (_PRICE_HOP, a) not in settings]
    performers = {
        pair: Performer(f"{pair[0]}/{pair[1]}", base.kind, base.source, *pair) for pair in settings
    }
    sounds = [c.sound for c in clips] + [c.sound for c in real]
    takes, skipped = perform_all(list(performers.values()), sounds, "profiles", jobs)
    rulers = make_rulers([c.truth for c in clips])
    report: dict[str, Any] = {"network": base.name, "skipped": skipped}
    for (hop, ahead), performer in performers.items():
        if performer.name in skipped:
            continue
        row = {"hop": hop, "lookahead": ahead, "delay_ms": (hop + ahead) * 1000 / FPS}
        report[performer.name] = row | _row(performer, clips, real, takes, rulers)
    return report


def _row(
    performer: Performer,
    clips: Sequence[Clip],
    real: Sequence[RealClip],
    takes: Takes,
    rulers: Rulers,
) -> dict[str, Any]:
    pairs = [(c, takes[performer.name, c.sound.name]) for c in clips]
    speech, whole = lip_figures(pairs), whole_figures(pairs, performer.config.hop, rulers)
    row: dict[str, Any] = {
        "opening_r": speech["opening_r"]["median"],
        "opening_r_lag0": speech["opening_r_lag0"]["median"],
        "lip_error": speech["lip_error"],
        "closure_recall": speech["closure_recall"],
        "closure_precision": speech["closure_precision"],
        "frechet": whole["frechet"],
        "seam_ratio": whole.get("seam_ratio", float("nan")),
        "lips_jerk_ratio": whole["lips_jerk_ratio"],
        "head_jerk_ratio": whole["head_jerk_ratio"],
    }
    if real:
        found = []
        for clip in real:
            made = opening(takes[performer.name, clip.sound.name].shown)
            true, seen = clip.tracked.opening, clip.tracked.seen
            found.append(metrics.best_lag(made[seen], true[seen], REACH, clip.offset or 0)[0])
        row["real_r"] = summary(found)["median"]
        shown = [opening(takes[performer.name, c.sound.name].shown) for c in real]
        row["real_lip_velocity_ratio"] = dynamics.ratio(shown, [c.tracked.opening for c in real], 1)
    return {k: float(v) if isinstance(v, np.floating) else v for k, v in row.items()}
