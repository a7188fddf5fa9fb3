"""Sounds for ``speak`` that are none, lie about themselves, or hold impossible numbers."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from functools import cache

import av
import numpy as np

from tests.badinputs.case import SESSION, Request

SPEAK = f"/sessions/{SESSION}/speak"


def wav(
    data: bytes,
    *,
    kind: int = 1,
    channels: int = 1,
    rate: int = 16_000,
    bits: int = 16,
    riff: int | None = None,
    size: int | None = None,
) -> bytes:
    """A WAV file whose head may say what it likes."""
    block = channels * bits // 8 % 65_536
    head = struct.pack("<HHIIHH", kind, channels, rate, rate * block % 2**32, block, bits)
    length = len(data) if size is None else size
    whole = 36 + len(data) if riff is None else riff
    return (
        b"RIFF" + struct.pack("<I", whole) + b"WAVEfmt " + struct.pack("<I", 16) + head
        + b"data" + struct.pack("<I", length) + data
    )  # fmt: skip


def tone(count: int = 1600, scale: float = 8000) -> bytes:
    """16 bit samples."""
    return (np.sin(np.arange(count) * 0.1) * scale).astype("<i2").tobytes()


@cache
def encoded(container: str, codec: str) -> bytes:
    """A fifth of a second in a compressed format."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as target:
        stream = target.add_stream(codec, rate=48_000, layout="mono")
        samples = (np.sin(np.arange(9600) * 0.05) * 9000).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 48_000
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono")
        for part in resampler.resample(frame):
            target.mux(stream.encode(part))
        target.mux(stream.encode(None))
    return out.getvalue()


def _refused() -> dict[str, bytes]:
    ogg, flac, mp3 = encoded("ogg", "libopus"), encoded("flac", "flac"), encoded("mp3", "mp3")
    floats = np.full(1600, np.nan, "<f4")
    return {
        "empty": b"",
        "text": b"say hello",
        "zeros": bytes(20_000),
        "noise": np.random.default_rng(5).bytes(20_000),
        "riff-only": b"RIFF",
        "riff-wave": b"RIFF\x04\x00\x00\x00WAVE",
        "head-cut": wav(tone())[:30],
        "no-data": wav(b""),
        "rate-0": wav(tone(), rate=0),
        "channels-0": wav(tone(), channels=0),
        "rate-1": wav(tone(), rate=1),
        "rate-384000": wav(tone(9000), rate=384_000),
        "rate-2147483647": wav(tone(), rate=2**31 - 1),
        "channels-8": wav(np.repeat(np.frombuffer(tone(400), "<i2"), 8).tobytes(), channels=8),
        "channels-9": wav(np.repeat(np.frombuffer(tone(400), "<i2"), 9).tobytes(), channels=9),
        "channels-64": wav(np.repeat(np.frombuffer(tone(400), "<i2"), 64).tobytes(), channels=64),
        "channels-65535": wav(bytes(1_310_700), channels=65_535),
        "mp3-then-text": mp3 + b"and then some words",
        "bits-0": wav(tone(), bits=0),
        "bits-7": wav(tone(), bits=7, kind=0x77),
        "kind-unknown": wav(tone(), kind=0xBEEF),
        "floats-nan": wav(floats.tobytes(), kind=3, bits=32),
        "floats-infinite": wav(np.full(1600, np.inf, "<f4").tobytes(), kind=3, bits=32),
        "doubles-nan": wav(np.full(1600, np.nan, "<f8").tobytes(), kind=3, bits=64),
        "format-chunk-huge": b"RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\x7f" + bytes(100),
        "chunks-of-nothing": b"RIFF\xff\xff\xff\x7fWAVE" + b"junk\x00\x00\x00\x00" * 5000,
        "wav-of-a-picture": b"\x89PNG\r\n\x1a\n" + bytes(500),
        "avi-head": b"RIFF\x24\x00\x00\x00AVI LIST" + bytes(50),
        "ogg-head": ogg[:27],
        "ogg-garbage": b"OggS" + np.random.default_rng(6).bytes(5000),
        "flac-head": flac[:20],
        "flac-garbage": b"fLaC" + np.random.default_rng(7).bytes(5000),
        "mp4-head": b"\x00\x00\x00\x18ftypM4A " + bytes(200),
        "mp3-cut": mp3[:8],
        "midi": b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x00\x60MTrk\x00\x00\x00\x00",
        # Formats that make a reader open other files or the network.
        "playlist-of-a-file": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/hosts\n"
        b"#EXT-X-ENDLIST\n",
        "playlist-of-an-address": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n"
        b"http://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "concat-of-a-file": b"ffconcat version 1.0\nfile /etc/hosts\n",
        "session-description": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\n"
        b"t=0 0\r\nm=audio 5004 RTP/AVP 0\r\n",
        "dash": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" '
        b'type="static"><Period><AdaptationSet mimeType="audio/mp4"><Representation id="1">'
        b"<BaseURL>file:///etc/hosts</BaseURL></Representation></AdaptationSet></Period></MPD>",
    }  # fmt: skip


