"""Sound that strangers upload is decoded in a confined process: bytes in, samples out.

Request: ``f64 most seconds``, then the file. Answers, little-endian: ``u8 0, u32 rate, float32
samples`` or ``u8 1, sentence`` (UTF-8).
"""

from __future__ import annotations

import importlib
import io
import pkgutil
import struct

import av
import numpy as np

from engine.confined import ChildFailed, Confined, serve
from engine.errors import MediaError
from engine.media import AudioChunk
from engine.transport.files import decode_audio

SECONDS = 10.0
"""Five minutes of sound take about one; what takes ten is made to take long."""
_MOST_RATE = 192_000
_NAME = "The sound"


class SoundBox:
    """Decodes sound in a child process. Thread-safe; one sound at a time.

    Args:
        most: seconds of sound beyond which it is refused.
        seconds: after which the child is killed and the sound refused.
    """

    def __init__(self, most: float, seconds: float = SECONDS) -> None:
        self._most = most
        self._confined = Confined(
            "engine.transport.soundbox", seconds, 5 + 4 * round(_MOST_RATE * (most + 1))
        )

    @property
    def pid(self) -> int | None:
        """The child's, while there is one."""
        return self._confined.pid

    @property
    def restarts(self) -> int:
        """How often a child died or was killed over a sound."""
        return self._confined.restarts

    def decode(self, data: bytes) -> AudioChunk:
        """Mono float32 at its own rate.

        Raises:
            MediaError: no sound, too long, damaged, or the child died over it or took too long.
        """
        try:
            answer = self._confined.ask(struct.pack("<d", self._most) + data)
        except ChildFailed as error:
            raise MediaError(f"{_NAME} could not be read, or reading it took too long") from error
        if answer[:1] != b"\0":
            raise MediaError(answer[1:].decode("utf-8", "replace"))
        (rate,) = struct.unpack_from("<I", answer, 1)
        return AudioChunk(np.frombuffer(answer, np.float32, offset=5), 0, rate)

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._confined.close()


def _answer(request: bytes) -> bytes:
    (most,) = struct.unpack_from("<d", request)
    try:
        sound = decode_audio(io.BytesIO(request[8:]), _NAME, most)
    except MediaError as error:
        return b"\1" + str(error).encode()
    except Exception:  # noqa: BLE001 - whatever decoders raise at strangers' bytes, memory included
        return b"\1" + f"{_NAME} cannot be read.".encode()
    return struct.pack("<BI", 0, sound.rate) + sound.samples.tobytes()


def _import_all() -> None:
    """PyAV imports its parts when they are needed: here that would be too late."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.startswith("av.__main__"):
            importlib.import_module(module.name)


if __name__ == "__main__":
    _import_all()
    serve(_answer)
