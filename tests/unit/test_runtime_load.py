"""Which runtime a network gets, and what is said about the others: real artifacts and runtimes."""

from __future__ import annotations

import importlib
import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.app import Engine
from engine.config import EngineConfig, RuntimeConfig, load_config
from engine.errors import ArtifactError, BackendError, BackendUnavailable, ConfigError
from engine.metrics import Metrics
from engine.pipeline import load_networks
from engine.runtime import cuda, gpu, load
from engine.runtime.artifact import WEIGHTS, open_artifact
from engine.runtime.engines import EngineKey, EngineRefused, EngineStore
from engine.runtime.load import Choice, load_network, load_shared
from engine.runtime.rows import HostRows
from trt_builders.export import export

pytestmark = pytest.mark.skipif(cuda.probe() is not None, reason="about machines without a GPU")
NAME = "cmdt_k1"
FAKE = cuda.Gpu(0, "Fake GPU", "8.9", "13.0", "580.1", 8 << 30)


def feeds(name: str = NAME) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    inputs = open_artifact(name).inputs
    return {k: (0.1 * rng.standard_normal(s.shape)).astype(s.dtype) for k, s in inputs.items()}


def test_without_a_gpu_it_is_openvino_and_nothing_heavy_is_imported() -> None:
    choices: list[Choice] = []
    backend = load_network(NAME, RuntimeConfig(threads=1), choices.append)
    assert backend.name.startswith("openvino:CPU")
    (choice,) = choices
    assert (choice.network, choice.backend) == (NAME, backend.name)
    assert [(r.backend, r.reason) for r in choice.refused] == [
        ("tensorrt", "no_gpu"), ("rtx", "no_gpu"), ("torch", "no_gpu"),
    ]  # fmt: skip
    assert "tensorrt" not in sys.modules, "only the driver was asked"


@pytest.mark.parametrize("kind", ["tensorrt", "rtx", "torch"])
def test_asked_for_by_name_and_not_here_is_an_error(kind: str) -> None:
    with pytest.raises(BackendUnavailable, match=f"{kind}: no NVIDIA driver") as caught:
        load_network(NAME, RuntimeConfig(backend=kind))
    assert caught.value.reason == "no_gpu"
    with pytest.raises(BackendError):
        load_shared(NAME, RuntimeConfig(backend=kind))


def test_without_openvino_it_is_onnxruntime(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "engine.runtime.openvino", None)
    choices: list[Choice] = []
    with caplog.at_level(logging.WARNING):
        backend = load_network(NAME, RuntimeConfig(), choices.append)
    assert backend.name == "onnxruntime:CPU fp32"
    assert choices[0].refused[-1].reason == "not_installed"
    assert "cmdt_k1 does without openvino" in caplog.text
    with pytest.raises(BackendUnavailable, match="openvino: "):
        load_network(NAME, RuntimeConfig(backend="openvino"))


