"""Section B: the sound of real clips, against the talker's own tracked face.

In many files the picture leads or trails the sound, by up to three frames: lips that must touch
for p, b, m do so before the sound stops. So everything is measured twice: *as filed*, at the best
lag within two frames, and *in sync*, within two frames of the clip's own offset. That offset comes
from the rules on the clip's aligned phones, never from the performer that is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from engine.media import FPS, Float32
from engine.motion.arkit import POSE, ROTATION
from training.evaluation import dynamics, lips
from training.evaluation.lips import Closures
from training.evaluation.performers import Performer, Take
from training.evaluation.pool import Takes, perform_all
from training.evaluation.real_clips import Mask, RealClip
from training.evaluation.sounds import closure_spans, spoken
from training.evaluation.statistics import bootstrap, paired_difference, summary
from training.motion import metrics
from training.motion.metrics import opening

REACH = 2
"""Largest lag, in frames, at which lips still count as in time."""
_PIECE = 6 * FPS
"""Frames of a piece; pieces are what the bootstrap draws."""
_TOLERANCE = 1
_OWN_SHUT = 0.25
"""A real talker's lips count as touching within this share of their median opening in speech: the
landmarks of touching lips keep a gap that differs between faces."""


def measure(
    performers: Sequence[Performer], default: str, real: Sequence[RealClip], jobs: int
) -> tuple[dict[str, Any], Takes]:
    """Everybody on every clip.

    Args:
        performers: networks and baselines.
        default: name of the performer whose motion to other sounds is the floor.
        real: clips.
        jobs: processes.
    """
    takes, skipped = perform_all(performers, [c.sound for c in real], "real clips", jobs)
    takes |= _shuffled(takes, default, real)
    groups = {
        "unseen": [c for c in real if not c.seen],
        "address (seen)": [c for c in real if c.seen and c.sound.group != "GRID"],
        "GRID (seen)": [c for c in real if c.sound.group == "GRID"],
    }
    names = [*(p.name for p in performers), "shuffled"]
    report: dict[str, Any] = {"skipped": skipped, "clips": [_facts(c) for c in real]}
    for title, chosen in groups.items():
        if chosen:
            report[title] = {
                name: figures(chosen, takes, name)
                for name in names
                if any((name, c.sound.name) in takes for c in chosen)
            }
            report[title]["real"] = real_figures(chosen)
            _compare(report[title], default)
    return report, takes


def _facts(clip: RealClip) -> dict[str, Any]:
    return {
        "name": clip.sound.name, "group": clip.sound.group, "seconds": clip.sound.frames / FPS,
        "face_seen": float(clip.tracked.seen.mean()), "aligned": float(clip.covered.mean()),
        "offset_frames": clip.offset,
    }  # fmt: skip


def _shuffled(takes: Takes, default: str, real: Sequence[RealClip]) -> Takes:
    """The default performer's motion to the next clip's sound, cut or repeated to length."""
    floor: Takes = {}
    known = [c for c in real if (default, c.sound.name) in takes]
    for index, clip in enumerate(known if len(known) > 1 else []):
        other = takes[default, known[(index + 1) % len(known)].sound.name]
        rows = np.arange(clip.sound.frames) % len(other.shown)
        take = Take(other.made[rows], other.shown[rows], other.speech[rows])
        floor["shuffled", clip.sound.name] = take
    return floor


def figures(chosen: Sequence[RealClip], takes: Takes, name: str) -> dict[str, Any]:
    """One performer against the tracked faces of some clips."""
    pairs = [(c, takes[name, c.sound.name]) for c in chosen if (name, c.sound.name) in takes]
    rows = [_clip_figures(clip, take, name == "rule") for clip, take in pairs]
    pieces = [r for row in rows for r in row["pieces"]]
    synced = [row for row in rows if "synced_r" in row]
    in_sync = [r for row in synced for r in row["synced_pieces"]]
    gaps = [opening(take.shown) for _, take in pairs]
    true = [clip.tracked.opening for clip, _ in pairs]
    report: dict[str, Any] = {
        "clips": len(rows),
        "opening_r": summary([row["opening_r"] for row in rows]),
        "opening_r_by_clip": {row["clip"]: row["opening_r"] for row in rows},
        "opening_r_lag0": summary([row["opening_r_lag0"] for row in rows]),
        "opening_lag": summary([float(row["opening_lag"]) for row in rows]),
        "opening_pieces": pieces,
        "opening_pieces_median": summary(pieces)["median"],
        "opening_interval": bootstrap(pieces),
        "synced_clips": len(synced),
        "synced_r": summary([row["synced_r"] for row in synced]),
        "synced_r_by_clip": {row["clip"]: row["synced_r"] for row in synced},
        "synced_lag": summary([float(row["synced_lag"]) for row in synced]),
        "synced_pieces": in_sync,
        "synced_interval": bootstrap(in_sync),
        "synced_width_r": summary([row["synced_width_r"] for row in synced]),
        "width_r": summary([row["width_r"] for row in rows]),
        "opening_mean_ratio": float(
            np.concatenate(gaps).mean() / max(np.concatenate(true).mean(), 1e-9)
        ),
    }
    report |= _dynamics(pairs, gaps, true)
    report |= sum((row["closures"] for row in rows), Closures()).figures()
    return report


def _dynamics(
    pairs: Sequence[tuple[RealClip, Take]], gaps: list[Float32], true: list[Float32]
) -> dict[str, Any]:
    """Ratios to the real talkers, pooled over clips, and per clip."""
    heads = [(take.shown[:, ROTATION], clip.tracked.motion[:, ROTATION]) for clip, take in pairs]
    made, real = [a for a, _ in heads], [b for _, b in heads]
    out: dict[str, Any] = {}
    for what, order in dynamics.ORDERS.items():
        out[f"lip_{what}_ratio"] = dynamics.ratio(gaps, true, order)
        out[f"head_{what}_ratio"] = dynamics.ratio(made, real, order)
    # One frame of smoothing takes most of the tracker's own noise out of third differences.
    soft, soft_true = ([gaussian_filter1d(x, 1.0) for x in side] for side in (gaps, true))
    out["lip_jerk_ratio_smoothed"] = dynamics.ratio(soft, soft_true, 3)
    out["opening_std_ratio"] = dynamics.ratio(gaps, true, 0)
    out["head_std_ratio"] = dynamics.ratio(made, real, 0)
    for what, sides in (("lip", list(zip(gaps, true, strict=True))), ("head", heads)):
        each = [dynamics.ratio([a], [b], 1) for a, b in sides]
        out[f"{what}_velocity_ratio_by_clip"] = summary(each)
    return out | dynamics.blink_figures([take.shown for _, take in pairs])


def _clip_figures(clip: RealClip, take: Take, only_covered: bool) -> dict[str, Any]:
    made, true, seen = opening(take.shown), clip.tracked.opening, clip.tracked.seen
    if only_covered:  # rules know nothing where the phones are not known
        seen = seen & clip.covered
    wide, true_wide = metrics.width(take.shown)[seen], clip.tracked.width[seen]
    r, lag = metrics.best_lag(made[seen], true[seen], REACH)
    report: dict[str, Any] = {
        "clip": clip.sound.name,
        "opening_r": r,
        "opening_lag": lag,
        "opening_r_lag0": metrics.at_lag(made[seen], true[seen], 0),
        "width_r": metrics.best_lag(wide, true_wide, REACH)[0],
        "pieces": _piece_correlations(made, true, seen, lag),
        "closures": Closures(),
    }
    if clip.offset is not None:
        r, lag = metrics.best_lag(made[seen], true[seen], REACH, clip.offset)
        report["synced_r"], report["synced_lag"] = r, lag - clip.offset
        report["synced_width_r"] = metrics.best_lag(wide, true_wide, REACH, clip.offset)[0]
        report["synced_pieces"] = _piece_correlations(made, true, seen, lag)
    if clip.sound.phones:
        spans = closure_spans(clip.sound.phones)
        speaking = spoken(clip.sound.phones, len(made))
        report["closures"] = lips.closures(made, spans, speaking, _TOLERANCE)
    return report


def _piece_correlations(made: Float32, true: Float32, used: Mask, lag: int) -> list[float]:
    """Correlation of every piece of which at least half is used; NaN for the others."""
    found = []
    for part in _pieces(len(made)):
        inside = used[part]
        enough = inside.mean() >= 0.5
        r = metrics.at_lag(made[part][inside], true[part][inside], lag) if enough else float("nan")
        found.append(r)
    return found


def _pieces(frames: int) -> list[slice]:
    """Pieces of about six seconds."""
    count = max(1, round(frames / _PIECE))
    edges = np.linspace(0, frames, count + 1).astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]


def real_figures(chosen: Sequence[RealClip]) -> dict[str, Any]:
    """The talkers themselves: closures by their own measure, blinks, dynamics."""
    total = Closures()
    for clip in chosen:
        if not clip.sound.phones:
            continue
        gap = np.roll(clip.tracked.opening, clip.offset or 0)
        speaking = spoken(clip.sound.phones, len(gap))
        shut = _OWN_SHUT * float(np.median(gap[speaking])) if speaking.any() else 0.0
        spans = closure_spans(clip.sound.phones)
        total += lips.closures(gap, spans, speaking, _TOLERANCE, shut)
    found = [dynamics.blinks_of(clip.tracked.blink) for clip in chosen]
    minutes = sum(c.sound.frames for c in chosen) / FPS / 60
    lengths = np.concatenate([length for _, length in found])
    poses: list[NDArray[np.float32]] = [c.tracked.motion[:, list(POSE[:3])] for c in chosen]
    return total.figures() | {
        "clips": len(chosen),
        "opening_mean": float(np.concatenate([c.tracked.opening for c in chosen]).mean()),
        "blinks_per_minute": sum(len(start) for start, _ in found) / max(minutes, 1e-9),
        "blink_ms": float(np.median(lengths)) * 1000 / FPS if len(lengths) else float("nan"),
        "lip_velocity": dynamics.spread([c.tracked.opening for c in chosen], 1) * FPS,
        "head_velocity": dynamics.spread(poses, 1) * FPS,
    }


def _compare(part: dict[str, Any], default: str) -> None:
    """How much better than each other one the default is, piece by piece."""
    if default not in part:
        return
    for kind, key in (("opening", "default_better_by"), ("synced", "default_better_by_synced")):
        mine = part[default][f"{kind}_pieces"]
        for name, other in part.items():
            theirs = other.get(f"{kind}_pieces", [])
            if name != default and mine and len(theirs) == len(mine):
                gap, interval = paired_difference(mine, theirs)
                other[key] = {"mean": gap, "interval": interval}
