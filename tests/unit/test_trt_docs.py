"""docs/tensorrt.md and the committed measurement say what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

from trt_builders.networks import NETWORKS

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_reason_for_fp32_is_told() -> None:
    text = (DOCS / "tensorrt.md").read_text()
    for name, entry in NETWORKS.items():
        for reason in [*(keep.why for keep in entry.policy.keep), entry.policy.rest]:
            assert reason in text, f"{name}: {reason}"


def test_the_measurement_covers_every_network_and_passed() -> None:
    report = json.loads((DOCS / "results" / "trt_verify.json").read_text())
    assert report["passed"] is True
    seen = {(line["network"], line["batch"]) for line in report["lines"]}
    assert {(name, 1) for name in NETWORKS} <= seen
    for name, entry in NETWORKS.items():
        runtimes = {line["runtime"] for line in report["lines"] if line["network"] == name}
        assert {"openvino:CPU f32", "onnxruntime:CPU fp32"} <= runtimes
        assert {f"rounded {p}" for p in entry.precisions[1:]} <= runtimes


def test_the_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (DOCS / "tensorrt.md").read_text()):
        assert (DOCS / target).is_file(), target
    for path in re.findall(r"`((?:engine|tests|trt_builders)/[\w/]+\.py)`",
                           (DOCS / "tensorrt.md").read_text()):  # fmt: skip
        assert (DOCS.parent / path).is_file(), path
