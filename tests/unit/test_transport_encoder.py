"""Bitrate ladder, encoders, and the hooks that put them in aiortc's place."""

from __future__ import annotations

import asyncio
import threading
from fractions import Fraction

import aioice.ice
import aiortc.rtcdtlstransport
import aiortc.rtcrtpreceiver
import aiortc.rtcrtpsender
import aiortc.rtp
import av
import cv2
import numpy as np
import pytest
from aiortc import RTCCertificate
from aiortc.codecs import CODECS
from aiortc.codecs.vpx import Vp8Decoder, VpxPayloadDescriptor
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from OpenSSL import SSL

from engine.clock import ManualClock
from engine.media import Float32, MotionFrame, UInt8, VideoFrame
from engine.runtime import cuda
from engine.transport import encoder, hooks
from engine.transport.bitrate import LADDER, START
from engine.transport.encoder import SEND_STATS, SendStats, VideoEncoder, make_encoder, yuv420
from engine.transport.encoders import EncoderPool
from engine.transport.jitter import AudioJitterBuffer
from engine.transport.opus import OpusDecoder, OpusEncoder, audio_level_dbov
from engine.transport.tracks import audio_frame, video_frame
from tests.fakes import speechlike

ORIGINAL_LEVEL = hooks._installed.get(
    "aiortc.rtp.compute_audio_level_dbov", aiortc.rtp.compute_audio_level_dbov
)


def codec(name: str) -> RTCRtpCodecParameters:
    kind = name.split("/", maxsplit=1)[0]
    return next(c for c in CODECS[kind] if c.mimeType.lower() == name.lower())


