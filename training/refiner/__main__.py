"""``python -m training.refiner collect|train``: windows from video clips, then the refiner."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from training.refiner.checkpoint import CACHE
from training.refiner.data import Windows, collect
from training.refiner.train import RefinerConfig, train


def main(argv: list[str]) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.refiner", description=__doc__)
    parser.add_argument("--folder", type=Path, default=CACHE, help="windows, state, log, weights")
    parser.add_argument("--threads", type=int, default=1)
    commands = parser.add_subparsers(dest="command", required=True)
    gather = commands.add_parser("collect", help="reenact clips from their own frames")
    gather.add_argument("clips", type=Path, nargs="+")
    gather.add_argument("--every", type=int, default=3, help="use every so many frames")
    gather.add_argument("--photos", type=int, nargs="+", default=[0, 37], help="frames as photo")
    learn = commands.add_parser("train", help="train, or go on training")
    learn.add_argument("--hold-out", type=int, nargs="+", required=True, help="clip numbers")
    learn.add_argument("--minutes", type=float, default=RefinerConfig.minutes)
    learn.add_argument("--steps", type=int, default=RefinerConfig.steps)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    path = args.folder / "windows.npz"
    if args.command == "collect":
        windows = collect(args.clips, tuple(args.photos), args.every)
        windows.save(path)
        counts = np.bincount(windows.clip, minlength=len(args.clips))
        for number, (clip, count) in enumerate(zip(args.clips, counts, strict=True)):
            sys.stdout.write(f"{number} {clip.name} {count} windows\n")
        return 0
    windows = Windows.load(path)
    held = np.isin(windows.clip, args.hold_out)
    config = RefinerConfig(minutes=args.minutes, steps=args.steps)
    facts = train(config, windows.select(~held), windows.select(held), args.folder)
    sys.stdout.write(json.dumps(facts) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
