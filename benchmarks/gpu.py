"""The GPU in one command: engines, networks, sessions with and without WebRTC, latency, memory,
floors.

    python -m benchmarks gpu --out DIR                     an NVIDIA machine, at most 8 minutes
    python -m benchmarks gpu --out DIR --device cpu --quick   the same code as a dry run

Runs from a copy of the repository. Needs Python 3.11, torch, numpy, onnx, onnxscript, onnxruntime,
opencv and Pillow; matplotlib for the plots and tqdm for the progress bar if they are there. What
else is missing (OpenVINO, TensorRT, PyAV, aiortc) costs its own lines of the result, each with the
reason. Where TensorRT or TensorRT-RTX is installed, engines that are missing are built first
(``--no-build``: not). Sections share a time budget; what does not fit is left out and listed.
"""

from __future__ import annotations

import importlib.util
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import gpu_engines
from benchmarks.gpu_networks import (
    RENDER,
    Case,
    Networks,
    Timing,
    as_row,
    cases,
    device_line,
    floors,
    impossible,
    measure,
    peaks,
    scratch_folder,
    session_bytes,
    settings,
    timed,
)
from benchmarks.gpu_report import Report, plot, to_json, to_markdown
from benchmarks.gpu_sessions import Load, Point, knee
from benchmarks.gpu_webrtc import LIMIT, WebPoint, search
from benchmarks.report import commit, machine
from benchmarks.server import Unreachable
from engine.errors import EngineError
from engine.render.avatar import Avatar
from engine.runtime.engines import EngineStore

_REFUSED = (EngineError, ImportError, RuntimeError, OSError, ValueError)
"""What a backend that cannot be used here may raise."""
_SHARE = {
    "engines": 0.3,
    "networks": 0.55,
    "sessions": 0.72,
    "webrtc": 0.93,
    "stack": 0.97,
    "floors": 1.0,
}
"""Share of the budget that is spent when a section has to be over."""


class Budget:
    """Time, and what there was none for."""

    def __init__(self, seconds: float) -> None:
        self._begin = time.monotonic()
        self._seconds = seconds
        self.skipped: list[str] = []

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._begin

    def left(self, section: str) -> float:
        """Seconds until the section has to be over."""
        return self._seconds * _SHARE[section] - self.spent

    def skip(self, what: str, reason: str) -> None:
        """Note what was not measured."""
        self.skipped.append(f"{what}: {reason}")
        sys.stderr.write(f"  skipped {what}: {reason}\n")


def run(
    out: Path, device: str, quick: bool, command: str, budget_s: float = 0.0, *, build: bool = True
) -> Report:
    """Measure everything and write ``gpu_DEVICE.{json,md,png}`` into ``out``.

    Args:
        out: folder.
        device: ``cuda`` or ``cpu``.
        quick: less of everything.
        command: as typed, for the record.
        budget_s: seconds; 0: 450, or 150 when quick.
        build: build engines that are missing.
    """
    # torch's exporter warns of its own internals on every call.
    warnings.simplefilter("ignore", FutureWarning)
    budget = Budget(budget_s or (150.0 if quick else 450.0))
    out.mkdir(parents=True, exist_ok=True)
    date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    report = Report(command, date, commit(), device_line(device), machine())
    with scratch_folder() as scratch:
        nets = Networks(device, Path(scratch))
        _engines(report, Path(scratch), budget, device, quick, build)
        _networks(report, nets, budget, quick)
        _sessions(report, nets, budget, quick)
        _webrtc(report, budget, device, quick)
        _stack(report, nets, budget)
        _floors(report, nets, budget, quick)
    report.skipped = budget.skipped
    report.seconds = round(budget.spent, 1)
    stem = out / f"gpu_{device}"
    stem.with_suffix(".json").write_text(to_json(report))
    stem.with_suffix(".md").write_text(to_markdown(report))
    try:
        plot(report, stem.with_suffix(".png"))
    except ImportError as error:
        sys.stderr.write(f"no plot: {error}\n")
    return report


