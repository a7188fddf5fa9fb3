"""The same inputs through torch and every runtime at hand: how far apart, and how fast.

Torch runs the module row by row and is the truth. Beside it:

* OpenVINO (FP32 and, where the CPU computes in it, BF16) and ONNX Runtime with the FP32 file;
* ONNX Runtime with the strongly typed FP16 file;
* *rounded*: the strongly typed FP16 and BF16 files in FP32 arithmetic with every rounding kept
  (``precision.widen``), which is what a GPU's tensor cores compute when nothing is fused;
* TensorRT, where there is a GPU: engines built here and now.

For each exception of a network's precision policy the rounded error without it is measured too.
"""

from __future__ import annotations

import json
import math
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
import torch

from engine.errors import ArtifactError, BackendError
from engine.runtime import cuda
from engine.runtime.base import Array, Backend
from trt_builders import networks
from trt_builders.export import Traced, run_onnx, trace, write
from trt_builders.flavours import open_flavour
from trt_builders.networks import Tolerance
from trt_builders.precision import Policy, lower, widen

_SECONDS = 1.0
"""Time given to measuring one speed."""
_LEAST = 3
_OWN = "its own choice"
"""Precision of a runtime that lowers what it likes: measured, not judged by our policy."""
"""Calls measured at least."""


@dataclass(frozen=True, slots=True)
class Error:
    """How far one output is from torch's.

    Args:
        max_abs: largest absolute difference.
        mean_abs: mean absolute difference.
        relative: L2 norm of the difference over that of torch's output.
        allowed: the tolerance, of the kind the network's table names; None: not judged.
        kind: which of the first two is judged.
    """

    max_abs: float
    mean_abs: float
    relative: float
    allowed: float | None
    kind: str

    @property
    def passed(self) -> bool:
        """Whether it is within its tolerance; NaN never is."""
        value = self.max_abs if self.kind == "max" else self.mean_abs
        return math.isfinite(value) and (self.allowed is None or value <= self.allowed)


@dataclass(frozen=True, slots=True)
class Line:
    """One runtime on one network.

    Args:
        network: name.
        batch: rows.
        runtime: ``openvino:CPU f32``, ``torch``, ``rounded bf16``.
        precision: by which it is judged.
        errors: by output.
        milliseconds: median of a call; None where the time means nothing.
        note: anything else.
    """

    network: str
    batch: int
    runtime: str
    precision: str
    errors: Mapping[str, Error]
    milliseconds: float | None
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether every output is within its tolerance."""
        return all(error.passed for error in self.errors.values())


@dataclass(frozen=True, slots=True)
class Report:
    """Everything measured.

    Args:
        machine: processor, GPU, versions.
        lines: judged.
        exceptions: rounded errors without one exception of the policy each; not judged.
        not_run: what was left out, and why.
    """

    machine: Mapping[str, str]
    lines: list[Line] = field(default_factory=list)
    exceptions: list[Line] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every line is within its tolerances."""
        return all(line.passed for line in self.lines)


