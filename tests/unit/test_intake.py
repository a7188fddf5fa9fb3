"""Strangers' photos: what is taken, what is refused, what happens to the process that decodes."""

from __future__ import annotations

import io
import os
import signal
import struct
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from engine.errors import PortraitError
from engine.face.intake import Intake
from engine.face.picture import MAX_BYTES, check_upload, read_upload
from engine.media import UInt8

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def intake() -> Iterator[Intake]:
    intake = Intake()
    yield intake
    intake.close()


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def colours(width: int = 60, height: int = 40) -> Image.Image:
    """Red left, blue right."""
    image = Image.new("RGB", (width, height), (200, 30, 30))
    image.paste((30, 30, 200), (width // 2, 0, width, height))
    return image


def looks_right(image: UInt8) -> bool:
    left, right = image[:, :20].mean((0, 1)), image[:, -20:].mean((0, 1))
    return bool(left[0] - left[2] > 60 and right[2] - right[0] > 60)


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG as its author pleases."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    whole = [(b"IHDR", head), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in whole
    )


def reason(photo: bytes, intake: Intake) -> str:
    with pytest.raises(PortraitError) as caught:
        intake.decode(photo)
    assert str(caught.value).endswith("."), "a sentence"
    return caught.value.reason


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_what_cameras_and_browsers_make(kind: str, intake: Intake) -> None:
    image = intake.decode(encoded(colours(), kind))
    assert image.shape == (40, 60, 3)
    assert looks_right(image)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "ICO", "PPM", "TGA", "PDF", "JPEG2000"])
def test_other_formats_are_not_tried(kind: str, intake: Intake) -> None:
    assert reason(encoded(colours(), kind), intake) == "not_an_image"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"just words",
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        b"<!doctype html><img src=x onerror=alert(1)>",
        b"%PDF-1.7\n",
        b"#!/bin/sh\nid\n",
        b"PK\x03\x04" + bytes(40),
        b"\x7fELF" + bytes(40),
        b"GIF89a" + bytes(40),
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\x00\x00\x00\x00WEBP",
        b"RIFF\x00\x00\x00\x00WAVE",
        b"\xff\xd8\xff\xe0<svg onload=alert(1)>",
    ],
)
def test_what_poses_as_an_image(text: bytes, intake: Intake) -> None:
    assert reason(text, intake) == "not_an_image"


def test_what_follows_the_image_does_not_come_along(intake: Intake) -> None:
    polyglot = encoded(colours(), "JPEG") + b"<script>alert(1)</script>PK\x03\x04"
    image = intake.decode(polyglot)
    assert looks_right(image)
    assert b"<script>" not in image.tobytes()


def test_sizes(intake: Intake) -> None:
    assert reason(b"\xff\xd8\xff" + bytes(MAX_BYTES), intake) == "too_large"
    assert reason(png(60_000, 60_000), intake) == "too_large"
    assert reason(png(2**31 - 1, 2**31 - 1), intake) == "too_large"
    assert reason(encoded(Image.new("L", (7000, 6000))), intake) == "too_large"
    assert reason(encoded(Image.new("L", (900, 100))), intake) == "bad_shape"
    assert intake.decode(encoded(Image.new("L", (800, 100)))).shape == (100, 800, 3)
    assert intake.decode(encoded(Image.new("L", (1, 1)))).shape == (1, 1, 3)


def test_bombs(intake: Intake) -> None:
    """A few KB that would become gigabytes: pixels, texts and colour profiles of PNG."""
    gigabytes = zlib.compressobj(9)
    flood = b"".join(gigabytes.compress(bytes(2**20)) for _ in range(300)) + gigabytes.flush()
    pixels = (b"IDAT", zlib.compress(bytes(31 * 10)))
    assert intake.decode(png(10, 10, pixels)).shape == (10, 10, 3)
    assert intake.decode(png(10, 10, (b"IDAT", flood))).shape == (10, 10, 3)
    assert reason(png(10, 10, (b"zTXt", b"a\0\0" + flood), pixels), intake) == "not_an_image"
    for bomb in (
        png(10, 10, (b"iCCP", b"a\0\0" + flood), pixels),
        png(10, 10, (b"iTXt", b"a\0\1\0\0\0" + flood), pixels),
    ):
        try:
            assert intake.decode(bomb).shape == (10, 10, 3)
        except PortraitError as error:
            assert error.reason == "not_an_image"
    assert intake.restarts == 0, "none of them ended the process"