def _engines(
    report: Report, scratch: Path, budget: Budget, device: str, quick: bool, build: bool
) -> None:
    """Engines that are missing, where the server looks for them; a dry run's are thrown away."""
    if not build:
        budget.skip("building engines", "switched off")
        return
    store = EngineStore(scratch / "engines" if device == "cpu" else None)
    for name, flavour in gpu_engines.flavours(device):
        if isinstance(flavour, str):
            budget.skip(f"{name} engines", flavour)
            continue
        work = gpu_engines.wanted(device, quick)
        if gpu_engines.foreign(flavour):
            work = work[:1] if device == "cuda" else work
        lines = gpu_engines.build(work, flavour, store, lambda: budget.left("engines"), budget.skip)
        report.engines += lines
        if lines:
            first = next(job for job in work if job.network == lines[0].network)
            where = f"{first.artifact} for {lines[0].capability}, opened here"
            report.answers[f"{lines[0].flavour}: {where}"] = gpu_engines.answer(
                flavour, first, store
            )


def _bar(items: Iterable[Case], total: int) -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    return tqdm(items, total=total, unit="case", desc="networks")


def _networks(report: Report, nets: Networks, budget: Budget, quick: bool) -> None:
    # More rows gain nothing on a CPU: the dry run shows two, and that they are right.
    sizes = (1, 2) if quick or nets.device == "cpu" else (1, 2, 4, 8, 16)
    todo = list(cases(nets.device, sizes))
    dead: dict[tuple[str, str], str] = {}  # backends that failed as a whole
    for case in _bar(todo, len(todo)):
        reason = impossible(case, nets.device) or dead.get((case.backend, case.precision), "")
        # The dearest thing is making a case ready, not measuring it.
        if not reason and budget.left("networks") < (8 if nets.device == "cpu" else 15):
            reason = "no time left for it"
        if reason:
            budget.skip(str(case), reason)
            continue
        try:
            report.timings.append(measure(nets, case, 0.4 if quick else 0.8))
        except _REFUSED as error:
            line = _line(error)
            budget.skip(str(case), line)
            if isinstance(error, ImportError) or "no NVIDIA" in line or "not installed" in line:
                dead[case.backend, case.precision] = line


def _line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200] if text else ''}"


def _best(report: Report, network: str) -> Timing | None:
    """The backend and precision with the least time per row at any batch, good enough to serve."""
    good = [t for t in report.timings
            if t.case.network == network and all(e <= 0.05 for e in t.errors.values())]  # fmt: skip
    return min(good, key=lambda t: t.row_ms, default=None)


def _sessions(report: Report, nets: Networks, budget: Budget, quick: bool) -> None:
    """Find the knee with the best backend: with batches and, for comparison, without."""
    motion, render = _best(report, "cmdt_k2"), _best(report, RENDER)
    if motion is None or render is None:
        budget.skip("sessions", "no backend runs both networks")
        return
    example = nets.example(RENDER, 0)
    avatar = Avatar.from_arrays({k: v for k, v in example.items() if k != "motion"})
    measured = {t.case.batch for t in report.timings
                if (t.case.network, t.case.backend, t.case.precision)
                == (RENDER, render.case.backend, render.case.precision)}  # fmt: skip
    seconds = 3.0 if quick else 5.0
    for title, sizes in (("batches", sorted(measured)), ("one at a time", [1])):
        try:
            networks = {
                lane: {b: nets.open(Case(t.case.network, t.case.backend, t.case.precision, b))
                       for b in sizes}
                for lane, t in (("motion", motion), ("render", render))
            }  # fmt: skip
        except _REFUSED as error:
            budget.skip(f"sessions, {title}", _line(error))
            continue
        load = Load(networks, avatar)
        share = "sessions" if title == "one at a time" else "networks"
        until = budget.left("sessions") * (0.6 if share == "networks" else 1.0)
        end = time.monotonic() + until

        def measure_point(number: int, load: Load = load) -> Point:
            point = load.point(number, seconds)
            sys.stderr.write(f"  {number} sessions: {point.on_time:.1%} on time\n")
            return point

        points, good = knee(measure_point, lambda end=end: time.monotonic() < end - seconds - 3)
        load.close()
        name = f"{render.name.split(' x')[0]}, {title} of {','.join(map(str, sizes))}"
        report.points[name], report.capacity[name] = points, good
        if not points:
            budget.skip(f"sessions, {title}", "no time left for it")


