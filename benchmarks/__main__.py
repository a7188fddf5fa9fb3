"""``python -m benchmarks NAME``: measure, print a table, write JSON and a plot."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from benchmarks.report import plot, table

NAMES = {
    "gpu": "networks, sessions, latency, memory and floors of a GPU (or, as a dry run, a CPU)",
    "motion": "cost of the motion network per second of motion, by denoising steps",
    "stages": "per-stage and whole-chain time of one live session",
}


def main(argv: list[str] | None = None) -> int:
    """Run one benchmark; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure this machine. Progress goes to stderr, the table to stdout.",
        epilog="\n".join(f"  {name}: {what}" for name, what in NAMES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="ends within 45 s")
    parser.add_argument("--json", metavar="PATH", help="write the result; - prints only JSON")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="write a picture of the samples")
    parser.add_argument("--out", type=Path, metavar="DIR", help="gpu: where the results go")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="gpu: default cuda if there is")
    parser.add_argument("--no-build", action="store_true", help="gpu: build no TensorRT engines")
    options = parser.parse_args(arguments)
    command = " ".join(["python -m benchmarks", *arguments])
    if options.name == "gpu":
        return _gpu(options, command)
    result = import_module(f"benchmarks.{options.name}").run(options.quick, command)
    if options.plot:
        plot(result, options.plot)
    if options.json == "-":
        sys.stdout.write(result.to_json() + "\n")
        return 0
    if options.json:
        Path(options.json).write_text(result.to_json() + "\n")
    sys.stdout.write(table(result) + "\n")
    return 0


def _gpu(options: argparse.Namespace, command: str) -> int:
    """The one benchmark with sections, a time budget and three files."""
    from benchmarks import gpu
    from engine.runtime import cuda

    device = options.device or ("cuda" if cuda.probe() else "cpu")
    if device == "cuda" and cuda.probe() is None:
        sys.stderr.write(f"{cuda.why_not()}; --device cpu makes a dry run\n")
        return 1
    out = options.out or Path("benchmark-results")
    report = gpu.run(out, device, options.quick, command, build=not options.no_build)
    text = gpu.to_json(report) if options.json else gpu.to_markdown(report)
    if options.json and options.json != "-":
        Path(options.json).write_text(text)
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
