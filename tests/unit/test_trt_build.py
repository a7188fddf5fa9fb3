"""Engines really built with TensorRT-RTX, which needs no GPU, and kept in the store."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from engine.errors import ArtifactError
from engine.runtime import cuda
from engine.runtime.artifact import open_artifact, write_manifest
from engine.runtime.engines import ANY, EngineKey, EngineRefused, EngineStore
from trt_builders.__main__ import main
from trt_builders.build import Job, build, jobs
from trt_builders.flavours import Flavour, Target, open_flavour

NETWORK = "cmdt_k1"


@pytest.fixture(scope="module")
def rtx() -> Flavour:
    return open_flavour("rtx", ("8.9",))


def _key(flavour: Flavour, capability: str = "8.9") -> EngineKey:
    """What a server would ask for, from nothing but the shipped network."""
    return EngineKey(
        network=NETWORK,
        onnx_sha256=open_artifact(NETWORK).sha256,
        flavour="rtx",
        version=flavour.version,
        gpu=ANY,
        capability=capability,
        driver=ANY,
        precision="fp32",
        batch=1,
    )


@pytest.fixture(scope="module")
def store(rtx: Flavour, tmp_path_factory: pytest.TempPathFactory) -> EngineStore:
    """A store with one real engine in it."""
    store = EngineStore(tmp_path_factory.mktemp("engines"))
    (built,) = build([Job(NETWORK, 1, "fp32")], rtx, store)
    assert built.seconds > 0
    assert built.layers > 100
    return store


def test_a_server_finds_what_was_built(rtx: Flavour, store: EngineStore) -> None:
    path = store.find(_key(rtx))
    assert path.stat().st_size > 1_000_000
    (entry,) = store.entries()
    assert entry.facts["graph_sha256"] == open_artifact(NETWORK).sha256
    assert entry.facts["layers"] > 100


def test_another_driver_or_network_needs_another_engine(rtx: Flavour, store: EngineStore) -> None:
    for change, told in (
        ({"capability": "12.0"}, "capability 8.9; wanted is 12.0"),
        ({"onnx_sha256": "0" * 64}, "onnx_sha256"),
        ({"batch": 4, "precision": "fp16"}, "precision fp32, batch 1; wanted is fp16, 4"),
    ):
        with pytest.raises(EngineRefused, match=told) as e:
            store.find(replace(_key(rtx), **change))
        assert e.value.reason == "stale"


def test_what_is_there_is_kept_unless_forced(rtx: Flavour, store: EngineStore) -> None:
    work = [Job(NETWORK, 1, "fp32")]
    before = store.find(_key(rtx)).stat().st_ino
    (again,) = build(work, rtx, store)
    assert again.seconds == 0
    assert again.path.stat().st_ino == before
    (forced,) = build(work, rtx, store, force=True)
    assert forced.seconds > 0
    assert forced.path.stat().st_ino != before


def test_a_damaged_engine_is_built_again(rtx: Flavour, store: EngineStore) -> None:
    path = store.find(_key(rtx))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (built,) = build([Job(NETWORK, 1, "fp32")], rtx, store)
    assert built.seconds > 0
    assert store.find(_key(rtx)) == path


def test_two_processes_build_it_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trt_builders", "build", "--flavour", "rtx", "--targets",
               "8.9", "--networks", NETWORK, "--precision", "fp32", "--out", tmp_path]  # fmt: skip
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    outcomes = sorted("already there" in out for out, _ in said)
    assert outcomes == [False, True]
    assert len(list(tmp_path.glob("*.plan"))) == 1


def test_building_from_a_folder_of_exports(rtx: Flavour, tmp_path: Path) -> None:
    """What a machine without torch does: the manifest says which shipped network it is."""
    shipped = open_artifact(NETWORK)
    folder = tmp_path / "onnx"
    folder.mkdir()
    path = folder / f"{NETWORK}_b1_bf16.onnx"
    path.write_bytes(shipped.path.read_bytes())
    config = {"batch": 1, "made_from": shipped.sha256}
    write_manifest(path, shipped.inputs, shipped.outputs, config, "test", precision="bf16")
    store = EngineStore(tmp_path / "engines")
    (built,) = build([Job(NETWORK, 1, "bf16")], rtx, store, onnx=folder)
    assert store.find(replace(_key(rtx), precision="bf16")) == built.path
    with pytest.raises(ArtifactError, match=r"cmdt_k1_b4_fp16\.onnx or its manifest is missing"):
        list(build([Job(NETWORK, 4, "fp16")], rtx, store, onnx=folder))


def test_which_jobs_there_are() -> None:
    assert jobs(["cmdt_k1"], [1, 4], ["fp16", "fp32"]) == [
        Job("cmdt_k1", 1, "fp16"), Job("cmdt_k1", 1, "fp32"),
        Job("cmdt_k1", 4, "fp16"), Job("cmdt_k1", 4, "fp32"),
    ]  # fmt: skip
    assert jobs(["log_mel"], [1], ["fp16", "bf16"]) == [Job("log_mel", 1, "fp32")]
    with pytest.raises(ArtifactError, match="no precision 'int8'; fp32, fp16 or bf16"):
        jobs(["cmdt_k1"], [1], ["int8"])
    with pytest.raises(ArtifactError, match="no network 'cmdt'"):
        jobs(["cmdt"], [1], ["fp16"])


def _unsupported(path: Path) -> Path:
    """A graph with an operator that TensorRT does not have."""
    node = helper.make_node("NoSuchOperator", ["x"], ["y"], "net/NoSuchOperator_0", domain="nobody")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "bad", [value("x", TensorProto.FLOAT, [1])], [value("y", TensorProto.FLOAT, [1])]
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("nobody", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def test_what_the_parser_refuses_is_told(rtx: Flavour, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"rtx cannot parse bad\.onnx: .*NoSuchOperator"):
        rtx.compile(_unsupported(tmp_path / "bad.onnx"), rtx.targets)
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"not a network")
    with pytest.raises(ArtifactError, match=r"rtx cannot parse junk\.onnx"):
        rtx.compile(junk, rtx.targets)


def test_progress_is_reported(rtx: Flavour) -> None:
    seen: list[tuple[str, int, int]] = []
    compiled = rtx.compile(
        open_artifact("silero_vad").path, rtx.targets, progress=lambda *step: seen.append(step)
    )
    assert compiled.plan
    assert compiled.timing_cache == b""
    assert seen
    assert all(done <= total or not total for _, done, total in seen)


def test_targets_and_flavours_that_cannot_be() -> None:
    with pytest.raises(ArtifactError, match=r"does not compile for 9\.0; it does for 7\.5, 8\.0"):
        open_flavour("rtx", ("8.9", "9.0"))
    with pytest.raises(ArtifactError, match="no flavour 'openvino'"):
        open_flavour("openvino")
    assert open_flavour("rtx").targets == tuple(
        Target(ANY, capability, ANY) for capability in ("8.6", "8.9", "12.0")
    )


@pytest.mark.filterwarnings("ignore:Use Deprecated in TensorRT-RTX:DeprecationWarning")
def test_the_path_of_tensorrt_itself(tmp_path: Path) -> None:
    """TensorRT's branch of the builder (timing cache, no targets) in RTX's library, which has the
    same API and a timing cache that does nothing. It shows that the calls go through, not what
    TensorRT makes of them on a GPU.
    """
    module = importlib.import_module("tensorrt_rtx")
    here = Target("NVIDIA L4", "8.9", "580.95.05")
    flavour = Flavour("tensorrt", module, [here])
    store = EngineStore(tmp_path)
    (built,) = build([Job(NETWORK, 1, "fp32")], flavour, store)
    (entry,) = store.entries()
    assert (entry.key.gpu, entry.key.driver) == (here.gpu, here.driver)
    (cache,) = tmp_path.glob("timing-NVIDIA-L4-580.95.05-*.cache")
    assert cache.read_bytes()
    (again,) = build([Job(NETWORK, 1, "fp32")], flavour, store, force=True)  # reads the cache
    assert again.path == built.path
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(("version", "flags"), [("10.13.2.6", 1), ("11.4.0.106", 0)])
def test_tensorrt_10_is_told_that_types_are_strong(version: str, flags: int) -> None:
    module = importlib.import_module("tensorrt_rtx")
    flavour = Flavour("tensorrt", module, [])
    flavour.version = version
    assert flavour.network_flags() == flags << int(
        module.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    )
    assert Flavour("rtx", module, []).network_flags() == 0


@pytest.mark.skipif(cuda.probe() is not None, reason="there is a GPU")
def test_tensorrt_without_a_gpu_says_so_and_does_not_crash() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trt_builders", "build", "--flavour", "tensorrt"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "TensorRT compiles on the GPU it compiles for" in done.stderr
    assert "--flavour rtx" in done.stderr


def test_the_commands(
    rtx: Flavour, store: EngineStore, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["list", "--engines", str(store.folder)]) == 0
    told = capsys.readouterr().out
    assert "render_512  photo renderer" in told
    assert "1 engine(s) in" in told
    assert f"rtx {rtx.version} for 8.9" in told

    assert main(["inspect", str(store.find(_key(rtx)))]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["key"]["capability"] == "8.9"
    assert found["layers"]

    assert main(["inspect", "cmdt_k1"]) == 0
    assert "motion: float[1, 8, 58]" in capsys.readouterr().out
    assert main(["inspect", "cmdt_k1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["operators"]["LayerNormalization"] >= 14

    (tmp_path / "x.onnx").write_bytes(b"no")
    for wrong, sentence in (
        (["inspect", str(tmp_path / "x.onnx")], "cannot read x.onnx as ONNX"),
        (["inspect", str(tmp_path / "x.plan")], "x.plan is no engine"),
        (["export", "cmdt_k3"], "no network 'cmdt_k3'"),
    ):
        assert main(wrong) == 1
        assert sentence in capsys.readouterr().err


def test_verify_judges(capsys: pytest.CaptureFixture[str], tmp_path: Path,
                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from trt_builders import networks

    arguments = ["verify", "--networks", "log_mel", "--batch", "2", "--out", str(tmp_path / "r")]
    assert main(arguments) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["passed"]
    runtimes = {line["runtime"]: line["errors"]["features"] for line in report["lines"]}
    assert 0 < runtimes["openvino:CPU f32"]["max_abs"] < 1e-4
    assert runtimes["onnxruntime:CPU fp32"]["relative"] < 1e-5
    assert "| log_mel | 2 | torch | features | 0 |" in (tmp_path / "r.md").read_text()

    strict = networks.Tolerance("max", 1e-12, {}, "log")
    entry = replace(networks.NETWORKS["log_mel"], tolerances={"features": strict})
    monkeypatch.setitem(networks.NETWORKS, "log_mel", entry)
    capsys.readouterr()
    assert main(arguments) == 1
    assert "some outputs are too far off" in capsys.readouterr().out
    assert "max 1e-12 **exceeded**" in (tmp_path / "r.md").read_text()