def picture(shift: int) -> UInt8:
    """A smooth picture that moves."""
    y, x = np.mgrid[0:512, 0:512]
    waves = [np.sin((x + shift * 3) / 40 + k) * np.cos(y / 50) for k in range(3)]
    return (127 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


def frame(index: int) -> av.VideoFrame:
    motion = MotionFrame(np.zeros(58, np.float32), 0.0, index)
    return video_frame(VideoFrame(picture(index), motion, index), index * 3600)


def vp8_data(payloads: list[bytes]) -> bytes:
    return b"".join(VpxPayloadDescriptor.parse(p)[1] for p in payloads)


def test_vp8_comes_back_as_it_went_in() -> None:
    stats = SendStats()
    token = SEND_STATS.set(stats)
    encoder = make_encoder(codec("video/VP8"))
    SEND_STATS.reset(token)
    decoder = Vp8Decoder()
    errors = []
    for index in range(20):
        payloads, timestamp = encoder.encode(frame(index), index == 10)
        assert timestamp == index * 3600
        assert max(map(len, payloads)) <= 1300
        for out in decoder.decode(JitterFrame(vp8_data(payloads), timestamp)):
            shown = out.to_ndarray(format="rgb24").astype(float)
            errors.append(float(np.mean((shown - picture(index)) ** 2)))
    psnr = 10 * np.log10(255**2 / np.mean(errors[5:]))
    assert len(errors) == 20
    assert psnr > 35
    assert (stats.frames, stats.key_frames, stats.restarts) == (20, 2, 1)
    assert 0 < stats.encode_ms < 200


def test_h264_is_baseline_with_a_key_frame_on_demand() -> None:
    stats = SendStats()
    token = SEND_STATS.set(stats)
    encoder = make_encoder(codec("video/H264"))
    SEND_STATS.reset(token)
    kinds = []
    for index in range(14):
        payloads, _ = encoder.encode(frame(index), index == 11)
        kinds.append({p[0] & 31 for p in payloads})
    assert stats.key_frames == 2
    assert 24 in kinds[0] or 7 in kinds[0]  # parameter sets, alone or aggregated
    assert kinds[11] != kinds[10]


def test_a_new_rate_is_a_new_encoder_and_a_repeated_one_is_not() -> None:
    stats = SendStats()
    token = SEND_STATS.set(stats)
    encoder = make_encoder(codec("video/VP8"))
    SEND_STATS.reset(token)
    assert isinstance(encoder, VideoEncoder)
    for index, estimate in enumerate((590_000, 560_000, 600_000, 400_000, 400_000)):
        encoder.target_bitrate = estimate
        encoder.encode(frame(index))
    assert stats.restarts == 2
    assert encoder.target_bitrate == stats.bitrate == 300_000


def test_the_lowest_rate_gets_a_smaller_picture_and_the_stats_say_so() -> None:
    stats = SendStats()
    made = VideoEncoder(encoder.open_vp8, encoder.vp8_packetizer(), ManualClock(), stats)
    made.encode(frame(0))
    assert (stats.width, stats.height, stats.bitrate) == (512, 512, START)
    made.target_bitrate = 100_000
    payloads, _ = made.encode(frame(1))
    assert (stats.width, stats.height, stats.bitrate) == (384, 384, LADDER[0])
    (shown,) = Vp8Decoder().decode(JitterFrame(vp8_data(payloads), 0))
    assert (shown.width, shown.height) == (384, 384)
    small = cv2.resize(picture(1), (384, 384), interpolation=cv2.INTER_AREA)
    assert np.abs(shown.to_ndarray(format="rgb24").astype(float) - small).mean() < 8


def test_a_texture_too_hard_for_the_rate_loses_pictures_and_not_the_rate() -> None:
    stats = SendStats()
    made = VideoEncoder(encoder.open_vp8, encoder.vp8_packetizer(), ManualClock(), stats)
    made.target_bitrate = 300_000
    rng = np.random.default_rng(6)
    coarse = rng.integers(0, 255, (160, 160, 3), dtype=np.uint8)
    noise = np.asarray(cv2.resize(coarse, (640, 640), interpolation=cv2.INTER_LINEAR), np.uint8)
    still = MotionFrame(np.zeros(58, np.float32), 0.0, 0)
    decoder, shown, numbers, early = Vp8Decoder(), 0, [], 0
    for index in range(200):
        early = stats.bytes if index == 75 else early  # each new encoder begins with a key frame
        shift = 64 + round(60 * np.sin(index / 7))
        moved = np.ascontiguousarray(noise[shift : shift + 512, shift : shift + 512])
        picture_now = video_frame(VideoFrame(moved, still, index), index * 3600)
        payloads, timestamp = made.encode(picture_now, index == 100)
        assert payloads or index not in {0, 100}, "a key frame that was asked for is never left out"
        if payloads:
            numbers.append(VpxPayloadDescriptor.parse(payloads[0])[0].picture_id)
            shown += len(decoder.decode(JitterFrame(vp8_data(payloads), timestamp)))
    assert 8 * (stats.bytes - early) < 1.1 * 300_000 * 125 / 25
    assert stats.skipped == 200 - shown > 10
    assert shown > 25
    assert stats.width < 512, "much was left out: the picture becomes smaller"
    assert np.diff(numbers).tolist() == [1] * (shown - 1), "no gap a receiver would wait for"


def test_planes_shrink_as_rgb_does() -> None:
    planes = yuv420(frame(3))
    small = yuv420(planes, (384, 384)).to_ndarray(format="rgb24").astype(float)
    expected = yuv420(frame(3), (384, 384)).to_ndarray(format="rgb24")
    assert np.abs(small - expected).mean() < 1


def test_a_request_yields_a_key_frame_and_a_storm_of_them_not_one_each() -> None:
    stats = SendStats()
    made = VideoEncoder(encoder.open_vp8, encoder.vp8_packetizer(), ManualClock(), stats)
    keys = []
    for index in range(50):
        before = stats.key_frames
        # Nothing is asked for in the first second; then a request comes with every picture.
        made.encode(frame(index), index >= 25)
        if stats.key_frames > before:
            keys.append(index)
    assert keys == [0, 25, 35, 45]


def test_a_request_too_soon_after_a_key_frame_is_kept_not_forgotten() -> None:
    stats = SendStats()
    made = VideoEncoder(encoder.open_vp8, encoder.vp8_packetizer(), ManualClock(), stats)
    for index in range(20):
        made.encode(frame(index), index == 2)
    assert stats.key_frames == 2


def test_a_repair_waits_until_the_link_has_room() -> None:
    stats = SendStats()
    made = VideoEncoder(encoder.open_vp8, encoder.vp8_packetizer(), ManualClock(), stats)
    for index in range(30):
        made.encode(frame(index))
    made.unrepeated(for_good=False)
    made.encode(frame(30))
    assert stats.key_frames == 1, "the repeat is still on its way"
    made.unrepeated(for_good=True)
    stats.loss = 0.3
    made.encode(frame(31))
    assert stats.key_frames == 1, "the link is full"
    stats.loss = 0.02
    for index in range(32, 60):
        made.encode(frame(index))
    assert stats.key_frames == 2
    assert stats.unrepeated == 2


def test_encode_times_are_known_by_percentile_and_told_to_who_asked() -> None:
    told: list[float] = []
    stats = SendStats(on_encode=told.append)
    for ms in range(1, 101):
        stats.encoded(1000, ms == 1, ms / 1000)
    assert told == [ms / 1000 for ms in range(1, 101)]
    assert stats.report()["encode_p50_ms"] == pytest.approx(50.5)
    assert stats.report()["encode_p95_ms"] == pytest.approx(95.05)
    assert stats.counts() == {
        "bytes": 100_000,
        "key_frames": 1,
        "skipped": 0,
        "nack": 0,
        "unrepeated": 0,
        "pli": 0,
    }


def test_sound_does_not_wait_for_somebodys_pictures() -> None:
    """Every video thread is blocked; Opus is encoded all the same, in a thread named after it."""
    pool = EncoderPool({"audio": 1, "video": 2})
    free = threading.Event()

    async def scenario() -> tuple[str, list[float]]:
        waits: list[float] = []
        videos = [
            asyncio.ensure_future(pool.run("video", waits.append, free.wait, 20)) for _ in range(5)
        ]
        name = await asyncio.wait_for(
            pool.run("audio", waits.append, lambda: threading.current_thread().name), 10
        )
        alive = [t.name for t in threading.enumerate() if t.name.startswith("encode-video")]
        assert len(alive) <= 2
        free.set()
        assert all(await asyncio.gather(*videos))
        return name, waits

    name, waits = asyncio.run(scenario())
    assert name.startswith("encode-audio")
    assert len(waits) == 6 and min(waits) >= 0
    pool.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("encode-") and t.is_alive()]


