"""Speed of the renderer: runtimes, threads and sessions side by side, and where the time goes.

Motion is what the engine makes of real speech. Ways take turns, so that a busy moment of the
machine hits all alike, in two manners: *flat out*, one picture after the other, and *paced*, 25
pictures a second as in a session, with caches as cold and the CPU as slow as they are live.
``render_*_ms`` is paced, with two threads and what is the default without a GPU (OpenVINO, f32);
``avx2`` is the same in a process whose runtimes see a CPU without AVX-512 and bf16. Milliseconds
are from motion to a picture of bytes in main memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.render_parts import profile, timed
from benchmarks.render_ways import (
    ISA,
    NETWORK,
    Elsewhere,
    Here,
    Way,
    moving,
    openvino,
    torch_way,
)
from benchmarks.report import Result, machine, percentiles
from benchmarks.stages import SAMPLE
from engine.app import default_portrait
from engine.config import EngineConfig, RuntimeConfig
from engine.face.analysis import FaceAnalyser
from engine.face.portrait import prepare_portrait
from engine.media import FPS, Float32
from engine.pipeline import load_networks, make_stages
from engine.render.avatar import Avatar
from engine.runtime import cuda
from engine.runtime.artifact import WEIGHTS
from engine.runtime.load import GPU_KINDS, load_network
from engine.stage import chain
from engine.stage import run as run_stage
from engine.transport.files import read_audio

TARGETS = {"render_p50_ms": 15.0, "render_avx2_p50_ms": 32.0}
"""What was promised, on two cores."""
_THREADS = (1, 2)
_PACED = {"render": "openvino_f32_t2", "render_one_thread": "openvino_f32_t1",
          "render_two_sessions": "two_sessions_t1", "render_avx2": "avx2_t2"}  # fmt: skip
"""Figures of ways that draw at 25 fps too."""


def run(quick: bool, command: str) -> Result:
    """Measure about three minutes (half a minute when quick)."""
    rounds, flat, paced, profiled = (2, 12, 12, 15) if quick else (5, 40, 75, 25)
    motion, avatar = _speech()
    with _ways(avatar) as (ways, laptop):
        profiles = _profiles(avatar, laptop)
        for way in ways:
            way.draw(moving(motion, 0, 5), 0.0)  # memory is touched for the first time
        samples: dict[str, list[float]] = {f"flat_{way.name}_ms": [] for way in ways}
        paces = {name: way for name, pick in _PACED.items() for way in ways if way.name == pick}
        samples |= {f"{name}_ms": [] for name in paces}
        parts: dict[str, dict[str, list[float]]] = {name: {} for name in profiles}
        for turn in tqdm(range(rounds), unit="round", desc="render"):
            start = turn * paced
            for way in ways:
                samples[f"flat_{way.name}_ms"] += way.draw(moving(motion, start, flat), 0.0)
            for name, way in paces.items():
                samples[f"{name}_ms"] += way.draw(moving(motion, start, paced), 1 / FPS)
            for name, measure in profiles.items():
                for part, times in measure(moving(motion, start, profiled)).items():
                    parts[name].setdefault(part, []).extend(times)
    figures = _figures(samples, parts)
    broken = [
        f"{name} is {figures[name]:.1f}, promised at most {limit:g} on two cores"
        for name, limit in TARGETS.items()
        if figures.get(name, 0.0) > limit
    ]
    settings = {
        "network": NETWORK, "backends": {way.name: way.backend for way in ways},
        "paced": dict(_PACED), "rounds": rounds, "flat_frames": flat, "paced_frames": paced,
    }  # fmt: skip
    notes = [
        "t1, t2: threads of the network; two_sessions: two at once, one thread each",
        "flat: one picture after the other; others at 25 fps; part: medians of nodes' times, flat",
    ]
    return Result("render", command, settings, _rounded(samples), figures, notes, broken)


def _speech() -> tuple[Float32, Avatar]:
    """Motion [N,58] of the sample's speech, and the default avatar."""
    config = EngineConfig()
    avatar = Avatar.from_portrait(prepare_portrait(default_portrait(), FaceAnalyser()))
    networks = load_networks(config)
    stages = make_stages(config, networks, avatar)
    until_picture = [stage for name, stage in stages.items() if name not in ("render", "mark")]
    frames = run_stage(chain(*until_picture), [read_audio(SAMPLE)])
    motion = np.stack([frame.values for frame in frames])
    networks.close()
    return motion, avatar


