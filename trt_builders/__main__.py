"""Networks from torch to ONNX to TensorRT engines.

    list      what there is
    export    a network to ONNX and manifest, at any batch size and precision
    build     engines, into the folder the server reads them from
    verify    the same inputs through torch and every runtime here: errors and speed
    adopt     an engine that legacy.py built with TensorRT 8.6, into that folder
    inspect   what is inside an ONNX file or an engine
    restore   a training checkpoint from a shipped motion network

Typical:

    python -m trt_builders build --flavour rtx --targets 8.9      for a GeForce 40, on any machine
    python -m trt_builders build --flavour tensorrt --batch 1,4,8 for this machine's GPU
    python -m trt_builders verify --out docs/results/trt_verify   .json and .md

docs/tensorrt.md says how to install TensorRT and what was run where.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.config import EngineConfig
from engine.errors import EngineError
from engine.runtime.artifact import WEIGHTS
from engine.runtime.engines import EngineStore, default_folder
from trt_builders.profiles import BATCHES, OPSET, PRECISIONS, artifact_name, served

Command = Callable[[argparse.Namespace], int]


def main(argv: list[str]) -> int:
    """Run one command; returns the exit status."""
    args = _parser().parse_args(argv)
    command: Command = args.run
    try:
        return command(args)
    except (EngineError, FileNotFoundError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("stopped; what was finished is kept\n")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trt_builders",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    folder = f"engine folder; default {default_folder()}"
    networks = served(EngineConfig())

    add = _command(commands, "list", _list, "networks, and the engines built so far")
    add("--engines", type=Path, help=folder)

    add = _command(commands, "export", _export, "write NAME.onnx and NAME.json")
    add("name", help="a network of `list`")
    weights = "default: where training leaves it, else the shipped weights"
    add("--checkpoint", type=Path, help=weights)
    add("--shipped", action="store_true", help="the shipped weights in any case")
    add("--batch", type=_numbers, default=(1,), help=f"rows, usually of {BATCHES}; default 1")
    add("--precision", type=_words, default=("fp32",), help="default fp32; also fp16, bf16")
    add("--opset", type=int, default=OPSET, help=f"of ONNX; default {OPSET}; 17 for TensorRT 8.6")
    add("--out", type=Path, default=WEIGHTS, help="folder; default engine/weights")

    add = _command(commands, "build", _build, "compile engines into the store")
    flavours = "tensorrt: on the GPU it is for; rtx: anywhere, for RTX GPUs"
    add("--flavour", choices=("tensorrt", "rtx"), required=True, help=flavours)
    targets = "compute capabilities (rtx only); default 8.6,8.9,12.0"
    add("--targets", type=_words, default=(), help=targets)
    serves = f"default {','.join(networks)}: what the server runs"
    add("--networks", type=_words, default=networks, help=serves)
    add("--batch", type=_numbers, default=(1,), help="rows of one call, e.g. 1,4,8; default 1")
    stays = "default fp16; also bf16, fp32; layers that need FP32 keep it"
    add("--precision", type=_words, default=("fp16",), help=stays)
    exported = "folder that `export` filled; else exported now, which needs torch"
    add("--onnx", type=Path, help=exported)
    add("--out", type=Path, help=folder)
    add("--workspace", type=int, default=2048, help="MB a layer may use; default 2048")
    add("--force", action="store_true", help="build again what is there")

    add = _command(commands, "adopt", _adopt, "keep an engine that legacy.py built")
    add("plan", type=Path, help="NAME.plan, with NAME.plan.json beside it")
    add("--onnx", type=Path, required=True, help="the file it was built from, with its manifest")
    add("--out", type=Path, help=folder)

    add = _command(commands, "verify", _verify, "errors and speed in every runtime here")
    add("--networks", type=_words, help="default: all")
    add("--batch", type=_numbers, default=(1, 4), help="default 1,4")
    add("--precision", type=_words, default=PRECISIONS, help="default: all")
    add("--out", type=Path, help="writes OUT.json and OUT.md")

    add = _command(commands, "inspect", _inspect, "look into NAME.onnx or an engine")
    add("file", type=Path, help="an ONNX file, a .plan, or a shipped network's name")
    add("--json", action="store_true", help="for programs")

    add = _command(commands, "restore", _restore, "shipped motion network to training checkpoint")
    add("name", choices=("cmdt_k1", "cmdt_k2", "cmdt_k4"))
    add("--out", type=Path, required=True, help="checkpoint file, NAME.pt")
    return parser


def _command(commands: Any, name: str, run: Command, title: str) -> Callable[..., Any]:
    """A sub-command; returns its ``add_argument``."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=title, description=title)
    parser.set_defaults(run=run)
    return parser.add_argument


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.replace(" ", "").split(",") if word)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(word) for word in _words(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of numbers like 1,4,8") from None
    if not numbers or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"'{text}': rows are 1 or more")
    return numbers


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _list(args: argparse.Namespace) -> int:
    from trt_builders.networks import NETWORKS

    for name, entry in NETWORKS.items():
        shipped = "shipped" if entry.shipped else "made on demand"
        _print(f"{name:11} {entry.title} ({shipped}; {', '.join(entry.precisions)})")
    store = EngineStore(args.engines)
    entries = store.entries()
    _print(f"\n{len(entries)} engine(s) in {store.folder}")
    for one in entries:
        key = one.key
        where = key.capability if key.gpu == "any" else f"{key.gpu}, driver {key.driver}"
        name = artifact_name(key.network, key.batch, key.precision)
        _print(f"  {name:22} {key.flavour} {key.version} for {where}: {one.size / 1e6:.1f} MB")
    return 0


