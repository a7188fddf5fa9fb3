"""Sessions with WebRTC, as the benchmark counts them; the numbers themselves are never asserted."""

from __future__ import annotations

import time

import numpy as np
import pytest

from benchmarks.gpu_networks import Case, settings
from benchmarks.gpu_report import Report, to_markdown
from benchmarks.gpu_webrtc import WebPoint, judge, search, sound
from benchmarks.report import machine
from benchmarks.server import Server, Unreachable
from engine.serve import read_options

BEFORE = {
    **{f"avatar_playout_{name}_total": 7.0 for name in
       ("slots", "missed", "silence", "repeated", "late")},
    "avatar_playout_delay_seconds": 0.2,
    "avatar_loop_lag_seconds": 0.004,
    "avatar_encode_seconds": 0.003,
}  # fmt: skip


def after(**spent: float) -> dict[str, float]:
    return BEFORE | {
        f"avatar_playout_{name}_total": BEFORE[f"avatar_playout_{name}_total"] + count
        for name, count in spent.items()
    }


def test_slots_with_their_own_sound_and_picture_count() -> None:
    assert judge(2, 2.0, BEFORE, after(slots=100), 100) == WebPoint(
        2, 100, 1.0, 1.0, 200.0, 4.0, 3.0
    )
    for bad in ("silence", "repeated", "late"):
        assert judge(2, 2.0, BEFORE, after(slots=100, **{bad: 10}), 100).on_time == 0.9
    assert judge(2, 2.0, BEFORE, after(slots=90, missed=10), 100).on_time == 0.9


def test_a_session_that_is_gone_is_not_forgotten() -> None:
    point = judge(2, 2.0, BEFORE, after(slots=50), 100)
    assert point.on_time < 0.52
    assert not point.passed


def test_pictures_that_never_arrive_fail_it_too() -> None:
    assert judge(1, 4.0, BEFORE, after(slots=100), 96).passed
    assert not judge(1, 4.0, BEFORE, after(slots=100), 90).passed


def test_the_peers_never_fall_silent() -> None:
    samples = sound(1.0, 48_000)
    loud = np.sqrt(np.mean(np.square(samples.reshape(-1, 1920)), axis=1))
    assert loud.min() > 0.02, "quiet slots may be dropped, and that is not what is measured"
    assert np.abs(samples).max() < 1


@pytest.mark.parametrize("backend", ["torch", "compiled", "tensorrt", "openvino", "onnxruntime"])
def test_the_server_takes_the_settings(backend: str) -> None:
    words = [w for s in settings(Case("render_512", backend, "fp32", 8)) for w in ("--set", s)]
    config, _ = read_options(words)
    assert config.runtime.backend == ("torch" if backend == "compiled" else backend)
    assert config.runtime.precision == "f32"
    assert config.runtime.build is False


def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(Unreachable, match=r"the server ended: .*no portrait at .*none\.jpg"):
        Server(["render.portrait=none.jpg"], 60)


@pytest.mark.e2e
@pytest.mark.slow
def test_one_session_over_real_sockets() -> None:
    end = time.monotonic() + 90
    points, good = search(["runtime.backend=openvino"], 2.0, lambda: end - time.monotonic(), 1)
    (point,) = points
    assert good in (0, 1)
    assert point.slots >= 0.98 * 50
    assert point.on_time > 0, "pictures of the voice arrive, however slow the machine"
    assert point.received > 0.5
    report = Report("c", "d", "e", "CPU", machine(), web_points=points, web_capacity=good)
    assert f"**{good} session(s)**" in to_markdown(report)
