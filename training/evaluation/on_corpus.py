"""Section A: development clips of the corpus, against the motion they were given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.media import FPS, SAMPLES_PER_FRAME, Float32
from engine.motion.arkit import ROTATION
from training.evaluation import dynamics, lips, spread
from training.evaluation.lips import Closures
from training.evaluation.performers import Performer, Take
from training.evaluation.pool import Takes, perform_all
from training.evaluation.sounds import WORDLESS, Clip
from training.evaluation.statistics import summary
from training.motion import metrics
from training.motion.metrics import opening

REACH = 2
NETWORKS = ("network", "teacher")
Rulers = Mapping[str, spread.Ruler]


def measure(
    performers: Sequence[Performer], clips: Sequence[Clip], jobs: int
) -> tuple[dict[str, Any], Takes]:
    """Everybody on every clip, each with the clip's own style (and emotion, where it has one)."""
    takes, skipped = perform_all(performers, [c.sound for c in clips], "corpus", jobs)
    rulers = make_rulers([c.truth for c in clips if c.sound.group not in WORDLESS])
    report: dict[str, Any] = {
        "skipped": skipped,
        "clips": {c.sound.name: c.sound.group for c in clips},
        "seconds": sum(c.sound.frames for c in clips) / FPS,
        "truth": truth_figures(clips, rulers),
    }
    for performer in performers:
        mine = [(c, takes.get((performer.name, c.sound.name))) for c in clips]
        pairs = [(clip, take) for clip, take in mine if take is not None]
        if pairs:
            report[performer.name] = _performer_figures(performer, pairs, rulers)
    return report, takes


def _performer_figures(
    performer: Performer, pairs: list[tuple[Clip, Take]], rulers: Rulers
) -> dict[str, Any]:
    spoken = [(c, t) for c, t in pairs if c.sound.group not in WORDLESS]
    groups = sorted({c.sound.group for c, _ in spoken})
    hop = performer.config.hop
    report: dict[str, Any] = {"speech": lip_figures(spoken)}
    report["by_voice"] = {
        group: lip_figures([(c, t) for c, t in spoken if c.sound.group == group])
        for group in groups
    }
    report["whole"] = whole_figures(spoken, hop if performer.kind in NETWORKS else 0, rulers)
    for group in sorted(WORDLESS):
        silent = [(c, t) for c, t in pairs if c.sound.group == group]
        if silent:
            report[group] = _wordless_figures(silent)
    return report


def _wordless_figures(pairs: Sequence[tuple[Clip, Take]]) -> dict[str, Any]:
    """Noise, or somebody else's words: a still mouth, a head that answers."""
    shown, truth = [t.shown for _, t in pairs], [c.truth for c, _ in pairs]
    gaps = [opening(m) for m in shown]
    heads = [[m[:, ROTATION] for m in side] for side in (shown, truth)]
    return {
        "clips": len(pairs),
        "opening_mean": float(np.concatenate(gaps).mean()),
        "opening_change": float(np.mean([np.abs(np.diff(g)).mean() for g in gaps])),
        "head_velocity_ratio": dynamics.ratio(heads[0], heads[1], 1),
        "head_std_ratio": dynamics.ratio(heads[0], heads[1], 0),
        "longest_freeze_s": max(dynamics.longest_freeze(m) for m in shown),
    } | dynamics.blink_figures(shown)


def lip_figures(pairs: Sequence[tuple[Clip, Take]]) -> dict[str, Any]:
    """Lips of some clips against the truth's."""
    rows = [_lip_row(clip, take) for clip, take in pairs]
    report: dict[str, Any] = {"clips": len(rows)}
    for name in ("opening_r", "opening_r_lag0", "opening_lag", "width_r"):
        report[name] = summary([row[name] for row in rows])
    for name in ("lip_error", "lip_vertex_error"):
        report[name] = float(np.mean([row[name] for row in rows]))
    shown, truth = [t.shown for _, t in pairs], [c.truth for c, _ in pairs]
    made, true = [opening(m) for m in shown], [opening(m) for m in truth]
    report["opening_std_ratio"] = dynamics.ratio(made, true, 0)
    report |= sum((row["closures"] for row in rows), Closures()).figures()
    still = [_pauses(clip, take) for clip, take in pairs]
    report["pause_opening"] = summary([a for a, _ in still])["median"]
    report["pause_change"] = summary([b for _, b in still])["median"]
    return report