@linux
def test_forty_megapixels_fit_the_memory(intake: Intake) -> None:
    assert intake.decode(encoded(Image.new("RGBA", (6300, 6300)))).shape == (6300, 6300, 3)
    peak = Path(f"/proc/{intake.pid}/status").read_text().split("VmPeak:")[1].split()[0]
    assert int(peak) < 2 * 2**20


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "I;16", "CMYK"])
def test_every_kind_of_pixel(mode: str, intake: Intake) -> None:
    image = colours().convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image, np.uint16) * 257)
    decoded = intake.decode(encoded(image, "JPEG" if mode == "CMYK" else "PNG"))
    assert (decoded.shape, decoded.dtype) == ((40, 60, 3), np.uint8)
    if mode in ("P", "RGBA", "CMYK"):
        assert looks_right(decoded)
    elif mode != "1":
        grey = np.asarray(colours().convert("L"), int)
        assert np.abs(decoded[..., 0].astype(int) - grey).max() <= 2


def test_upright_and_without_a_place(intake: Intake) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 29.6)
    photo = encoded(colours(), "JPEG", exif=exif)
    assert b"Exif" in photo
    image = intake.decode(photo)
    assert image.shape == (60, 40, 3)
    top, bottom = image[:20].mean((0, 1)), image[-20:].mean((0, 1))
    assert top[0] > top[2]
    assert bottom[2] > bottom[0]


