"""Every network on every backend, batch size and precision: time, and error against FP32 torch."""

from __future__ import annotations

import importlib.util
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.config import RuntimeConfig
from engine.runtime import cuda, gpu
from engine.runtime.artifact import open_artifact
from engine.runtime.base import Array
from engine.runtime.blocks import spec_bytes
from engine.runtime.load import GPU_KINDS, load_network
from engine.runtime.lowering import traced
from engine.runtime.pytorchrows import TorchRows
from engine.runtime.rows import HostRows, Row, RowNetwork
from engine.runtime.tensorrt import MODULES
from trt_builders import networks
from trt_builders.export import trace, write
from trt_builders.modules import make

RENDER = "render_512"
MOTION = ("cmdt_k1", "cmdt_k2", "cmdt_k4")
_CONFIG = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure."""

    network: str
    backend: str
    precision: str
    batch: int

    def __str__(self) -> str:
        return f"{self.network} {self.backend} {self.precision} x{self.batch}"


@dataclass(frozen=True, slots=True)
class Timing:
    """What a case gave. Times in milliseconds of a whole call, main memory to main memory."""

    case: Case
    name: str
    median_ms: float
    p95_ms: float
    runs: int
    errors: Mapping[str, float]
    """Relative error by output: norm of the difference over norm of FP32 torch's."""
    ready_s: float

    @property
    def row_ms(self) -> float:
        """Per row."""
        return self.median_ms / self.case.batch


class Networks:
    """Opens cases; keeps what is dear to make."""

    def __init__(self, device: str, scratch: Path) -> None:
        self.device = device
        self._scratch = scratch
        self._programs: dict[tuple[str, int], torch.export.ExportedProgram] = {}
        self._references: dict[tuple[str, int], dict[str, Array]] = {}
        self._sources = {}
        for name in (*MOTION, RENDER):
            self._sources[name] = networks.load(name, shipped=True)

    def example(self, network: str, seed: int) -> dict[str, Array]:
        """Inputs of one row."""
        return self._sources[network].example(seed)

    def reference(self, network: str, seed: int) -> dict[str, Array]:
        """What FP32 torch computes on the CPU for ``example``."""
        if (network, seed) not in self._references:
            source = self._sources[network]
            feeds = self.example(network, seed)
            with torch.no_grad():
                result = source.module(*(torch.from_numpy(feeds[k]) for k in source.inputs))
            values = (result,) if isinstance(result, torch.Tensor) else result
            made = {n: v.numpy() for n, v in zip(source.outputs, values, strict=True)}
            self._references[network, seed] = made
        return self._references[network, seed]

    def open(self, case: Case) -> RowNetwork:
        """Make the row network of a case.

        Raises:
            EngineError, ImportError, RuntimeError: it cannot be had here; the message says why.
        """
        source = self._sources[case.network]
        if case.backend in ("torch", "compiled"):
            program, wanted = self._traced(case.network, case.batch)
            return TorchRows(
                program, source.inputs, source.outputs, case.batch, self.device, case.precision,
                compiled=case.backend == "compiled", wanted=wanted, network=case.network,
            )  # fmt: skip
        # Engines are built ahead (gpu_engines): compiling one is no part of measuring it.
        config = RuntimeConfig(backend=case.backend, precision=_CONFIG[case.precision], build=False)
        if case.backend in ("tensorrt", "rtx"):
            artifact = open_artifact(case.network)
            return gpu.open_engines(case.backend, artifact, config, (case.batch,))[case.batch]
        if case.batch == 1:
            return HostRows(load_network(case.network, config))
        path = self._scratch / f"{case.network}_b{case.batch}_fp32.onnx"
        if not path.is_file():
            write(trace(case.network, case.batch, shipped=True), "fp32", self._scratch)
        backend = load_network(path, config)
        return HostRows(backend, case.batch, source.inputs, source.outputs)

    def _traced(
        self, network: str, batch: int
    ) -> tuple[torch.export.ExportedProgram, Callable[[str], bool]]:
        """Tracing takes seconds: once for all precisions."""
        module, wanted = make(network, batch)
        if (network, batch) not in self._programs:
            rows = [self.example(network, seed) for seed in range(batch)]
            joined = tuple(
                torch.from_numpy(np.concatenate([row[name] for row in rows])) for name in rows[0]
            )
            self._programs[network, batch] = traced(module, joined)
        return self._programs[network, batch], wanted


