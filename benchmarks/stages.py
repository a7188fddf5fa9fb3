"""Per-stage and whole-chain time of one live session, fed in real time.

Sound arrives in 40 ms chunks on the wall clock, as from a microphone, so that caches are as cold
and the CPU as slow as they are live. A *hop* is the group of frames one call of the motion network
gives; ``chain`` is all work of a hop, sound to RGB picture, divided by its frames. Encoding is not
part of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.report import Result, percentiles
from engine.app import default_portrait
from engine.config import EngineConfig
from engine.face.analysis import FaceAnalyser
from engine.face.portrait import prepare_portrait
from engine.media import FPS, AudioChunk
from engine.pipeline import load_networks, make_stages
from engine.render.avatar import Avatar
from engine.stage import Stage, chain
from engine.transport.files import read_audio

SAMPLE = Path(__file__).resolve().parent.parent / "clients" / "web" / "sample.wav"
_WARM_UP = 2 * FPS


class _Timed:
    """A stage that notes how long each push takes, in milliseconds."""

    def __init__(self, stage: Stage[Any, Any]) -> None:
        self.stage = stage
        self.lookahead = stage.lookahead
        self.times: list[float] = []

    def push(self, item: Any, /) -> Iterable[Any]:
        start = time.perf_counter()
        result = list(self.stage.push(item))
        self.times.append((time.perf_counter() - start) * 1000)
        return result

    def flush(self) -> Iterable[Any]:
        return self.stage.flush()

    def reset(self) -> None:
        self.stage.reset()


def run(quick: bool, command: str) -> Result:
    """Measure for 60 s of media (12 s when quick)."""
    config = EngineConfig()
    started = time.perf_counter()
    networks = load_networks(config)
    avatar = Avatar.from_portrait(prepare_portrait(default_portrait(), FaceAnalyser()))
    start_up = time.perf_counter() - started
    stages = {name: _Timed(stage) for name, stage in make_stages(config, networks, avatar).items()}
    whole = chain(*stages.values())
    hops = _feed(whole, 12 if quick else 60)
    # Only calls that ran the network count as such; the window is asked once per frame.
    calls = sorted(stages["motion"].times[_WARM_UP:])[-len(hops) :]
    samples = {
        "framer_ms": stages["framer"].times[_WARM_UP:],
        "features_ms": stages["features"].times[_WARM_UP:],
        "cmdt_call_ms": calls,
        "idle_ms": stages["idle"].times[_WARM_UP:],
        "render_ms": stages["render"].times[_WARM_UP:],
        "chain_ms": hops,
    }
    figures = {
        key: value
        for name, series in samples.items()
        for key, value in percentiles(name.removesuffix("_ms"), series).items()
    }
    figures |= {
        "lookahead_ms": float(whole.lookahead) * 1000,
        "start_up_s": round(start_up, 2),
        "frames": float(len(stages["render"].times)),
    }
    settings = {
        "motion": {"steps": config.motion.steps, "hop": config.motion.hop,
                   "lookahead": config.motion.lookahead},
        "backends": {"cmdt": networks.cmdt.name, "render": networks.render.name},
    }  # fmt: skip
    notes = ["one session, fed in real time, one run; chain = sound to RGB picture per frame"]
    return Result("stages", command, settings, samples, figures, notes)


def _feed(whole: Stage[Any, Any], seconds: int) -> list[float]:
    """Push real speech on the wall clock; milliseconds per frame of every hop after warm-up."""
    sound = read_audio(SAMPLE)
    size = sound.rate // FPS
    count = seconds * FPS
    samples = np.resize(sound.samples, count * size)
    hops: list[float] = []
    spent, begin = 0.0, time.perf_counter()
    for index in tqdm(range(count), unit="frame", desc="stages"):
        time.sleep(max(0.0, begin + index / FPS - time.perf_counter()))
        chunk = AudioChunk(samples[index * size : (index + 1) * size], index * size, sound.rate)
        start = time.perf_counter()
        frames = len(list(whole.push(chunk)))
        spent += (time.perf_counter() - start) * 1000
        if frames:
            if index >= _WARM_UP:
                hops.append(spent / frames)
            spent = 0.0
    return hops
