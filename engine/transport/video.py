"""Pictures out of files, as grey levels: what the watermark's detector looks at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import av.container
import av.error
import numpy as np

from engine.errors import MediaError
from engine.media import FPS, UInt8

_SMALLEST_SIDE = 96
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


class GreyVideo:
    """A video, a picture or a folder of pictures, read once from its start.

    Args:
        path: any file FFmpeg reads, or a folder whose pictures are taken in the order of their
            names, 25 a second.
        largest: longer sides are reduced to this many pixels.

    Raises:
        MediaError: missing, empty, without pictures, too small, or not readable.
    """

    def __init__(self, path: Path, largest: int) -> None:
        self._path = path
        self._largest = largest
        self._size: tuple[int, int] | None = None
        self.source_size = (0, 0)
        """Width and height in the file; known once a picture was read."""
        if path.is_dir():
            self._files = sorted(p for p in path.iterdir() if p.suffix.lower() in _PICTURES)
            if not self._files:
                raise MediaError(f"{path} holds no pictures ({', '.join(_PICTURES)})")
            self.duration = len(self._files) / FPS
        else:
            if not path.is_file():
                raise MediaError(f"there is no file at {path}")
            if path.stat().st_size == 0:
                raise MediaError(f"{path.name} is empty (0 bytes)")
            self._files = [path]
            self.duration = self._measured()
        """Seconds; 0 where the file does not say."""

    def __iter__(self) -> Iterator[tuple[float, UInt8]]:
        """Time in seconds and uint8 [H, W] of every picture; all of one size.

        Damage in the middle ends the iteration; damage before the first picture raises.
        """
        if len(self._files) == 1:
            yield from self._decode(self._files[0])
            return
        for index, file in enumerate(self._files):
            for _, grey in self._decode(file):
                yield index / FPS, grey
                break

    def _measured(self) -> float:
        try:
            with av.open(str(self._path)) as container:
                if not container.streams.video:
                    raise MediaError(f"{self._path.name} holds no pictures")
                return (container.duration or 0) / 1e6
        except (av.error.FFmpegError, ValueError) as error:
            raise MediaError(f"{self._path.name} cannot be read as video: {error}") from error

    def _decode(self, file: Path) -> Iterator[tuple[float, UInt8]]:
        count = 0
        try:
            with av.open(str(file)) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                rate = float(stream.average_rate or FPS)
                for frame in container.decode(stream):
                    time = count / rate if frame.time is None else frame.time
                    count += 1
                    yield time, self._grey(frame)
        except (av.error.FFmpegError, ValueError, IndexError) as error:
            if not count:
                raise MediaError(f"{file.name} cannot be read as video: {error}") from error
        if not count:
            raise MediaError(f"{file.name} holds no picture that can be decoded")

    def _grey(self, frame: av.VideoFrame) -> UInt8:
        if self._size is None:
            if min(frame.width, frame.height) < _SMALLEST_SIDE:
                raise MediaError(
                    f"{self._path.name} is {frame.width}x{frame.height}; "
                    f"the mark needs {_SMALLEST_SIDE} pixels each way"
                )
            self.source_size = (frame.width, frame.height)
            scale = min(1.0, self._largest / max(frame.width, frame.height))
            self._size = (round(frame.width * scale), round(frame.height * scale))
        width, height = self._size
        grey = frame.reformat(width, height, "gray", interpolation="AREA")
        return np.asarray(grey.to_ndarray(), np.uint8)