def _odd() -> dict[str, bytes]:
    """Said all the same: what is there is sound."""
    eight = (np.sin(np.arange(1600) * 0.1) * 60 + 128).astype(np.uint8).tobytes()
    return {
        "length-2-gb": wav(tone(), size=2**31 - 1, riff=2**31 - 1),
        "length-0": wav(tone(), size=0),
        "length-unknown": wav(tone(), size=2**32 - 1, riff=2**32 - 1),
        "length-odd": wav(tone() + b"\x01"),
        "channels-7": wav(np.repeat(np.frombuffer(tone(400), "<i2"), 7).tobytes(), channels=7),
        "bits-8": wav(eight, bits=8),
        "bits-24": wav(bytes(4800), bits=24),
        "bits-32": wav(bytes(6400), bits=32),
        "bits-64": wav(np.zeros(1600, "<f8").tobytes(), kind=3, bits=64),
        "floats-loud": wav(np.full(1600, 1e30, "<f4").tobytes(), kind=3, bits=32),
        "full-scale": wav(np.tile(np.array([32767, -32768], "<i2"), 800).tobytes()),
        "one-sample": wav(b"\x01\x00"),
        "trailing-garbage": wav(tone()) + b"LIST" + b"\xff" * 60,
        "ogg-named-wav": encoded("ogg", "libopus"),
    }


def _raw() -> Iterator[Request]:
    """Samples without a head: the type says what they are."""
    for name, kind in {
        "no-rate": "audio/L16",
        "rate-0": "audio/L16;rate=0",
        "rate-negative": "audio/L16;rate=-24000",
        "rate-word": "audio/L16;rate=fast",
        "rate-fraction": "audio/L16;rate=24000.5",
        "rate-huge": "audio/L16;rate=999999999999999999999",
        "rate-1": "audio/L16;rate=1",
        "channels-2": "audio/L16;rate=24000;channels=2",
        "channels-word": "audio/L16;rate=24000;channels=mono",
    }.items():
        yield _speak(f"raw-{name}", tone(), 422, "bad_audio", kind)
    raw = "audio/L16;rate=24000"
    yield _speak("raw-odd-bytes", tone() + b"\x00", 422, "bad_audio", raw)
    yield _speak("raw-one-byte", b"\x00", 422, "bad_audio", raw)
    yield _speak("raw-empty", b"", 422, "bad_audio", raw)


def _speak(name: str, data: bytes, status: int, word: str, kind: str, query: str = "") -> Request:
    headers = (("Content-Type", kind),)
    return Request(f"sound/{name}", "POST", SPEAK + query, status, word, data, headers)


def sounds() -> Iterator[Request]:
    """For ``speak`` of a session in agent mode."""
    for name, data in _refused().items():
        yield _speak(name, data, 422, "bad_audio", "audio/wav")
    for name, data in _odd().items():
        yield _speak(f"odd-{name}", data, 202, "", "audio/wav")
    yield from _raw()
    good = wav(tone())
    for name, kind in {
        "none": "application/octet-stream",
        "json": "application/json",
        "video": "video/mp4",
        "text": "text/plain",
    }.items():
        yield _speak(f"type-{name}", good, 415, "content_type", kind)
    for name, query in {
        "name-long": "?utterance=" + "n" * 200,
        "name-nul": "?utterance=%00",
        "name-newline": "?utterance=a%0d%0aSet-Cookie:%20x",
    }.items():
        yield _speak(name, good, 422, "bad_audio", "audio/wav", query)
    long = wav(bytes(2 * 8000 * 301), rate=8000)
    yield _speak("longer-than-allowed", long, 422, "bad_audio", "audio/wav")
    unknown = SPEAK.replace(SESSION, "nobody")
    yield Request(
        "sound/unknown-session", "POST", unknown, 404, "no_session", good,
        (("Content-Type", "audio/wav"),),
    )  # fmt: skip
