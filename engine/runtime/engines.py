"""Where compiled engines are kept: one file per network and machine, found by what it was made for.

A plan (what TensorRT calls a compiled engine) is only right for the GPU, driver, TensorRT version
and network it was built from, and it does not say so itself. Here all of that is its key:

    cmdt_k2-3f0c….plan    the engine
    cmdt_k2-3f0c….json    the key, field by field, the plan's SHA-256, how it was built
    cmdt_k2-3f0c….lock    held while somebody builds it

Files appear whole or not at all (temporary file, fsync, rename). Locks are the kernel's, so a
process that dies lets go. Nothing here needs TensorRT or a GPU.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.errors import ArtifactError
from engine.runtime.artifact import file_sha256

FOLDER_VARIABLE = "VIVACE_ENGINES"
"""Environment variable that moves the default folder."""
DEFAULT_LIMIT = 8 << 30
"""Bytes the folder may hold before the engines unused for longest go."""
ANY = "any"
"""GPU and driver of an engine built ahead of time for a compute capability (TensorRT-RTX only)."""
_FORMAT = 1
_ABANDONED = 3600.0
"""Seconds after which a half-written file has no writer any more."""
_WRITING_S = 60.0
"""Seconds to wait for somebody who writes an engine; gigabytes take some."""
_POLL = 0.05
"""Seconds between two tries for a lock."""


@dataclass(frozen=True, slots=True)
class EngineKey:
    """Everything a plan depends on.

    Args:
        network: name of the ONNX artifact, ``cmdt_k2_b4_fp16``.
        onnx_sha256: of that file.
        flavour: ``tensorrt`` or ``rtx``.
        version: of TensorRT, all four numbers.
        gpu: name as the driver gives it, or ``ANY``.
        capability: compute capability, ``9.0``.
        driver: version, or ``ANY``.
        precision: ``fp32``, ``fp16`` or ``bf16``.
        batch: rows of one call.
    """

    network: str
    onnx_sha256: str
    flavour: str
    version: str
    gpu: str
    capability: str
    driver: str
    precision: str
    batch: int

    @property
    def digest(self) -> str:
        """24 hex digits of the SHA-256 over all fields."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def differences(self, other: EngineKey) -> list[str]:
        """Names of the fields in which two keys differ."""
        names = [field.name for field in fields(self)]
        return [name for name in names if getattr(self, name) != getattr(other, name)]


class EngineRefused(ArtifactError):
    """No engine that may be used.

    Args:
        reason: ``missing`` (never built), ``stale`` (built for something else) or ``corrupt``.
        message: one sentence.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """An engine in the store.

    Args:
        key: what it was built for.
        path: of the plan.
        plan_sha256: of the plan.
        size: bytes of plan and side-car.
        used: seconds since the epoch, when it was last found or put.
        facts: what its builder noted.
    """

    key: EngineKey
    path: Path
    plan_sha256: str
    size: int
    used: float
    facts: Mapping[str, Any]


def default_folder() -> Path:
    """``$VIVACE_ENGINES``, else ``vivace/engines`` in the user's cache folder."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "vivace" / "engines"