def _webrtc(report: Report, budget: Budget, device: str, quick: bool) -> None:
    """The knee once more with the real server and real peers, on the best backend."""
    what = "sessions with WebRTC"
    missing = [name for name in ("aiohttp", "aiortc", "av") if not importlib.util.find_spec(name)]
    best = _best(report, RENDER)
    if missing or best is None:
        why = f"not installed: {', '.join(missing)}" if missing else "no backend runs the renderer"
        budget.skip(what, why)
        return
    points: list[WebPoint] = []
    try:
        points, good = search(
            settings(best.case),
            3.0 if quick else 5.0,
            lambda: budget.left("webrtc"),
            2 if device == "cpu" else LIMIT,
        )
    except Unreachable as error:
        budget.skip(what, str(error))
        return
    if not points:
        budget.skip(what, "no time left for it")
        return
    report.web_points, report.web_capacity = points, good
    report.web_settings = settings(best.case)


def _stack(report: Report, nets: Networks, budget: Budget) -> None:
    """What one frame of one session takes, step by step, and what a session keeps."""
    for label, network in (("motion call (2 frames)", "cmdt_k2"), ("picture", RENDER)):
        alone = [t for t in report.timings if (t.case.network, t.case.batch) == (network, 1)]
        if alone:
            fastest = min(alone, key=lambda t: t.median_ms)
            report.stack_ms[f"{label}, {fastest.case.backend} {fastest.case.precision}"] = (
                fastest.median_ms
            )
    picture = nets.reference(RENDER, 0)["image"][0]
    report.stack_ms["copy of one RGB picture in main memory"] = _median(picture.copy)
    if nets.device == "cuda":
        _device_memory(report, nets, picture)
    try:
        import cv2

        planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
        report.stack_ms["RGB to I420, OpenCV"] = _median(
            lambda: cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
        )
        report.stack_ms |= _encoders(planes)
    except ImportError as error:
        budget.skip("I420 and encoding", _line(error))
    report.memory_mb["constants of one session"] = round(session_bytes(nets) / 1e6, 2)


def _device_memory(report: Report, nets: Networks, picture: np.ndarray[Any, Any]) -> None:
    """On a GPU: the copy of a picture, and what placing a session's constants takes."""
    import torch

    on_gpu = torch.from_numpy(picture).cuda()
    pinned = torch.empty(on_gpu.shape, dtype=torch.uint8, pin_memory=True)

    def copy() -> None:
        pinned.copy_(on_gpu, non_blocking=True)
        torch.cuda.synchronize()

    report.stack_ms["copy of one RGB picture from the GPU"] = _median(copy)
    rows = nets.open(Case(RENDER, "torch", "fp16", 1))
    before = torch.cuda.memory_allocated()
    kept = [as_row(rows, RENDER, nets.example(RENDER, 0)) for _ in range(8)]
    report.memory_mb["one session on the GPU"] = round(
        (torch.cuda.memory_allocated() - before) / len(kept) / 1e6, 2
    )
    report.memory_mb["GPU in use at the end"] = round(torch.cuda.memory_allocated() / 1e6, 1)
    rows.close()


def _encoders(planes: np.ndarray[Any, Any]) -> dict[str, float]:
    """Milliseconds to encode an I420 picture with each encoder that opens here."""
    import av

    from engine.transport import encoder

    found = {}
    openers = {"VP8": encoder.open_vp8, "H.264 x264": encoder.open_h264}
    if encoder.nvenc_refusal() == "":
        openers["H.264 NVENC"] = encoder.open_nvenc
    for name, open_codec in openers.items():
        codec = open_codec(512, 512, 1_000_000)
        number = iter(range(100_000))

        def encode(codec: Any = codec, number: Any = number) -> None:
            frame = av.VideoFrame.from_numpy_buffer(planes, "yuv420p")
            frame.pts = next(number)
            codec.encode(frame)

        found[f"encode, {name}"] = _median(encode)
    return found


def _median(work: Any) -> float:
    return round(float(np.median(timed(work, 0.3, most=200))), 4)


def _floors(report: Report, nets: Networks, budget: Budget, quick: bool) -> None:
    report.peaks = peaks(nets.device, 0.3 if quick else 1.0)
    report.floors = floors(nets, report.timings, report.peaks)
