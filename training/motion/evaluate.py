"""Measure a motion network through the engine's own stages, on speech it was not trained on.

``python -m training motion --stage evaluate``: held-out clips (the held-out voice apart) through
``Features`` with the real voice detector, ``MotionWindow`` and ``Idle``; the truth is the corpus's
own motion. Writes ``docs/motion_eval.json`` and ``docs/motion_eval.png``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from engine.audio.features import Features
from engine.audio.vad import SileroVad
from engine.config import MotionConfig
from engine.media import FPS, SAMPLES_PER_FRAME, AudioChunk, FeatureFrame, Float32
from engine.motion.idle import Idle
from engine.motion.unrolled import Unrolled, input_specs, output_specs
from engine.motion.window import MotionWindow
from engine.runtime.artifact import WEIGHTS
from engine.runtime.base import Backend
from engine.runtime.load import load_network as open_network
from engine.runtime.pytorch import TorchBackend
from engine.stage import run as run_stage
from training.motion import metrics, plots
from training.motion.checkpoint import load_network
from training.motion.data import Array, clip_files

DOCS = Path(__file__).resolve().parents[2] / "docs"
HELD_OUT = "recorded:ljspeech"
_SCALE_FLOOR = 0.02
_DRIFT_SECONDS = 120
_TEACHER_STEPS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One held-out clip with what was made of it.

    Args:
        voice: who speaks, or ``sound``.
        truth: float32 [T,58] the corpus's motion.
        closure: uint8 [T].
        heard: its features.
        made: float32 [T,58] straight from the window.
        shown: float32 [T,58] after the idle stage.
    """

    voice: str
    truth: Float32
    closure: Array
    heard: list[FeatureFrame]
    made: Float32
    shown: Float32


def teacher_backend(path: Path, steps: int) -> Backend:
    """The undistilled teacher, sampled with many Euler steps."""
    network, scale, _ = load_network(path)
    module = Unrolled(network, scale, steps, shortcut=False)
    return TorchBackend(module, input_specs(network.dims), output_specs(network.dims))


def listen(audio: Float32, vad: SileroVad) -> list[FeatureFrame]:
    """Sound through the feature stage."""
    pieces = audio.reshape(-1, SAMPLES_PER_FRAME)
    chunks = [AudioChunk(p, i * SAMPLES_PER_FRAME, 16_000) for i, p in enumerate(pieces)]
    return list(run_stage(Features(vad), chunks))


def perform(path: Path, backend: Backend, config: MotionConfig, vad: SileroVad) -> Clip:
    """Drive the engine's stages with a corpus clip."""
    with np.load(path) as file:
        audio = file["audio"].astype(np.float32) / 32768.0
        truth, closure = file["motion"].astype(np.float32), file["closure"]
        voice = str(file["voice"])
    heard = listen(audio, vad)
    made = list(run_stage(MotionWindow(backend, config), heard))
    shown = list(run_stage(Idle(config.seed), made))
    return Clip(
        voice, truth, closure, heard,
        np.stack([f.values for f in made]), np.stack([f.values for f in shown]),
    )  # fmt: skip


def speech_figures(clips: list[Clip]) -> dict[str, float]:
    """Lips against the truth's, over clips with speech."""
    pairs = [(metrics.opening(c.made), metrics.opening(c.truth)) for c in clips]
    found = [metrics.correlation(a, b) for a, b in pairs]
    met = [metrics.closures_met(a, c.closure) for (a, _), c in zip(pairs, clips, strict=True)]
    real = [metrics.closures_met(b, c.closure) for (_, b), c in zip(pairs, clips, strict=True)]
    after = [
        np.corrcoef(metrics.opening(c.shown), b)[0, 1]
        for c, (_, b) in zip(clips, pairs, strict=True)
    ]
    made, truth = np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])
    return {
        "clips": len(clips),
        "opening_r": float(np.mean([r for r, _ in found])),
        "opening_r_lag0": float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs])),
        "opening_r_lag0_shown": float(np.mean(after)),
        "lag_frames": float(np.mean([lag for _, lag in found])),
        "opening_std_ratio": float(made.std() / truth.std()),
        "lip_error": float(np.mean([metrics.lip_error(c.made, c.truth) for c in clips])),
        "closures_met": sum(m for m, _ in met) / max(1, sum(n for _, n in met)),
        "closures_met_truth": sum(m for m, _ in real) / max(1, sum(n for _, n in real)),
    }


def quiet_figures(clips: list[Clip]) -> dict[str, float]:
    """How still the mouth is during noise and silence, before and after the idle stage."""
    figures = {"clips": float(len(clips))}
    for name in ("made", "shown"):
        gaps = [metrics.opening(getattr(c, name)) for c in clips]
        figures[f"opening_mean_{name}"] = float(np.mean([g.mean() for g in gaps]))
        figures[f"opening_change_{name}"] = float(
            np.mean([np.abs(np.diff(g)).mean() for g in gaps])
        )
    return figures


