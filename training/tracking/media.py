"""Pictures and sound of a clip on one time axis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from engine.errors import MediaError
from engine.media import SAMPLE_RATE, Float32, UInt8
from training.corpus.speech import to_16k


def pictures(path: Path) -> Iterator[tuple[float, UInt8]]:
    """Yield (seconds in the container, uint8 [H,W,3] RGB) in order of showing, the right way up.

    Raises:
        MediaError: not a video that can be read.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise MediaError(f"{path.name} has no pictures.")
            rate = float(container.streams.video[0].average_rate or 25)
            last = -1.0 / rate
            for frame in container.decode(video=0):
                last = float(frame.time) if frame.time is not None else last + 1 / rate
                # Phones film sideways and say so.
                turns = round(frame.rotation / 90) % 4
                picture = np.rot90(frame.to_ndarray(format="rgb24"), turns)
                yield last, np.ascontiguousarray(picture)
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path.name} cannot be read as a video ({error}).") from error


def sound(path: Path) -> tuple[float, Float32]:
    """Return when the sound begins (seconds in the container), and it, float32 [N] at 16 kHz.

    Raises:
        MediaError: no sound that can be read.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise MediaError(f"{path.name} has no sound.")
            rate = container.streams.audio[0].rate
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
            start: float | None = None
            parts = []
            for frame in container.decode(audio=0):
                if start is None:
                    start = float(frame.time or 0.0)
                parts += [out.to_ndarray()[0] for out in resampler.resample(frame)]
            parts += [out.to_ndarray()[0] for out in resampler.resample(None)]
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path.name}: its sound cannot be read ({error}).") from error
    if not parts:
        raise MediaError(f"{path.name} has an empty sound track.")
    return start or 0.0, to_16k(np.concatenate(parts), rate)


def cut(audio: Float32, start: float, origin: float, samples: int) -> Float32:
    """Return ``samples`` of audio from time ``origin`` on, where ``audio`` begins at ``start``.

    What is missing on either side is silence.
    """
    shift = round((origin - start) * SAMPLE_RATE)
    out = np.zeros(samples, np.float32)
    first, last = max(0, -shift), min(samples, len(audio) - shift)
    if last > first:
        out[first:last] = audio[first + shift : last + shift]
    return out