def verify(
    names: Sequence[str],
    batches: Sequence[int],
    precisions: Sequence[str],
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Run every network everywhere.

    Args:
        names: in ``networks.NETWORKS``.
        batches: rows.
        precisions: of ``fp32``, ``fp16``, ``bf16``; those a network does not have are left out.
        say: told a line per measurement.
    """
    onnxruntime.set_default_logger_severity(3)  # it tells of every constant it cannot fold
    torch.set_num_threads(1)
    report = Report(machine())
    gpu = cuda.why_not()
    if gpu:
        report.not_run.append(f"TensorRT and TensorRT-RTX: {gpu}")
    for name in names:
        for batch in batches:
            say(f"{name}, batch {batch}: exporting")
            traced = trace(name, batch, shipped=True, real=True)
            for line in _lines(traced, precisions, report):
                say(_told(line))
                report.lines.append(line)
            if batch == max(batches):
                for line in _exceptions(traced, precisions):
                    say(_told(line))
                    report.exceptions.append(line)
    return report


def _lines(traced: Traced, precisions: Sequence[str], report: Report) -> Iterator[Line]:
    entry = networks.network(traced.name)
    yield _line(traced, "torch", "fp32", traced.wanted, _time(lambda: _torch(traced)))
    with tempfile.TemporaryDirectory(prefix="vivace-verify-") as folder:
        for precision in [p for p in precisions if p in entry.precisions]:
            path = write(traced, precision, Path(folder), judged=False)
            if precision != "fp32":
                model = widen(lower(traced.model, entry.policy, precision))
                rounded = run_onnx(model, traced.inputs)
                yield _line(traced, f"rounded {precision}", precision, rounded, None)
            for backend, judged in _backends(path, precision):
                yield _run(traced, backend, judged)
            if cuda.probe() is not None:
                yield from _engines(traced, path, precision, report)


def _backends(path: Path, precision: str) -> Iterator[tuple[Backend, str]]:
    """Runtimes of this machine for a file, and the precision they are judged by."""
    from engine.runtime.onnxruntime import OnnxRuntimeBackend
    from engine.runtime.openvino import OpenVinoBackend

    if precision == "fp32":
        yield OpenVinoBackend(path, threads=1, precision="f32"), "fp32"
        half = OpenVinoBackend(path, threads=1, precision="auto")
        if "bf16" in half.name:
            yield half, _OWN
    if precision != "bf16":  # ONNX Runtime has no BF16 kernels on a CPU
        yield OnnxRuntimeBackend(path, threads=1), precision


def _run(traced: Traced, backend: Backend, judged: str) -> Line:
    got = backend.run(traced.inputs)
    milliseconds = _time(lambda: backend.run(traced.inputs))
    name = backend.name
    if name.startswith("onnxruntime"):  # its name tells FP32; the file may say otherwise
        name = f"onnxruntime:CPU {judged}"
    backend.close()
    return _line(traced, name, judged, got, milliseconds)


def _engines(traced: Traced, path: Path, precision: str, report: Report) -> Iterator[Line]:
    """TensorRT of either flavour on this machine's GPU."""
    from engine.runtime.rows import Row
    from engine.runtime.tensorrt import TensorRtRows

    gpu = cuda.probe()
    assert gpu is not None
    for name in ("tensorrt", "rtx"):
        try:
            flavour = open_flavour(name, () if name == "tensorrt" else (gpu.capability,))
            compiled = flavour.compile(path, flavour.targets)
            source = traced.source
            rows = TensorRtRows(
                compiled.plan, name, cuda.Device(), source.inputs, source.outputs,
                traced.batch, traced.name,
            )  # fmt: skip
        except (ArtifactError, BackendError) as error:
            reason = f"{traced.name} on {name}: {error}"
            if reason not in report.not_run:
                report.not_run.append(reason)
            continue
        feeds = [
            Row({k: v[row].copy() for k, v in _split(traced).items()}, {})
            for row in range(traced.batch)
        ]
        results = rows.run_rows(feeds)
        got = {k: np.concatenate([r[k] for r in results]) for k in source.outputs}
        milliseconds = _time(partial(rows.run_rows, feeds))
        note = f"built in {compiled.seconds:.1f} s"
        yield _line(traced, rows.name, precision, got, milliseconds, note)
        rows.close()


def _split(traced: Traced) -> dict[str, list[Array]]:
    return {name: np.split(value, traced.batch) for name, value in traced.inputs.items()}


def _exceptions(traced: Traced, precisions: Sequence[str]) -> Iterator[Line]:
    """Rounded errors with one exception of the policy dropped, then with all of them."""
    entry = networks.network(traced.name)
    policy = entry.policy
    variants = [(f"without '{keep.pattern}'", policy.without(keep)) for keep in policy.keep]
    variants.append(("everything low", Policy(low=".*", keep=())))
    for precision in [p for p in precisions if p != "fp32" and p in entry.precisions]:
        for title, variant in variants:
            model = widen(lower(traced.model, variant, precision))
            got = run_onnx(model, traced.inputs)
            yield _line(traced, f"rounded {precision}", precision, got, None, title)


def _torch(traced: Traced) -> None:
    source = traced.source
    with torch.no_grad():
        for row in range(traced.batch):
            parts = _split(traced)
            source.module(*(torch.from_numpy(parts[name][row]) for name in source.inputs))


def _line(
    traced: Traced,
    runtime: str,
    precision: str,
    got: Mapping[str, Array],
    milliseconds: float | None,
    note: str = "",
) -> Line:
    tolerances = networks.network(traced.name).tolerances
    errors = {
        name: measure(got[name], wanted, None if note.startswith(("without", "every"))
                      else tolerances[name], precision)
        for name, wanted in traced.wanted.items()
    }  # fmt: skip
    return Line(traced.name, traced.batch, runtime, precision, errors, milliseconds, note)


def measure(got: Array, wanted: Array, tolerance: Tolerance | None, precision: str) -> Error:
    """Distance of an output from the truth."""
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    difference = np.abs(a - b)
    scale = float(np.linalg.norm(b)) or 1.0
    allowed = None
    if tolerance is not None:
        allowed = tolerance.fp32 if precision == "fp32" else tolerance.low.get(precision)
    return Error(
        float(difference.max()),
        float(difference.mean()),
        float(np.linalg.norm(a - b)) / scale,
        allowed,
        tolerance.kind if tolerance else "max",
    )


def _time(call: Callable[[], object]) -> float:
    """Median milliseconds of a call, the first one left out."""
    call()
    taken: list[float] = []
    until = time.perf_counter() + _SECONDS
    while len(taken) < _LEAST or time.perf_counter() < until:
        started = time.perf_counter()
        call()
        taken.append((time.perf_counter() - started) * 1e3)
    return median(taken)


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    gpu = cuda.probe()
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "gpu": str(gpu) if gpu else "none",
        "python": platform.python_version(),
        "threads": "1",
    }
    for package in ("torch", "onnx", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx-cu13"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def to_json(report: Report) -> str:
    """The report for programs."""
    return json.dumps(asdict(report) | {"passed": report.passed}, indent=1) + "\n"


def to_markdown(report: Report) -> str:
    """The report for people."""
    out = ["# Every network in every runtime", ""]
    out += ["Written by `python -m trt_builders verify`; do not edit.", ""]
    out += [f"* {name}: {value}" for name, value in report.machine.items()]
    out += [f"* not run: {sentence}" for sentence in report.not_run]
    out += ["", "## Errors against torch, and speed", ""]
    out += [
        "Judged by the tolerance in the table: the largest or the mean absolute difference.",
        "",
    ]
    out += _table(report.lines)
    if report.exceptions:
        out += ["", "## What each FP32 exception is worth", ""]
        out += ["Errors of the rounded graph with one exception dropped, and with none at all.", ""]
        out += _table(report.exceptions)
    return "\n".join(out) + "\n"


def _table(lines: Sequence[Line]) -> list[str]:
    out = [
        "| network | rows | runtime | output | max abs | mean abs | relative | allowed | ms | note"
        " |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        for name, error in line.errors.items():
            allowed = "" if error.allowed is None else f"{error.kind} {error.allowed:g}"
            allowed += "" if error.passed else " **exceeded**"
            speed = "" if line.milliseconds is None else f"{line.milliseconds:.1f}"
            cells = [
                line.network, str(line.batch), line.runtime, name, f"{error.max_abs:.2g}",
                f"{error.mean_abs:.2g}", f"{error.relative:.2g}", allowed, speed,
                line.note.replace("|", "\\|"),
            ]  # fmt: skip
            out.append(f"| {' | '.join(cells)} |")
    return out


def _told(line: Line) -> str:
    worst = ", ".join(f"{name} {error.max_abs:.2g}" for name, error in line.errors.items())
    speed = "" if line.milliseconds is None else f", {line.milliseconds:.1f} ms"
    note = f" ({line.note})" if line.note else ""
    verdict = "" if line.passed else "  TOO FAR"
    return f"  {line.network} x{line.batch} {line.runtime}{note}: max abs {worst}{speed}{verdict}"