def whole_figures(clips: list[Clip], hop: int) -> dict[str, float]:
    """Distribution and dynamics over all clips."""
    made, truth = [c.made for c in clips], [c.truth for c in clips]
    scale = np.concatenate(truth).std(0) + _SCALE_FLOOR
    ratios = [metrics.dynamics(a, b) for a, b in zip(made, truth, strict=True)]
    figures = {name: float(np.mean([r[name] for r in ratios])) for name in ratios[0]}
    figures |= {
        "frechet": metrics.frechet(made, truth, scale),
        "frechet_floor": metrics.frechet(truth[::2], truth[1::2], scale),
        "seam_ratio": float(np.mean([metrics.seam_ratio(m, hop) for m in made])),
        "seam_ratio_truth": float(np.mean([metrics.seam_ratio(t, hop) for t in truth])),
        "blinks_per_minute": float(np.mean([metrics.blinks_per_minute(m) for m in made])),
        "blinks_per_minute_truth": float(np.mean([metrics.blinks_per_minute(t) for t in truth])),
        "blinks_per_minute_shown": float(
            np.mean([metrics.blinks_per_minute(c.shown) for c in clips])
        ),
    }
    return figures


def drift_figures(clips: list[Clip], backend: Backend, config: MotionConfig) -> dict[str, float]:
    """Two minutes without a reset: the first and the last thirty seconds against the truth."""
    heard: list[FeatureFrame] = []
    for clip in clips:
        heard += [FeatureFrame(f.values, f.speech, len(heard) + f.pts) for f in clip.heard]
    heard = heard[: _DRIFT_SECONDS * FPS]
    made = np.stack([f.values for f in run_stage(MotionWindow(backend, config), heard)])
    truth = [c.truth for c in clips]
    scale = np.concatenate(truth).std(0) + _SCALE_FLOOR
    part = min(30 * FPS, len(made) // 2)
    return {
        "seconds": len(made) / FPS,
        "frechet_first": metrics.frechet([made[:part]], truth, scale),
        "frechet_last": metrics.frechet([made[-part:]], truth, scale),
        "pose_abs_first": float(np.abs(made[:part, 52:55]).mean()),
        "pose_abs_last": float(np.abs(made[-part:, 52:55]).mean()),
        "pose_abs_truth": float(np.abs(np.concatenate(truth)[:, 52:55]).mean()),
    }


def measure(
    files: list[Path], backend: Backend, config: MotionConfig
) -> tuple[dict[str, Any], Any]:
    """All figures of a network; also returns the clips for plotting."""
    vad = SileroVad(open_network("silero_vad"))
    clips = [perform(path, backend, config, vad) for path in tqdm(files, "clips")]
    spoken = [c for c in clips if c.voice != "sound"]
    figures: dict[str, Any] = {"speech": speech_figures(spoken)}
    held = [c for c in spoken if c.voice == HELD_OUT]
    if held:
        figures["held_out_voice"] = speech_figures(held)
    quiet = [c for c in clips if c.voice == "sound"]
    if quiet:
        figures["no_speech"] = quiet_figures(quiet)
    figures["all"] = whole_figures(spoken, config.hop)
    figures["drift"] = drift_figures(spoken, backend, config)
    return figures, clips


def choose(files: list[Path], count: int) -> list[Path]:
    """A fixed selection that keeps a third each for the held-out voice, noise, and the others."""
    groups: dict[str, list[Path]] = {HELD_OUT: [], "sound": [], "": []}
    for path in files:
        with np.load(path) as clip:
            voice = str(clip["voice"])
        groups[voice if voice in groups else ""].append(path)
    shares = {HELD_OUT: count // 3, "sound": count // 4}
    chosen = [p for name, share in shares.items() for p in groups[name][:share]]
    return sorted(chosen + groups[""][: count - len(chosen)])


def run(corpus: Path, checkpoints: Path, quick: bool) -> int:
    """Evaluate the shipped networks and the teacher; write JSON and plot. Returns the status."""
    files = choose(clip_files(corpus, "dev"), 8 if quick else 16)
    report: dict[str, Any] = {"clips": len(files)}
    shown: list[Clip] = []
    for steps in (1, 2, 4):
        if not (WEIGHTS / f"cmdt_k{steps}.onnx").is_file():
            continue
        config = MotionConfig(steps=steps)
        report |= {"hop": config.hop, "lookahead": config.lookahead, "guidance": config.guidance}
        report[f"cmdt_k{steps}"], clips = measure(files, open_network(f"cmdt_k{steps}"), config)
        shown = clips if steps == MotionConfig().steps else shown
    if (checkpoints / "teacher.pt").is_file():
        teacher = teacher_backend(checkpoints / "teacher.pt", _TEACHER_STEPS)
        # The teacher was never told a guidance weight other than 1.
        report["teacher"], _ = measure(files, teacher, MotionConfig(guidance=1.0))
    target = DOCS / "motion_eval.json"
    target.write_text(json.dumps(_rounded(report), indent=1) + "\n")
    plots.draw(shown, checkpoints, target.with_suffix(".png"))
    sys.stdout.write(target.read_text())
    return 0


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return round(value, 4) if isinstance(value, float) else value
