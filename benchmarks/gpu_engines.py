"""Engines that the GPU benchmark needs: what is missing is built, within a time limit.

Builders and engines run in processes of their own: one can be stopped when time is over (it lets
its lock go, and what it finished is kept), and one that crashes takes nothing with it.

    python -m benchmarks.gpu_engines FLAVOUR NETWORK PLAN      whether an engine opens here
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from engine.errors import EngineError
from engine.runtime import cuda
from engine.runtime.artifact import open_artifact
from engine.runtime.engines import EngineKey, EngineRefused, EngineStore
from engine.runtime.tensorrt import TensorRtRows
from trt_builders.build import Job, jobs, key_of
from trt_builders.flavours import FLAVOURS, RTX_TARGETS, Flavour, open_flavour

SERVED = ("cmdt_k2", "render_512")
_LEAST_S = 15.0
"""Not worth starting a builder for less: importing and exporting take that."""
_FOREIGN = "12.0"
"""What RTX compiles for where it does not know this machine's GPU, to have its answer."""

Skip = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class EngineLine:
    """An engine that is there now.

    Args:
        flavour: ``tensorrt`` or ``rtx``, with its version.
        network: name.
        batch: rows.
        precision: of what may be low.
        capability: compiled for.
        megabytes: of the plan.
        build_s: parsing and building; 0: it was there already.
        process_s: of the process that built it, export included, shared by its engines.
    """

    flavour: str
    network: str
    batch: int
    precision: str
    capability: str
    megabytes: float
    build_s: float
    process_s: float


def wanted(device: str, quick: bool) -> list[Job]:
    """What is worth having, the most telling first: the server's networks in FP16."""
    if device == "cpu":
        return jobs(SERVED[: 1 if quick else 2], (1,), ("fp16",))
    sizes = (1, 4) if quick else (1, 8, 4, 16, 2)
    return [job for size in sizes for job in jobs(SERVED, (size,), ("fp16",))]


def flavours(device: str) -> Iterator[tuple[str, Flavour | str]]:
    """Each flavour by name, or a sentence that says why it is not here.

    Without a GPU, RTX compiles for one all the same. Where it does not know the GPU it compiles for
    another one: its runtime's answer is worth having.
    """
    gpu = cuda.probe() if device == "cuda" else None
    known = gpu is not None and gpu.capability in RTX_TARGETS
    for name in FLAVOURS:
        targets = (gpu.capability if gpu and known else _FOREIGN,) if name == "rtx" else ()
        try:
            yield name, open_flavour(name, targets)
        except EngineError as error:
            yield name, str(error)


def foreign(flavour: Flavour) -> bool:
    """Whether its engines are for another GPU than this machine's."""
    gpu = cuda.probe()
    return gpu is None or all(target.capability != gpu.capability for target in flavour.targets)


def build(
    work: Sequence[Job],
    flavour: Flavour,
    store: EngineStore,
    left: Callable[[], float],
    skip: Skip,
) -> list[EngineLine]:
    """Build what is missing; one process for each batch size.

    Args:
        work: in order.
        flavour: for one target.
        store: where engines are kept.
        left: seconds that may still be spent.
        skip: told what was not built, and why.
    """
    lines = []
    for batch, group in groupby(work, key=lambda job: job.batch):
        keys = {job: _key(job, flavour) for job in group}
        missing = [job for job, key in keys.items() if not _found(store, key)]
        seconds, reason = 0.0, ""
        if missing and left() < _LEAST_S:
            reason = "no time left to build it"
        elif missing:
            seconds, reason = _run(missing, batch, flavour, store, left())
        for job, key in keys.items():
            if _found(store, key):
                built = job in missing
                lines.append(_line(store, key, flavour, seconds if built else 0.0, built))
            else:
                skip(f"{flavour.name} engine {job.artifact}", reason or "it was not built")
    return lines


def _key(job: Job, flavour: Flavour) -> EngineKey:
    (target,) = flavour.targets
    return key_of(job, open_artifact(job.network), flavour, target)


def _found(store: EngineStore, key: EngineKey) -> bool:
    try:
        store.find(key)
    except EngineRefused:
        return False
    return True


def _run(
    missing: Sequence[Job], batch: int, flavour: Flavour, store: EngineStore, limit_s: float
) -> tuple[float, str]:
    """Seconds it took, and what went wrong if something did."""
    line = [sys.executable, "-m", "trt_builders", "build", "--flavour", flavour.name]
    line += ["--networks", ",".join(job.network for job in missing), "--batch", str(batch)]
    line += ["--precision", missing[0].precision, "--out", str(store.folder)]
    if flavour.name == "rtx":
        line += ["--targets", flavour.targets[0].capability]
    sys.stderr.write(f"  building {', '.join(job.artifact for job in missing)}, {flavour.name}\n")
    began = time.monotonic()
    reason = ""
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=limit_s, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            reason = said[-1] if said else f"the builder ended with status {done.returncode}"
    except subprocess.TimeoutExpired:
        reason = f"stopped after {limit_s:.0f} s: no time left to build it"
    return round(time.monotonic() - began, 1), reason


def _line(
    store: EngineStore, key: EngineKey, flavour: Flavour, process_s: float, built: bool
) -> EngineLine:
    entry = next(entry for entry in store.entries() if entry.key == key)
    return EngineLine(
        f"{flavour.name} {flavour.version}", key.network, key.batch, key.precision, key.capability,
        round(entry.size / 1e6, 1), float(entry.facts["seconds"]) if built else 0.0, process_s,
    )  # fmt: skip


def answer(flavour: Flavour, job: Job, store: EngineStore) -> str:
    """What the runtime says when an engine is opened on this machine: ``opens``, or why not."""
    plan = store.find(_key(job, flavour))
    line = [sys.executable, "-m", "benchmarks.gpu_engines", flavour.name, job.network, str(plan)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return "no answer in 60 s"
    if done.returncode < 0:
        return f"the process died of signal {-done.returncode}"
    said = (done.stdout or done.stderr).strip().splitlines()
    return said[-1] if said else f"it ended with status {done.returncode}"


def _open(flavour: str, network: str, plan: Path) -> str:
    artifact = open_artifact(network)
    try:
        rows = TensorRtRows(
            plan.read_bytes(), flavour, cuda.Device(), artifact.inputs, artifact.outputs, 1, network
        )
    except EngineError as error:
        return str(error)
    rows.close()
    return "opens"


if __name__ == "__main__":
    sys.stdout.write(_open(sys.argv[1], sys.argv[2], Path(sys.argv[3])) + "\n")
