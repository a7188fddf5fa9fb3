"""Uploaded photos are decoded in a confined process: bytes in, pixels out.

Answers, little-endian: ``u8 0, u32 height, u32 width, RGB`` or ``u8 1, u8 length, reason,
sentence`` (UTF-8).
"""

from __future__ import annotations

import struct

import numpy as np
from PIL import Image

from engine.confined import ChildFailed, Confined, serve
from engine.errors import PortraitError
from engine.face.picture import DAMAGED, MAX_PIXELS, check_upload, read_upload
from engine.media import UInt8

SECONDS = 10.0
"""A 40-megapixel photo takes about one; what takes ten is made to take long."""


class Intake:
    """Decodes photos in a child process. Thread-safe; one photo at a time.

    Args:
        seconds: after which the child is killed and the photo refused.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._confined = Confined("engine.face.intake", seconds, 3 * MAX_PIXELS + 9)

    @property
    def pid(self) -> int | None:
        """The child's, while there is one."""
        return self._confined.pid

    @property
    def restarts(self) -> int:
        """How often a child died or was killed over a photo."""
        return self._confined.restarts

    def decode(self, photo: bytes) -> UInt8:
        """RGB [H,W,3], upright, of a JPEG, PNG or WebP.

        Raises:
            PortraitError: ``not_an_image``, ``too_large``, ``bad_shape``, or ``undecodable`` when
                the child died over it or took too long.
        """
        check_upload(photo)
        try:
            return _read(self._confined.ask(photo))
        except ChildFailed as error:
            raise PortraitError(
                "undecodable",
                "Reading this photo failed or took too long. Try again, or save the photo "
                "anew as a JPEG.",
            ) from error

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._confined.close()


def _read(answer: bytes) -> UInt8:
    if answer[:1] == b"\0":
        height, width = struct.unpack_from("<II", answer, 1)
        if len(answer) != 9 + 3 * height * width:
            raise ChildFailed("an answer that no photo has")
        return np.frombuffer(answer, np.uint8, offset=9).reshape(height, width, 3)
    end = 2 + answer[1]
    raise PortraitError(
        answer[2:end].decode("utf-8", "replace"), answer[end:].decode("utf-8", "replace")
    )


def _answer(photo: bytes) -> bytes:
    try:
        image = read_upload(photo)
    except PortraitError as error:
        return _refusal(error.reason, str(error))
    except Exception:  # noqa: BLE001 - whatever decoders raise at strangers' bytes, memory included
        return _refusal("not_an_image", DAMAGED)
    return struct.pack("<BII", 0, *image.shape[:2]) + image.tobytes()


def _refusal(reason: str, sentence: str) -> bytes:
    word = reason.encode()
    return struct.pack("<BB", 1, len(word)) + word + sentence.encode()


if __name__ == "__main__":
    Image.init()  # every decoder is imported before files are out of reach
    serve(_answer)
