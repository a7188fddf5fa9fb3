"""Where the avatar's picture and sound go. Each sink is called from one thread and never blocks it
for long: what may (disk, camera) stands behind a ``Threaded`` or has a thread of its own.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from clients.mic.devices import INSTALL, MicrophoneError
from clients.mic.pace import Pacer
from engine.clock import Clock
from engine.errors import EngineError
from engine.media import FPS, Float32, UInt8
from engine.slots import RATE, SLOT_SAMPLES
from engine.transport.files import Mp4Writer

_WAITING = 5 * FPS * 2
"""Pictures and sounds (5 s) that may wait for a slow disk."""
_HEARD_AHEAD = RATE // 5
"""Sound (200 ms) that may wait for the loudspeaker."""


class Sink(Protocol):
    """Takes what the avatar shows and says, on one output clock of 48 kHz samples."""

    def picture(self, image: UInt8, slot: int) -> None:
        """Uint8 [H, W, 3] RGB, shown from 40 ms slot ``slot`` on."""
        ...

    def sound(self, samples: Float32, start: int) -> None:
        """Float32 [N] at 48 kHz, from sample ``start`` on."""
        ...

    def close(self) -> None:
        """Nothing more comes."""
        ...


def fit(image: UInt8, size: tuple[int, int]) -> UInt8:
    """A picture in another size (width, height), which a server under load may change."""
    if image.shape[1::-1] == size:
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


class Latest:
    """Keeps the newest picture for who looks when it likes. Thread-safe."""

    def __init__(self) -> None:
        self.image: UInt8 | None = None

    def picture(self, image: UInt8, slot: int) -> None:
        """Remember it."""
        self.image = image

    def sound(self, samples: Float32, start: int) -> None:
        """Not seen."""

    def close(self) -> None:
        """Nothing is held."""


class Recorder:
    """Picture and sound into an MP4 that appears when it is complete.

    The first picture is its beginning. Slots without a picture show the one before; holes in the
    sound are silence; sound that comes twice or too late is left out.

    Args:
        path: the file to make.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Mp4Writer | None = None
        self._size = (0, 0)
        self._first = 0
        self._last = -1
        self._heard = 0
        self.pictures = 0

    @property
    def seconds(self) -> float:
        """Length so far."""
        return max((self._last + 1) / FPS, self._heard / RATE)

    def picture(self, image: UInt8, slot: int) -> None:
        """Append, unless time stands still.

        Raises:
            MediaError: when the file cannot be written.
        """
        if self._writer is None:
            self._size = (image.shape[1] & ~1, image.shape[0] & ~1)
            self._writer = Mp4Writer(self._path, self._size, RATE)
            self._first = slot
        pts = slot - self._first
        if pts > self._last:
            self._last = pts
            self._writer.picture(fit(image, self._size), pts)
            self.pictures += 1

    def sound(self, samples: Float32, start: int) -> None:
        """Append, with silence before if there is a hole."""
        if self._writer is None:
            return
        offset = start - self._first * SLOT_SAMPLES - self._heard
        if offset > 0:
            samples = np.concatenate([np.zeros(offset, np.float32), samples])
        elif offset < 0:
            samples = samples[-offset:]
        self._writer.sound(samples)
        self._heard += len(samples)

    def close(self) -> None:
        """Finish the file; without a single picture there is none."""
        if self._writer is not None:
            self._writer.finish()
            self._writer = None


