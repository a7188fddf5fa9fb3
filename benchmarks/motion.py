"""Cost of the motion network per second of motion, for every number of denoising steps.

Speech goes through the feature and motion stages of one session at the engine's default hop and
look-ahead, on one inference thread. ``motion_cpu_ms_per_s`` is CPU time of this process (all its
threads) per second of motion, features and voice detector excluded; ``call_p50_ms`` is the wall
time of one hop. Operations are counted from the ONNX graph, not measured. Figures without ``_k``
are the default's.
"""

from __future__ import annotations

import time
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import shape_inference
from tqdm import tqdm

from benchmarks.report import Result, percentiles
from benchmarks.stages import SAMPLE
from engine.audio.features import Features
from engine.audio.framer import Framer
from engine.audio.vad import SileroVad
from engine.config import MotionConfig, RuntimeConfig
from engine.media import FPS, FeatureFrame
from engine.motion.window import MotionWindow
from engine.runtime.artifact import WEIGHTS
from engine.runtime.load import load_network
from engine.stage import chain
from engine.stage import run as run_stage
from engine.transport.files import read_audio

STEPS = (1, 2, 4)
_WARM_UP = 2 * FPS
_ROUNDS = 4
"""The steps take turns this many times, so that a busy minute of the machine hits all alike."""


def run(quick: bool, command: str) -> Result:
    """Measure 4 x 15 s of media per number of steps (4 x 3 s when quick)."""
    runtime = RuntimeConfig(threads=1)
    heard = _features((3 if quick else 15) * FPS + _WARM_UP, runtime)
    steps = [k for k in STEPS if (WEIGHTS / f"cmdt_k{k}.onnx").is_file()]
    backends = {k: load_network(f"cmdt_k{k}", runtime) for k in steps}
    calls: dict[int, list[float]] = {k: [] for k in steps}
    cpu: dict[int, list[float]] = {k: [] for k in steps}
    turns = [k for _ in range(_ROUNDS) for k in steps]
    for k in tqdm(turns, unit="turn", desc="motion"):
        window = MotionWindow(backends[k].fork(), MotionConfig(steps=k))
        spent, times = _measure(window, heard)
        cpu[k].append(spent)
        calls[k] += times
    default = MotionConfig()
    figures = _figures(default, calls, cpu)
    settings: dict[str, Any] = {
        "hop": default.hop, "lookahead": default.lookahead, "steps": default.steps,
        "threads": runtime.threads, "backend": backends[steps[0]].name,
    }  # fmt: skip
    samples = {f"call_k{k}_ms": calls[k] for k in steps}
    notes = [
        "1 GFLOP = 10^9 multiplications and additions of MatMul, Gemm, Conv; CPU time: median turn"
    ]
    return Result("motion", command, settings, samples, figures, notes)


def _features(count: int, runtime: RuntimeConfig) -> list[FeatureFrame]:
    """Features of the sample's speech, repeated to ``count`` frames."""
    sound = read_audio(SAMPLE)
    vad = SileroVad(load_network("silero_vad", runtime))
    heard = list(run_stage(chain(Framer(sound.rate), Features(vad)), [sound]))
    rows = [heard[i % len(heard)] for i in range(count)]
    return [FeatureFrame(f.values, f.speech, i) for i, f in enumerate(rows)]


def _measure(window: MotionWindow, heard: list[FeatureFrame]) -> tuple[float, list[float]]:
    """CPU milliseconds per second of motion, and wall milliseconds of every call."""
    for frame in heard[:_WARM_UP]:
        list(window.push(frame))
    times = []
    begin = time.process_time()
    for frame in heard[_WARM_UP:]:
        start = time.perf_counter()
        made = list(window.push(frame))
        if made:
            times.append((time.perf_counter() - start) * 1000)
    spent = (time.process_time() - begin) * 1000
    return spent / ((len(heard) - _WARM_UP) / FPS), times


def _figures(
    default: MotionConfig, calls: dict[int, list[float]], cpu: dict[int, list[float]]
) -> dict[str, float]:
    figures: dict[str, float] = {}
    for k, times in calls.items():
        flop = count_flop(WEIGHTS / f"cmdt_k{k}.onnx")
        figures[f"motion_gflop_per_s_k{k}"] = round(flop / 1e9 * FPS / default.hop, 3)
        figures[f"motion_cpu_ms_per_s_k{k}"] = round(float(np.median(cpu[k])), 2)
        figures |= percentiles(f"call_k{k}", times)
    for name in ("motion_gflop_per_s", "motion_cpu_ms_per_s"):
        figures[name] = figures[f"{name}_k{default.steps}"]
    return figures | percentiles("call", calls[default.steps])


def count_flop(path: Path) -> int:
    """Multiplications and additions of MatMul, Gemm and Conv in a network of fixed shapes.

    Raises:
        ValueError: the shape of one of them is not known.
    """
    graph = shape_inference.infer_shapes(onnx.load(path), strict_mode=True, data_prop=True).graph
    shapes = {item.name: tuple(item.dims) for item in graph.initializer}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(d.dim_value for d in dims)
    return sum(_node_flop(node, shapes) for node in graph.node)


def _node_flop(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    if node.op_type not in ("MatMul", "Gemm", "Conv"):
        return 0
    first, second = shapes.get(node.input[0], ()), shapes.get(node.input[1], ())
    out = shapes.get(node.output[0], ())
    if not first or not second or not out or not all((*first, *second, *out)):
        raise ValueError(f"{node.op_type} {node.name}: shapes {first}, {second} -> {out}")
    if node.op_type == "MatMul":
        return 2 * prod(out) * first[-1]
    if node.op_type == "Gemm":
        across = next((a.i for a in node.attribute if a.name == "transA"), 0)
        return 2 * prod(out) * first[0 if across else 1]
    return 2 * prod(out) * prod(second[1:])  # weights [out, in / groups, kernel...]