def cases(device: str, batches: Sequence[int]) -> Iterator[Case]:
    """What there is to measure, the most telling first: what a server runs, at all batch sizes."""
    if device == "cuda":
        kinds = [(b, "fp16") for b in ("torch", "tensorrt", "rtx")]
        kinds += [("torch", "fp32"), ("compiled", "fp16"), ("onnxruntime", "fp32")]
        kinds += [(b, "bf16") for b in ("torch", "tensorrt", "rtx")]
    else:
        kinds = [("openvino", "bf16"), ("openvino", "fp32"), ("onnxruntime", "fp32")]
        kinds += [("torch", "fp32"), ("torch", "bf16")]
    for group in (("cmdt_k2", RENDER), ("cmdt_k1", "cmdt_k4")):
        for (backend, precision), batch in itertools.product(kinds, batches):
            for network in group:
                if backend == "onnxruntime" and batch > 1:
                    continue  # the reference of the field; batches add nothing on a CPU
                if backend == "compiled" and batch not in (1, 8):
                    continue  # a minute of compiling each
                yield Case(network, backend, precision, batch)


def settings(case: Case) -> list[str]:
    """The server's settings that come closest to a case."""
    backend = "torch" if case.backend == "compiled" else case.backend
    lines = [f"runtime.backend={backend}", f"runtime.precision={_CONFIG[case.precision]}"]
    # Smaller batches than it may take: the server has to start within the benchmark's time.
    return [*lines, "runtime.build=false", *(["runtime.batch=4"] if backend in GPU_KINDS else [])]


def impossible(case: Case, device: str) -> str:
    """Why a case cannot be had here, known without trying; empty if it may be."""
    needs = {"openvino": "openvino", "onnxruntime": "onnxruntime"}.get(case.backend)
    if needs and importlib.util.find_spec(needs) is None:
        return f"{needs} is not installed"
    modules = MODULES.get(case.backend, ()) if device == "cuda" else ()
    if modules and not any(importlib.util.find_spec(name) for name in modules):
        return f"{case.backend} is not installed"
    return ""


def measure(nets: Networks, case: Case, seconds: float) -> Timing:
    """Open, check and time a case for about ``seconds``.

    Raises:
        EngineError, ImportError, RuntimeError: as ``Networks.open``.
    """
    began = time.perf_counter()
    rows = nets.open(case)
    ready = time.perf_counter() - began
    try:
        work = [
            as_row(rows, case.network, nets.example(case.network, s)) for s in range(case.batch)
        ]
        results = rows.run_rows(work)
        errors = {
            name: max(
                relative(result[name], nets.reference(case.network, seed)[name])
                for seed, result in enumerate(results)
            )
            for name in rows.outputs
        }
        times = timed(lambda: rows.run_rows(work), seconds)
    finally:
        rows.close()
    median, p95 = np.percentile(times, [50, 95])
    return Timing(
        case, rows.name, round(float(median), 4), round(float(p95), 4), len(times),
        {k: float(f"{v:.3g}") for k, v in errors.items()}, round(ready, 2),
    )  # fmt: skip


def as_row(rows: RowNetwork, network: str, inputs: Mapping[str, Array]) -> Row:
    """A row as a session would send it: the avatar placed, the rest fed."""
    if network != RENDER:
        return Row(dict(inputs), {})
    constants = {k: rows.place(k, v) for k, v in inputs.items() if k != "motion"}
    return Row({"motion": inputs["motion"]}, constants)


def session_bytes(nets: Networks) -> int:
    """Bytes of one session's constants."""
    return sum(spec_bytes(s) for k, s in nets._sources[RENDER].inputs.items() if k != "motion")


