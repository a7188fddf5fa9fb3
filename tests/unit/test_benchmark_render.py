"""What ``benchmarks render`` adds up and shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.render import TARGETS, _figures, plot
from benchmarks.render_parts import OTHER, PARTS, part_of
from benchmarks.render_ways import Here, moving
from benchmarks.report import Result
from engine.config import EngineConfig
from engine.errors import BackendError
from engine.render.avatar import Avatar
from engine.runtime.artifact import open_artifact
from engine.runtime.openvino import OpenVinoBackend
from tests.networks import random_avatar


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return random_avatar(1)


def test_every_node_of_the_shipped_renderer_belongs_to_a_part() -> None:
    graph = onnx.load(open_artifact(EngineConfig().render.network).path).graph
    found = {node.name: part_of(node.name) for node in graph.node}
    assert set(found.values()) - {OTHER} == set(PARTS), "and every part has nodes"
    assert list(found.values()).count(OTHER) < 10, "the exporter names a few itself"
    where = {node.op_type: found[node.name] for node in graph.node}
    assert where["Conv"] == "refiner"
    assert where["ScatterND"] == "pasting, bytes"
    assert part_of("Reorder_7") == OTHER


def test_nodes_are_timed_by_their_names_in_the_file(avatar: Avatar) -> None:
    path = open_artifact(EngineConfig().render.network).path
    backend = OpenVinoBackend(path, threads=1, precision="f32", timed=True)
    for name, array in avatar.arrays.items():
        backend.bind(name, array)
    backend.run({"motion": np.zeros((1, 58), np.float32)})
    times = backend.node_times()
    assert {part_of(node) for node in times} >= set(PARTS)
    sampled = [node for node in times if node.startswith("body/GridSample")]
    assert sampled
    assert all(times[node] > 0 for node in sampled)


def test_a_network_that_is_not_timed_says_so() -> None:
    backend = OpenVinoBackend(open_artifact("silero_vad").path, threads=1)
    with pytest.raises(BackendError, match="not timed"):
        backend.node_times()


class _Counting:
    """A network that notes in which order it is run."""

    name = "counting"

    def __init__(self) -> None:
        self.motion: list[float] = []

    def bind(self, name: str, array: np.ndarray, /) -> None:
        pass

    def run(self, feeds: dict[str, np.ndarray], /) -> dict[str, np.ndarray]:
        self.motion.append(float(feeds["motion"][0, 0]))
        return {"image": np.zeros((1, 4, 4, 3), np.uint8)}

    def fork(self) -> _Counting:
        return self


def test_a_way_draws_every_frame_of_every_session(avatar: Avatar) -> None:
    network = _Counting()
    motion = np.arange(3, dtype=np.float32)[:, None] * np.ones((1, 58), np.float32)
    way = Here("two", network, avatar, sessions=2)  # type: ignore[arg-type]
    assert len(way.draw(moving(motion, 2, 4), 0.0)) == 8
    assert sorted(network.motion) == [0, 0, 1, 1, 2, 2, 2, 2]
    assert network.motion.count(2) == 4, "motion begins again where it ends"


def test_figures_and_picture(tmp_path: Path) -> None:
    samples = {"render_ms": [9.0, 10.0, 30.0], "flat_openvino_f32_t1_ms": [12.0, 12.0]}
    parts = {"f32_t1": {part: [1.0, 2.0, 3.0] for part in (*PARTS, OTHER)}}
    figures = _figures(samples, parts)
    assert figures["render_p50_ms"] == 10
    assert figures["part_f32_t1_pasting_bytes_ms"] == 2
    assert set(TARGETS) & set(figures)
    plot(Result("render", "test", {}, samples, figures), tmp_path / "render.png")
    assert (tmp_path / "render.png").stat().st_size > 10_000
