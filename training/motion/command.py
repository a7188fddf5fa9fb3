"""``python -m training motion --stage teacher|distil|evaluate``: train and measure the cMDT."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

import torch

from engine.motion.condition import STYLE
from engine.motion.network import CMDT, Dims
from engine.motion.unrolled import Scale
from training.corpus.phones import VISEMES
from training.motion import evaluate
from training.motion.checkpoint import CACHE, load_network
from training.motion.data import load_clips, measure_scale
from training.motion.losses import Weights
from training.motion.objective import held_out_check, student_objective, teacher_objective
from training.motion.train import Plan, Trainer
from training.motion.windows import Windows
from training.teacher.style import Style

VARIANTS = 2
"""Augmented versions of every clip's sound, beside the clean one."""
DEFAULT_CORPUS = CACHE.parent / "corpus"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training motion", description=__doc__)
    parser.add_argument("--stage", choices=("teacher", "distil", "evaluate"), required=True)
    parser.add_argument("--corpus", type=Path, default=DEFAULT_CORPUS)
    parser.add_argument("--out", type=Path, default=CACHE, help="checkpoints, logs, features")
    parser.add_argument("--minutes", type=float, help="time limit (45 teacher, 20 distil)")
    parser.add_argument("--steps", type=int, help="step limit (8000 teacher, 3000 distil)")
    parser.add_argument("--rate", type=float, help="peak learning rate (1e-3, students 5e-4)")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--init", type=Path, help="start from these weights (a teacher: and units)")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="evaluate: few clips")
    return parser


def _windows(
    args: argparse.Namespace, dims: Dims, scale: Scale | None = None
) -> tuple[Windows, Windows]:
    names = tuple(field.name for field in fields(Style))
    if names != STYLE or len(VISEMES) != dims.visemes:
        raise SystemExit("the corpus has other styles or visemes than the engine expects")
    train = load_clips(args.corpus, "train", VARIANTS, args.out, args.seed)
    held = load_clips(args.corpus, "dev", 0, args.out, args.seed)
    scale = scale or measure_scale(train, dims)
    return Windows(train, scale, dims, seed=args.seed), Windows(held, scale, dims, seed=1)


def teach(args: argparse.Namespace) -> None:
    """Train the teacher."""
    dims = Dims(width=args.width, layers=args.layers)
    target = args.out / "teacher.pt"
    # The units are fixed once: a corpus that has grown since must not shift them.
    source = target if args.resume else args.init
    network, known = load_network(source)[:2] if source else (CMDT(dims), None)
    windows, held = _windows(args, network.dims, known)
    plan = Plan(
        steps=args.steps or 8000, minutes=args.minutes or 45.0, batch=args.batch,
        rate=args.rate or 1e-3,
    )  # fmt: skip
    trainer = Trainer(
        network.train(), windows.scale, plan, {"shortcut": False, "stage": "teacher"}, target
    )  # fmt: skip
    if args.resume:
        trainer.resume()
    objective = teacher_objective(windows.scale, args.compile)
    trainer.run(windows, objective, Weights(), held_out_check(held, (4, 10), shortcut=False))


def distil(args: argparse.Namespace) -> None:
    """Distil the teacher into the few-step student."""
    teacher, scale, _ = load_network(args.out / "teacher.pt")
    windows, held = _windows(args, teacher.dims, scale)
    student, _, _ = load_network(args.init or args.out / "teacher.pt")
    plan = Plan(
        steps=args.steps or 3000, minutes=args.minutes or 20.0, batch=args.batch,
        rate=args.rate or 5e-4, warmup=50, decay=0.995,
    )  # fmt: skip
    trainer = Trainer(
        student.train(), scale, plan, {"shortcut": True, "stage": "student"},
        args.out / "student.pt",
    )  # fmt: skip
    if args.resume:
        trainer.resume()
    objective = student_objective(scale, teacher.requires_grad_(False), trainer.ema, args.compile)
    trainer.run(windows, objective, Weights(), held_out_check(held, (1, 2, 4), shortcut=True))


def main(argv: list[str]) -> int:
    """Run one stage; returns the exit status."""
    args = _parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    if args.stage == "evaluate":
        return evaluate.run(args.corpus, args.out, args.quick)
    {"teacher": teach, "distil": distil}[args.stage](args)
    sys.stdout.write(f"checkpoints and logs are in {args.out}\n")
    return 0