def test_damaged_exif_does_not_matter_much(intake: Intake) -> None:
    photo = bytearray(encoded(colours(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))
    assert intake.decode(bytes(photo)).shape == (40, 60, 3)


def test_of_an_animation_the_first_picture(intake: Intake) -> None:
    second = Image.new("RGB", (60, 40), (0, 255, 0))
    for kind in ("WEBP", "PNG"):
        photo = encoded(colours(), kind, save_all=True, append_images=[second] * 3)
        assert looks_right(intake.decode(photo))


def test_colour_profiles(intake: Intake) -> None:
    """A profile that means blue by red is believed; one that is none is not."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    places = {}
    for entry in range(struct.unpack(">I", srgb[128:132])[0]):
        name, offset, size = struct.unpack(">4sII", srgb[132 + 12 * entry : 144 + 12 * entry])
        places[name] = slice(offset, offset + size)
    swapped = bytearray(srgb)
    swapped[places[b"rXYZ"]] = srgb[places[b"bXYZ"]]
    swapped[places[b"bXYZ"]] = srgb[places[b"rXYZ"]]
    for kind in ("PNG", "JPEG", "WEBP"):
        right = intake.decode(encoded(colours(), kind, icc_profile=srgb))
        assert looks_right(right)
        exchanged = intake.decode(encoded(colours(), kind, icc_profile=bytes(swapped)))
        assert looks_right(exchanged[..., ::-1]), kind
    assert looks_right(intake.decode(encoded(colours(), "PNG", icc_profile=b"no profile")))
    clear = colours().convert("RGBA")
    assert looks_right(intake.decode(encoded(clear, "PNG", icc_profile=bytes(swapped)))[..., ::-1])


def test_truncated_everywhere(intake: Intake) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (64, 64, 3), np.uint8)
    for kind in ("JPEG", "PNG", "WEBP"):
        whole = encoded(Image.fromarray(noise), kind)
        for end in range(3, len(whole) - 64, max(1, len(whole) // 25)):
            assert reason(whole[:end], intake) in ("not_an_image", "too_large")
    assert intake.restarts == 0


def test_flipped_bits_end_in_a_picture_or_a_reason(intake: Intake) -> None:
    random = np.random.default_rng(11)
    text = PngImagePlugin.PngInfo()
    text.add_text("a", "b" * 100, zip=True)
    wholes = [
        encoded(colours(), "JPEG"),
        encoded(colours(), "JPEG", progressive=True),
        encoded(colours(), "PNG", pnginfo=text),
        encoded(colours(), "WEBP", lossless=True),
    ]
    for whole in wholes:
        for _ in range(40):
            damaged = np.frombuffer(whole, np.uint8).copy()
            where = random.integers(4, len(damaged), 1 + random.integers(8))
            damaged[where] = random.integers(0, 256, len(where))
            try:
                image = intake.decode(damaged.tobytes())
            except PortraitError as error:
                assert error.reason in ("not_an_image", "too_large", "bad_shape")
            else:
                assert image.dtype == np.uint8
    assert intake.restarts == 0


def test_the_name_says_nothing() -> None:
    assert check_upload(encoded(colours(), "PNG")) == "PNG"
    assert looks_right(read_upload(encoded(colours(), "PNG")))
    with pytest.raises(PortraitError):
        check_upload(b"photo.jpg")


@linux
def test_the_process_can_do_nothing_else(intake: Intake) -> None:
    intake.decode(encoded(colours()))
    limits = Path(f"/proc/{intake.pid}/limits").read_text()
    held = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
    assert held["Max open files"] == "3", "neither file nor socket can be added to its pipes"
    assert held["Max file size"] == "0"
    assert held["Max core file size"] == "0"
    assert int(held["Max address space"]) <= 2 * 2**30
    assert len(list(Path(f"/proc/{intake.pid}/fd").iterdir())) == 3
    environment = Path(f"/proc/{intake.pid}/environ")
    if os.geteuid() == 0:
        status = Path(f"/proc/{intake.pid}/status").read_text()
        assert status.split("Uid:")[1].split()[:4] == ["65534"] * 4
        assert status.split("NoNewPrivs:")[1].split()[0] == "1"
    assert b"VIVACE_TOKEN" not in environment.read_bytes()


def test_it_does_not_know_the_servers_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.confined import environment

    monkeypatch.setenv("VIVACE_TOKEN", "secret")
    monkeypatch.setenv("PATH", "/bin")
    assert "PATH" in environment()
    assert "secret" not in environment().values()


@linux
def test_killed_between_two_photos() -> None:
    intake = Intake()
    try:
        intake.decode(encoded(colours()))
        first = intake.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        time.sleep(0.2)
        assert looks_right(intake.decode(encoded(colours())))
        assert intake.pid != first
    finally:
        intake.close()


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_killed_or_frozen_over_a_photo(number: signal.Signals) -> None:
    """The one photo is refused, in bounded time; the next one is taken by a new process."""
    intake = Intake(seconds=2)
    answers: list[Exception | UInt8] = []

    def decode(photo: bytes) -> None:
        try:
            answers.append(intake.decode(photo))
        except PortraitError as error:
            answers.append(error)

    try:
        intake.decode(encoded(colours()))
        child = intake.pid
        assert child is not None
        os.kill(child, signal.SIGSTOP)  # so that it certainly is in the middle of it
        thread = threading.Thread(target=decode, args=(encoded(colours()),))
        thread.start()
        time.sleep(0.1)
        os.kill(child, number)
        thread.join(20)
        assert not thread.is_alive()
        assert isinstance(answers[0], PortraitError)
        assert answers[0].reason == "undecodable"
        assert not Path(f"/proc/{child}").exists(), "reaped, not left as a zombie"
        assert looks_right(intake.decode(encoded(colours())))
        assert intake.restarts == 1
    finally:
        intake.close()


@linux
def test_closing_does_not_wait_for_a_photo_in_the_middle() -> None:
    intake = Intake(seconds=600)
    intake.decode(encoded(colours()))
    assert intake.pid is not None
    os.kill(intake.pid, signal.SIGSTOP)
    refused: list[str] = []

    def decode() -> None:
        try:
            intake.decode(encoded(colours()))
        except PortraitError as error:
            refused.append(error.reason)

    thread = threading.Thread(target=decode)
    thread.start()
    time.sleep(0.1)
    intake.close()
    thread.join(20)
    assert refused == ["undecodable"]
    assert intake.pid is None


def test_a_worn_process_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.confined.REQUESTS", 2)
    intake = Intake()
    try:
        pids = []
        for _ in range(5):
            assert looks_right(intake.decode(encoded(colours())))
            pids.append(intake.pid)
        assert len(set(pids)) == 3
        assert intake.restarts == 0
    finally:
        intake.close()


@linux
def test_what_the_system_cannot_take_away_is_said(caplog: pytest.LogCaptureFixture) -> None:
    from engine.confined import greet

    greet("the decoder", io.BytesIO(b"\x07network"))
    assert "network" in caplog.text


@linux
def test_a_process_that_dies_leaves_no_descriptors() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        intake = Intake()
        intake.decode(encoded(colours()))
        intake.close()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
