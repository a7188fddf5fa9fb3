"""What holds for the package as a whole."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OUTER = ("training", "trt_builders", "benchmarks", "clients", "tests")


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_imports_point_one_way() -> None:
    for path in (ROOT / "engine").rglob("*.py"):
        wrong = {name for name in _imports(path) if name.split(".")[0] in OUTER}
        assert not wrong, f"{path} imports {wrong}"


def test_weights_fit() -> None:
    total = sum(path.stat().st_size for path in (ROOT / "engine" / "weights").rglob("*.*"))
    assert total < 60 * 2**20


def _python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_serving_needs_neither_torch_nor_training_packages() -> None:
    out = _python(
        "import sys, engine.app, engine.animate, engine.transport.signaling\n"
        "heavy = ('torch', 'onnx', 'onnxruntime', 'scipy', 'matplotlib', 'mediapipe')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert out == "[]"


def test_openvino_cannot_report_home() -> None:
    out = _python(
        "import sys, engine.app\n"
        "print(sys.modules.get('openvino_telemetry'), 'openvino_telemetry.main' in sys.modules)"
    )
    assert out == "None False"


@pytest.mark.parametrize("module", ["engine.serve", "engine.animate", "benchmarks"])
def test_help_teaches(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    assert "usage:" in done.stdout
    assert len(done.stdout.splitlines()) > 8
