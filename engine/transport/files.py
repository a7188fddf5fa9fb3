"""Sound from files, pictures and sound into MP4, motion into CSV or JSONL."""

from __future__ import annotations

import contextlib
import csv
import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import av
import av.error
import cv2
import numpy as np

from engine.errors import MediaError
from engine.media import FPS, AudioChunk, Float32, MotionFrame, UInt8, VideoFrame
from engine.motion.arkit import BLENDSHAPES

POSE_COLUMNS = ("headYaw", "headPitch", "headRoll", "headX", "headY", "headZ")
_PARTIAL = ".partial"
_UPLOADS = "wav,w64,aiff,au,caf,flac,mp3,ogg,aac,mov,matroska"
"""Containers a stranger may send, as FFmpeg names them (mov: mp4 and m4a; matroska: webm). Others
make FFmpeg open further files or listen on the network: playlists, concat, session descriptions."""
_MOST_CHANNELS = 7
"""From eight planes on, PyAV 18 counts more than there are; reading them ends the process."""
_RATES = range(4000, 192_001)


def read_audio(path: Path) -> AudioChunk:
    """Decode a whole sound file to mono float32 at its own rate. Any format FFmpeg knows.

    Raises:
        MediaError: missing, empty, not sound, or damaged beyond use.
    """
    if not path.is_file():
        raise MediaError(f"there is no sound file at {path}")
    if path.stat().st_size == 0:
        raise MediaError(f"{path.name} is empty (0 bytes); record or export it again")
    return decode_audio(str(path), path.name)


def decode_audio(source: str | BinaryIO, name: str, max_seconds: float | None = None) -> AudioChunk:
    """Decode a whole sound to mono float32 at its own rate.

    Args:
        source: path of a file in any format FFmpeg knows, or an open file from a stranger.
        name: what to call it in errors.
        max_seconds: longer sound is refused, before it fills the memory.

    Raises:
        MediaError: no sound, too long, or damaged beyond use.
    """
    try:
        options = {} if isinstance(source, str) else {"format_whitelist": _UPLOADS}
        with av.open(source, "r", options=options) as container:
            if not container.streams.audio:
                raise MediaError(f"{name} holds no sound; give a wav, flac, mp3, ogg or mp4")
            return _decode(container, name, max_seconds)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise MediaError(f"{name} cannot be read as sound: {error}") from error


def _decode(
    container: av.container.InputContainer, name: str, max_seconds: float | None
) -> AudioChunk:
    planes = av.AudioResampler(format="fltp")
    codec = container.streams.audio[0].codec_context
    if codec is None:
        raise MediaError(f"{name} is coded in a way that cannot be read")
    rate = codec.sample_rate
    if rate not in _RATES:
        raise MediaError(f"{name} has {rate} Hz; {_RATES[0]} to {_RATES[-1]} can be used")
    parts: list[Float32] = []
    count = 0
    for frame in container.decode(audio=0):
        frame.pts = None
        count += frame.samples
        if frame.layout.nb_channels > _MOST_CHANNELS:
            raise MediaError(f"{name} has more than {_MOST_CHANNELS} channels")
        if max_seconds is not None and count > max_seconds * rate:
            raise MediaError(f"{name} is longer than {max_seconds:.0f} seconds")
        # The mean of the channels: FFmpeg's own down-mix makes equal channels 3 dB louder.
        parts += [f.to_ndarray().mean(0, dtype=np.float32) for f in planes.resample(frame)]
    samples = np.concatenate([np.zeros(0, np.float32), *parts])
    if not len(samples):
        raise MediaError(f"{name} holds no samples")
    if not np.isfinite(samples).all():
        raise MediaError(f"{name} holds numbers that are no sound (NaN or infinite)")
    return AudioChunk(samples, 0, rate)


