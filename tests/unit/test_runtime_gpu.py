"""On a real GPU only: the driver's calls, torch recorded as a CUDA graph, TensorRT if it is here.

These are skipped on machines without one, and have not been run where this was written.
"""

from __future__ import annotations

import ctypes
import importlib.util

import numpy as np
import pytest

from engine.config import RuntimeConfig
from engine.runtime import cuda, gpu
from engine.runtime.artifact import open_artifact
from engine.runtime.base import Array
from engine.runtime.engines import EngineRefused
from engine.runtime.load import load_network
from engine.runtime.rows import Row, RowNetwork

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(cuda.probe() is None, reason="no NVIDIA GPU"),
]


def rows_of(name: str, count: int) -> list[dict[str, Array]]:
    from trt_builders.networks import load

    return [load(name, shipped=True).example(seed) for seed in range(count)]


def agree(rows: RowNetwork, name: str, limit: float) -> None:
    reference = load_network(name, RuntimeConfig(precision="f32"), cpu=True)
    inputs = rows_of(name, rows.batch)
    for _ in range(2):  # the second time every constant is where it was
        results = rows.run_rows([Row(one, {}) for one in inputs])
        for one, result in zip(inputs, results, strict=True):
            for key, wanted in reference.run(one).items():
                difference = result[key].astype(np.float64) - wanted
                size = max(float(np.linalg.norm(wanted.astype(np.float64))), 1e-9)
                assert float(np.linalg.norm(difference)) / size <= limit, key


def test_bytes_go_there_and_back() -> None:
    device = cuda.Device()
    sent = cuda.Memory(device, 1 << 20, pinned=True)
    back = cuda.Memory(device, 1 << 20, pinned=True)
    there, copy = cuda.Memory(device, 1 << 20), cuda.Memory(device, 1 << 20)
    sent.array()[:] = np.random.default_rng(0).integers(0, 256, 1 << 20)
    with device:

        def work() -> None:
            device.upload(there.address, sent.address, sent.size)
            device.move(copy.address, there.address, there.size)
            device.download(back.address, copy.address, copy.size)

        graph = device.capture(work)
        ctypes.memset(back.address, 0, back.size)
        with device.timed() as milliseconds:
            graph.launch()
        device.synchronize()
    assert milliseconds() > 0
    np.testing.assert_array_equal(back.array(), sent.array())
    graph.close()
    device.close()


@pytest.mark.parametrize("name", ["cmdt_k1", "render_512"])
@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_torch_recorded(name: str, precision: str) -> None:
    opened = gpu.open_torch(open_artifact(name), RuntimeConfig(precision=precision), (1, 2))
    for rows in opened.values():
        agree(rows, name, 1e-2)
        rows.close()


@pytest.mark.parametrize("flavour", ["tensorrt", "rtx"])
def test_engines(flavour: str) -> None:
    module = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}[flavour]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    try:
        opened = gpu.open_engines(flavour, open_artifact("cmdt_k1"), RuntimeConfig(), (1, 2))
    except EngineRefused as error:
        pytest.skip(f"this GPU is none that {flavour} compiles for: {error}")
    for rows in opened.values():
        agree(rows, "cmdt_k1", 1e-2)
        rows.close()
