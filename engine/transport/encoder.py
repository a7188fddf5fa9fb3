"""Encoders handed to aiortc in place of its own: same packets, settings measured for a face.

* VP8 without the temporal denoiser (5 dB at 1 Mbit/s) and with ``cpu-used`` -12. What does not
  fit the rate even at the coarsest quantiser is left out, as libwebrtc does: a moving hard texture
  otherwise takes four to eight times the rate it was given. Where much is left out, the picture
  becomes smaller. Neither happens to a face.
* H.264 ``superfast`` (aiortc leaves x264's ``medium``: 32 ms a frame instead of 3.5).
* Bitrate in steps (``bitrate``): an encoder cannot change its rate, a new rate means a new encoder
  and a key frame. At the lowest rates the picture is made smaller.
* Key frames on request, but not more often than every 0.4 s: while a request is on its way back,
  the receiver asks again for every packet it cannot use.
* H.264 on the GPU (NVENC) where an encoder opens there for real; asked once, at the first use.
* Opus in mono, with forward error correction.

RGB becomes YUV here, in the encoder's thread, and not on the event loop.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import av
import av.video.frame
import cv2
import numpy as np
from aiortc.codecs import get_encoder
from aiortc.codecs.base import Encoder
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder
from aiortc.mediastreams import convert_timebase
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from av.frame import Frame
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

from engine.clock import Clock, SystemClock
from engine.media import FPS, UInt8
from engine.runtime import cuda
from engine.transport.bitrate import BitrateLadder, SizeLadder, picture_scale
from engine.transport.opus import OpusEncoder
from engine.transport.sendstats import SEND_STATS, SendStats

log = logging.getLogger(__name__)

_VIDEO_TIME_BASE = Fraction(1, 90_000)
_KEY_FRAME_SECONDS = Fraction(2, 5)
_REPAIR_SECONDS = Fraction(1)
_CLEAR = 0.1
"""Share of packets lost below which a link is not full."""


def yuv420(frame: av.VideoFrame, size: tuple[int, int] | None = None) -> av.VideoFrame:
    """Make an RGB or I420 frame I420, and smaller if wanted; other formats pass through.

    Args:
        frame: with even sides.
        size: even width and height to shrink to; None keeps them.
    """
    whole = (frame.width, frame.height)
    size = size or whole
    if frame.format.name == "rgb24":
        image = frame.to_ndarray()
        if size != whole:
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        planes = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420), np.uint8)
    elif frame.format.name == "yuv420p" and size != whole:
        planes = _shrink_planes(np.asarray(frame.to_ndarray(), np.uint8), whole, size)
    else:
        return frame
    converted = av.VideoFrame.from_numpy_buffer(planes, "yuv420p")
    converted.pts, converted.time_base = frame.pts, frame.time_base
    return converted


def _shrink_planes(planes: UInt8, whole: tuple[int, int], size: tuple[int, int]) -> UInt8:
    """I420 as PyAV lays it out: uint8 [3/2 height, width]."""
    pixels, parts, start = planes.reshape(-1), [], 0
    for share in (1, 2, 2):
        columns, rows = whole[0] // share, whole[1] // share
        plane = pixels[start : start + columns * rows].reshape(rows, columns)
        smaller = (size[0] // share, size[1] // share)
        shrunk = np.asarray(cv2.resize(plane, smaller, interpolation=cv2.INTER_AREA), np.uint8)
        parts.append(shrunk.reshape(-1))
        start += columns * rows
    return np.concatenate(parts).reshape(size[1] * 3 // 2, size[0])


def open_vp8(width: int, height: int, bitrate: int) -> VideoCodecContext:
    """A libvpx encoder for real time."""
    codec = av.CodecContext.create("libvpx", "w")
    codec.gop_size = 3000
    codec.qmin, codec.qmax = 2, 56
    codec.thread_count = 1  # a second thread spins when the cores are busy
    codec.options = {
        "bufsize": str(bitrate),
        "minrate": str(bitrate),
        "maxrate": str(bitrate),
        "cpu-used": "-12",
        "deadline": "realtime",
        "drop-threshold": "30",  # per cent of the buffer
        "lag-in-frames": "0",
        "noise-sensitivity": "0",
        "overshoot-pct": "15",
        "undershoot-pct": "100",
        "partitions": "0",
        "static-thresh": "1",
    }
    return _common(codec, width, height, bitrate)


def open_h264(width: int, height: int, bitrate: int) -> VideoCodecContext:
    """A libx264 encoder for real time, constrained baseline."""
    codec = av.CodecContext.create("libx264", "w")
    codec.gop_size = 3000
    codec.profile = "Baseline"
    codec.thread_count = 1
    codec.options = {
        "level": "31",
        "preset": "superfast",
        "tune": "zerolatency",
        "maxrate": str(bitrate),
        "bufsize": str(bitrate // 2),
        "forced-idr": "1",
    }
    return _common(codec, width, height, bitrate)


def open_nvenc(width: int, height: int, bitrate: int) -> VideoCodecContext:
    """An NVENC encoder for real time, constrained baseline; takes the I420 picture as it is."""
    codec = av.CodecContext.create("h264_nvenc", "w")
    codec.gop_size = 3000
    codec.max_b_frames = 0
    codec.options = {
        "level": "3.1",
        "profile": "baseline",
        "preset": "p3",
        "tune": "ull",
        "zerolatency": "1",
        "delay": "0",
        "rc": "cbr",
        "maxrate": str(bitrate),
        "bufsize": str(bitrate // 2),
        "forced-idr": "1",
    }
    return _common(codec, width, height, bitrate)


@cache
def nvenc_refusal() -> str:
    """Why NVENC is not used: one sentence; empty if it encoded a picture just now.

    That FFmpeg knows the encoder says nothing of the machine: drivers lack it, data-centre GPUs
    are sold without it, consumer ones limit its sessions. So one picture is encoded.
    """
    reason = cuda.why_not()
    if reason:
        return reason
    try:
        codec = open_nvenc(512, 512, 500_000)
        grey = av.VideoFrame.from_ndarray(np.full((768, 512), 128, np.uint8), "yuv420p")
        grey.pts = 0
        packets = [*codec.encode(grey), *codec.encode(None)]
    except (av.FFmpegError, ValueError, OSError) as error:
        return f"h264_nvenc does not open: {error}"
    return "" if packets else "h264_nvenc gave no picture"


def open_best_h264(width: int, height: int, bitrate: int) -> VideoCodecContext:
    """NVENC where it works, else x264; also where NVENC has no room for another session."""
    if not nvenc_refusal():
        codec = open_nvenc(width, height, bitrate)
        try:
            codec.open()
            return codec
        except (av.FFmpegError, OSError) as error:
            log.warning("h264_nvenc has no room (%s); this session uses x264", error)
    return open_h264(width, height, bitrate)


def _common(codec: VideoCodecContext, width: int, height: int, bitrate: int) -> VideoCodecContext:
    codec.width, codec.height = width, height
    codec.bit_rate = bitrate
    codec.pix_fmt = "yuv420p"
    codec.framerate = Fraction(FPS)
    codec.time_base = Fraction(1, FPS)
    return codec


class VideoEncoder(Encoder):
    """VP8 or H.264 as aiortc calls it: ``encode`` in a worker thread, the rest on the event loop.

    Args:
        open_codec: makes the encoder for a size and rate.
        packetize: cuts an encoded picture into RTP payloads.
        clock: for the bitrate ladder.
        stats: where to count.
    """

    def __init__(
        self,
        open_codec: Callable[[int, int, int], VideoCodecContext],
        packetize: Callable[[bytes], list[bytes]],
        clock: Clock,
        stats: SendStats,
    ) -> None:
        self._open = open_codec
        self._packetize = packetize
        self._ladder = BitrateLadder(clock)
        self._sizes = SizeLadder()
        self._codec: VideoCodecContext | None = None
        self._made_for = (0, 0, 0)
        self._wants_key = False
        self._wants_repair = False
        self._last_key: Fraction | None = None
        self.stats = stats

    @property
    def target_bitrate(self) -> int:
        """Bits per second; setting it hands in the receiver's estimate (REMB)."""
        return self._ladder.rate

    @target_bitrate.setter
    def target_bitrate(self, bits_per_second: int) -> None:
        self.stats.remb = bits_per_second
        self._ladder.estimate(bits_per_second)

    def lost(self, share: float) -> None:
        """Take the share of packets, 0 to 1, that a receiver report says were lost."""
        self.stats.loss = share
        self._ladder.loss(share)

    def unrepeated(self, *, for_good: bool) -> None:
        """Count a lost packet that is not sent again.

        Args:
            for_good: the receiver will not get it. Browsers then ask for a key frame, after three
                seconds without a picture; it comes sooner by itself.
        """
        self.stats.unrepeated += 1
        self._wants_repair = self._wants_repair or for_good

    def encode(self, frame: Frame, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        """Encode one picture into RTP payloads and its 90 kHz timestamp.

        No payloads: the encoder left the picture out to keep its rate.
        """
        if not isinstance(frame, av.VideoFrame) or frame.pts is None or frame.time_base is None:
            raise ValueError("a video encoder takes timed pictures")
        started = time.perf_counter()
        rate = self._ladder.rate
        picture = yuv420(frame, _scaled(frame, picture_scale(rate, self._sizes.smaller)))
        wanted = (picture.width, picture.height, rate)
        if self._codec is None or wanted != self._made_for:
            self._codec, self._made_for = self._open(*wanted), wanted
            self.stats.restarts += 1
            self.stats.width, self.stats.height, self.stats.bitrate = wanted
        kind = av.video.frame.PictureType
        media_time = frame.pts * frame.time_base
        wants_key = self._key_is_due(force_keyframe, media_time)
        picture.pict_type = kind.I if wants_key else kind.NONE
        packets = self._codec.encode(picture)
        data = b"".join(bytes(packet) for packet in packets)
        key = any(packet.is_keyframe for packet in packets)
        if key:
            self._wants_key = self._wants_repair = False
            self._last_key = media_time
        self._sizes.coded(skipped=not data)
        self.stats.encoded(len(data), key, time.perf_counter() - started)
        timestamp = convert_timebase(frame.pts, frame.time_base, _VIDEO_TIME_BASE)
        return self._packetize(data) if data else [], timestamp

    def _key_is_due(self, asked: bool, now: Fraction) -> bool:
        """A request waits until the last key frame has had time to arrive."""
        self._wants_key = self._wants_key or asked
        if self._last_key is None:
            return self._wants_key
        rested = now - self._last_key
        # Into a link that is full, the repair would be lost as well.
        repair = self._wants_repair and self.stats.loss < _CLEAR and rested >= _REPAIR_SECONDS
        return repair or (self._wants_key and rested >= _KEY_FRAME_SECONDS)

    def pack(self, packet: Packet[Any]) -> tuple[list[bytes], int]:
        """Never asked for: the tracks deliver pictures."""
        raise ValueError("this encoder takes pictures, not packets")


def _scaled(frame: av.VideoFrame, scale: tuple[int, int]) -> tuple[int, int]:
    """Even sides of the picture to send."""
    above, below = scale
    return frame.width * above // below // 2 * 2, frame.height * above // below // 2 * 2


def vp8_packetizer() -> Callable[[bytes], list[bytes]]:
    """RTP payloads of VP8 (RFC 7741), with running picture numbers."""
    inner = Vp8Encoder()

    def packetize(data: bytes) -> list[bytes]:
        payloads = inner._packetize(data, inner.picture_id)
        inner.picture_id = (inner.picture_id + 1) % (1 << 15)
        return payloads

    return packetize


def h264_packetizer() -> Callable[[bytes], list[bytes]]:
    """RTP payloads of H.264 (RFC 6184)."""
    return lambda data: H264Encoder._packetize(H264Encoder._split_bitstream(data))


def make_encoder(codec: RTCRtpCodecParameters) -> Encoder:
    """The encoder for a negotiated codec; aiortc's own for those that are not ours."""
    stats = SEND_STATS.get() or SendStats()
    name = codec.mimeType.lower()
    if name == "video/vp8":
        return VideoEncoder(open_vp8, vp8_packetizer(), SystemClock(), stats)
    if name == "video/h264":
        return VideoEncoder(open_best_h264, h264_packetizer(), SystemClock(), stats)
    if name == "audio/opus":
        return OpusEncoder()
    return get_encoder(codec)