class Mp4Writer:
    """H.264 and AAC into an MP4 that appears only when complete. Use it as a context manager, or
    call ``finish`` or ``discard`` at the end.

    Args:
        path: the target; written as ``NAME.partial`` until it is finished.
        size: width and height in pixels, even.
        rate: sample rate of the sound in Hz, or None for a silent file.

    Raises:
        MediaError: when the file cannot be made.
    """

    def __init__(self, path: Path, size: tuple[int, int], rate: int | None) -> None:
        self._path = path
        self._partial = path.with_name(path.name + _PARTIAL)
        try:
            self._container = av.open(str(self._partial), "w", format="mp4")
        except (av.error.FFmpegError, OSError) as error:
            raise MediaError(f"cannot write {path}: {error}") from error
        self._video = self._container.add_stream("libx264", rate=FPS)
        self._video.width, self._video.height = size
        self._video.pix_fmt = "yuv420p"
        self._video.options = {"crf": "18", "preset": "veryfast"}
        self._rate = rate
        self._sound = (
            self._container.add_stream("aac", rate=48_000, layout="mono") if rate else None
        )
        frame_size = (self._sound.frame_size if self._sound else 0) or 1024
        self._resampler = av.AudioResampler(
            format="fltp", layout="mono", rate=48_000, frame_size=frame_size
        )

    def __enter__(self) -> Mp4Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.discard()

    def write(self, frame: VideoFrame) -> None:
        """Append one picture."""
        self.picture(frame.image, frame.pts)

    def picture(self, image: UInt8, pts: int) -> None:
        """Append uint8 [H, W, 3] RGB, shown from frame ``pts`` on; numbers rise, not all need be.

        Raises:
            MediaError: when it cannot be written (disk full).
        """
        i420 = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420), np.uint8)
        picture = av.VideoFrame.from_ndarray(i420, format="yuv420p")
        picture.pts = pts
        picture.time_base = Fraction(1, FPS)
        self._mux(lambda: self._video.encode(picture))

    def sound(self, samples: Float32) -> None:
        """Append float32 [N] at the writer's rate; in one piece or many.

        Raises:
            MediaError: when it cannot be written (disk full).
        """
        assert self._sound is not None
        assert self._rate is not None
        if len(samples):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[None], np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate = self._rate
            self._encode(self._resampler.resample(frame))

    def finish(self) -> None:
        """Complete the file and give it its name.

        Raises:
            MediaError: when it cannot be written (disk full).
        """
        self._mux(lambda: self._video.encode(None))
        if self._sound is not None:
            self._encode([*self._resampler.resample(None), None])
        try:
            self._container.close()
            self._partial.replace(self._path)
        except (av.error.FFmpegError, OSError) as error:
            raise MediaError(f"cannot write {self._path}: {error}") from error

    def discard(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(av.error.FFmpegError, OSError):
            self._container.close()
        self._partial.unlink(missing_ok=True)

    def _encode(self, frames: Sequence[av.AudioFrame | None]) -> None:
        stream = self._sound
        assert stream is not None
        for frame in frames:
            self._mux(functools.partial(stream.encode, frame))

    def _mux(self, encode: Callable[[], list[av.Packet[Any]]]) -> None:
        try:
            self._container.mux(encode())
        except (av.error.FFmpegError, OSError) as error:
            raise MediaError(f"cannot write {self._path}: {error}") from error


def write_sheet(path: Path, frames: Sequence[VideoFrame], columns: int = 8) -> None:
    """Tile pictures at half size into one image, each with its time in the corner.

    Raises:
        MediaError: when there is nothing to tile or the suffix is no image format.
    """
    if not frames:
        raise MediaError("a contact sheet needs at least one frame")
    tiles = [_tile(frame) for frame in frames]
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % min(columns, len(tiles)))
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    bgr = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    try:
        done = cv2.imwrite(str(path), bgr)
    except cv2.error as error:
        raise MediaError(f"cannot write {path}: give a .png or .jpg") from error
    if not done:
        raise MediaError(f"cannot write {path}")


def _tile(frame: VideoFrame) -> UInt8:
    height, width = frame.image.shape[:2]
    small = cv2.resize(frame.image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    label = f"{float(frame.time):.2f}"
    cv2.putText(small, label, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1)
    return np.asarray(small, np.uint8)


def write_motion(path: Path, frames: Iterable[MotionFrame]) -> None:
    """Write motion as CSV or JSON lines, by the file's suffix.

    CSV: Live Link Face's column order after ``Timecode`` and ``BlendshapeCount`` (61 floats: the 52
    shapes, head yaw, pitch, roll, both eyes' yaw, pitch, roll), with head translation appended.
    JSONL: ``{"time", "blendshapes": {name: value}, "rotation", "translation", "speech"}`` a line.

    Raises:
        MediaError: for another suffix.
    """
    if path.suffix not in (".csv", ".jsonl"):
        raise MediaError(f"motion is written as .csv or .jsonl, not '{path.suffix}'")
    partial = path.with_name(path.name + _PARTIAL)
    with partial.open("w", newline="") as file:
        if path.suffix == ".csv":
            writer = csv.writer(file)
            writer.writerow(["Timecode", "BlendshapeCount", *LIVE_LINK, *POSE_COLUMNS[3:]])
            for frame in frames:
                numbers = [*live_link(frame.values), *frame.values[55:58].tolist()]
                writer.writerow([_timecode(frame.pts), 61, *(f"{n:.5f}" for n in numbers)])
        else:
            file.writelines(line + "\n" for line in _json_lines(frames))
    partial.replace(path)


def _json_lines(frames: Iterable[MotionFrame]) -> Iterator[str]:
    for frame in frames:
        values = [round(float(v), 5) for v in frame.values]
        yield json.dumps(
            {
                "time": frame.pts / FPS,
                "blendshapes": dict(zip(BLENDSHAPES, values[:52], strict=True)),
                "rotation": values[52:55],
                "translation": values[55:58],
                "speech": round(frame.speech, 4),
            }
        )


_EYES = ("Left", "Right")
LIVE_LINK = (
    *(name[0].upper() + name[1:] for name in BLENDSHAPES),
    "HeadYaw", "HeadPitch", "HeadRoll",
    *(f"{side}Eye{axis}" for side in _EYES for axis in ("Yaw", "Pitch", "Roll")),
)  # fmt: skip
"""Column names of Live Link Face's CSV: 61 floats."""
_EYE_RANGE = 0.6
"""Radians an eye turns at eyeLook weight 1 (about 35 degrees)."""


def live_link(values: Float32) -> list[float]:
    """The 61 Live Link floats of float32 [58]; eye angles are derived from the eyeLook shapes."""
    shape = dict(zip(BLENDSHAPES, values[:52].tolist(), strict=True))
    eyes = []
    for side, inward in zip(_EYES, (-1.0, 1.0), strict=True):
        yaw = inward * (shape[f"eyeLookIn{side}"] - shape[f"eyeLookOut{side}"]) * _EYE_RANGE
        pitch = (shape[f"eyeLookDown{side}"] - shape[f"eyeLookUp{side}"]) * _EYE_RANGE
        eyes += [yaw, pitch, 0.0]
    return [*values[:55].tolist(), *eyes]


def _timecode(index: int) -> str:
    seconds, frame = divmod(index, FPS)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frame:02d}"
