"""From a PortAudio stream to one line of 48 kHz mono sound, whatever happens to the device."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from clients.mic.devices import Device, MicrophoneError, find, refresh
from clients.mic.meter import Meter
from clients.mic.pace import Backoff
from engine.audio.resample import Resampler
from engine.clock import Clock
from engine.media import Float32
from engine.slots import RATE

_BLOCK_SECONDS = 0.02
_QUEUED_BLOCKS = 25
"""Blocks (half a second) that may wait for the listener; then the oldest is dropped."""
_MAX_CHANNELS = 2
_STALL_SECONDS = 2.0
"""A device that delivers nothing for this long is gone, whatever PortAudio says."""
_REOPEN = (1.0, 2.0, 4.0)
_PACKET = RATE // 50


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """What one callback brought.

    Args:
        samples: float32 [N, channels].
        pts: samples the device had delivered before it.
        at: when it came, in seconds of the clock.
    """

    samples: Float32
    pts: int
    at: float


class Inlet:
    """Takes blocks from the audio callback: bounded, never blocks, the oldest is dropped."""

    def __init__(self, capacity: int = _QUEUED_BLOCKS) -> None:
        self._queue: queue.Queue[Block] = queue.Queue(capacity)
        self.dropped = 0
        """Blocks lost because nobody took them in time."""

    def put(self, block: Block) -> None:
        """Append."""
        while True:
            try:
                self._queue.put_nowait(block)
            except queue.Full:
                with suppress(queue.Empty):
                    self._queue.get_nowait()
                    self.dropped += 1
            else:
                return

    def get(self, seconds: float) -> Block | None:
        """The oldest block; None if none comes within ``seconds``."""
        try:
            return self._queue.get(timeout=seconds)
        except queue.Empty:
            return None


class Microphone:
    """An open input stream.

    Args:
        audio: the sounddevice module.
        device: which microphone.
        clock: what ``Block.at`` is told from.

    Raises:
        MicrophoneError: when it cannot be opened.
    """

    def __init__(self, audio: Any, device: Device, clock: Clock) -> None:
        self.device = device
        self.inlet = Inlet()
        self._clock = clock
        self._taken = 0
        self._audio = audio
        try:
            self._stream = audio.InputStream(
                device=device.index,
                samplerate=device.rate,
                blocksize=round(device.rate * _BLOCK_SECONDS),
                channels=min(device.channels, _MAX_CHANNELS),
                dtype="float32",
                latency="low",
                callback=self._callback,
            )
            self._stream.start()
        except (audio.PortAudioError, ValueError) as error:
            raise MicrophoneError(
                f"the microphone '{device.name}' cannot be opened: {error}; "
                "is another program using it, or may this one not?"
            ) from error

    @property
    def latency(self) -> float:
        """Seconds from the membrane to the callback, as PortAudio says."""
        return float(self._stream.latency)

    @property
    def running(self) -> bool:
        """Whether PortAudio believes that the stream runs."""
        return bool(self._stream.active)

    def close(self) -> None:
        """Give the device back; also one that is gone."""
        with suppress(self._audio.PortAudioError):
            self._stream.abort()
            self._stream.close()

    def _callback(self, samples: Float32, count: int, _time: object, _status: object) -> None:
        # PortAudio's own thread: nothing but a copy.
        self.inlet.put(Block(samples.copy(), self._taken, self._clock.now()))
        self._taken += count


class Converter:
    """Blocks of one device, any rate and channels, to 48 kHz mono. Lost blocks become silence.

    Args:
        rate: the device's rate in Hz.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._resampler = Resampler(rate, RATE)
        self._next = 0

    def convert(self, block: Block) -> Float32:
        """Float32 [M] that continues the line."""
        lost = np.zeros(max(0, block.pts - self._next), np.float32)
        self._next = block.pts + len(block.samples)
        mono = block.samples.mean(axis=1, dtype=np.float32)
        # A broken driver must not poison what comes after.
        mono = np.nan_to_num(mono, posinf=0.0, neginf=0.0)
        return self._resampler.push(np.concatenate([lost, mono]))


class Listener:
    """Keeps a microphone open in a thread and hands on what it hears.

    Args:
        audio: the sounddevice module.
        wanted: name or number of the device; None for the default.
        clock: real time.
        say: called with float32 [N] at 48 kHz and the position of its first sample, which goes on
            with the clock while there is no device, and when it was heard in seconds.
        tell: called with sentences for the user.
        alone: no other stream is open, so that PortAudio may look for new devices.
    """

    def __init__(
        self,
        audio: Any,
        wanted: str | None,
        clock: Clock,
        say: Callable[[Float32, int, float], None],
        tell: Callable[[str], None],
        *,
        alone: bool,
    ) -> None:
        self._audio = audio
        self._wanted = wanted
        self._clock = clock
        self._say = say
        self._tell = tell
        self._alone = alone
        self._lock = threading.Lock()
        self._meter = Meter()
        self._warned = False
        self._position = 0
        self._start = clock.now()
        self._dropped = 0
        self._stop = threading.Event()
        self.error: Exception | None = None
        self._microphone = Microphone(audio, find(audio, wanted), clock)
        self._thread = threading.Thread(target=self._run, name="microphone", daemon=True)

    @property
    def device(self) -> Device:
        """The microphone in use."""
        return self._microphone.device

    @property
    def latency(self) -> float:
        """Seconds the device itself takes."""
        return self._microphone.latency

    @property
    def dropped(self) -> int:
        """Blocks of 20 ms lost because this process was too slow."""
        return self._dropped + self._microphone.inlet.dropped

    def level(self) -> float:
        """Loudness in dBFS since the last call."""
        with self._lock:
            return self._meter.read().rms_db

    def start(self) -> None:
        """Begin to listen."""
        self._start = self._clock.now()
        self._thread.start()

    def close(self) -> None:
        """Give the device back."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._microphone.close()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._listen()
                if not self._stop.is_set():
                    gone = f"the microphone '{self.device.name}' is gone"
                    self._tell(f"{gone}; trying to open it again")
                    self._reopen()
        except Exception as error:  # noqa: BLE001 - the program's main thread reports it
            self.error = error

    def _listen(self) -> None:
        """Hand on sound until the device is gone or nobody wants it any more."""
        microphone = self._microphone
        converter = Converter(microphone.device.rate)
        heard = self._clock.now()
        while not self._stop.is_set():
            block = microphone.inlet.get(_BLOCK_SECONDS * 10)
            if block is None:
                gone = not microphone.running
                if gone or self._clock.now() - heard > _STALL_SECONDS:
                    return
                continue
            heard = block.at
            self._hand_on(converter.convert(block), block.at)

    def _hand_on(self, samples: Float32, at: float) -> None:
        with self._lock:
            self._meter.add(samples, RATE)
            mute = self._meter.mute
        if mute and not self._warned:
            self._tell(f"no sound arrives from '{self.device.name}'; is it muted?")
        self._warned = mute
        self._say(samples, self._position, at)
        self._position += len(samples)

    def _reopen(self) -> None:
        self._microphone.close()
        waits = Backoff(_REOPEN, last=False)
        while not self._stop.wait(waits.next()):
            if self._alone:
                refresh(self._audio)
            try:
                found = Microphone(self._audio, find(self._audio, self._wanted), self._clock)
            except MicrophoneError:
                continue
            self._dropped, self._microphone = self.dropped, found
            self._tell(f"listening to '{self.device.name}' again")
            elapsed = round((self._clock.now() - self._start) * RATE)
            self._position = max(self._position, elapsed // _PACKET * _PACKET)
            return
