"""The patches we would send to aiortc: they apply, what is patched works, and ours differs."""

from __future__ import annotations

import importlib.util
import inspect
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import aiortc
import aiortc.jitterbuffer
import av
import numpy as np
import pytest
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder
from aiortc.rtp import RtpPacket

from engine.transport.encoder import open_h264, open_vp8
from engine.transport.jitter import AudioJitterBuffer
from tests.conftest import ROOT, require_program

PACKAGES = Path(aiortc.__file__).parents[1]
PATCHES = sorted((ROOT / "docs" / "upstream").glob("*.patch"))


def patch(file: Path, folder: Path, *options: str) -> None:
    """Apply a patch below a folder."""
    command = [require_program("patch"), "-p1", "--fuzz=0", "-d", str(folder), "-i", str(file)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_a_patch_for_each_of_the_seven() -> None:
    assert [file.name[:4] for file in PATCHES] == [f"{n:04}" for n in range(1, 8)]
    text = (ROOT / "docs" / "upstream" / "README.md").read_text()
    assert all(f"({file.name})" in text for file in PATCHES)


@pytest.mark.parametrize("file", PATCHES, ids=lambda file: file.stem)
def test_it_applies_to_the_installed_package(file: Path) -> None:
    patch(file, PACKAGES, "--dry-run")


def test_all_together_apply_and_are_python(tmp_path: Path) -> None:
    shutil.copytree(PACKAGES / "aiortc", tmp_path / "aiortc")
    for file in PATCHES:
        patch(file, tmp_path)
    changed = {
        line[6:].strip()
        for file in PATCHES
        for line in file.read_text().splitlines()
        if line.startswith("+++ b/")
    }
    assert len(changed) == 6
    for name in changed:
        compile((tmp_path / name).read_text(), name, "exec")


def _patched(folder: Path) -> ModuleType:
    """aiortc's jitter buffer with our patch, beside the one in use."""
    (folder / "aiortc").mkdir()
    shutil.copy(aiortc.jitterbuffer.__file__, folder / "aiortc")
    patch(PATCHES[0], folder)
    place = folder / "aiortc" / "jitterbuffer.py"
    spec = importlib.util.spec_from_file_location("aiortc._patched_jitterbuffer", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _delivered(buffer: object, sent: list[int]) -> tuple[float, float]:
    """Share of the packets that come out, and how many packets late the last ones are."""
    came = []
    for number in sent:
        packet = RtpPacket(sequence_number=number, timestamp=number * 960)
        packet._data = number.to_bytes(4, "big")  # type: ignore[attr-defined]
        run = buffer.add(packet)[1]  # type: ignore[attr-defined]
        if run is not None:
            parts = [run.data, *(data for _, data in getattr(run, "rest", []))]
            came += [(int.from_bytes(part, "big"), number) for part in parts]
    assert [n for n, _ in came] == sorted({n for n, _ in came})
    return len(came) / len(sent), float(np.mean([now - n for n, now in came[-100:]]))


@pytest.mark.parametrize("loss", [0.0005, 0.01, 0.05, 0.2])
def test_the_patched_jitter_buffer_passes_where_the_stock_one_fails(
    tmp_path: Path, loss: float
) -> None:
    rng = np.random.default_rng(1)
    sent = [n for n in range(4000) if rng.random() > loss]
    stock, late = _delivered(aiortc.jitterbuffer.JitterBuffer(16, prefetch=4), sent)
    assert late > 10  # 200 ms and more, for good
    patched, patched_late = _delivered(_patched(tmp_path).JitterBuffer(16, prefetch=4), sent)
    assert patched > 0.99
    assert patched - stock > loss / 2
    assert patched_late < 6
    ours, ours_late = _delivered(AudioJitterBuffer(), sent)
    assert ours > 0.99
    assert ours_late < 2.6


def _picture() -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.full((96, 64), 128, np.uint8), "yuv420p")
    frame.pts, frame.time_base = 0, Fraction(1, 90_000)
    return frame


def test_x264_tells_in_its_stream_that_it_is_fast_and_the_stock_one_that_it_is_not() -> None:
    """x264 writes its settings into the stream: ``me`` is ``dia`` up to ``superfast``."""
    codec = open_h264(64, 64, 500_000)
    ours = b"".join(bytes(p) for p in [*codec.encode(_picture()), *codec.encode(None)])
    stock = b"".join(H264Encoder().encode(_picture())[0])
    assert b"me=dia subme=1" in ours
    assert b"me=hex subme=7" in stock


def test_vp8_is_opened_without_the_denoiser_that_the_stock_one_has() -> None:
    # FFmpeg takes the options away when it opens an encoder, so the stock one's are read as text.
    assert '"noise-sensitivity": "4"' in inspect.getsource(Vp8Encoder.encode)
    assert open_vp8(64, 64, 500_000).options["noise-sensitivity"] == "0"