def test_with_a_driver_every_step_says_why_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The driver is told to be here; the packages are the real ones of this environment."""
    monkeypatch.setattr(cuda, "_look", lambda _index: (FAKE, ""))
    config = RuntimeConfig(threads=1, engines=str(tmp_path), build=False)
    choices: list[Choice] = []
    with caplog.at_level(logging.WARNING):
        backend = load_network(NAME, config, choices.append)
    assert backend.name.startswith("openvino")
    reasons = {r.backend: r.reason for r in choices[0].refused}
    assert reasons == {
        "tensorrt": "not_installed", "rtx": "engine_missing", "torch": "no_gpu",
    }  # fmt: skip
    assert len([line for line in caplog.messages if "does without" in line]) == 3
    (rtx,) = [r.sentence for r in choices[0].refused if r.backend == "rtx"]
    command = "python -m trt_builders build --flavour rtx --targets 8.9 --networks cmdt_k1"
    assert f"{command} --batch 1 --precision fp16" in rtx
    metrics = Metrics()
    metrics.chose(choices[0])
    text = metrics.exposition().decode()
    assert f'avatar_backend_info{{backend="{backend.name}",network="cmdt_k1"}} 1.0' in text
    assert 'avatar_backend_fallback_total{from="rtx",reason="engine_missing"} 1.0' in text
    # What is too small for a GPU does not even ask.
    choices.clear()
    load_network("silero_vad", config, choices.append, cpu=True)
    assert choices[0].refused == ()


def test_the_smallest_batch_decides(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    artifact = open_artifact(NAME)
    store = EngineStore(tmp_path)
    keys = {n: gpu.engine_key(artifact, "rtx", "1.7.1", FAKE, "fp16", n) for n in (1, 2)}
    assert keys[1].gpu == "any"
    config = RuntimeConfig(build=False)
    store.put(keys[2], b"plan", {})
    with pytest.raises(EngineRefused, match="--batch 1 "):
        gpu.find_or_build(store, keys, config, shipped=True)
    store.put(keys[1], b"plan", {})
    assert set(gpu.find_or_build(store, keys, config, shipped=True)) == {1, 2}
    store.path(keys[2]).write_bytes(b"broken")
    with caplog.at_level(logging.WARNING):
        assert set(gpu.find_or_build(store, keys, config, shipped=True)) == {1}
    assert "batch 2 is left out" in caplog.text
    # An engine of another network, driver or GPU is not this one's.
    other = gpu.engine_key(artifact, "tensorrt", "11.4.0.106", FAKE, "fp16", 1)
    with pytest.raises(EngineRefused) as caught:
        gpu.find_or_build(store, {1: other}, config, shipped=True)
    assert load.reason_of(caught.value) == "engine_stale"


@pytest.mark.slow
def test_a_missing_engine_is_compiled_by_the_builders(tmp_path: Path) -> None:
    """For real: TensorRT-RTX compiles the network in a process of its own."""
    version = importlib.import_module("tensorrt_rtx").__version__
    key = gpu.engine_key(open_artifact(NAME), "rtx", version, FAKE, "fp16", 1)
    store = EngineStore(tmp_path)
    found = gpu.find_or_build(store, {1: key}, RuntimeConfig(), shipped=True)
    assert found[1].stat().st_size > 1_000_000


def test_the_build_command_names_every_engine() -> None:
    key = EngineKey("n", "0", "tensorrt", "11", "GPU", "9.0", "580", "bf16", 4)
    assert gpu.command([key], Path("x")) == (
        "python -m trt_builders build --flavour tensorrt --networks n --batch 4 "
        "--precision bf16 --out x"
    )


def test_torch_modules_come_by_name() -> None:
    artifact = open_artifact(NAME)
    rows = gpu.open_torch(artifact, RuntimeConfig(precision="f32"), (1,), device="cpu")[1]
    from engine.runtime.rows import Alone, RowBackend

    mine = RowBackend(Alone(rows), NAME).run(feeds())
    theirs = load_network(NAME, RuntimeConfig(threads=1, precision="f32")).run(feeds())
    for name, value in theirs.items():
        np.testing.assert_allclose(mine[name], value, atol=1e-4)
    for path in ("no_such_package:make", "trt_builders.modules:nothing"):
        with pytest.raises(BackendUnavailable, match="cannot be imported") as caught:
            gpu.factory(path)
        assert caught.value.reason == "no_modules"


def test_half_precision_is_for_gpus() -> None:
    with pytest.raises(BackendError, match="f16 is for GPUs"):
        load_network(NAME, RuntimeConfig(backend="onnxruntime", precision="f16"))


def test_settings_are_checked() -> None:
    for setting, words in (
        ("runtime.backend=cuda", "one of auto, tensorrt, rtx, torch, openvino, onnxruntime"),
        ("runtime.batch=17", "0 to 16"),
        ("runtime.precision=f8", "auto, f32, bf16 or f16"),
        ("runtime.modules=abc", "package.module:function"),
    ):
        with pytest.raises(ConfigError, match=words):
            load_config(settings=[setting])


@pytest.mark.slow
def test_batches_on_a_cpu_equal_the_single_network(tmp_path: Path) -> None:
    """Batch 2 exported beside the artifact, run by OpenVINO: rows that do not know each other."""
    for suffix in (".onnx", ".json"):
        shutil.copy(WEIGHTS / f"{NAME}{suffix}", tmp_path)
    export(NAME, out=tmp_path, batch=2, shipped=True)
    config = RuntimeConfig(backend="openvino", threads=1, precision="f32", batch=2)
    rows = load_shared(tmp_path / f"{NAME}.onnx", config)
    assert isinstance(rows, dict)
    assert {size: type(r) for size, r in rows.items()} == {1: HostRows, 2: HostRows}
    from engine.runtime.rows import Row

    first, second = feeds(), {k: v * 2 for k, v in feeds().items()}
    wanted = [rows[1].run_rows([Row(f, {})])[0] for f in (first, second)]
    found = rows[2].run_rows([Row(first, {}), Row(second, {})])
    alone = rows[2].run_rows([Row(second, {})])
    for mine, theirs in zip([*found, *alone], [*wanted, wanted[1]], strict=True):
        for name, value in theirs.items():
            np.testing.assert_allclose(mine[name], value, atol=1e-5)
    changed = tmp_path / f"{NAME}_b2_fp32.json"
    changed.write_text(changed.read_text().replace(open_artifact(NAME).sha256, "0" * 64))
    with pytest.raises(ArtifactError, match="was made from another"):
        load_shared(tmp_path / f"{NAME}.onnx", config)


def test_a_server_with_a_batcher_shows_it() -> None:
    config = EngineConfig(runtime=RuntimeConfig(threads=1, batch=1))
    metrics = Metrics()
    networks = load_networks(config, metrics.chose)
    assert networks.batcher is not None
    metrics.observe(networks.batcher)
    networks.cmdt.fork().run(feeds("cmdt_k2"))
    text = metrics.exposition().decode()
    assert 'avatar_batch_items_total{lane="motion"} 1.0' in text
    assert 'avatar_batch_items_total{lane="render"} 0.0' in text
    networks.close()
    with pytest.raises(BackendError, match="closed"):
        networks.render.fork().run(feeds("render_512"))


@pytest.mark.slow
def test_an_engine_serves_through_a_batcher() -> None:
    """The whole server's engine, batcher inside: it starts, warms up, speaks."""
    engine = Engine(EngineConfig(runtime=RuntimeConfig(batch=1)))
    engine.start()
    text = engine.metrics.exposition().decode()
    assert 'avatar_batch_items_total{lane="render"} 51.0' in text, "1 at rest, 50 to warm up"
    assert 'avatar_backend_fallback_total{from="tensorrt",reason="no_gpu"} 4.0' in text
    engine.close()
