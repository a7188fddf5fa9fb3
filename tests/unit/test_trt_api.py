"""Every call our code makes of TensorRT exists, with that many arguments, in the real bindings:
TensorRT-RTX 1.7 as installed, and TensorRT 11.4 as far as it goes without its libraries.
"""

from __future__ import annotations

import pytest

from engine.runtime import tensorrt as runtime
from tests.trtapi import overloads, signatures, uses
from trt_builders import flavours

SOURCES = ("trt_builders/flavours.py", "trt_builders/inspect.py", "engine/runtime/tensorrt.py")
INSPECTED = {
    "ICudaEngine": ("create_engine_inspector",),
    "EngineInspector": ("get_engine_information",),
    "LayerInformationFormat": ("JSON",),
}
ONLY_RTX = {
    f"{owner}.{name}"
    for part in (flavours.SURFACE_RTX, runtime.SURFACE_RTX)
    for owner, names in part.items()
    for name in names
}


def _merged() -> dict[str, tuple[str, ...]]:
    merged: dict[str, tuple[str, ...]] = {}
    for part in (
        flavours.SURFACE, flavours.SURFACE_RTX, runtime.SURFACE, runtime.SURFACE_RTX, INSPECTED,
    ):  # fmt: skip
        for owner, names in part.items():
            merged[owner] = tuple(dict.fromkeys([*merged.get(owner, ()), *names]))
    return merged


SURFACE = _merged()
MEMBERS = {f"{owner}.{name}" for owner, names in SURFACE.items() for name in names}


@pytest.fixture(scope="module")
def rtx() -> dict[str, str]:
    version, found = signatures("tensorrt_rtx", SURFACE)
    assert version.startswith("1.7.")
    return found


@pytest.fixture(scope="module")
def enterprise(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("standins")
    version, found = signatures("tensorrt_bindings", SURFACE, folder)
    assert version.startswith("11.4.")
    return found


def test_tensorrt_rtx_has_all_of_it(rtx: dict[str, str]) -> None:
    assert sorted(MEMBERS - set(rtx)) == []


def test_tensorrt_has_all_but_what_is_only_asked_of_rtx(enterprise: dict[str, str]) -> None:
    assert MEMBERS - set(enterprise) <= ONLY_RTX
    assert "IBuilderConfig.set_compute_capability" not in enterprise  # which is why it is asked so


def test_both_have_the_same_signatures(rtx: dict[str, str], enterprise: dict[str, str]) -> None:
    shared = [name for name in sorted(set(rtx) & set(enterprise)) if overloads(rtx[name])]
    assert "Builder.build_serialized_network" in shared
    assert len(shared) >= 15
    for name in shared:
        assert [form for form in overloads(rtx[name]) if form in overloads(enterprise[name])], name


def test_the_surface_is_what_the_code_uses() -> None:
    used = {
        name for name, _ in uses(SOURCES) if not name.endswith((".__init__", ".told", ".errors"))
    }
    assert {
        "Builder.build_serialized_network",
        "IBuilderConfig.set_timing_cache",
        "ICudaEngine.get_tensor_shape",
        "MemoryPoolType.WORKSPACE",
    } <= used  # it sees at all
    assert sorted(used - MEMBERS) == []


@pytest.mark.parametrize("flavour", ["rtx", "enterprise"])
def test_calls_fit_the_signatures(flavour: str, request: pytest.FixtureRequest) -> None:
    found: dict[str, str] = request.getfixturevalue(flavour)
    checked = 0
    for name, given in uses(SOURCES):
        forms = overloads(found.get(name, ""))
        if given is None or not forms:
            continue
        fits = [
            form for form in forms
            if sum(not has_default for _, has_default in form) <= given <= len(form)
        ]  # fmt: skip
        assert fits, f"{name} takes {forms}, given {given} arguments"
        checked += 1
    assert checked >= 15


def test_the_monitor_overrides_what_there_is(rtx: dict[str, str]) -> None:
    for name, count in {"phase_start": 3, "step_complete": 2, "phase_finish": 1}.items():
        (form,) = overloads(rtx[f"IProgressMonitor.{name}"])
        assert len(form) == count