def relative(found: Array, wanted: Array) -> float:
    """Norm of the difference over the norm of what is wanted."""
    difference = found.astype(np.float64) - wanted.astype(np.float64)
    return float(np.linalg.norm(difference) / max(np.linalg.norm(wanted.astype(np.float64)), 1e-9))


def timed(work: Callable[[], Any], seconds: float, least: int = 5, most: int = 2000) -> list[float]:
    """Milliseconds of each call, after three to warm up."""
    for _ in range(3):
        work()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or (time.perf_counter() < end and len(times) < most):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1000)
    return times


@dataclass(frozen=True, slots=True)
class Floor:
    """The least a network could take.

    Args:
        network: its name.
        batch: rows.
        gflop: operations of one call, counted by torch.
        mbytes: weights once, inputs and outputs of every row: what must be moved at least.
        flop_ms: operations over the measured peak of a matrix product.
        byte_ms: bytes over the measured bandwidth of a copy.
        measured_ms: the best backend's median, main memory to main memory.
        best: which that was.
    """

    network: str
    batch: int
    gflop: float
    mbytes: float
    flop_ms: float
    byte_ms: float
    measured_ms: float
    best: str


def peaks(device: str, seconds: float) -> dict[str, float]:
    """Measured bandwidth of a copy (GB/s, read and written) and peak of products (TFLOP/s)."""
    on_gpu = device == "cuda"
    size = 1 << (30 if on_gpu else 26)
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    times = timed(_synchronised(lambda: target.copy_(source), device), seconds)
    found = {"copy_gbytes_per_s": 2 * size / float(np.median(times)) / 1e6}
    side = 8192 if on_gpu else 1024
    for name, dtype in (("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)):
        if not on_gpu and name == "fp16":
            continue
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        times = timed(_synchronised(lambda a=a, b=b: a @ b, device), seconds)
        found[f"matmul_{name}_tflop_per_s"] = 2 * side**3 / float(np.median(times)) / 1e9
    return {k: round(v, 3) for k, v in found.items()}


def floors(nets: Networks, timings: Sequence[Timing], peak: Mapping[str, float]) -> list[Floor]:
    """Floors beside the best measurement of each network and batch."""
    from torch.utils.flop_counter import FlopCounterMode

    best: dict[tuple[str, int], Timing] = {}
    for timing in timings:
        key = (timing.case.network, timing.case.batch)
        if key not in best or timing.median_ms < best[key].median_ms:
            best[key] = timing
    counted = {}
    for network in {key[0] for key in best}:
        source = nets._sources[network]
        feeds = [torch.from_numpy(v) for v in nets.example(network, 0).values()]
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            source.module(*feeds)
        weights = sum(t.numel() * t.element_size() for t in source.module.state_dict().values())
        moved = sum(spec_bytes(s) for s in (*source.inputs.values(), *source.outputs.values()))
        counted[network] = counter.get_total_flops(), weights, moved
    result = []
    for (network, batch), timing in sorted(best.items()):
        flop, weights, moved = counted[network]
        rate = peak.get(f"matmul_{timing.case.precision}_tflop_per_s") or max(
            v for k, v in peak.items() if k.startswith("matmul")
        )
        size = weights + batch * moved
        result.append(
            Floor(
                network, batch, round(batch * flop / 1e9, 3), round(size / 1e6, 3),
                round(batch * flop / rate / 1e9, 4),
                round(size / peak["copy_gbytes_per_s"] / 1e6, 4),
                timing.median_ms, f"{timing.case.backend} {timing.case.precision}",
            )
        )  # fmt: skip
    return result


def _synchronised(work: Callable[[], Any], device: str) -> Callable[[], Any]:
    if device != "cuda":
        return work

    def both() -> None:
        work()
        torch.cuda.synchronize()

    return both


def device_line(device: str) -> str:
    """What was measured on."""
    found = cuda.probe()
    if device == "cuda" and found is not None:
        return f"{found}, torch {torch.__version__}"
    return f"CPU, torch {torch.__version__}, {torch.get_num_threads()} threads"


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """For exported graphs."""
    return tempfile.TemporaryDirectory(prefix="vivace-gpu-")
