"""What a call does to sound: Opus with lost packets, and the telephone. No delay is left over."""

from __future__ import annotations

import av
import numpy as np
import soxr
from numpy.typing import NDArray

from engine.media import SAMPLE_RATE

Float32 = NDArray[np.float32]
Rng = np.random.Generator

_PACKET = SAMPLE_RATE // 50  # 20 ms
_DECODED = 48000
_LOOKAHEAD = 0.0065
"""Seconds the encoder holds back; measured as well: 0.0 to 0.1 ms are left over."""
_CONCEALED = 0.6  # gain from one concealed packet to the next
_MU = 255.0


def opus(audio: Float32, rate: int, loss: float, rng: Rng) -> Float32:
    """Send speech through Opus in packets of 20 ms and back.

    Lost packets come in short bursts (Gilbert's model, two packets on average) and are concealed
    as simple receivers do: the last packet again, fainter each time.

    Args:
        audio: float32 [N] at 16 kHz.
        rate: bits per second.
        loss: share of packets that get lost, 0 to 0.3.
        rng: decides which.

    Returns:
        float32 [N], aligned with the input (the codec's look-ahead is taken out).
    """
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate = SAMPLE_RATE
    encoder.layout = "mono"
    encoder.format = "s16"
    encoder.bit_rate = rate
    encoder.options = {
        "application": "voip",
        "frame_duration": "20",
        "compression_level": "2",
        # As a call does: the encoder then leans less on packets that may not arrive.
        "packet_loss": str(round(100 * loss)),
    }
    # One more packet than needed carries what the look-ahead holds back.
    blocks = -(-len(audio) // _PACKET) + 1
    padded = np.zeros(blocks * _PACKET, np.int16)
    padded[: len(audio)] = np.round(np.clip(audio, -1, 1) * 32767)
    packets = []
    for first in range(0, len(padded), _PACKET):
        frame = av.AudioFrame.from_ndarray(
            padded[None, first : first + _PACKET], format="s16", layout="mono"
        )
        frame.sample_rate = SAMPLE_RATE
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    decoded = _decode(packets, _lost(len(packets), loss, rng))
    at_16k = soxr.resample(decoded, _DECODED, SAMPLE_RATE, quality="MQ")
    skip = round(_LOOKAHEAD * SAMPLE_RATE)
    out = np.zeros(len(audio), np.float32)
    kept = at_16k[skip : skip + len(audio)]
    out[: len(kept)] = kept
    return out


def _lost(count: int, loss: float, rng: Rng) -> NDArray[np.bool_]:
    """Draw lost packets bool [count]: a burst begins with loss / 2 / (1 - loss), goes on half."""
    draws = rng.random(count)
    lost = np.zeros(count, bool)
    for index in range(1, count):
        lost[index] = draws[index] < (0.5 if lost[index - 1] else 0.5 * loss / (1 - loss))
    return lost


def _decode(packets: list[bytes], lost: NDArray[np.bool_]) -> Float32:
    """Decode packets to float32 at 48 kHz, concealing the lost ones."""
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate = _DECODED
    decoder.layout = "mono"
    size = _DECODED // 50
    out = np.zeros(len(packets) * size, np.float32)
    last = np.zeros(size, np.float32)
    for index, packet in enumerate(packets):
        block = None if lost[index] else _one(decoder, packet, size)
        last = last * np.float32(_CONCEALED) if block is None else block
        out[index * size : (index + 1) * size] = last
    return out


def _one(decoder: av.CodecContext, packet: bytes, size: int) -> Float32 | None:
    frames = decoder.decode(av.Packet(packet))  # type: ignore[attr-defined]
    if not frames:
        return None
    samples = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])
    scale = np.float32(1 / 32768 if samples.dtype == np.int16 else 1)
    return samples.astype(np.float32) * scale if len(samples) == size else None


def telephone(audio: Float32) -> Float32:
    """Make float32 [N] at 16 kHz narrow (8 kHz sampling) and compand it by mu-law to 8 bits."""
    narrow = soxr.resample(audio, SAMPLE_RATE, SAMPLE_RATE // 2, quality="MQ")
    loud = np.log1p(_MU * np.abs(np.clip(narrow, -1, 1))) / np.log1p(_MU)
    steps = np.round(loud * 127) / 127
    heard = np.sign(narrow) * np.expm1(steps * np.log1p(_MU)) / _MU
    wide = soxr.resample(heard.astype(np.float32), SAMPLE_RATE // 2, SAMPLE_RATE, quality="MQ")
    out = np.zeros(len(audio), np.float32)
    out[: min(len(wide), len(out))] = wide[: len(out)]
    return out