def test_a_closed_pool_works_again_for_the_next_server() -> None:
    pool = EncoderPool({"audio": 1})
    waits: list[float] = []
    assert asyncio.run(pool.run("audio", waits.append, lambda: 1)) == 1
    pool.close()
    assert asyncio.run(pool.run("audio", waits.append, lambda: 2)) == 2
    pool.close()


def test_rgb_becomes_yuv_as_video_does_it() -> None:
    image = picture(0)
    ours = yuv420(frame(0)).to_ndarray()
    theirs = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv420p").to_ndarray()
    assert np.abs(ours[:512].astype(int) - theirs[:512]).max() <= 2


def test_opus_keeps_the_sound_and_the_time() -> None:
    encoder = make_encoder(codec("audio/opus"))
    assert isinstance(encoder, OpusEncoder)
    decoder = av.CodecContext.create("libopus", "r")
    decoder.format, decoder.layout, decoder.sample_rate = "s16", "stereo", 48_000
    time = np.arange(48_000) / 48_000
    tone = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    heard: list[Float32] = []
    for index in range(50):
        part = tone[index * 960 : (index + 1) * 960]
        payloads, timestamp = encoder.encode(audio_frame(part, index * 960))
        assert len(payloads) == 1 and timestamp == index * 960
        for out in decoder.decode(av.Packet(payloads[0])):
            heard.append(out.to_ndarray().reshape(-1, 2)[:, 0] / 32768)
    line = np.concatenate(heard)
    spectrum = np.abs(np.fft.rfft(line[4800:43200]))
    assert abs(np.argmax(spectrum) * 48_000 / 38_400 - 440) < 3
    assert np.sqrt(np.mean(line[9600:] ** 2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)


def test_opus_keeps_the_waveform_of_a_voice() -> None:
    encoder, voice = OpusEncoder(), speechlike(2, 48_000)
    decoder = av.CodecContext.create("libopus", "r")
    decoder.format, decoder.layout, decoder.sample_rate = "s16", "stereo", 48_000
    heard: list[Float32] = []
    for index in range(100):
        part = voice[index * 960 : (index + 1) * 960]
        payloads, _ = encoder.encode(audio_frame(part, index * 960))
        for out in decoder.decode(av.Packet(payloads[0])):
            heard.append(out.to_ndarray().reshape(-1, 2)[:, 0] / 32768)
    line = np.concatenate(heard)
    said = voice[24_000:72_000]
    scores = [np.corrcoef(line[24_000 + d : 72_000 + d], said)[0, 1] for d in range(600)]
    assert max(scores) > 0.98
    assert 280 <= int(np.argmax(scores)) <= 340  # the codec's 6.5 ms


def test_opus_refuses_what_would_corrupt_the_timestamps() -> None:
    with pytest.raises(ValueError, match="960"):
        OpusEncoder().encode(audio_frame(np.zeros(1920, np.float32), 0))


@pytest.mark.parametrize("level", [0.0, 1e-5, 0.01, 0.5, 1.0])
def test_the_audio_level_is_the_one_aiortc_computes(level: float) -> None:
    noise = np.random.default_rng(0).uniform(-level, level, 960).astype(np.float32)
    made = audio_frame(noise, 0)
    assert audio_level_dbov(made) == ORIGINAL_LEVEL(made)


def test_the_hooks_are_reached() -> None:
    hooks.install()
    hooks.install()  # twice does no harm
    assert isinstance(aiortc.rtcrtpreceiver.JitterBuffer(16, prefetch=4), AudioJitterBuffer)
    assert isinstance(aiortc.rtcrtpreceiver.JitterBuffer(capacity=512, is_video=True), JitterBuffer)
    assert aiortc.rtcrtpsender.get_encoder is make_encoder
    assert isinstance(aiortc.rtcrtpreceiver.get_decoder(codec("audio/opus")), OpusDecoder)
    assert not isinstance(aiortc.rtcrtpreceiver.get_decoder(codec("video/VP8")), OpusDecoder)
    assert aiortc.rtp.compute_audio_level_dbov is audio_level_dbov
    assert aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=False)[-1] == "127.0.0.1"