class Threaded:
    """A sink in a thread of its own. When it is seconds behind, the oldest is dropped and counted.

    Args:
        sink: what does the work.
        tell: told once if the sink fails; it is closed then and gets nothing more.
    """

    def __init__(self, sink: Sink, tell: Callable[[str], None]) -> None:
        self._sink = sink
        self._tell = tell
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(_WAITING)
        self.dropped = 0
        """Pictures and sounds lost."""
        self._thread = threading.Thread(target=self._run, name=type(sink).__name__, daemon=True)
        self._thread.start()

    def picture(self, image: UInt8, slot: int) -> None:
        """See ``Sink``."""
        self._put(lambda: self._sink.picture(image, slot))

    def sound(self, samples: Float32, start: int) -> None:
        """See ``Sink``."""
        self._put(lambda: self._sink.sound(samples, start))

    def close(self) -> None:
        """Finish what waits, then the sink."""
        self._queue.put(None)
        self._thread.join()

    def _put(self, work: Callable[[], None]) -> None:
        while True:
            try:
                self._queue.put_nowait(work)
            except queue.Full:
                with suppress(queue.Empty):
                    self._queue.get_nowait()
                    self.dropped += 1
            else:
                return

    def _run(self) -> None:
        failed = False
        while (work := self._queue.get()) is not None:
            if not failed:
                failed = not self._try(work)
        if not failed:
            self._try(self._sink.close)

    def _try(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except (EngineError, OSError, ValueError) as error:
            self._tell(str(error))
            return False
        return True


class Jar:
    """Sound between the avatar's clock and the loudspeaker's. Thread-safe.

    Args:
        ahead: samples that may wait; then the oldest are dropped.
    """

    def __init__(self, ahead: int = _HEARD_AHEAD) -> None:
        self._ahead = ahead
        self._lock = threading.Lock()
        self._parts: deque[Float32] = deque()
        self._waiting = 0

    def put(self, samples: Float32) -> None:
        """Append float32 [N]."""
        with self._lock:
            self._parts.append(samples)
            self._waiting += len(samples)
            while self._waiting > self._ahead and len(self._parts) > 1:
                self._waiting -= len(self._parts.popleft())

    def take(self, count: int) -> Float32:
        """The next ``count`` samples; silence where there are none."""
        out = np.zeros(count, np.float32)
        filled = 0
        with self._lock:
            while self._parts and filled < count:
                part = self._parts.popleft()
                used = part[: count - filled]
                out[filled : filled + len(used)] = used
                filled += len(used)
                if len(used) < len(part):
                    self._parts.appendleft(part[len(used) :])
            self._waiting -= filled
        return out


class Speaker:
    """The avatar's voice on the default loudspeaker.

    Args:
        audio: the sounddevice module.

    Raises:
        MicrophoneError: without a loudspeaker.
    """

    def __init__(self, audio: Any) -> None:
        self._jar = Jar()
        try:
            self._stream = audio.OutputStream(
                samplerate=RATE, channels=1, dtype="float32", callback=self._callback
            )
            self._stream.start()
        except (audio.PortAudioError, ValueError) as error:
            raise MicrophoneError(f"the loudspeaker cannot be opened: {error}") from error

    def picture(self, image: UInt8, slot: int) -> None:
        """Not heard."""

    def sound(self, samples: Float32, start: int) -> None:
        """Play it soon."""
        self._jar.put(samples)

    def close(self) -> None:
        """Fall silent."""
        self._stream.abort()
        self._stream.close()

    def _callback(self, out: Float32, count: int, _time: object, _status: object) -> None:
        out[:, 0] = self._jar.take(count)


class VirtualCamera:
    """A camera that other programs can choose, at a steady 25 pictures a second.

    Who films must never starve: the last picture is sent again when there is no newer one.

    Args:
        module: pyvirtualcam.
        size: width and height of the camera.
        clock: real time.

    Raises:
        MicrophoneError: where the system has no virtual camera.
    """

    def __init__(self, module: Any, size: tuple[int, int], clock: Clock) -> None:
        try:
            self._camera = module.Camera(*size, FPS, fmt=module.PixelFormat.RGB)
        except RuntimeError as error:
            raise MicrophoneError(f"there is no virtual camera: {error} {_REMEDY}") from error
        self._size = size
        self._clock = clock
        self._latest: UInt8 = np.zeros((size[1], size[0], 3), np.uint8)
        self._stop = threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """What to choose in the other program."""
        return str(self._camera.device)

    def picture(self, image: UInt8, slot: int) -> None:
        """Show it from now on."""
        self._latest = image

    def sound(self, samples: Float32, start: int) -> None:
        """Cameras are deaf."""

    def close(self) -> None:
        """Take the camera away."""
        self._stop.set()
        self._thread.join()
        self._camera.close()

    def _run(self) -> None:
        pacer = Pacer(FPS, self._clock.now())
        while not self._stop.wait(max(0.0, pacer.due - self._clock.now())):
            self._camera.send(np.ascontiguousarray(fit(self._latest, self._size)))
            self.sent += 1
            pacer.take(self._clock.now())


_REMEDY = {
    "linux": "On Linux: sudo apt install v4l2loopback-dkms, then "
    'sudo modprobe v4l2loopback exclusive_caps=1 card_label="Vivace".',
    "darwin": "On macOS: install OBS 30 or newer and start its virtual camera once.",
    "win32": "On Windows: install OBS, which brings the camera.",
}.get(sys.platform, "This system has none that pyvirtualcam knows.")


def virtual_cameras() -> Any:
    """The pyvirtualcam module.

    Raises:
        MicrophoneError: when it is not installed.
    """
    try:
        import pyvirtualcam
    except ModuleNotFoundError as error:
        raise MicrophoneError(
            f"--virtual-camera needs the package pyvirtualcam, which is not installed: {INSTALL}"
        ) from error
    return pyvirtualcam
