"""TensorRT's Python API without TensorRT: signatures out of the real bindings.

The bindings are one shared library that wants three others, which no package index carries. Only
nine functions of those are named, and none is called by asking for signatures; so libraries of the
right names that hold these nine, and do nothing, let the bindings load. In a process of its own:
what is loaded this way can build nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_FUNCTIONS = (
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry", "getNvOnnxParserVersion", "getPluginRegistry",
    "initLibNvInferPlugins",
)  # fmt: skip
_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
_ASK = """
import importlib, json, sys
surface = json.loads(sys.argv[2])
module = importlib.import_module(sys.argv[1])
found = {}
for owner, names in surface.items():
    for name in names:
        member = getattr(getattr(module, owner, None), name, None)
        if member is not None:
            found[f"{owner}.{name}"] = str(member.__doc__ or "")
print(json.dumps([module.__version__, found]))
"""

Surface = Mapping[str, tuple[str, ...]]


def signatures(module: str, surface: Surface, libraries: Path | None = None) -> tuple[str, dict]:
    """Version of a bindings module, and documentation of each member it has.

    Args:
        module: ``tensorrt_rtx`` or ``tensorrt_bindings``.
        surface: class to members.
        libraries: folder for stand-ins of the libraries, where the module's are missing.
    """
    environment = dict(os.environ)
    if libraries is not None:
        _stand_in(libraries, "11")
        environment["LD_LIBRARY_PATH"] = str(libraries)
    done = subprocess.run(
        [sys.executable, "-c", _ASK, module, json.dumps(surface)],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    version, found = json.loads(done.stdout)
    return version, found


def _stand_in(folder: Path, version: str) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "install a C compiler: TensorRT's signatures are read from its own bindings"
    source = folder / "standin.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in _FUNCTIONS))
    for name in _LIBRARIES:
        target = folder / f"lib{name}.so.{version}"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", target, source], check=True)


def overloads(document: str) -> list[list[tuple[str, bool]]]:
    """Forms of a method that pybind11 documents: parameters after ``self``, each with whether it
    has a default. Empty for members that are no methods.
    """
    lines = re.findall(r"^(?:\d+\. )?\w+\((self.*)\) -> ", document, re.MULTILINE)
    return [_parameters(line) for line in lines]


def _parameters(line: str) -> list[tuple[str, bool]]:
    parts, depth, current = [], 0, ""
    for character in line:
        depth += (character in "[(") - (character in "])")
        if character == "," and not depth:
            parts.append(current)
            current = ""
        else:
            current += character
    parts.append(current)
    named = [(part.partition(":")[0].strip(), "=" in part) for part in parts if part.strip()]
    return [one for one in named if one[0] != "self"]
