"""``python -m benchmarks NAME``: measure, print a table, write JSON and a plot."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from benchmarks import report

NAMES = {
    "capacity": "sessions that a CPU carries, by cores and settings; CPU and memory of each",
    "faults": "bad inputs, killed workers, bad networks and churn while somebody is served",
    "gpu": "networks, sessions, latency, memory and floors of a GPU (or, as a dry run, a CPU)",
    "loopback": "a real server and a peer: latency, slots, skew, barge-in, bad networks",
    "motion": "cost of the motion network per second of motion, by denoising steps",
    "render": "speed of the renderer: runtimes, threads, sessions, parts of a picture",
    "render-quality": "pictures against real ones and two baselines; identity, sharpness, flicker",
    "soak": "a server under changing load: memory, threads, descriptors, skew over time",
    "speaking": "from handing an agent its speech to the first sound and picture of it",
    "stages": "per-stage and whole-chain time of one live session",
    "startup": "cold and warm start to ready and first picture, imports, size of the install",
    "watermark": "how well the invisible mark is found again, false alarms, visibility, cost",
}
TOOLS = {
    "compare": "two results of a benchmark, with noise: python -m benchmarks compare A B",
    "report": "docs/benchmarks.md from docs/results; --check says whether it is stale",
}
"""What works on results. Each is a module whose ``main`` reads its own arguments."""
_MODULES = {"render-quality": "quality.report", "report": "gather.page"}
"""Where a benchmark or tool is that is no module of its own name."""
_CHOICES = {
    "capacity": ("parts",),
    "loopback": ("minutes", "interrupts", "parts"),
    "render-quality": ("sheets",),
    "soak": ("minutes",),
    "startup": ("install",),
}
"""Options beyond ``--quick`` that a benchmark's ``run`` takes by name."""


def main(argv: list[str] | None = None) -> int:
    """Run one benchmark; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] and arguments[0] in TOOLS:
        module = import_module(f"benchmarks.{_MODULES.get(arguments[0], arguments[0])}")
        return int(module.main(arguments[1:]))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure this machine. Progress goes to stderr, the table to stdout.",
        epilog="\n".join(f"  {name}: {what}" for name, what in (NAMES | TOOLS).items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="ends within about a minute")
    parser.add_argument("--json", metavar="PATH", help="write the result; - prints only JSON")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="write a picture of the samples")
    parser.add_argument("--out", type=Path, metavar="DIR", help="gpu: where the results go")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="gpu: default cuda if there is")
    parser.add_argument("--no-build", action="store_true", help="gpu: build no TensorRT engines")
    parser.add_argument("--minutes", type=float, metavar="M", help="loopback (10), soak (60)")
    parser.add_argument("--interrupts", type=int, metavar="N", help="loopback: how many (60)")
    parser.add_argument(
        "--parts",
        metavar="A,B",
        help="loopback: only these of talk, clicks, bargein, connect, overload, loss, narrow; "
        "capacity: of cores1, cores2 ..., threads2, steps1, steps4, quality, f32, onnxruntime",
    )
    parser.add_argument(
        "--sheets", type=Path, metavar="DIR", help="render-quality: contact sheets to look at"
    )
    parser.add_argument(
        "--install", action="store_true", help="startup: also time pip in a new environment"
    )
    options = parser.parse_args(arguments)
    command = " ".join(["python -m benchmarks", *arguments])
    if options.name == "gpu":
        return _gpu(options, command)
    module = import_module(f"benchmarks.{_MODULES.get(options.name, options.name)}")
    chosen = {name: getattr(options, name) for name in _CHOICES.get(options.name, ())}
    try:
        result = module.run(options.quick, command, **chosen)
    except report.Unavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return _show(result, options, getattr(module, "plot", report.plot))


def _show(
    result: report.Result,
    options: argparse.Namespace,
    plot: Callable[[report.Result, Path], None],
) -> int:
    """Write what is asked for; 1 if the result breaks a promise."""
    if options.json and options.json != "-":
        Path(options.json).write_text(result.to_json() + "\n")
    if options.plot:
        plot(result, options.plot)
    shown = result.to_json() if options.json == "-" else report.table(result)
    sys.stdout.write(shown + "\n")
    return 1 if result.failures else 0


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