@contextmanager
def _ways(avatar: Avatar) -> Iterator[tuple[list[Way], Elsewhere | None]]:
    """All ways that this machine has, and the process of the lesser CPU."""
    ways: list[Way] = [Here(f"openvino_f32_t{n}", openvino("f32", n), avatar) for n in _THREADS]
    features = machine()["features"]
    if {"avx512_bf16", "amx_bf16"} & set(features):
        ways += [Here(f"openvino_bf16_t{n}", openvino("bf16", n), avatar) for n in _THREADS]
    ways.append(Here("two_sessions_t1", openvino("f32", 1), avatar, sessions=2))
    for n in _THREADS:
        config = RuntimeConfig(backend="onnxruntime", threads=n)
        ways.append(Here(f"onnxruntime_t{n}", load_network(NETWORK, config), avatar))
    with_torch = torch_way(avatar, os.cpu_count() or 1)
    ways += [with_torch] if with_torch else []
    for kind in GPU_KINDS if cuda.probe() else ():
        ways.append(Here(kind, load_network(NETWORK, RuntimeConfig(backend=kind)), avatar))
    for path in sorted(WEIGHTS.glob("render_*.onnx")):
        if path.stem != NETWORK:
            ways.append(Here(f"{path.stem}_t2", openvino("f32", 2, path.stem), avatar))
    laptop = Elsewhere(avatar, _THREADS) if "avx2" in features else None
    try:
        yield (ways + list(laptop.ways) if laptop else ways), laptop
    finally:
        if laptop:
            laptop.close()


def _profiles(
    avatar: Avatar, laptop: Elsewhere | None
) -> dict[str, Callable[[Float32], dict[str, list[float]]]]:
    """Ways to measure parts, by name."""
    measures: dict[str, Callable[[Float32], dict[str, list[float]]]] = {
        f"{precision}_t{threads}": partial(profile, timed(avatar, precision, threads))
        for precision, threads in (("f32", 1), ("f32", 2), ("bf16", 1))
    }
    if laptop:
        measures["avx2_t1"] = laptop.parts
    return measures


def _figures(
    samples: Mapping[str, Sequence[float]], parts: Mapping[str, Mapping[str, Sequence[float]]]
) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, times in samples.items():
        figures |= percentiles(name.removesuffix("_ms"), times)
    for way, found in parts.items():
        for part, times in found.items():
            key = f"part_{way}_{part.replace(',', '').replace(' ', '_')}_ms"
            figures[key] = round(float(np.median(times)), 3)
    return figures


def _rounded(samples: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    return {name: [round(value, 3) for value in times] for name, times in samples.items()}


def plot(result: Result, path: Path) -> None:
    """Parts of a picture stacked, and the ways beside them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(14, 5.5))
    keys = [key for key in result.figures if key.startswith("part_")]
    ways = list(dict.fromkeys("_".join(key.split("_")[1:3]) for key in keys))
    bottom = dict.fromkeys(ways, 0.0)
    names = list(dict.fromkeys("_".join(key.split("_")[3:-1]) for key in keys))
    for index, name in enumerate(names):
        heights = [result.figures.get(f"part_{way}_{name}_ms", 0.0) for way in ways]
        colour = pyplot.get_cmap("tab20")(index)
        label = name.replace("_", " ")
        left.bar(ways, heights, bottom=list(bottom.values()), color=colour, label=label)
        bottom = {way: bottom[way] + height for way, height in zip(ways, heights, strict=True)}
    left.set_ylabel("milliseconds of a picture, flat out")
    left.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    _bars(right, result)
    figure.suptitle(f"render, {result.machine['cpu']}, {result.machine['cores']} cores, "
                    f"{result.date[:10]}, {ISA} in a process of its own")  # fmt: skip
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _bars(axes, result: Result) -> None:  # type: ignore[no-untyped-def]
    """Medians with a line to the 95th percentile; paced ones in another colour."""
    names = [key.removesuffix("_p50_ms") for key in result.figures if key.endswith("_p50_ms")]
    middle = [result.figures[f"{name}_p50_ms"] for name in names]
    late = [result.figures[f"{name}_p95_ms"] - m for name, m in zip(names, middle, strict=True)]
    colours = ["tab:blue" if name.startswith("flat_") else "tab:orange" for name in names]
    labels = [name.removeprefix("flat_").replace("_", " ") for name in names]
    axes.barh(range(len(names)), middle, color=colours, xerr=[[0] * len(names), late])
    axes.set_yticks(range(len(names)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds, median to 95 %; blue: flat out, orange: at 25 fps")
    axes.grid(axis="x", alpha=0.3)
