"""``python -m training evaluate``: measure motion networks through the engine's own stages.

Sections: ``corpus`` (development clips), ``real`` (clips of real talkers, where there are any),
``quiet`` (silence and noise), ``drift`` (ten minutes), ``profiles`` (hop and look-ahead),
``control`` (styles, emotions, seeds). Writes JSON, Markdown and plots, and the model card where the
results go to their usual place. A run of some sections keeps what the file says about the others.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.config import MotionConfig
from engine.errors import EngineError
from engine.runtime.artifact import open_artifact
from training.evaluation import acceptance, card, real_clips
from training.evaluation.baselines import FOREIGN, TOOLS
from training.evaluation.card import RESULTS
from training.evaluation.document import document
from training.evaluation.performers import TEACHER_STEPS, networks
from training.evaluation.sections import QUICK, RUN, SECTIONS, Bench, Size
from training.evaluation.sounds import CACHE, CORPUS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m training evaluate --sections real,quiet --weights cmdt_k2",
    )
    parser.add_argument("--quick", action="store_true", help="under a minute, few and short sounds")
    parser.add_argument(
        "--weights",
        nargs="+",
        default=list(card.SHIPPED),
        metavar="NAME",
        help="artifacts by name, or paths of ONNX files",
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        default=CACHE.parent / "motion" / "teacher.pt",
        help="checkpoint of the undistilled network (%(default)s)",
    )
    parser.add_argument(
        "--no-teacher", action="store_true", help="leave the teacher out, as --quick does"
    )
    parser.add_argument(
        "--sections", default=",".join(SECTIONS), metavar="A,B", help="some of: %(default)s"
    )
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--video", type=Path, default=real_clips.VIDEO, help="folder of real clips")
    parser.add_argument(
        "--out",
        type=Path,
        default=RESULTS,
        help="JSON to write; Markdown and plots beside it",
    )
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument(
        "--install-tools",
        action="store_true",
        help=f"first install {FOREIGN} into {TOOLS.name}/ of the cache",
    )
    return parser  # fmt: skip


def main(argv: list[str]) -> int:
    """Measure; returns 0, or 1 when a section failed. What was measured is written either way."""
    options = _parser().parse_args(argv)
    sections = [name.strip() for name in options.sections.split(",") if name.strip()]
    unknown = [name for name in sections if name not in RUN]
    if unknown:
        sys.stderr.write(f"no section {', '.join(unknown)}: {', '.join(SECTIONS)}\n")
        return 2
    if options.install_tools:
        install_tools()
    bench = Bench(options, QUICK if options.quick else Size(), networks(options.weights),
                   _before(options.out))  # fmt: skip
    bench.report["about"] = _about(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    times: dict[str, float] = bench.report.setdefault("seconds", {})
    failed = False
    for name in sections:
        start = time.perf_counter()
        try:
            RUN[name](bench)
        except (EngineError, LookupError, OSError, RuntimeError, ValueError) as error:
            failed = True
            bench.report[name] = {"reason": f"{type(error).__name__}: {error}"}
            sys.stderr.write(f"{name}: {error}\n")
        times[name] = round(time.perf_counter() - start, 1)
        bench.report.setdefault("measured", {})[name] = _stamp(bench.report["about"])
        _write(bench)
    if options.out == RESULTS and not options.quick:
        card.main(["--corpus", str(options.corpus)])
    sys.stdout.write(summary(bench.report))
    return int(failed)


def install_tools() -> None:
    """Make the environment of foreign packages."""
    subprocess.run([sys.executable, "-m", "venv", str(TOOLS)], check=True)
    pip = [str(TOOLS / "bin" / "python"), "-m", "pip", "install", "-q"]
    subprocess.run([*pip, "--disable-pip-version-check", FOREIGN, "soundfile"], check=True)


def _before(target: Path) -> dict[str, Any]:
    """Results of an earlier run, so that sections can be measured one at a time."""
    if not target.is_file():
        return {}
    found: dict[str, Any] = json.loads(target.read_text("utf-8"))
    return found


def _about(options: argparse.Namespace) -> dict[str, Any]:
    config = MotionConfig()
    found: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": options.quick,
        "hop": config.hop,
        "lookahead": config.lookahead,
        "guidance": config.guidance,
        "teacher_steps": TEACHER_STEPS,
        "weights": {},
    }
    for name in options.weights:
        artifact = open_artifact(Path(name) if name.endswith(".onnx") else name)
        found["weights"][artifact.name] = {
            "sha256": artifact.sha256, "config": dict(artifact.config),
        }  # fmt: skip
    return found


def _stamp(about: Mapping[str, Any]) -> dict[str, Any]:
    """What a section was measured with; the networks by hash alone."""
    weights = {name: {"sha256": facts["sha256"]} for name, facts in about["weights"].items()}
    return dict(about) | {"weights": weights}


def _write(bench: Bench) -> None:
    names = [p.name for p in bench.networks]
    found = acceptance.checks(bench.report, names, bench.default.name)
    bench.report["checks"] = [check.row() for check in found]
    target: Path = bench.options.out
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(_plain(bench.report), indent=1) + "\n", "utf-8")
    partial.replace(target)
    target.with_suffix(".md").write_text(document(bench.report, target.stem), "utf-8")


def _plain(value: Any) -> Any:
    """Rounded, with null for what is not a number: JSON has no NaN."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value.item() if hasattr(value, "item") else value


def summary(report: Mapping[str, Any]) -> str:
    """A line per check, for the terminal."""
    lines = []
    for row in report.get("checks", []):
        mark = "pass" if row["passed"] else "FAIL"
        value = row["value"]
        shown = f"{value:9.3f}" if value is not None and math.isfinite(value) else "        –"
        lines.append(f"{mark}  {row['who']:<10} {shown}  ({row['limit']})  {row['what']}")
    return "\n".join(lines) + "\n"
