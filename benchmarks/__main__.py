"""``python -m benchmarks NAME``: measure, print a table, write JSON and a plot."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from benchmarks.report import plot, table

NAMES = {
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
    options = parser.parse_args(arguments)
    command = " ".join(["python -m benchmarks", *arguments])
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


if __name__ == "__main__":
    sys.exit(main())