class EngineStore:
    """A folder of engines, shared by processes.

    Args:
        folder: made on the first ``put``; None: ``default_folder()``.
        limit_bytes: what it may hold.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int = DEFAULT_LIMIT) -> None:
        self.folder = folder or default_folder()
        self.limit_bytes = limit_bytes

    def path(self, key: EngineKey) -> Path:
        """Where the plan of a key is or would be."""
        return self.folder / f"{key.network}-{key.digest}.plan"

    def find(self, key: EngineKey) -> Path:
        """The plan of a key, its digest checked; marks it as used.

        Raises:
            EngineRefused: there is none. The sentence names the field that differs from the
                nearest engine, if there is one; a damaged engine is removed.
        """
        try:
            path = self._verified(key)
        except EngineRefused as error:
            if error.reason != "corrupt":
                raise
            # Somebody may be between writing the plan and its side-car: look again alone.
            with self._writing():
                try:
                    path = self._verified(key)
                except EngineRefused:
                    _remove(self.path(key))
                    raise
        with suppress(OSError):  # it may be pruned right now, or the folder may be read-only
            os.utime(path)
        return path

    def _verified(self, key: EngineKey) -> Path:
        path = self.path(key)
        if not path.is_file():
            raise self._absent(key)
        try:
            entry = _read(path)
            digest = file_sha256(path)
        except (ArtifactError, OSError) as error:
            raise EngineRefused("corrupt", f"{error}; removed, build it again") from error
        if entry.key != key:
            raise EngineRefused("stale", f"{path.name} is {_told(entry.key, key)}; build it again")
        if digest != entry.plan_sha256:
            raise EngineRefused(
                "corrupt",
                f"{path.name} is damaged (its sha256 is not the recorded one); removed, build it "
                "again",
            )
        return path

    def put(self, key: EngineKey, plan: bytes, facts: Mapping[str, Any]) -> Path:
        """Keep a plan; the engines unused for longest make room for it.

        Args:
            key: what it was built for.
            plan: the engine.
            facts: plain values worth knowing: seconds, layers, errors measured.

        Raises:
            ArtifactError: the plan is empty or the folder cannot be written.
        """
        if not plan:
            raise ArtifactError(f"the engine of {key.network} is empty; its build failed")
        path = self.path(key)
        record = {
            "format": _FORMAT,
            "key": asdict(key),
            "plan_sha256": hashlib.sha256(plan).hexdigest(),
            "bytes": len(plan),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "facts": dict(facts),
        }
        text = json.dumps(record, indent=2) + "\n"
        try:
            with self._writing():
                # After a crash between the two, the digest finds the pair out.
                _write(path, plan)
                _write(path.with_suffix(".json"), text.encode())
        except OSError as error:
            raise ArtifactError(f"cannot keep engines in {self.folder}: {error}") from error
        self.prune(keep=path)
        return path

    @contextmanager
    def lock(self, key: EngineKey, timeout_s: float) -> Iterator[None]:
        """Hold the right to build a key's engine; other processes and threads wait.

        Raises:
            ArtifactError: somebody else still held it after ``timeout_s`` seconds.
        """
        what = f"the engine of {key.network} is still being built"
        with self._held(self.path(key).with_suffix(".lock"), what, timeout_s):
            yield

    def _writing(self) -> AbstractContextManager[None]:
        """The right to add or remove files: held for moments only."""
        what = "the engine folder is still being written"
        return self._held(self.folder / ".store.lock", what, _WRITING_S)

    @contextmanager
    def _held(self, path: Path, what: str, timeout_s: float) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ArtifactError(f"cannot keep engines in {self.folder}: {error}") from error
        try:
            _acquire(descriptor, what, timeout_s)
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(descriptor)  # and with it the lock; the file stays, or two could hold it

    def entries(self) -> list[EngineEntry]:
        """Readable engines, the most recently used first. Damaged ones are left for ``find``."""
        found = []
        for path in self.folder.glob("*.plan"):
            with suppress(ArtifactError, FileNotFoundError):
                found.append(_read(path))
        return sorted(found, key=lambda entry: entry.used, reverse=True)

    def prune(self, keep: Path | None = None) -> list[Path]:
        """Remove the engines unused for longest until the folder is within its limit.

        Args:
            keep: a plan that stays whatever its age.

        Returns:
            The plans that went.
        """
        gone = []
        with self._writing():
            plans = [(p.stat().st_mtime, _size(p), p) for p in self.folder.glob("*.plan")]
            total = sum(size for _, size, _ in plans)
            for _, size, path in sorted(plans):
                if total <= self.limit_bytes:
                    break
                if path != keep:
                    _remove(path)
                    total -= size
                    gone.append(path)
            for partial in self.folder.glob("*.part"):
                if time.time() - partial.stat().st_mtime > _ABANDONED:
                    partial.unlink()
        return gone

    def _absent(self, key: EngineKey) -> EngineRefused:
        others = [entry.key for entry in self.entries() if entry.key.network == key.network]
        advice = "build it with python -m trt_builders build"
        if not others:
            return EngineRefused(
                "missing", f"no engine of {key.network} in {self.folder}; {advice}"
            )
        nearest = min(others, key=lambda other: len(other.differences(key)))
        return EngineRefused(
            "stale", f"the engine of {key.network} is {_told(nearest, key)}; {advice}"
        )


def _told(built: EngineKey, wanted: EngineKey) -> str:
    """``made for driver 570.1, this is 580.2``: what differs, in words."""
    names = built.differences(wanted)
    made = ", ".join(f"{name} {getattr(built, name)}" for name in names)
    this = ", ".join(str(getattr(wanted, name)) for name in names)
    return f"made for {made}; wanted is {this}"


def _acquire(descriptor: int, what: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 20, 0).decode(errors="replace") or "unknown"
                raise ArtifactError(
                    f"{what} by process {holder} after {timeout_s:g} s; wait for it, or end that "
                    "process"
                ) from None
            time.sleep(_POLL)


def _read(path: Path) -> EngineEntry:
    """Read a plan's side-car.

    Raises:
        ArtifactError: it is missing or is not one.
    """
    sidecar = path.with_suffix(".json")
    try:
        record = json.loads(sidecar.read_text())
        if record["format"] != _FORMAT:
            raise ValueError(f"format {record['format']}")
        return EngineEntry(
            EngineKey(**record["key"]),
            path,
            record["plan_sha256"],
            _size(path),
            path.stat().st_mtime,
            record["facts"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path.name} has no readable description: {error!r}") from error


def _size(path: Path) -> int:
    sidecar = path.with_suffix(".json")
    return path.stat().st_size + (sidecar.stat().st_size if sidecar.exists() else 0)


def _remove(path: Path) -> None:
    with suppress(OSError):  # a read-only folder keeps what it has; it is refused all the same
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    """Write a file whole: nobody sees half of it, not even after a power cut."""
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.stem}-", suffix=".part", delete=False
    ) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
