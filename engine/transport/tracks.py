"""Outgoing media: one pump fetches slots from the playout and hands them to everybody's two tracks.

Only the pump keeps time. A browser aligns sound and picture by when they were *sent*, so both
tracks of a slot are filled in the same moment; the second 20 ms of sound follow 20 ms later.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from engine.clock import Clock
from engine.media import Float32, VideoFrame
from engine.playout import Playout
from engine.slots import RATE, SLOT_SAMPLES, SLOT_SECONDS, Slot

_PACKET_SAMPLES = RATE // 50
_VIDEO_RATE = 90_000
_SLOT_TICKS = round(_VIDEO_RATE * SLOT_SECONDS)
_POLL_SECONDS = 0.01
_QUEUE_PACKETS = 10
"""Sound packets (200 ms) that may wait for the encoder; then the oldest is dropped."""


class _Outgoing(MediaStreamTrack):
    """A track fed by the pump. When the sender lags, the oldest item is dropped."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._items: deque[av.AudioFrame | av.VideoFrame] = deque(maxlen=limit)
        self._filled = asyncio.Event()
        self.dropped = 0

    def put(self, item: av.AudioFrame | av.VideoFrame) -> None:
        self.dropped += len(self._items) == self._items.maxlen
        self._items.append(item)
        self._filled.set()

    async def recv(self) -> av.AudioFrame | av.VideoFrame:
        """The next item, when it is there.

        Raises:
            MediaStreamError: when the track has ended.
        """
        while not self._items:
            if self.readyState != "live":
                raise MediaStreamError
            self._filled.clear()
            await self._filled.wait()
        return self._items.popleft()

    def stop(self) -> None:
        """End the track; whoever waits is woken."""
        super().stop()
        self._filled.set()


class AudioTrack(_Outgoing):
    """20 ms of 48 kHz mono at a time."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__(_QUEUE_PACKETS)


class VideoTrack(_Outgoing):
    """One picture at a time: the newest wins."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__(1)


def audio_frame(samples: Float32, pts: int) -> av.AudioFrame:
    """PyAV frame of mono float32 samples at 48 kHz; louder than full scale is clipped."""
    pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
    frame.sample_rate = RATE
    frame.pts, frame.time_base = pts, Fraction(1, RATE)
    return frame


def video_frame(picture: VideoFrame, pts: int) -> av.VideoFrame:
    """PyAV frame that shares the picture's memory; ``pts`` counts 90 kHz ticks."""
    if picture.planes is not None:
        frame = av.VideoFrame.from_numpy_buffer(picture.planes, "yuv420p")
    else:
        frame = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(picture.image), "rgb24")
    frame.pts, frame.time_base = pts, Fraction(1, _VIDEO_RATE)
    return frame


class Output:
    """The two tracks of one who watches. Of one stream, so that browsers play them in step."""

    def __init__(self) -> None:
        self.audio = AudioTrack()
        self.video = VideoTrack()

    def stop(self) -> None:
        """End both tracks."""
        self.audio.stop()
        self.video.stop()


class SlotPump:
    """Moves slots from a playout to any number of outputs, in time.

    Args:
        playout: where slots come from.
        clock: real time, the playout's ``now``.
        on_slot: called with every slot as it leaves.
    """

    def __init__(
        self, playout: Playout, clock: Clock, on_slot: Callable[[Slot], None] = lambda _: None
    ) -> None:
        self._playout = playout
        self._clock = clock
        self._on_slot = on_slot
        self.outputs: set[Output] = set()

    async def run(self) -> None:
        """Pump until cancelled. Nothing leaves before there is a picture."""
        while not self._playout.has_picture:  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(_POLL_SECONDS)
        while True:
            await self._sleep_until(self._playout.due)
            slot = self._playout.next_slot(self._clock.now())
            self._send(slot)
            self._on_slot(slot)
            following = self._playout.due
            assert following is not None
            await self._sleep_until(following - SLOT_SECONDS / 2)
            self._send_second_half(slot)

    async def _sleep_until(self, due: float | None) -> None:
        # Sleeping for nothing still lets others run, however late we are.
        await asyncio.sleep(0 if due is None else max(0.0, due - self._clock.now()))

    def _send(self, slot: Slot) -> None:
        for output in self.outputs:
            if slot.frame is not None:
                output.video.put(video_frame(slot.frame, slot.pts * _SLOT_TICKS))
            output.audio.put(audio_frame(slot.audio[:_PACKET_SAMPLES], slot.pts * SLOT_SAMPLES))

    def _send_second_half(self, slot: Slot) -> None:
        pts = slot.pts * SLOT_SAMPLES + _PACKET_SAMPLES
        samples = self._playout.second_half(slot)  # faded out if it was interrupted meanwhile
        for output in self.outputs:
            output.audio.put(audio_frame(samples, pts))
