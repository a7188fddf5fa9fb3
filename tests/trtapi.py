"""TensorRT's Python API without TensorRT: signatures out of the real bindings.

The bindings are one shared library that wants three others, which no package index carries. Only
a dozen functions of those are named, and none is called by asking for signatures; so libraries of
the right names that hold these, and do nothing, let the bindings load. In a process of its own:
what is loaded this way can build nothing.

TensorRT 8.6's bindings cannot be installed beside today's, having the same name. Their signatures
are kept in ``trt86.json``, which this made from an unpacked wheel (tensorrt-bindings 8.6.1):

    python -m tests.trtapi FOLDER > tests/trt86.json
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_FUNCTIONS = (
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry", "getNvOnnxParserVersion", "getPluginRegistry",
    "initLibNvInferPlugins",
    # Of 8.6, whose bindings know two more parsers:
    "_ZN11nvuffparser15createUffParserEv",
    "_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi",
    "_ZN14nvcaffeparser117createCaffeParserEv",
    "_ZN14nvcaffeparser123shutdownProtobufLibraryEv",
)  # fmt: skip
_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser", "nvparsers")
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


ROOT = Path(__file__).resolve().parents[1]
RECEIVERS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "parser": "OnnxParser",
    "error": "ParserError",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "context": "IExecutionContext",
    "_context": "IExecutionContext",
    "inspector": "EngineInspector",
    "settings": "IRuntimeConfig",
    "layer": "ILayer",
}
"""What a variable of that name is, in our code, which keeps to it, or its tests are blind."""


def signatures(
    module: str, surface: Surface, libraries: Path | None = None, unpacked: Path | None = None
) -> tuple[str, dict]:
    """Version of a bindings module, and documentation of each member it has.

    Args:
        module: ``tensorrt_rtx`` or ``tensorrt_bindings``.
        surface: class to members.
        libraries: folder for stand-ins of the libraries, where the module's are missing.
        unpacked: folder of an unpacked wheel of 8.6; None: the module is installed.
    """
    environment = dict(os.environ)
    if libraries is not None:
        _stand_in(libraries, "8" if unpacked else "11")
        environment["LD_LIBRARY_PATH"] = str(libraries)
    if unpacked is not None:
        environment["PYTHONPATH"] = str(unpacked)
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


def uses(sources: Sequence[str]) -> Iterator[tuple[str, int | None]]:
    """Members of TensorRT that our files name, with the number of arguments where it calls them."""
    for source in sources:
        tree = ast.parse((ROOT / source).read_text())
        calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute):
                continue
            owner = _owner(node.value)
            if owner:
                call = calls.get(id(node))
                given = None if call is None else len(call.args) + len(call.keywords)
                yield f"{owner}.{node.attr}", given


def _owner(value: ast.expr) -> str | None:
    """Class of an expression: a known variable, or ``trt.Class``."""
    if isinstance(value, ast.Name):
        return RECEIVERS.get(value.id)
    if isinstance(value, ast.Attribute):
        inside = value.value
        is_trt = (isinstance(inside, ast.Name) and inside.id == "trt") or (
            isinstance(inside, ast.Attribute) and inside.attr == "_trt"
        )
        if is_trt:
            return value.attr
        return RECEIVERS.get(value.attr)
    return None


def record(unpacked: Path) -> str:
    """Signatures of what ``trt_builders.legacy`` uses, as JSON, a member each line."""
    from trt_builders.legacy import SURFACE

    with tempfile.TemporaryDirectory() as folder:
        version, found = signatures("tensorrt_bindings", SURFACE, Path(folder), unpacked)
    lines = {"version": version, **{name: overloads(found[name]) for name in sorted(found)}}
    body = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in lines.items())
    return f"{{\n{body}\n}}\n"


if __name__ == "__main__":
    sys.stdout.write(record(Path(sys.argv[1])))
