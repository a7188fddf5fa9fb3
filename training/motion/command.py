"""Train the motion network: ``python -m training features|ear|teacher|rollout|distill``, in this
order, or ``python -m training motion``, which runs them all.

Each stage writes a checkpoint, a log (JSON lines) and loss curves (PNG) into ``--out`` and goes on
with ``--resume``. Times are limits over all resumed runs.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from engine.motion.condition import EMOTIONS, STYLE
from engine.motion.network import CMDT, Dims
from engine.motion.unrolled import Scale
from training.corpus.phones import VISEMES
from training.motion import curves, features
from training.motion.checkpoint import CACHE, load_network
from training.motion.critic import Adversary
from training.motion.data import clip_files, load_clips, measure_scale
from training.motion.losses import Weights
from training.motion.objective import (
    ear_objective,
    heard_check,
    held_out_check,
    rollout_objective,
    student_objective,
    teacher_objective,
)
from training.motion.train import Plan, Trainer
from training.motion.windows import Drops, Windows
from training.teacher import emotion
from training.teacher.style import Style

VARIANTS = 2
"""Augmented versions of every clip's sound, beside the clean one."""
DEFAULT_CORPUS = CACHE.parent / "corpus"
_SIZES = {
    "xs": Dims(128, 4, 4, ear=4, spectrum=8),
    "s": Dims(160, 4, 4, ear=6, spectrum=16),
    "m": Dims(256, 6, 4, ear=8, spectrum=32),
}
_STRING = 4
"""Windows in a row in the rollout stage."""
_HOPS = (2, 2, 3, 5, 8)
_UNDISTURBED = Drops(warp=0.0, colour=0.0, hiss=0.0, hole=0.0)
_LISTENED = {
    "rules": ("espeak", "flite", "festival"), "neural": ("kokoro",),
    "unseen": ("kokoro:bf_emma", "kokoro:am_michael"), "lj": ("recorded:ljspeech",),
    "author": ("recorded:author",),
}  # fmt: skip
"""Voices whose visemes are counted while the ear learns."""
_ROLLOUT_DROPS = Drops(no_past=0.0, short_past=0.05, lips=1.0, noise=0.0, astray=0.0)


def _parser(stage: str, **defaults: Any) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m training {stage}", description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--corpus", type=Path, default=DEFAULT_CORPUS)
    parser.add_argument("--out", type=Path, default=CACHE, help="checkpoints, logs, features")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes that compute features")
    if stage == "features":
        return parser
    parser.add_argument("--minutes", type=float, help="time limit")
    parser.add_argument("--steps", type=int, help="step limit")
    parser.add_argument("--rate", type=float, help="peak learning rate")
    parser.add_argument("--batch", type=int, default=64, help="windows a step")
    parser.add_argument("--size", choices=_SIZES, default="s", help="m is meant for a GPU")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--bf16", action=argparse.BooleanOptionalAction, default=_has_bf16(),
        help="matrix products in bfloat16",
    )  # fmt: skip
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--init", type=Path, help="start from this checkpoint's weights")
    parser.add_argument("--resume", action="store_true")
    parser.set_defaults(**defaults)
    return parser


