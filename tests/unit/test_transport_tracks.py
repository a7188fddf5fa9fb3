"""The pump and its tracks, the data channel, and access rules."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from engine.clock import SystemClock
from engine.config import ServerConfig
from engine.errors import ConfigError
from engine.media import AudioChunk, MotionFrame, VideoFrame
from engine.playout import Playout
from engine.slots import RATE, SLOT_SAMPLES, Slot
from engine.transport.access import check_exposure, is_loopback
from engine.transport.control import Control
from engine.transport.tracks import (
    AudioTrack,
    Output,
    SlotPump,
    VideoTrack,
    audio_frame,
    video_frame,
)


def picture(pts: int) -> VideoFrame:
    image = np.full((16, 16, 3), pts, np.uint8)
    return VideoFrame(image, MotionFrame(np.full(58, 0.5, np.float32), 0.25, pts), pts)


def test_sound_and_picture_of_a_slot_leave_in_the_same_moment() -> None:
    async def scenario() -> tuple[list[tuple[float, int]], list[tuple[float, int]]]:
        playout = Playout()
        playout.push_audio(AudioChunk(np.full(20 * SLOT_SAMPLES, 0.1, np.float32), 0, RATE))
        for pts in range(20):
            playout.push_frame(picture(pts))
        pump, output = SlotPump(playout, SystemClock()), Output()
        pump.outputs.add(output)
        task = asyncio.ensure_future(pump.run())
        seen: dict[str, list[tuple[float, int]]] = {"audio": [], "video": []}

        async def read(track: AudioTrack | VideoTrack) -> None:
            for _ in range(10 if track.kind == "video" else 20):
                frame = await track.recv()
                seen[track.kind].append((time.monotonic(), frame.pts or 0))

        await asyncio.gather(read(output.audio), read(output.video))
        task.cancel()
        return seen["audio"], seen["video"]

    audio, video = asyncio.run(scenario())
    assert [pts for _, pts in audio] == [n * 960 for n in range(20)]
    assert [pts for _, pts in video] == [n * 3600 for n in range(10)]
    skew = [a[0] - v[0] for a, v in zip(audio[::2], video, strict=True)]
    assert np.median(np.abs(skew)) < 0.005
    spacing = np.diff([at for at, _ in audio])
    assert 0.015 < np.median(spacing) < 0.025


def test_nothing_leaves_before_there_is_a_picture() -> None:
    async def scenario() -> int:
        playout = Playout()
        pump, output = SlotPump(playout, SystemClock()), Output()
        pump.outputs.add(output)
        task = asyncio.ensure_future(pump.run())
        await asyncio.sleep(0.1)
        waiting = playout.stats().slots
        playout.push_frame(picture(0))
        await asyncio.wait_for(output.video.recv(), 1)
        task.cancel()
        return waiting

    assert asyncio.run(scenario()) == 0


def test_a_slow_encoder_gets_the_newest_picture_and_all_recent_sound() -> None:
    async def scenario() -> tuple[Any, Any, int, int]:
        video, audio = VideoTrack(), AudioTrack()
        for pts in range(15):
            video.put(video_frame(picture(pts), pts * 3600))
            audio.put(audio_frame(np.zeros(960, np.float32), pts * 960))
        return await video.recv(), await audio.recv(), video.dropped, audio.dropped

    shown, heard, lost_pictures, lost_sound = asyncio.run(scenario())
    assert shown.pts == 14 * 3600 and lost_pictures == 14
    assert heard.pts == 5 * 960 and lost_sound == 5


def test_a_stopped_track_wakes_whoever_waits() -> None:
    async def scenario() -> None:
        track = VideoTrack()
        waiting = asyncio.ensure_future(track.recv())
        await asyncio.sleep(0)
        track.stop()
        with pytest.raises(MediaStreamError):
            await asyncio.wait_for(waiting, 1)

    asyncio.run(scenario())


class Channel:
    """Records what is sent; lets a test receive."""

    readyState = "open"

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.handlers: dict[str, Any] = {}
        self.bufferedAmount = 0

    def on(self, event: str, handler: Any) -> None:
        self.handlers[event] = handler

    def send(self, text: str) -> None:
        self.sent.append(json.loads(text))

    def close(self) -> None:
        self.readyState = "closed"

    def receive(self, message: object) -> None:
        self.handlers["message"](message if isinstance(message, bytes) else json.dumps(message))


def slot(pts: int, repeated: bool = False) -> Slot:
    return Slot(pts, np.zeros(SLOT_SAMPLES, np.float32), picture(pts), pts, repeated, False)


def test_the_data_channel_serves_motion_to_those_who_ask() -> None:
    commands: list[Any] = []
    control = Control(lambda message: commands.append(message) is None)
    channel = Channel()
    control.attach(channel)  # type: ignore[arg-type]
    control.slot(slot(0))
    assert channel.sent == []
    channel.receive({"type": "subscribe", "motion": True})
    control.slot(slot(1))
    control.slot(slot(1, repeated=True))
    message = channel.sent.pop()
    assert channel.sent == []
    assert (message["type"], message["pts"], message["speech"]) == ("motion", 1, 0.25)
    assert message["values"] == [0.5] * 58
    channel.bufferedAmount = 10**6
    control.slot(slot(2))
    assert channel.sent == []
    channel.receive({"type": "interrupt"})
    assert commands == [{"type": "interrupt"}]
    channel.receive({"type": "ping", "t": 7})
    assert channel.sent.pop() == {"type": "pong", "t": 7}


def test_a_command_nobody_understands_is_answered_and_channels_are_few() -> None:
    control = Control(lambda _: False)
    channels = [Channel() for _ in range(9)]
    for channel in channels:
        control.attach(channel)  # type: ignore[arg-type]
    channels[0].receive({"type": "dance"})
    assert channels[0].sent == [{"type": "error", "message": "not understood"}]
    assert [channel.readyState for channel in channels].count("closed") == 5


@pytest.mark.parametrize("message", [b"\xff\xfe", [], {"kind": 1}, "x" * 5000, 5])
def test_nonsense_on_the_data_channel_is_answered_not_obeyed(message: object) -> None:
    control = Control(lambda message: pytest.fail(f"obeyed {message}"))
    channel = Channel()
    control.attach(channel)  # type: ignore[arg-type]
    channel.receive(message)
    assert channel.sent == [{"type": "error", "message": "not understood"}]


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("::", False),
     ("192.168.1.4", False), ("example.org", False)],
)  # fmt: skip
def test_exposure_needs_a_token_or_a_clear_word(host: str, here: bool) -> None:
    assert is_loopback(host) is here
    check_exposure(ServerConfig(host=host), "secret")
    check_exposure(ServerConfig(host=host, allow_open=True), "")
    if here:
        check_exposure(ServerConfig(host=host), "")
    else:
        with pytest.raises(ConfigError, match="VIVACE_TOKEN"):
            check_exposure(ServerConfig(host=host), "")
