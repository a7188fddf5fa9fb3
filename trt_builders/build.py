"""ONNX to engines, into the store that the server reads (``engine.runtime.engines``).

An engine's key names the *shipped* network it computes (its SHA-256), the precision and the batch:
the server can form it from what it has, without the exported variant the engine was compiled from.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from engine.errors import ArtifactError
from engine.runtime.artifact import Artifact, open_artifact
from engine.runtime.engines import EngineKey, EngineRefused, EngineStore
from trt_builders import networks
from trt_builders.export import Traced, trace, write
from trt_builders.flavours import WORKSPACE, Flavour, Target, progress_bar
from trt_builders.profiles import PRECISIONS, artifact_name

LOCK_SECONDS = 3600.0
"""How long to wait for another process that builds the same engine."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """One engine to build.

    Args:
        network: in ``networks.NETWORKS``.
        batch: rows.
        precision: ``fp32``, ``fp16`` or ``bf16``.
    """

    network: str
    batch: int
    precision: str

    @property
    def artifact(self) -> str:
        """Name of the ONNX file it is compiled from."""
        return artifact_name(self.network, self.batch, self.precision)


@dataclass(frozen=True, slots=True)
class Built:
    """What became of a job for a target.

    Args:
        job: which.
        target: for what.
        path: the plan in the store.
        size: bytes.
        seconds: parsing and building; 0 when it was there already.
        layers: of the network as parsed; 0 when it was there already.
    """

    job: Job
    target: Target
    path: Path
    size: int
    seconds: float
    layers: int


def jobs(names: Sequence[str], batches: Sequence[int], precisions: Sequence[str]) -> list[Job]:
    """Every combination that exists; a network without a low form is built in FP32 instead.

    Raises:
        ArtifactError: unknown network or precision, impossible batch.
    """
    found: dict[Job, None] = {}
    for name, batch, precision in product(names, batches, precisions):
        if precision not in PRECISIONS:
            raise ArtifactError(
                f"no precision '{precision}'; fp32, fp16 or bf16 (why no INT8 or FP8: "
                "docs/tensorrt.md)"
            )
        if batch < 1:
            raise ArtifactError(f"batch is {batch}; at least 1")
        possible = networks.network(name).precisions
        found[Job(name, batch, precision if precision in possible else "fp32")] = None
    return list(found)


class Graphs:
    """ONNX files of jobs: from a folder that ``export`` filled, the shipped ones, or made now.

    Args:
        folder: of exported files; None: export what is needed (needs torch).
        scratch: where to export to.
    """

    def __init__(self, folder: Path | None, scratch: Path) -> None:
        self._folder = folder
        self._scratch = scratch
        self._traced: Traced | None = None

    def artifact(self, job: Job) -> Artifact:
        """The checked ONNX file of a job.

        Raises:
            ArtifactError: it is not in the folder, or cannot be made.
        """
        if self._folder is not None:
            return open_artifact(self._folder / f"{job.artifact}.onnx")
        if networks.network(job.network).shipped and job.artifact == job.network:
            return open_artifact(job.network)
        traced = self._traced
        if traced is None or (traced.name, traced.batch) != (job.network, job.batch):
            traced = self._traced = trace(job.network, job.batch, shipped=True)
        return open_artifact(write(traced, job.precision, self._scratch))


def key_of(job: Job, graph: Artifact, flavour: Flavour, target: Target) -> EngineKey:
    """The store's key of an engine compiled from ``graph``."""
    return EngineKey(
        network=job.network,
        onnx_sha256=str(graph.config.get("made_from", graph.sha256)),
        flavour=flavour.name,
        version=flavour.version,
        gpu=target.gpu,
        capability=target.capability,
        driver=target.driver,
        precision=job.precision,
        batch=job.batch,
    )


def build(
    work: Sequence[Job],
    flavour: Flavour,
    store: EngineStore,
    *,
    onnx: Path | None = None,
    force: bool = False,
    workspace: int = WORKSPACE,
    say: Say = lambda line: None,
) -> Iterator[Built]:
    """Build engines, one after the other; what is in the store already is kept.

    Args:
        work: what to build.
        flavour: with what, for which targets.
        store: where to.
        onnx: folder of exported ONNX files; None: export them now.
        force: build again what is there already.
        workspace: bytes a layer may use.
        say: told a line when something takes a while.

    Raises:
        ArtifactError: an export, a parse or a build failed, or the store cannot be written.
    """
    ordered = sorted(work, key=lambda job: (list(networks.NETWORKS).index(job.network), job.batch))
    with tempfile.TemporaryDirectory(prefix="vivace-onnx-") as scratch:
        graphs = Graphs(onnx, Path(scratch))
        for job in ordered:
            say(f"{job.artifact}: reading or exporting")
            graph = graphs.artifact(job)
            for target in flavour.targets:
                yield _one(job, graph, flavour, target, store, force, workspace)


def _one(
    job: Job,
    graph: Artifact,
    flavour: Flavour,
    target: Target,
    store: EngineStore,
    force: bool,
    workspace: int,
) -> Built:
    key = key_of(job, graph, flavour, target)
    with store.lock(key, LOCK_SECONDS):
        if not force:
            with suppress(EngineRefused):  # missing, stale or damaged: that is what we are for
                path = store.find(key)
                return Built(job, target, path, path.stat().st_size, 0.0, 0)
        cache = _timing_cache(store, flavour, target)
        title = f"{job.artifact} for {target.capability}"
        with progress_bar(title, sys.stderr.isatty()) as progress:
            compiled = flavour.compile(
                graph.path,
                [target],
                timing_cache=cache.read_bytes() if cache.is_file() else b"",
                workspace=workspace,
                progress=progress,
            )
        facts = {
            "seconds": round(compiled.seconds, 2),
            "layers": compiled.layers,
            "graph": graph.name,
            "graph_sha256": graph.sha256,
            "workspace": workspace,
            "built": time.strftime("%Y-%m-%d", time.gmtime()),
        }
        path = store.put(key, compiled.plan, facts)
        if compiled.timing_cache:
            _replace(cache, compiled.timing_cache)
    return Built(job, target, path, len(compiled.plan), compiled.seconds, compiled.layers)


def _timing_cache(store: EngineStore, flavour: Flavour, target: Target) -> Path:
    """Kernel timings are of one GPU model and one TensorRT."""
    gpu = "".join(c if c.isalnum() else "-" for c in target.gpu)
    return store.folder / f"timing-{gpu}-{target.driver}-{flavour.version}.cache"


def _replace(path: Path, content: bytes) -> None:
    """Write a cache whole. Two builders at once: the later one's timings stay, which is enough."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_bytes(content)
    partial.replace(path)
