"""Quality of the renderer's pictures, against the frozen photo and a bent mesh with a dark mouth.

Three parts, each explained in docs/rendering.md:

* ``self``: talkers of videos that nothing has learned from, re-enacted from their first frame;
* ``follow``: commanded blendshapes against those read back, and whether lips close;
* ``speech``: portraits that speak with head motion: identity, sharpness, flicker, background.

An interval is a 95 % bootstrap over clips. Times are of this process, single pictures in a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.quality import clips, mouth, portraits, reenacted, sheet, targets
from benchmarks.quality.following import Following, follow, make_probe, speech_motions
from benchmarks.quality.identity import Describer
from benchmarks.quality.pictures import MEASURES, functions
from benchmarks.quality.plot import plot
from benchmarks.quality.portraits import Spoken
from benchmarks.quality.reenacted import METHODS, Reenacted
from benchmarks.report import Result, Unavailable, percentiles
from engine.config import EngineConfig
from engine.errors import PortraitError
from engine.face.analysis import FaceAnalyser
from engine.motion.arkit import BLENDSHAPES
from engine.pipeline import Networks, load_networks
from engine.render.avatar import Avatar
from engine.render.renderer import Renderer
from training.evaluation.statistics import paired_difference

__all__ = ["plot", "run"]
Figures = dict[str, float]
Samples = dict[str, list[float]]
NEAR = [*MEASURES, *(f"mouth_{name}" for name in MEASURES)]


def run(quick: bool, command: str, sheets: Path | None = None) -> Result:
    """Measure 7 clips and 20 portraits (2 and 2 when quick).

    Args:
        quick: a few frames, within a minute; nothing is judged.
        command: how to repeat it.
        sheets: folder to write a contact sheet of every portrait to.

    Raises:
        Unavailable: no videos to compare with, or piq is not installed.
    """
    paths = clips.held_out()[: 2 if quick else None]
    functions()  # before minutes of work, not after them
    config, analyser = EngineConfig(), FaceAnalyser()
    networks = load_networks(config)
    notes = ["gain: of ours over a baseline, mean over clips; low, high: its 95 % interval"]
    talkers = dict(_talkers(paths, 3 if quick else 12, networks, analyser, notes))
    figures, samples = summarise_clips(list(talkers.values()))
    scores = np.concatenate([found.scores for found in talkers.values()])
    visible = seen_shapes(scores)
    describe = _describer(notes)
    count = 2 if quick else 20
    probe = make_probe(speech_motions())
    spoken: dict[str, Spoken] = {}
    followed: dict[str, Following] = {}
    motion = None
    for one in tqdm(portraits.speakers(count, networks, analyser), total=count, desc="portraits"):
        motion = portraits.speech(config, networks, one.avatar) if motion is None else motion
        spoken[one.name] = portraits.measure(one, motion, 3 if quick else 12, describe)
        followed[one.name] = follow(one.portrait, one.avatar, networks.render, analyser, probe)
        if sheets:
            sheet.write(sheets / f"{one.name.replace('/', '_')}.jpg", sheet.rows(one, 512))
    for part in (summarise_speech(spoken), summarise_following(followed, visible)):
        figures |= part[0]
        samples |= part[1]
    figures = {name: value for name, value in figures.items() if math.isfinite(value)}
    failures = [] if quick else targets.missed(figures, samples, visible)
    settings: dict[str, Any] = {
        "backend": networks.render.name, "clips": list(talkers), "portraits": list(spoken),
        "visible_shapes": visible,
    }  # fmt: skip
    return Result("render-quality", command, settings, samples, figures, notes, failures)


def _talkers(
    paths: Sequence[Path], bursts: int, networks: Networks, analyser: FaceAnalyser, notes: list[str]
) -> Iterator[tuple[str, Reenacted]]:
    for path in tqdm(paths, desc="clips"):
        try:
            clip = clips.load(path, analyser, bursts)
        except PortraitError as error:
            notes.append(f"{path.stem} left out: {error}")
            continue
        avatar = Avatar.from_portrait(clip.portrait)
        one = portraits.Speaker(clip.name, clip.portrait, avatar, Renderer(networks.render, avatar))
        found = reenacted.measure(clip, one.draw)
        found.scores = [analyser.blendshapes(step.landmarks) for step in clip.steps]
        yield clip.name, found


def _describer(notes: list[str]) -> Describer | None:
    try:
        return Describer()
    except Unavailable as error:
        notes.append(f"identity left out: {error}")
        return None


def summarise_clips(found: Sequence[Reenacted]) -> tuple[Figures, Samples]:
    """Means over clips, gains over the baselines with intervals, mouths, flicker, background."""
    figures: Figures = {"clips": float(len(found))}
    samples: Samples = {}
    for name in NEAR:
        values = {method: reenacted.means(found, name, method) for method in METHODS}
        for method, series in values.items():
            figures[f"self_{name}_{method}"] = _mean(series)
            samples[f"self_{name}_{method}"] = [round(v, 5) for v in series]
        sign = -1 if name.endswith("gmsd") else 1
        for method in METHODS[1:]:
            gap, (low, high) = paired_difference(values["ours"], values[method])
            ends = sorted((sign * low, sign * high))
            label = f"gain_{name}_over_{method}"
            figures |= {label: _round(sign * gap), f"{label}_low": _round(ends[0]),
                        f"{label}_high": _round(ends[1])}  # fmt: skip
    for method in METHODS:
        figures[f"self_sharpness_{method}"] = _mean([np.mean(f.sharp[method]) for f in found])
    for name in ("ours", "real"):
        figures[f"self_flicker_{name}"] = _mean([np.mean(f.flicker[name]) for f in found])
        series = [np.mean(f.background[name]) for f in found if name in f.background]
        figures[f"self_background_{name}"] = _mean(series)
    found_mouths = _mouths(found)
    return figures | found_mouths[0], samples | found_mouths[1]


def seen_shapes(scores: NDArray[np.float32]) -> list[str]:
    """Blendshapes whose score [N,52] spreads over real talkers, and those of ``targets.STRICT``."""
    spreads = np.ptp(np.percentile(scores, (5, 95), axis=0), axis=0)
    wide = [name for name, s in zip(BLENDSHAPES, spreads, strict=True) if s > targets.VISIBLE]
    return [name for name in BLENDSHAPES if name in wide or name in targets.STRICT]


def _mouths(found: Sequence[Reenacted]) -> tuple[Figures, Samples]:
    sets = {n: [m for f in found for m in f.mouths.get(n, [])] for n in (*METHODS, "real")}
    groups = [k for k, f in enumerate(found) for _ in f.mouths.get("real", [])]
    figures = {f"mouth_distance_{n}": mouth.distance(sets[n], sets["real"]) for n in METHODS}
    figures["mouth_distance_real_halves"] = mouth.floor(sets["real"], groups)
    figures["mouths"] = float(len(groups))
    samples = {
        f"mouth_features_{name}": [_round(v) for v in np.mean(rows, 0)]
        for name, rows in sets.items()
        if rows
    }
    return {name: _round(value) for name, value in figures.items()}, samples


def summarise_speech(spoken: dict[str, Spoken]) -> tuple[Figures, Samples]:
    """Over portraits: identity, sharpness, flicker, background, drawing time."""
    rows = list(spoken.values())
    figures: Figures = {"portraits": float(len(rows))}
    samples: Samples = {}
    if all(row.identity for row in rows):
        samples["identity"] = [round(float(np.mean(r.identity)), 4) for r in rows]
        samples["identity_worst"] = [round(max(r.identity), 4) for r in rows]
        figures |= {"identity_mean": _mean(samples["identity"]),
                    "identity_worst": max(samples["identity_worst"])}  # fmt: skip
    for name in ("sharp", "flicker", "still", "still_px", "background"):
        series = [float(np.mean(v)) for r in rows if (v := getattr(r, name))]
        samples[f"speech_{name}"] = [round(v, 4) for v in series]
        figures[f"speech_{name}"] = _mean(series)
    figures["speech_sharp_least"] = min(samples["speech_sharp"])
    times = {
        "render": [round(t, 3) for r in rows for t in r.times],
        "render_cpu": [round(t, 3) for r in rows for t in r.cpu],
    }
    for name, series in times.items():
        figures |= percentiles(name, series)
        samples[f"{name}_ms"] = series
    return figures, samples


def summarise_following(
    followed: dict[str, Following], visible: Sequence[str]
) -> tuple[Figures, Samples]:
    """Over portraits: correlation and slope of every shape, figures of the visible; lip gaps."""
    rows = list(followed.values())
    samples = {"lip_gap_px": [round(r.lip_gap_px, 3) for r in rows],
               "bare_px": [r.bare_px for r in rows]}  # fmt: skip
    for name in rows[0].shapes:
        shapes = [row.shapes[name] for row in rows]
        # A score that never changes follows nothing.
        samples[f"follow_{name}"] = [_round(np.nan_to_num(s.correlation)) for s in shapes]
        samples[f"slope_{name}"] = [_round(s.slope) for s in shapes]
    figures = {f"follow_{name}": _mean(samples[f"follow_{name}"]) for name in visible}
    figures |= {"lip_gap_px_mean": _mean(samples["lip_gap_px"]),
                "lip_gap_px_worst": max(samples["lip_gap_px"]),
                "bare_px_worst": max(samples["bare_px"])}  # fmt: skip
    return figures, samples


def _mean(values: Sequence[Any]) -> float:
    """Mean of what is finite."""
    kept = [float(v) for v in values if math.isfinite(v)]
    return _round(float(np.mean(kept))) if kept else float("nan")


def _round(value: float) -> float:
    return round(float(value), 4)
