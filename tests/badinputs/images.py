"""Photos that are none, that lie about their size, or that show no face."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from functools import cache

import numpy as np
from PIL import Image

from engine.app import default_portrait
from tests.badinputs.case import Request
from tests.conftest import SHARED


@cache
def face() -> Image.Image:
    """The portrait shipped with the engine."""
    return Image.open(default_portrait()).convert("RGB")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """The picture as a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes, depth: int = 1, colour: int = 0) -> bytes:
    """A PNG of the given size over whatever data."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + _chunk(b"IDAT", zlib.compress(rows, 9))
        + _chunk(b"IEND", b"")
    )


def _damaged(jpeg: bytes, seed: int) -> bytes:
    """A JPEG whose header is whole and of whose data every 50th byte is noise."""
    data = np.frombuffer(jpeg, np.uint8).copy()
    rng = np.random.default_rng(seed)
    data[700::50] = rng.integers(0, 256, len(data[700::50]))
    return data.tobytes()


def _no_images() -> dict[str, bytes]:
    picture = face()
    jpeg, lossless = saved(picture, "JPEG"), saved(picture, "PNG")
    webp = saved(picture, "WEBP")
    still = Image.new("RGB", (320, 320), (200, 90, 120))
    script = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    return {
        "empty": b"",
        "one-byte": b"\xff",
        "text": b"just text",
        "zeros": bytes(100_000),
        "random-bytes": np.random.default_rng(1).bytes(50_000),
        "html": b"<!doctype html><img src=x onerror=alert(1)>",
        "svg": script,
        "svg-bomb": b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha">'
        + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(10))
        + b"]><svg>&k;</svg>",
        "xml-external": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM '
        b'"file:///etc/passwd">]><svg>&b;</svg>',
        "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
        "zip": b"PK\x03\x04" + bytes(26) + b"PK\x05\x06" + bytes(18),
        "elf": b"\x7fELF" + bytes(60),
        "executable": b"MZ" + bytes(200),
        "wav": b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(24),
        "mp4": b"\x00\x00\x00\x18ftypmp42" + bytes(100),
        "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
        "jpeg-start": jpeg[:2],
        "jpeg-header": jpeg[:200],
        "jpeg-half": jpeg[: len(jpeg) // 2],
        "jpeg-no-end": jpeg[:-40],
        "jpeg-marker-loop": b"\xff\xd8" + b"\xff\xe0\x00\x02" * 20_000,
        "jpeg-length-lie": b"\xff\xd8\xff\xe0\xff\xff" + jpeg[6:400],
        "png-signature": lossless[:8],
        "png-header": lossless[:33],
        "png-half": lossless[: len(lossless) // 2],
        "png-0x0": png(0, 0, b""),
        "png-depth-3": png(8, 8, bytes(16), depth=3),
        "png-colour-9": png(8, 8, bytes(16), colour=9),
        "png-no-data": png(64, 64, b""),
        "png-crc": lossless[:29] + b"\x00\x00\x00\x00" + lossless[33:],
        "png-chunk-length": lossless[:33] + b"\xff\xff\xff\xff" + lossless[37:],
        "webp-half": webp[: len(webp) // 2],
        "webp-header": webp[:20],
        "webp-length-lie": webp[:4] + b"\xff\xff\xff\x7f" + webp[8:40],
        "gif-header": b"GIF89a\xff\xff\xff\xff\xf7\x00\x00",
        "gif-65535x65535": b"GIF89a\xff\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\xff\xff\xff\xff"
        b"\x00\x02\x02D\x01\x00;",
        "bmp-lie": b"BM" + struct.pack("<IHHIIiiHH", 100, 0, 0, 54, 40, -5, -5, 1, 24) + bytes(24),
        "tiff-loop": b"II*\x00\x08\x00\x00\x00" + b"\x00\x00" + b"\x08\x00\x00\x00",
        "ico": b"\x00\x00\x01\x00\xff\xff" + bytes(60),
        "animated-gif": saved(still, "GIF", save_all=True, append_images=[picture]),
        "polyglot-html": b"<html>" + jpeg,
        "latin-path": b"../../../etc/passwd",
    }


def _too_large() -> dict[str, bytes]:
    return {
        "png-60000x60000-header": png(60_000, 60_000, bytes(100)),
        "png-20000x20000-bomb": png(20_000, 20_000, bytes(2501 * 20_000)),
        "png-65500x65500-rgba": png(65_500, 65_500, bytes(100), depth=16, colour=6),
        "png-2147483647x1": png(2**31 - 1, 1, bytes(100)),
        "jpeg-65500x65500": _jpeg_header(65_500, 65_500),
    }


def _jpeg_header(width: int, height: int) -> bytes:
    small = saved(Image.new("L", (8, 8)), "JPEG")
    at = small.index(b"\xff\xc0")
    return small[: at + 5] + struct.pack(">HH", height, width) + small[at + 9 :]


def _shapeless() -> dict[str, bytes]:
    return {
        "65500x1": saved(Image.new("L", (65_500, 1), 128), "PNG"),
        "1x65500": saved(Image.new("L", (1, 65_500), 128), "JPEG"),
        "2000x100": saved(Image.new("RGB", (2000, 100), (9, 9, 9)), "WEBP"),
    }


def _faceless() -> dict[str, bytes]:
    noise = np.random.default_rng(3).integers(0, 256, (400, 400, 3), np.uint8)
    frames = [Image.new("RGB", (320, 320), (40 * n, 90, 120)) for n in range(5)]
    deep = Image.fromarray(np.full((300, 300), 40_000, np.uint16))
    return {
        "1x1": saved(Image.new("RGB", (1, 1)), "PNG"),
        "1x1-jpeg": saved(Image.new("L", (1, 1)), "JPEG"),
        "black": saved(Image.new("RGB", (640, 640)), "JPEG"),
        "noise": saved(Image.fromarray(noise), "PNG"),
        "transparent": saved(Image.new("RGBA", (300, 300), (0, 0, 0, 0)), "PNG"),
        "palette": saved(Image.new("P", (300, 300), 7), "PNG"),
        "one-bit": saved(Image.new("1", (300, 300)), "PNG"),
        "cmyk": saved(Image.new("CMYK", (300, 300), (9, 80, 30, 0)), "JPEG"),
        "sixteen-bit": saved(deep, "PNG"),
        "animated-webp": saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "animated-png": saved(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "exif-garbage": saved(frames[0], "JPEG", exif=b"Exif\x00\x00" + b"\xff" * 500),
        "profile-garbage": saved(frames[0], "PNG", icc_profile=b"\x00\xff" * 400),
        "face-eyes-only": saved(face().crop((150, 180, 360, 250)), "PNG"),
        "face-blurred-to-dots": saved(face().resize((6, 6)).resize((400, 400)), "PNG"),
    }


def _of_faces() -> Iterator[Request]:
    """Pictures of faces that cannot be used, and odd files of one that can."""
    one = face()
    two = Image.new("RGB", (2 * one.width, one.height))
    two.paste(one, (0, 0))
    two.paste(one.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (one.width, 0))
    crowd = Image.new("RGB", (4 * 300, 3 * 300))
    for n in range(12):
        crowd.paste(one.resize((300, 300)), (n % 4 * 300, n // 4 * 300))
    small = Image.new("RGB", (800, 800), (90, 110, 130))
    small.paste(one.resize((110, 110)), (350, 330))
    for name, image, word in (
        ("two-faces", two, "several_faces"),
        ("crowd", crowd, "several_faces"),
        ("small-face", small, "face_too_small"),
    ):
        yield _photo(name, saved(image, "JPEG", quality=92), 422, word, needs_face=True)
    jpeg = saved(one, "JPEG", quality=92)
    for name, data in {
        "odd-cmyk-face": saved(one.convert("CMYK"), "JPEG"),
        "odd-trailing-zip": jpeg + b"PK\x03\x04" + bytes(500),
        "odd-trailing-script": jpeg + b"<script>alert(1)</script>",
        "odd-comment": jpeg[:2] + b"\xff\xfe\x40\x00" + b"<?php " + bytes(0x3FF8) + jpeg[2:],
        "odd-grey-face": saved(one.convert("L"), "PNG"),
    }.items():
        yield _photo(name, data, 201, "", needs_face=True)


def _photo(name: str, data: bytes, status: int, word: str, *, needs_face: bool) -> Request:
    kind = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
    headers = (("Content-Type", kind),)
    return Request(
        f"image/{name}", "POST", "/avatars", status, word, data, headers, needs_face=needs_face
    )


def photos() -> Iterator[Request]:
    """For ``/avatars``."""
    for name, data in _no_images().items():
        yield _photo(name, data, 422, "not_an_image", needs_face=False)
    for name, data in _too_large().items():
        yield _photo(name, data, 422, "too_large", needs_face=False)
    for name, data in _shapeless().items():
        yield _photo(name, data, 422, "bad_shape", needs_face=False)
    for name, data in _faceless().items():
        yield _photo(name, data, 422, "no_face", needs_face=True)
    turned = saved(face().rotate(180), "JPEG")
    yield _photo("face-upside-down", turned, 422, "turned_too_far", needs_face=True)
    yield from _of_faces()
    yield Request("image/25-mb", "POST", "/avatars", 413, "too_large", bytes(25_000_000))


def strangers() -> Iterator[Request]:
    """Animals, a statue and a cartoon, from the shared data where it is there.

    The cartoon (s7) has a human face, and the detector takes it as such. It is surer of the statue
    (s6) turned round.
    """
    known = {"s6": (422, "turned_too_far"), "s7": (201, "")}
    for path in sorted((SHARED / "portrait" / "hard").glob("*.jpg")):
        status, word = known.get(path.stem, (422, "no_face"))
        yield _photo(f"stranger-{path.stem}", path.read_bytes(), status, word, needs_face=True)