def _lip_row(clip: Clip, take: Take) -> dict[str, Any]:
    made, true = opening(take.shown), opening(clip.truth)
    r, lag = metrics.best_lag(made, true, REACH)
    return {
        "opening_r": r,
        "opening_lag": float(lag),
        "opening_r_lag0": metrics.at_lag(made, true, 0),
        "width_r": metrics.best_lag(metrics.width(take.shown), metrics.width(clip.truth), REACH)[0],
        "lip_error": metrics.lip_error(take.shown, clip.truth),
        "lip_vertex_error": spread.lip_vertex_error(take.shown, clip.truth),
        "closures": lips.closures(made, _spans(clip), clip.speaking > 0, 0),
    }


def _spans(clip: Clip) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], clip.closure, [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _pauses(clip: Clip, take: Take) -> tuple[float, float]:
    """Mean lip gap and its change per frame during the clip's silences."""
    gap = opening(take.shown)
    quiet = clip.speaking == 0
    change = np.abs(np.diff(gap))[quiet[1:]]
    if not len(change):
        return float("nan"), float("nan")
    return float(gap[quiet].mean()), float(change.mean())


def make_rulers(truth: Sequence[Float32]) -> Rulers:
    """Fréchet distances from the truth: all numbers together, and every group."""
    return {name: spread.Ruler(truth, name) for name in ("", *spread.GROUPS)}


def whole_figures(pairs: Sequence[tuple[Clip, Take]], hop: int, rulers: Rulers) -> dict[str, Any]:
    """Distribution and dynamics over all speech; ``hop`` 0 has no seams."""
    shown, truth = [t.shown for _, t in pairs], [c.truth for c, _ in pairs]
    made = [t.made for _, t in pairs]
    report: dict[str, Any] = {
        f"frechet_{g}" if g else "frechet": ruler.distance(made) for g, ruler in rulers.items()
    }
    report["frechet_shown"] = rulers[""].distance(shown)
    report |= dynamics.ratios(made, truth)
    shown_ratios = dynamics.ratios(shown, truth)
    report |= {f"{name}_shown": value for name, value in shown_ratios.items()}
    if hop > 1:
        report["seam_ratio"] = float(np.mean([metrics.seam_ratio(m, hop) for m in made]))
    report |= dynamics.blink_figures(shown)
    network = dynamics.blink_figures(made)
    report |= {f"{name}_network": value for name, value in network.items()}
    report["blink_gap_distance"] = dynamics.gap_distance(shown, truth)
    beats = [dynamics.beat_alignment(t.shown, c.sound.audio) for c, t in pairs]
    report["beat_alignment"] = float(np.nanmean(beats))
    report["beat_alignment_shuffled"] = _beat_floor([t.shown for _, t in pairs], pairs)
    return report


def _beat_floor(moved: Sequence[Float32], pairs: Sequence[tuple[Clip, Any]]) -> float:
    """Beats of the head against other sounds: what chance gives."""
    found = []
    for index, motion in enumerate(moved):
        audio = pairs[(index + 1) % len(pairs)][0].sound.audio
        frames = min(len(motion), len(audio) // SAMPLES_PER_FRAME)
        found.append(dynamics.beat_alignment(motion[:frames], audio[: frames * SAMPLES_PER_FRAME]))
    return float(np.nanmean(found))


def truth_figures(clips: Sequence[Clip], rulers: Rulers) -> dict[str, Any]:
    """The same figures of the corpus's own motion, and the floor of the Fréchet distance."""
    spoken = [c for c in clips if c.sound.group not in WORDLESS]
    truth = [c.truth for c in spoken]
    total = Closures()
    for clip in spoken:
        gap = opening(clip.truth)
        total += lips.closures(gap, _spans(clip), clip.speaking > 0, 0)
    report: dict[str, Any] = {
        f"frechet_{g}" if g else "frechet": ruler.floor() for g, ruler in rulers.items()
    }
    report |= total.figures() | dynamics.blink_figures(truth)
    report["seam_ratio"] = float(np.mean([metrics.seam_ratio(t, 2) for t in truth]))
    beats = [dynamics.beat_alignment(c.truth, c.sound.audio) for c in spoken]
    report["beat_alignment"] = float(np.nanmean(beats))
    report["beat_alignment_shuffled"] = _beat_floor(truth, [(c, None) for c in spoken])
    return report
