"""The engine store: keys, staleness, damage, the folder's limit, and locks between processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import ArtifactError
from engine.runtime.engines import ANY, EngineKey, EngineRefused, EngineStore, default_folder

KEY = EngineKey(
    network="cmdt_k2_b4_fp16",
    onnx_sha256="ab" * 32,
    flavour="tensorrt",
    version="11.4.0.106",
    gpu="NVIDIA H100 80GB HBM3",
    capability="9.0",
    driver="580.95.05",
    precision="fp16",
    batch=4,
)
OTHER = {
    "network": "cmdt_k4_b4_fp16",
    "onnx_sha256": "cd" * 32,
    "flavour": "rtx",
    "version": "11.4.1.7",
    "gpu": ANY,
    "capability": "8.9",
    "driver": "580.99.01",
    "precision": "bf16",
    "batch": 8,
}


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "engines", limit_bytes=1 << 20)


def test_put_and_find(store: EngineStore) -> None:
    path = store.put(KEY, b"plan", {"seconds": 1.5})
    assert path == store.path(KEY) == store.find(KEY)
    assert path.name == f"cmdt_k2_b4_fp16-{KEY.digest}.plan"
    assert path.read_bytes() == b"plan"
    (entry,) = store.entries()
    assert entry.key == KEY
    assert entry.facts == {"seconds": 1.5}
    assert sorted(p.suffix for p in store.folder.glob("cmdt*")) == [".json", ".plan"]
    assert not list(store.folder.glob("*.part"))


def test_every_field_is_part_of_the_key() -> None:
    keys = [KEY, *(replace(KEY, **{name: value}) for name, value in OTHER.items())]
    assert len({key.digest for key in keys}) == len(OTHER) + 1
    assert all(len(key.digest) == 24 for key in keys)
    assert set(OTHER) == set(KEY.__dataclass_fields__)


def test_the_digest_is_the_same_in_every_process() -> None:
    code = (
        f"from engine.runtime.engines import EngineKey\nprint(EngineKey(**{_fields(KEY)!r}).digest)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == KEY.digest


def _fields(key: EngineKey) -> dict[str, object]:
    return {name: getattr(key, name) for name in key.__dataclass_fields__}


def test_an_empty_store_says_how_to_build(store: EngineStore) -> None:
    with pytest.raises(
        EngineRefused, match=r"no engine of cmdt_k2_b4_fp16.*trt_builders build"
    ) as e:
        store.find(KEY)
    assert e.value.reason == "missing"
    assert not store.folder.exists()  # asking leaves nothing behind


@pytest.mark.parametrize("name", [name for name in OTHER if name != "network"])
def test_a_stale_engine_is_refused_by_the_field_that_differs(store: EngineStore, name: str) -> None:
    store.put(KEY, b"plan", {})
    wanted = replace(KEY, **{name: OTHER[name]})
    with pytest.raises(EngineRefused) as e:
        store.find(wanted)
    assert e.value.reason == "stale"
    sentence = f"made for {name} {getattr(KEY, name)}; wanted is {OTHER[name]}"
    assert sentence in str(e.value)
    assert store.find(KEY).is_file()


def test_the_nearest_engine_is_named(store: EngineStore) -> None:
    store.put(replace(KEY, driver="1", gpu="T4", capability="7.5"), b"far", {})
    store.put(replace(KEY, driver="2"), b"near", {})
    with pytest.raises(EngineRefused, match=r"made for driver 2; wanted is 580\.95\.05"):
        store.find(KEY)


def test_a_foreign_engine_under_the_right_name_is_refused(store: EngineStore) -> None:
    foreign = store.put(replace(KEY, gpu="NVIDIA L4"), b"plan", {})
    for suffix in (".plan", ".json"):
        foreign.with_suffix(suffix).rename(store.path(KEY).with_suffix(suffix))
    with pytest.raises(EngineRefused, match="made for gpu NVIDIA L4") as e:
        store.find(KEY)
    assert e.value.reason == "stale"


@pytest.mark.parametrize("damage", ["flip", "cut", "no side-car", "bad side-car", "old format"])
def test_a_damaged_engine_is_found_out_and_removed(store: EngineStore, damage: str) -> None:
    path = store.put(KEY, b"0123456789", {})
    sidecar = path.with_suffix(".json")
    if damage == "flip":
        path.write_bytes(b"0123456780")
    elif damage == "cut":
        path.write_bytes(b"01234")
    elif damage == "no side-car":
        sidecar.unlink()
    elif damage == "bad side-car":
        sidecar.write_text("{")
    else:
        sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"format": 0}))
    with pytest.raises(EngineRefused, match="build it again") as e:
        store.find(KEY)
    assert e.value.reason == "corrupt"
    assert not path.exists()
    with pytest.raises(EngineRefused) as e:
        store.find(KEY)
    assert e.value.reason == "missing"
    store.put(KEY, b"anew", {})
    assert store.find(KEY).read_bytes() == b"anew"


def test_an_empty_plan_is_refused(store: EngineStore) -> None:
    with pytest.raises(ArtifactError, match="its build failed"):
        store.put(KEY, b"", {})


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = EngineStore(tmp_path / "file" / "engines")
    with pytest.raises(ArtifactError, match="cannot keep engines in"):
        store.put(KEY, b"plan", {})
    with pytest.raises(ArtifactError, match="cannot keep engines in"), store.lock(KEY, 0):
        pass


def test_the_engines_unused_for_longest_go(tmp_path: Path) -> None:
    store = EngineStore(tmp_path, limit_bytes=3500)
    keys = [replace(KEY, batch=batch) for batch in (1, 2, 3)]
    for age, key in zip((300, 200, 100), keys, strict=True):
        path = store.put(key, bytes(600), {})
        os.utime(path, (time.time() - age,) * 2)
    store.find(keys[0])  # the oldest has just been used
    kept = store.put(replace(KEY, batch=4), bytes(600), {})
    batches = sorted(entry.key.batch for entry in store.entries())
    assert sum(entry.size for entry in store.entries()) <= 3500
    assert 1 in batches
    assert 4 in batches
    assert 2 not in batches
    assert not store.path(keys[1]).with_suffix(".json").exists()
    assert kept.is_file()


def test_an_engine_larger_than_the_limit_still_serves(tmp_path: Path) -> None:
    store = EngineStore(tmp_path, limit_bytes=100)
    store.put(replace(KEY, batch=1), b"small", {})
    store.put(KEY, bytes(1000), {})
    assert [entry.key for entry in store.entries()] == [KEY]
    assert store.find(KEY)


def test_half_written_files_are_cleared_once_abandoned(store: EngineStore) -> None:
    store.put(KEY, b"plan", {})
    fresh, old = store.folder / ".a-1.part", store.folder / ".b-2.part"
    fresh.write_text("")
    old.write_text("")
    os.utime(old, (time.time() - 7200,) * 2)
    store.prune()
    assert fresh.exists()
    assert not old.exists()


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert EngineStore().folder == tmp_path / "vivace" / "engines"
    monkeypatch.setenv("VIVACE_ENGINES", str(tmp_path / "mine"))
    assert default_folder() == tmp_path / "mine"


# A process that locks, says so, and then builds for as long as it is told.
_BUILDER = """
import sys, time
from pathlib import Path
from engine.runtime.engines import EngineKey, EngineStore
store = EngineStore(Path(sys.argv[1]))
key = EngineKey(**{key!r})
with store.lock(key, float(sys.argv[3])):
    print("held", flush=True)
    log = store.folder / "log"
    with log.open("a") as file:
        file.write(f"in {{sys.argv[2]}}\\n")
    time.sleep(float(sys.argv[4]))
    store.put(key, sys.argv[2].encode(), {{}})
    with log.open("a") as file:
        file.write(f"out {{sys.argv[2]}}\\n")