def _has_bf16() -> bool:
    """Whether bfloat16 is the faster type here."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported()


def _begin(args: argparse.Namespace) -> None:
    if args.device != "cpu" and not torch.cuda.is_available():
        raise SystemExit(f"--device {args.device}: torch sees no CUDA device here; use cpu")
    torch.set_num_threads(args.threads)
    torch.set_default_device(args.device)
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(args.seed)


def _windows(
    args: argparse.Namespace, dims: Dims, scale: Scale | None = None, drops: Drops | None = None
) -> tuple[Windows, Windows]:
    names = tuple(field.name for field in fields(Style))
    if names != STYLE or len(VISEMES) != dims.visemes or emotion.EMOTIONS != EMOTIONS:
        raise SystemExit("the corpus has other styles, emotions or visemes than the engine expects")
    train = load_clips(args.corpus, "train", VARIANTS, args.out, args.seed, args.jobs)
    held = load_clips(args.corpus, "dev", 0, args.out, args.seed, args.jobs)
    scale = scale or measure_scale(train, dims)
    held_out = Windows(held, scale, dims, _UNDISTURBED, seed=1)
    return Windows(train, scale, dims, drops, args.seed), held_out


def _trainer(args: argparse.Namespace, network: CMDT, scale: Scale, stage: str) -> Trainer:
    plan = Plan(
        args.steps, args.minutes, args.batch, args.rate, args.warmup, args.decay, bf16=args.bf16
    )
    facts = {"shortcut": stage.startswith("student"), "stage": stage}
    trainer = Trainer(network.train(), scale, plan, facts, args.out / f"{stage}.pt")
    if args.resume:
        trainer.resume()
    return trainer


def _end(trainer: Trainer) -> int:
    picture = trainer.target.with_suffix(".png")
    curves.draw(trainer.progress.log, picture)
    sys.stdout.write(f"{trainer.target}\n{picture}\n")
    return 0


def listen(argv: list[str]) -> int:
    """Compute what the network hears of every clip, ahead of training."""
    args = _parser("features").parse_args(argv)
    for split, variants in (("train", VARIANTS), ("dev", 0)):
        files = clip_files(args.corpus, split)
        features.prepare(files, variants, args.out / "features", args.seed, args.jobs)
    return 0


def train_ear(argv: list[str]) -> int:
    """Train the audio branch alone to hear visemes and lip contacts."""
    args = _parser("ear", steps=8000, minutes=25.0, rate=1e-3, warmup=200, decay=0.999).parse_args(
        argv
    )
    _begin(args)
    network, known = _start(args, args.out / "ear.pt" if args.resume else None)
    windows, held = _windows(args, network.dims, known)
    trainer = _trainer(args, network, windows.scale, "ear")
    objective = ear_objective(args.compile)
    weights = Weights(contact=1.0, lips=0.5)
    trainer.run(lambda: windows.draw(args.batch), objective, weights, heard_check(held, _LISTENED))
    return _end(trainer)


def _start(args: argparse.Namespace, own: Path | None) -> tuple[CMDT, Scale | None]:
    """The network a stage begins with, and its units where they stay.

    Args:
        own: a checkpoint of this very training. The units are fixed once: a corpus that has grown
            since must not shift them. Those of ``--init`` belong to the corpus it learned from.
    """
    if own is not None:
        network, scale, _ = load_network(own)
        return network, scale
    dims = _SIZES[args.size]
    return (load_network(args.init, dims)[0] if args.init else CMDT(dims)), None


def teach(argv: list[str]) -> int:
    """Train the teacher by flow matching, from the ear where there is one."""
    args = _parser(
        "teacher", steps=8000, minutes=60.0, rate=1e-3, warmup=300, decay=0.999
    ).parse_args(argv)
    _begin(args)
    ear = args.out / "ear.pt"
    own = args.out / "teacher.pt" if args.resume else None
    network, known = _start(args, own or (ear if ear.is_file() and not args.init else None))
    windows, held = _windows(args, network.dims, known)
    trainer = _trainer(args, network, windows.scale, "teacher")
    objective = teacher_objective(windows.scale, args.compile)
    check = held_out_check(held, (4, 10), shortcut=False)
    trainer.run(lambda: windows.draw(args.batch), objective, Weights(), check)
    return _end(trainer)


def roll(argv: list[str]) -> int:
    """Fine-tune the teacher on its own past."""
    args = _parser(
        "rollout", steps=800, minutes=15.0, rate=3e-4, warmup=30, decay=0.995, batch=32
    ).parse_args(argv)
    _begin(args)
    source = args.out / "rollout.pt" if args.resume else args.init or args.out / "teacher.pt"
    network, scale, _ = load_network(source)
    windows, held = _windows(args, network.dims, scale, _ROLLOUT_DROPS)
    trainer = _trainer(args, network, scale, "rollout")
    hops = _Hops(args.seed)

    def share() -> float:  # rises over the first half of the stage
        return min(1.0, 2 * trainer.progress.done)

    objective = rollout_objective(scale, trainer.ema, lambda: hops.now, share, args.compile)

    def draw() -> Any:
        return windows.draw_string(args.batch, _STRING, hops.next())

    trainer.run(draw, objective, Weights(), held_out_check(held, (4, 10), shortcut=False))
    return _end(trainer)


class _Hops:
    """The hop of the string at hand."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.now = _HOPS[0]

    def next(self) -> int:
        """Draw another."""
        self.now = self._random.choice(_HOPS)
        return self.now


def everything(argv: list[str]) -> int:
    """All stages in a row: features, ear, teacher, rollout, a student for all K, one for each."""
    parser = _parser("motion", minutes=120.0)
    args = parser.parse_args(argv)
    common = ["--corpus", args.corpus, "--out", args.out, "--seed", args.seed, "--jobs", args.jobs]
    learning = ["--size", args.size, "--device", args.device, "--threads", args.threads]
    learning += ["--batch", args.batch, "--compile" if args.compile else "--no-compile"]
    learning += ["--bf16" if args.bf16 else "--no-bf16"]
    learning += ["--resume"] * args.resume
    listen([str(x) for x in common])
    for stage, more, share in _SHARES:
        # Steps only end a stage where time would not: the schedule follows whichever is nearer.
        limits = ["--minutes", args.minutes * share, "--steps", args.steps or 10**6]
        stage([str(x) for x in (*common, *learning, *more, *limits)])
    return 0


def distill(argv: list[str]) -> int:
    """Distil the rolled-out teacher into a student of K steps, guidance baked in."""
    parser = _parser("distill", steps=3000, minutes=20.0, rate=5e-4, warmup=50, decay=0.995)
    parser.add_argument("--k", type=int, choices=(1, 2, 4), help="steps; none: all, to start from")
    parser.add_argument("--adversarial", type=float, default=0.0, help="weight of a critic's term")
    args = parser.parse_args(argv)
    _begin(args)
    teacher, scale, _ = load_network(args.out / "rollout.pt")
    windows, held = _windows(args, teacher.dims, scale)
    stage = f"student_k{args.k}" if args.k else "student"
    source = args.out / f"{stage}.pt" if args.resume else args.init
    student, _, _ = load_network(source or args.out / ("student.pt" if args.k else "rollout.pt"))
    trainer = _trainer(args, student, scale, stage)
    teacher.requires_grad_(False)
    objective = student_objective(scale, teacher, trainer.ema, args.compile, args.k)
    if args.adversarial:
        objective = Adversary(teacher.dims.motion, args.k or 2).around(objective)
    check: Callable[[CMDT], dict[str, float]] = held_out_check(held, (1, 2, 4), shortcut=True)
    weights = Weights(adversarial=args.adversarial)
    trainer.run(lambda: windows.draw(args.batch), objective, weights, check)
    return _end(trainer)


_SHARES: tuple[tuple[Callable[[list[str]], int], tuple[str, ...], float], ...] = (
    (train_ear, (), 0.18),
    (teach, (), 0.40),
    (roll, (), 0.15),
    (distill, (), 0.15),
    *((distill, ("--k", str(k)), 0.04) for k in (1, 2, 4)),
)
"""Stages, their own options, and their shares of the time."""
