"""Where a picture's time goes: OpenVINO's clock per node, added up by part of the network."""

from __future__ import annotations

import re
import time

import numpy as np

from engine.config import EngineConfig
from engine.media import Float32
from engine.render.avatar import Avatar
from engine.runtime.artifact import open_artifact
from engine.runtime.openvino import OpenVinoBackend

PARTS = {
    "motion fields": r"(body|mouth|eyes)\.displaced/",
    "their inversion": r"(body|mouth|eyes)\.inverse/",
    "body": r"body(\.sampling)?/",
    "mouth": r"mouth(\.sampling|\.wide)?/",
    "eyes": r"eyes(\.sampling|\.wide)?/",
    "cards": r"(mouth|eyes)\.behind/",
    "refiner": r"refiner",
    "pasting, bytes": r"/|image",
}
"""Parts of ``engine.render.network`` by the names of their nodes, which are their modules'."""
OTHER, HOST = "other nodes", "host"
"""Nodes that the runtime made and named itself; calls and the copy of the picture."""


def part_of(node: str) -> str:
    """The part a node belongs to."""
    return next((part for part, names in PARTS.items() if re.match(names, node)), OTHER)


def timed(avatar: Avatar, precision: str, threads: int) -> OpenVinoBackend:
    """The renderer with a clock per node, an avatar bound."""
    path = open_artifact(EngineConfig().render.network).path
    backend = OpenVinoBackend(path, threads=threads, precision=precision, timed=True)
    for name, array in avatar.arrays.items():
        backend.bind(name, array)
    return backend


def profile(backend: OpenVinoBackend, motion: Float32) -> dict[str, list[float]]:
    """Milliseconds of each part and picture of motion [N,58], flat out."""
    times: dict[str, list[float]] = {part: [] for part in (*PARTS, OTHER, HOST)}
    for index, values in enumerate(motion):
        start = time.perf_counter()
        backend.run({"motion": np.ascontiguousarray(values)[None]})
        whole = (time.perf_counter() - start) * 1000
        if index < 3:  # memory is still being touched for the first time
            continue
        sums = dict.fromkeys(times, 0.0)
        for node, milliseconds in backend.node_times().items():
            sums[part_of(node)] += milliseconds
        sums[HOST] = max(0.0, whole - sum(sums.values()))
        for part, milliseconds in sums.items():
            times[part].append(milliseconds)
    return times
