"""TensorRT's adapter: everything that can be run without a GPU.

Against the *real* TensorRT-RTX package: that all names used exist, how it refuses an engine.
Against a driver in main memory (``tests.fakecuda``): order of copies, who owns which memory,
errors. No real GPU runs here; ``benchmarks gpu`` and the tests marked ``gpu`` are for that.
"""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ArtifactError, BackendError
from engine.runtime import cuda, tensorrt
from engine.runtime.base import Array, TensorSpec
from engine.runtime.blocks import Block, spec_bytes
from engine.runtime.rows import Alone, Row, RowBackend
from engine.runtime.tensorrt import TensorRtRows
from tests.fakecuda import FakeCuda, fake_tensorrt

SINGLE = {"x": TensorSpec((1, 5)), "c": TensorSpec((2, 3)), "z": TensorSpec((1,), "int64")}
OUT = {"y": TensorSpec((1, 5)), "picture": TensorSpec((1, 2, 2, 3), "uint8")}


def batched(specs: Mapping[str, TensorSpec], batch: int) -> dict[str, TensorSpec]:
    if batch == 1:
        return dict(specs)
    return {name: TensorSpec((batch, *spec.shape), spec.dtype) for name, spec in specs.items()}


def compute(inputs: Mapping[str, Array]) -> dict[str, Array]:
    batch = inputs["c"].size // 6
    x = inputs["x"].reshape(batch, 5)
    c = inputs["c"].reshape(batch, 6).sum(1, keepdims=True)
    y = x * 2 + c + inputs["z"].reshape(batch, 1)
    picture = np.repeat(np.clip(y[:, :1], 0, 255), 12, axis=1).astype(np.uint8)
    return {"y": y.reshape(inputs["x"].shape), "picture": picture.reshape(
        (1, 2, 2, 3) if batch == 1 else (batch, 1, 2, 2, 3))}  # fmt: skip


def make(
    batch: int = 1, flavour: str = "tensorrt", plan: bytes = b"plan", **options: Any
) -> tuple[TensorRtRows, FakeCuda, Any]:
    fake = FakeCuda()
    module = fake_tensorrt(fake, batched(SINGLE, batch), batched(OUT, batch), compute, **options)
    device = cuda.Device(0, cuda.Driver(fake))
    rows = TensorRtRows(plan, flavour, device, SINGLE, OUT, batch, "toy", module)
    return rows, fake, module


def feeds(value: float) -> dict[str, Array]:
    return {"x": np.full((1, 5), value, np.float32), "z": np.array([3], np.int64)}


def expected(x: float, c: float) -> Array:
    return np.full((1, 5), 2 * x + 6 * c + 3, np.float32)


# --- the real package -----------------------------------------------------------------------------


def test_every_name_used_exists_in_the_real_package() -> None:
    rtx = _real()
    assert tensorrt.missing_api(rtx, "rtx") == []
    assert tensorrt.checked(rtx, "rtx") is rtx
    for name, values in (("TensorIOMode", ("INPUT", "OUTPUT")), ("DataType", tensorrt._DTYPES)):
        assert set(values) <= set(getattr(rtx, name).__members__)


def test_the_real_package_takes_the_arguments_it_is_given() -> None:
    """Signatures, as pybind writes them into the docstrings."""
    rtx = _real()
    context = rtx.IExecutionContext
    for function, part in (
        (context.execute_async_v3, "stream_handle: typing.SupportsInt) -> bool"),
        (context.set_tensor_address, "name: str, memory: typing.SupportsInt) -> bool"),
        (rtx.Runtime.deserialize_cuda_engine, "serialized_engine: typing_extensions.Buffer"),
        (rtx.ICudaEngine.create_execution_context, "runtime_config: "),
        (rtx.ICudaEngine.get_tensor_name, "index: typing.SupportsInt"),
        (rtx.ICudaEngine.get_tensor_shape, "name: str"),
    ):  # fmt: skip
        assert part in function.__doc__


@pytest.mark.skipif(cuda.probe() is not None, reason="about machines without a GPU")
def test_the_real_package_refuses_junk_in_one_line() -> None:
    """In a process of its own: TensorRT without a driver may crash."""
    code = (
        "from engine.runtime import tensorrt as t\n"
        "from engine.errors import BackendError\n"
        "trt = t._import('rtx')\n"
        "try:\n"
        "    t.deserialize(trt, b'junk' * 1000, t.make_logger(trt), 'toy')\n"
        "except BackendError as error:\n"
        "    print(error)\n"
    )
    _real()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    (line,) = done.stdout.splitlines()
    assert line.startswith("toy: TensorRT ")
    assert "gives no reason" not in line