"""


def _builder(
    store: EngineStore, name: str, timeout: float, seconds: float
) -> subprocess.Popen[str]:
    code = _BUILDER.format(key=_fields(KEY))
    arguments = [str(store.folder), name, str(timeout), str(seconds)]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_until_held(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"


def test_two_processes_build_one_after_the_other(store: EngineStore) -> None:
    first = _builder(store, "a", 30, 0.5)
    _wait_until_held(first)
    second = _builder(store, "b", 30, 0)
    assert first.wait(30) == 0
    assert second.wait(30) == 0
    log = (store.folder / "log").read_text().split("\n")
    assert log[:4] == ["in a", "out a", "in b", "out b"]
    assert store.find(KEY).read_bytes() == b"b"


def test_waiting_for_a_lock_ends_with_a_sentence(store: EngineStore) -> None:
    holder = _builder(store, "a", 30, 60)
    try:
        _wait_until_held(holder)
        started = time.monotonic()
        wait = rf"still being built by process {holder.pid} after 0\.3 s"
        with pytest.raises(ArtifactError, match=wait), store.lock(KEY, 0.3):
            pass
        assert 0.3 <= time.monotonic() - started < 5
        with store.lock(replace(KEY, batch=1), 0):  # other engines are not held up
            pass
    finally:
        holder.kill()
        holder.communicate(timeout=30)


def test_a_killed_builder_lets_go(store: EngineStore) -> None:
    holder = _builder(store, "a", 30, 60)
    _wait_until_held(holder)
    holder.send_signal(signal.SIGKILL)
    holder.communicate(timeout=30)
    with store.lock(KEY, 5):
        store.put(KEY, b"mine", {})
    assert store.find(KEY).read_bytes() == b"mine"


def test_threads_exclude_each_other_too(store: EngineStore) -> None:
    with store.lock(KEY, 0):
        refused: list[str] = []

        def other() -> None:
            try:
                with store.lock(KEY, 0.1):
                    pass
            except ArtifactError as error:
                refused.append(str(error))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join(10)
    assert len(refused) == 1
    with store.lock(KEY, 0):
        pass


def test_a_reader_never_removes_what_a_writer_is_putting(store: EngineStore) -> None:
    """``find`` while ``put`` runs again and again: it gets a whole engine or none."""
    store.put(KEY, b"0" * 1000, {})
    done = threading.Event()
    wrong: list[str] = []

    def read() -> None:
        while not done.is_set():
            try:
                store.find(KEY)
            except EngineRefused as error:
                wrong.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    for turn in range(60):
        store.put(KEY, str(turn).encode() * 1000, {})
    done.set()
    thread.join(10)
    assert wrong == []
    assert store.find(KEY).read_bytes() == b"59" * 1000
