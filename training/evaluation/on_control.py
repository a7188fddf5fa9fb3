"""Does the face do what it is told (style numbers, emotions), and is it never the same twice?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.media import FPS, SAMPLES_PER_FRAME, Float32
from engine.motion import condition
from engine.motion.arkit import INDEX, ROTATION
from engine.motion.condition import STYLE
from training.evaluation import dynamics, spread
from training.evaluation.performers import Performer
from training.evaluation.pool import perform_all
from training.evaluation.sounds import WORDLESS, Clip, Sound, styled_motion
from training.motion.metrics import opening

Effect = Callable[[Float32], float]
_TRUTH_CLIPS = 400
_RIDGE = 1.0
SEEDS = 3
_FRAMES = 10 * FPS


def _mean(*names: str) -> Effect:
    index = [INDEX[name] for name in names]
    return lambda motion: float(motion[:, index].mean())


def _tilt(kind: str, sides: tuple[str, ...]) -> Effect:
    left = [INDEX[f"{kind}{s}Left"] for s in sides]
    right = [INDEX[f"{kind}{s}Right"] for s in sides]

    def effect(motion: Float32) -> float:
        one, two = float(motion[:, left].mean()), float(motion[:, right].mean())
        return (one - two) / max(one + two, 1e-4)

    return effect


def _speed(columns: slice) -> Effect:
    return lambda motion: float(np.diff(motion[:, columns], axis=0).std(0).sum()) * FPS


def _gaze(motion: Float32) -> float:
    aside = motion[:, INDEX["eyeLookOutLeft"]] - motion[:, INDEX["eyeLookInLeft"]]
    up = motion[:, INDEX["eyeLookUpLeft"]] - motion[:, INDEX["eyeLookDownLeft"]]
    return float(aside.std() + up.std())


def _slow(motion: Float32) -> float:
    index = [INDEX["browInnerUp"], INDEX["browDownLeft"], INDEX["mouthSmileLeft"]]
    return float(motion[:, index].std(0).sum())


EFFECTS: dict[str, Effect] = {
    "open": lambda m: float(np.percentile(opening(m), 90)),
    "rounding": lambda m: float(np.percentile(m[:, INDEX["mouthPucker"]], 90)),
    "spread": _mean("mouthStretchLeft", "mouthStretchRight"),
    "smile": _mean("mouthSmileLeft", "mouthSmileRight"),
    "mouth_tilt": _tilt("mouth", ("LowerDown", "UpperUp")),
    "brow_tilt": _tilt("brow", ("OuterUp",)),
    "hypo": lambda m: float(opening(m).mean()),
    "lead": lambda m: float(opening(m).std()),
    "head": lambda m: float(m[:, ROTATION].std(0).sum()),
    "nod": _speed(slice(53, 54)),
    "brow": lambda m: float(m[:, INDEX["browInnerUp"]].std()),
    "blinks": lambda m: dynamics.blink_figures([m])["blinks_per_minute"],
    "gaze": _gaze,
    "tense": _mean("mouthPressLeft", "mouthPressRight", "mouthRollLower", "mouthRollUpper"),
    "lively": _slow,
    "squint": _mean("eyeSquintLeft", "eyeSquintRight"),
}
"""What each style number should change most plainly."""
_NAMES = tuple(name for name in STYLE if name in EFFECTS)
FEELINGS: dict[str, tuple[tuple[str, float], ...]] = {
    "happy": (("mouthSmileLeft", 1), ("mouthSmileRight", 1), ("cheekSquintLeft", 1),
              ("mouthFrownLeft", -1)),
    "sad": (("mouthFrownLeft", 1), ("mouthFrownRight", 1), ("browInnerUp", 1),
            ("mouthSmileLeft", -1)),
    "angry": (("browDownLeft", 1), ("browDownRight", 1), ("noseSneerLeft", 1),
              ("mouthSmileLeft", -1)),
    "surprised": (("browInnerUp", 1), ("browOuterUpLeft", 1), ("eyeWideLeft", 1),
                  ("browDownLeft", -1)),
}  # fmt: skip
"""Shapes that show a feeling, and what sign their change should have. ``calm`` has no face of its
own: less movement is its sign."""


def measure(
    base: Performer, clips: Sequence[Clip], corpus: Path, with_emotion: bool, jobs: int
) -> dict[str, Any]:
    """Style slopes (against the corpus's), emotions, diversity over seeds, of one network."""
    chosen = [c for c in clips if c.sound.group not in WORDLESS]
    sounds = [_neutral(c.sound) for c in chosen]
    report: dict[str, Any] = {"network": base.name, "clips": len(chosen)}
    report["style"] = _styles(base, sounds, corpus, jobs)
    if with_emotion:
        report["emotion"] = _emotions(base, sounds, jobs)
    report["diversity"] = _diversity(base, chosen, jobs)
    return report


def _neutral(sound: Sound) -> Sound:
    """The first ten seconds in an average manner, nobody else heard."""
    audio = sound.audio[: _FRAMES * SAMPLES_PER_FRAME]
    style = np.zeros(len(STYLE), np.float32)
    return replace(sound, audio=audio, style=style, emotion=None, other=None)


def _styles(
    base: Performer, sounds: Sequence[Sound], corpus: Path, jobs: int
) -> dict[str, dict[str, float]]:
    variants = []
    for name in _NAMES:
        for sign in (-1, 1):
            style = np.zeros(len(STYLE), np.float32)
            style[STYLE.index(name)] = sign
            variants += [replace(s, name=f"{s.name} {name} {sign:+d}", style=style) for s in sounds]
    takes, _ = perform_all([base], variants, "styles", jobs)
    if len(takes) < len(variants):
        return {}
    wanted = _corpus_slopes(corpus)
    report = {}
    for name in _NAMES:
        effect = EFFECTS[name]
        low, high = (
            np.array([effect(takes[base.name, f"{s.name} {name} {sign:+d}"].made) for s in sounds])
            for sign in (-1, 1)
        )
        slope = float((high - low).mean() / 2)
        report[name] = {"slope": slope, "corpus_slope": wanted.get(name, float("nan"))}
        report[name]["share"] = slope / wanted[name] if wanted.get(name) else float("nan")
    return report


def _corpus_slopes(corpus: Path) -> dict[str, float]:
    """Change of each effect per unit of its style number over the corpus (ridge regression)."""
    pairs = styled_motion(corpus, _TRUTH_CLIPS)
    if len(pairs) < 3 * len(STYLE):
        return {}
    styles = np.stack([style for style, _ in pairs]).astype(np.float64)
    centred = styles - styles.mean(0)
    system = centred.T @ centred + _RIDGE * np.eye(len(STYLE))
    out = {}
    for name in _NAMES:
        index = STYLE.index(name)
        effects = np.array([EFFECTS[name](motion) for _, motion in pairs])
        out[name] = float(np.linalg.solve(system, centred.T @ (effects - effects.mean()))[index])
    return out


def _emotions(base: Performer, sounds: Sequence[Sound], jobs: int) -> dict[str, dict[str, Any]]:
    names: tuple[str, ...] = getattr(condition, "EMOTIONS", ())
    variants = list(sounds)
    for index, name in enumerate(names):
        emotion = np.zeros(len(names), np.float32)
        emotion[index] = 1.0
        variants += [replace(s, name=f"{s.name} {name}", emotion=emotion) for s in sounds]
    takes, _ = perform_all([base], variants, "emotions", jobs)
    if len(takes) < len(variants):
        return {}
    plain = np.concatenate([takes[base.name, s.name].made for s in sounds])
    report: dict[str, dict[str, Any]] = {}
    for name in names:
        felt = np.concatenate([takes[base.name, f"{s.name} {name}"].made for s in sounds])
        change = (felt - plain[: len(felt)]).mean(0)
        rows = FEELINGS.get(name, ())
        signs = {shape: float(change[INDEX[shape]]) for shape, _ in rows}
        strongest = max((abs(v) for v in signs.values()), default=0.0)
        right = [sign * signs[shape] > 0.1 * strongest for shape, sign in rows if sign > 0]
        report[name] = {
            "change": signs,
            "as_meant": float(np.mean(right)) if right else float("nan"),
            "strength": float(np.abs(change[:52]).sum()),
            "movement_ratio": dynamics.ratio([felt], [plain], 1),
            "opening_r_to_neutral": float(np.corrcoef(opening(felt), opening(plain))[0, 1]),
        }
    return report


def _diversity(base: Performer, clips: Sequence[Clip], jobs: int) -> dict[str, Any]:
    """Seeds apart: how different, and still the same lips?"""
    performers = [
        Performer(f"seed {seed}", base.kind, base.source, seed=seed) for seed in range(SEEDS)
    ]
    sounds = [_neutral(c.sound) for c in clips]
    takes, _ = perform_all(performers, sounds, "seeds", jobs)
    rows = []
    for clip in clips:
        samples = [takes.get((p.name, clip.sound.name)) for p in performers]
        made = [take.made for take in samples if take is not None]
        if len(made) == SEEDS:
            rows.append(spread.diversity(made, clip.truth[: len(made[0])]))
    report = {name: float(np.mean([row[name] for row in rows])) for name in (rows or [{}])[0]}
    return report | {"seeds": SEEDS}
