"""``python -m trt_builders export NAME``: checkpoint to ONNX and manifest."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from engine.runtime.artifact import WEIGHTS

NETWORKS: dict[str, str] = {
    "cmdt_k1": "trt_builders.export",
    "cmdt_k2": "trt_builders.export",
    "cmdt_k4": "trt_builders.export",
    "render_512": "trt_builders.render",
}
"""Network name to the module whose ``export(name, checkpoint, out) -> Path`` makes it."""


def main(argv: list[str]) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m trt_builders", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="write NAME.onnx and NAME.json")
    export.add_argument("name", choices=sorted(NETWORKS))
    export.add_argument("--checkpoint", type=Path, help="default: where training leaves it")
    export.add_argument("--out", type=Path, default=WEIGHTS, help="folder")
    restore = commands.add_parser("restore", help="shipped cmdt network to training checkpoint")
    restore.add_argument("name", choices=[n for n in sorted(NETWORKS) if n.startswith("cmdt")])
    restore.add_argument("--out", type=Path, required=True, help="checkpoint file, NAME.pt")
    args = parser.parse_args(argv)
    if args.command == "restore":
        shipped = importlib.import_module("trt_builders.shipped")
        restored = shipped.restore_motion(args.name)
        shipped.write_checkpoint(restored, args.out)
        fresh = ", ".join(restored.missing) or "nothing"
        sys.stdout.write(f"{args.out} ({len(restored.found)} weights; never shipped: {fresh})\n")
        return 0
    module = importlib.import_module(NETWORKS[args.name])
    path = module.export(args.name, args.checkpoint, args.out)
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