def _export(args: argparse.Namespace) -> int:
    from trt_builders.export import trace, write

    for batch in args.batch:
        traced = trace(args.name, batch, args.checkpoint, shipped=args.shipped)
        if traced.source.origin:
            _print(f"weights: {traced.source.origin}")
        for precision in args.precision:
            _print(str(write(traced, precision, args.out, opset=args.opset)))
    return 0


def _build(args: argparse.Namespace) -> int:
    from trt_builders.build import build, jobs
    from trt_builders.flavours import open_flavour

    flavour = open_flavour(args.flavour, args.targets)
    store = EngineStore(args.out)
    work = jobs(args.networks, args.batch, args.precision)
    _print(f"{flavour.name} {flavour.version} into {store.folder}")
    results = build(
        work, flavour, store, onnx=args.onnx, force=args.force, workspace=args.workspace << 20
    )
    for built in results:
        how = f"{built.seconds:.1f} s, {built.layers} layers" if built.seconds else "already there"
        size = f"{built.size / 1e6:.1f} MB"
        _print(f"{built.job.artifact:22} {built.target.capability:5} {size:>8}  {how}")
    return 0


def _adopt(args: argparse.Namespace) -> int:
    from trt_builders.adopt import adopt

    _print(str(adopt(args.plan, args.onnx, EngineStore(args.out))))
    return 0


def _verify(args: argparse.Namespace) -> int:
    from trt_builders.networks import NETWORKS
    from trt_builders.verify import to_json, to_markdown, verify

    report = verify(args.networks or tuple(NETWORKS), args.batch, args.precision, _print)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.with_suffix(".json").write_text(to_json(report))
        args.out.with_suffix(".md").write_text(to_markdown(report))
    for sentence in report.not_run:
        _print(f"not run: {sentence}")
    _print("everything within its tolerance" if report.passed else "some outputs are too far off")
    return 0 if report.passed else 1


def _inspect(args: argparse.Namespace) -> int:
    from trt_builders.inspect import graph_lines, inspect_engine, inspect_onnx

    path = args.file
    if path.suffix == ".plan":
        _print(json.dumps(inspect_engine(path), indent=2))
        return 0
    if not path.suffix and not path.exists():
        path = WEIGHTS / f"{path.name}.onnx"
    graph = inspect_onnx(path)
    _print(json.dumps(asdict(graph), indent=2) if args.json else "\n".join(graph_lines(graph)))
    return 0


def _restore(args: argparse.Namespace) -> int:
    from trt_builders.shipped import restore_motion, write_checkpoint

    restored = restore_motion(args.name)
    write_checkpoint(restored, args.out)
    missing = ", ".join(restored.missing) or "nothing"
    _print(f"{args.out} ({len(restored.found)} weights; never shipped: {missing})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