def _real() -> Any:
    return importlib.import_module("tensorrt_rtx")


@pytest.mark.skipif(cuda.probe() is not None, reason="about machines without a GPU")
def test_without_a_driver_nothing_is_imported() -> None:
    code = (
        "import sys\n"
        "from engine.runtime import tensorrt as t\n"
        "from engine.errors import BackendError\n"
        "for flavour in ('tensorrt', 'rtx'):\n"
        "    try:\n"
        "        t.import_flavour(flavour)\n"
        "    except BackendError as error:\n"
        "        print(error)\n"
        "assert not [m for m in sys.modules if m.startswith(('tensorrt', 'torch'))]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 2
    assert all("no NVIDIA driver" in line for line in done.stdout.splitlines())


def test_old_and_incomplete_versions_are_refused() -> None:
    module = fake_tensorrt(FakeCuda(), SINGLE, OUT, compute)
    module.__version__ = "10.3.0"
    with pytest.raises(BackendError, match=r"10\.3\.0 is older than 10\.13"):
        tensorrt.checked(module, "tensorrt")
    module.__version__ = "12.0.0"
    del module.IExecutionContext.execute_async_v3
    with pytest.raises(BackendError, match=r"has no IExecutionContext\.execute_async_v3"):
        tensorrt.checked(module, "tensorrt")


# --- buffers --------------------------------------------------------------------------------------

shapes = st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple)
specs = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3),
    st.builds(TensorSpec, shapes, st.sampled_from(["float32", "uint8", "int64", "float16"])),
    min_size=1,
    max_size=8,
)


@given(specs)
def test_tensors_do_not_overlap_and_are_aligned(planned: dict[str, TensorSpec]) -> None:
    block = Block.plan(planned)
    end = 0
    for name, spec in planned.items():
        assert block.offsets[name] % 256 == 0
        assert block.offsets[name] >= end
        end = block.offsets[name] + spec_bytes(spec)
    assert end <= block.size < end + 256
    views = block.views(np.zeros(block.size, np.uint8))
    for number, (name, view) in enumerate(views.items()):
        assert (view.shape, view.dtype) == (planned[name].shape, np.dtype(planned[name].dtype))
        view[:] = number
    for number, view in enumerate(views.values()):
        assert (view == number).all()


@given(specs, st.data())
def test_copies_cover_exactly_what_is_fed(planned: dict[str, TensorSpec], data: Any) -> None:
    names = data.draw(st.sets(st.sampled_from(sorted(planned))))
    block = Block.plan(planned)
    covered = np.zeros(block.size, bool)
    for offset, size in block.ranges(names):
        covered[offset : offset + size] = True
    for name, spec in planned.items():
        part = covered[block.offsets[name] : block.offsets[name] + spec_bytes(spec)]
        assert part.all() if name in names else not part.any()
    assert len(block.ranges(planned)) == 1, "everything is one copy"


# --- order and ownership --------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", ["tensorrt", "rtx"])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_rows_get_their_own_results(batch: int, flavour: str) -> None:
    rows, _, _ = make(batch, flavour)
    placed = [rows.place("c", np.full((2, 3), c, np.float32)) for c in range(1, batch + 1)]
    for turn in range(4):
        order = [(i + turn) % batch for i in range(max(1, batch - turn % 2))]
        results = rows.run_rows([Row(feeds(turn + i), {"c": placed[i]}) for i in order])
        for i, result in zip(order, results, strict=True):
            np.testing.assert_array_equal(result["y"], expected(turn + i, i + 1))
            assert result["picture"].shape == (1, 2, 2, 3)


def test_one_copy_in_one_graph_one_copy_out() -> None:
    rows, fake, module = make(2)
    placed = rows.place("c", np.ones((2, 3), np.float32))
    row = Row({"x": feeds(1)["x"], "z": feeds(1)["z"]}, {"c": placed})
    rows.run_rows([row])
    enqueued = module.context.enqueued
    fake.log.clear()
    rows.run_rows([row])
    # x and z lie on both sides of c: two copies in; nothing is moved, allocated or enqueued anew.
    assert [name for name in fake.log if name != "cuCtxSetCurrent"] == [
        "cuMemcpyHtoDAsync_v2", "cuMemcpyHtoDAsync_v2", "cuGraphLaunch", "cuMemcpyDtoHAsync_v2",
        "cuStreamSynchronize",
    ]  # fmt: skip
    assert module.context.enqueued == enqueued == 2, "once plainly, once recorded"


