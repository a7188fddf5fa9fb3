"""Reading a picture that somebody chose: any format, any colour space, or a reason why not."""

from __future__ import annotations

import io
import math
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from engine.errors import PortraitError
from engine.media import UInt8

MAX_BYTES = 20 * 1024 * 1024
MAX_PIXELS = 40_000_000
MAX_ASPECT = 8.0
BACKDROP = (128, 128, 128)
"""What transparent pixels become."""
DAMAGED = "This file is not an image that can be read, or it is damaged. Use a JPEG or PNG photo."


_BROKEN = (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, struct.error)
"""What Pillow's decoders raise at damaged files. PortraitError is none of them."""


def read_picture(source: Path | bytes | NDArray[Any]) -> UInt8:
    """Read, turn upright (EXIF) and convert to RGB.

    Args:
        source: a file, its content, or an array uint8 [H,W], [H,W,1], [H,W,3] or [H,W,4].

    Returns:
        uint8 [H,W,3].

    Raises:
        PortraitError: ``not_an_image`` or ``too_large``.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    return _from_bytes(_content(source))


def read_upload(photo: bytes) -> UInt8:
    """As ``read_picture``, for a stranger's photo: only formats that cameras and browsers make.

    Only pixels come out: position, camera and whatever else the file carries stay behind. Of an
    animation the first picture is taken.

    Args:
        photo: content of a JPEG, PNG or WebP file, by its first bytes; its name says nothing.

    Returns:
        uint8 [H,W,3].

    Raises:
        PortraitError: ``not_an_image``, ``too_large`` or ``bad_shape``.
    """
    return _from_bytes(photo, (check_upload(photo),), MAX_ASPECT)


def check_upload(photo: bytes) -> str:
    """Pillow's name of the format, by the first bytes; no decoder sees the file.

    Raises:
        PortraitError: ``too_large``, or ``not_an_image``: not a JPEG, PNG or WebP.
    """
    data = _content(photo)
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    raise PortraitError("not_an_image", DAMAGED)


def _content(source: Path | bytes) -> bytes:
    if isinstance(source, Path):
        try:
            size = source.stat().st_size
            data = source.read_bytes() if size <= MAX_BYTES else b""
        except OSError as error:
            message = f"{source} cannot be read: {error.strerror}."
            raise PortraitError("not_an_image", message) from error
    else:
        size, data = len(source), source
    if size > MAX_BYTES:
        raise PortraitError(
            "too_large",
            f"The file has {size / 2**20:.0f} MB; at most {MAX_BYTES // 2**20} MB are accepted. "
            "Save the photo smaller.",
        )
    return data


def _from_bytes(
    data: bytes, formats: tuple[str, ...] | None = None, aspect: float = math.inf
) -> UInt8:
    try:
        with warnings.catch_warnings():
            # The pixel count is checked below, with our own limit.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=formats)
        _check_pixels(*image.size)
        if max(image.size) > aspect * min(image.size):
            raise PortraitError(
                "bad_shape",
                f"The picture is more than {aspect:.0f} times as long as wide. Crop it to the "
                "person.",
            )
        image.load()
        upright = ImageOps.exif_transpose(image)
        return np.asarray(_to_rgb(_in_srgb(upright)), np.uint8)
    except Image.DecompressionBombError as error:
        raise _too_many_pixels("far more") from error
    except _BROKEN as error:
        raise PortraitError("not_an_image", DAMAGED) from error


def _in_srgb(image: Image.Image) -> Image.Image:
    """The picture in sRGB, where it says what its numbers mean: phones mean wider colours."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK"):
        return image
    try:
        meant = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = "RGB" if image.mode == "CMYK" else image.mode
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, meant, srgb, outputMode=mode) or image
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image  # a damaged profile, or one for other pixels


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, np.float64)
        top = 65535 if values.max() > 255 else 255
        image = Image.fromarray((np.clip(values / top, 0, 1) * 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        backdrop = Image.new("RGBA", layer.size, (*BACKDROP, 255))
        return Image.alpha_composite(backdrop, layer).convert("RGB")
    return image.convert("RGB")


def _from_array(array: NDArray[Any]) -> UInt8:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or 0 in array.shape:
        raise PortraitError(
            "not_an_image",
            f"An array must be uint8 with 1, 3 or 4 channels, not {array.dtype}{array.shape}.",
        )
    _check_pixels(array.shape[1], array.shape[0])
    squeezed = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if squeezed.ndim == 3 and squeezed.shape[2] not in (3, 4):
        raise PortraitError("not_an_image", f"An image cannot have {squeezed.shape[2]} channels.")
    return np.asarray(_to_rgb(Image.fromarray(np.ascontiguousarray(squeezed))), np.uint8)


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _too_many_pixels(f"{width * height / 1e6:.0f}")


def _too_many_pixels(count: str) -> PortraitError:
    return PortraitError(
        "too_large",
        f"The photo has {count} megapixels; at most {MAX_PIXELS / 1e6:.0f} are accepted. "
        "Save it smaller.",
    )