def test_dtls_accepts_peers_with_rsa_certificates() -> None:
    hooks.install()
    profiles = list(aiortc.rtcdtlstransport.SRTP_PROFILES)
    context = RTCCertificate.generateCertificate()._create_ssl_context(srtp_profiles=profiles)
    ciphers = SSL.Connection(context).get_cipher_list()
    assert any("ECDHE-RSA" in name for name in ciphers)
    assert any("ECDHE-ECDSA" in name for name in ciphers)


def test_another_aiortc_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "_installed", {})
    monkeypatch.delattr(aiortc.rtcrtpsender, "get_encoder")
    with pytest.raises(Exception, match=r"get_encoder.*pyproject"):
        hooks.install()


def test_louder_than_full_scale_is_clipped() -> None:
    pcm = audio_frame(np.array([2.0, -2.0] * 480, np.float32), 0).to_ndarray()
    assert pcm.max() == 32767 and pcm.min() == -32767
    assert audio_frame(np.zeros(960, np.float32), 48).time_base == Fraction(1, 48_000)


def test_nvenc_is_used_only_where_it_encodes_a_picture() -> None:
    """Without a GPU the reason is the driver's; FFmpeg's having the encoder is not enough."""
    assert "h264_nvenc" in av.codecs_available
    reason = encoder.nvenc_refusal()
    codec = encoder.open_best_h264(512, 512, 500_000)
    if cuda.probe() is None:
        assert "no NVIDIA driver" in reason
        assert codec.name == "libx264"
    else:
        assert (codec.name == "libx264") == bool(reason)


def test_nvenc_that_does_not_open_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver is told to be here: FFmpeg then really tries, and really fails."""
    if cuda.probe() is not None:
        pytest.skip("about machines without a GPU")
    monkeypatch.setattr(cuda, "_look", lambda _index: (None, ""))
    encoder.nvenc_refusal.cache_clear()
    assert encoder.nvenc_refusal().startswith("h264_nvenc does not open: ")
    assert encoder.open_best_h264(512, 512, 500_000).name == "libx264"
    encoder.nvenc_refusal.cache_clear()


def test_a_full_nvenc_falls_back_for_that_session(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if cuda.probe() is not None:
        pytest.skip("about machines without a GPU")
    monkeypatch.setattr(encoder, "nvenc_refusal", lambda: "")
    assert encoder.open_best_h264(512, 512, 500_000).name == "libx264"
    assert "has no room" in caplog.text