def test_constants_move_only_when_a_row_changes_hands() -> None:
    rows, fake, _ = make(2)
    a, b, c = (rows.place("c", np.full((2, 3), v, np.float32)) for v in (1, 2, 3))
    rows.run_rows([Row(feeds(0), {"c": a}), Row(feeds(0), {"c": b})])
    fake.log.clear()
    rows.run_rows([Row(feeds(0), {"c": b}), Row(feeds(0), {"c": a})])
    assert "cuMemcpyDtoDAsync_v2" not in fake.log
    results = rows.run_rows([Row(feeds(0), {"c": c}), Row(feeds(0), {"c": a})])
    assert fake.log.count("cuMemcpyDtoDAsync_v2") == 1
    np.testing.assert_array_equal(results[0]["y"], expected(0, 3))
    np.testing.assert_array_equal(results[1]["y"], expected(0, 1))


def test_rtx_records_by_itself() -> None:
    rows, fake, module = make(1, "rtx")
    assert module.settings.cuda_graph_strategy == "whole"
    assert "cuStreamBeginCapture_v2" not in fake.log
    placed = rows.place("c", np.ones((2, 3), np.float32))
    rows.run_rows([Row(feeds(1), {"c": placed})])
    assert module.context.enqueued == 2


def test_an_engine_that_cannot_be_recorded_still_runs(caplog: pytest.LogCaptureFixture) -> None:
    rows, fake, _ = make(1, capturable=False)
    assert "runs without a CUDA graph" in caplog.text
    assert fake.recording is None
    placed = rows.place("c", np.ones((2, 3), np.float32))
    (result,) = rows.run_rows([Row(feeds(1), {"c": placed})])
    np.testing.assert_array_equal(result["y"], expected(1, 1))


def test_results_belong_to_the_caller_and_memory_is_given_back() -> None:
    rows, fake, _ = make(1)
    at_start = len(fake.memory)
    session = RowBackend(Alone(rows), "toy")
    session.bind("c", np.ones((2, 3), np.float32))
    assert len(fake.memory) == at_start + 1
    first = session.run(feeds(1))["y"]
    kept = first.copy()
    other = session.fork()
    other.bind("c", np.full((2, 3), 5, np.float32))
    np.testing.assert_array_equal(other.run(feeds(2))["y"], expected(2, 5))
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(session.run(feeds(1))["y"], kept)
    for backend in (session, other):
        backend.close()
    gc.collect()
    assert len(fake.memory) == at_start, "constants go with their session"
    rows.close()
    assert not fake.memory
    assert not fake.pinned
    assert not fake.graphs


# --- errors ---------------------------------------------------------------------------------------


def test_a_refused_engine_is_one_sentence() -> None:
    with pytest.raises(BackendError, match=r"^toy: TensorRT refuses the engine: built for another"):
        make(plan=b"bad")


def test_an_engine_of_something_else_is_refused() -> None:
    fake = FakeCuda()
    device = cuda.Device(0, cuda.Driver(fake))
    other = {"x": TensorSpec((1, 6)), "c": SINGLE["c"], "z": SINGLE["z"]}
    module = fake_tensorrt(fake, other, OUT, compute)
    with pytest.raises(ArtifactError, match="not 1 rows"):
        TensorRtRows(b"plan", "tensorrt", device, SINGLE, OUT, 1, "toy", module)
    module = fake_tensorrt(fake, batched(SINGLE, 4), batched(OUT, 4), compute)
    with pytest.raises(ArtifactError, match="not 2 rows"):
        TensorRtRows(b"plan", "tensorrt", device, SINGLE, OUT, 2, "toy", module)


def test_a_failing_driver_is_named() -> None:
    rows, fake, _ = make(1)
    placed = rows.place("c", np.ones((2, 3), np.float32))
    fake.fails["cuStreamSynchronize"] = 700
    with pytest.raises(BackendError, match=r"cuStreamSynchronize failed: CUDA_ERROR_700 \(700\)"):
        rows.run_rows([Row(feeds(1), {"c": placed})])


def test_the_driver_describes_the_gpu() -> None:
    gpu = cuda.describe(cuda.Driver(FakeCuda()), 0)
    assert (gpu.name, gpu.capability, gpu.cuda, gpu.memory) == ("Fake GPU", "9.0", "13.0", 80 << 30)
    with pytest.raises(BackendError, match=r"there are 0 device\(s\)"):
        cuda.describe(cuda.Driver(FakeCuda(devices=0)), 0)
    with pytest.raises(BackendError, match="has no cuStreamCreate; update the driver"):
        cuda.Device(0, cuda.Driver(FakeCuda(lacks=("cuStreamCreate",))))


def test_time_on_the_device() -> None:
    device = cuda.Device(0, cuda.Driver(FakeCuda()))
    with device, device.timed() as milliseconds:
        pass
    assert milliseconds() == 1.5
    assert device.free_memory() == 80 << 30
    device.close()
