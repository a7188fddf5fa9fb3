"""``loopback``, part ``clicks``: from a syllable at the microphone to the mouth that says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp
import numpy as np
from tqdm import tqdm

from benchmarks.analysis import (
    Float64,
    Heard,
    arrival_by_slot,
    decode,
    first_move,
    match,
    summary,
)
from benchmarks.calls import Part, joined, pause
from benchmarks.mouth import OPEN_SEEN, OPEN_TOLD, MouthView, commanded, complete, held
from benchmarks.peer import RATE, LoopbackPeer, Voice
from benchmarks.server import Server
from benchmarks.skew import OPUS_SAMPLES, VIDEO_TICKS
from benchmarks.sounds import Clicks, clicks

_PATIENCE_S = 1.2
_ALIKE = 0.6
_COMPARED = RATE // 4


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Seconds from each syllable to what it caused; NaN where nothing was seen.

    Args:
        pixels: the first picture whose lips are seen to move has come.
        motion: the first picture whose lips were commanded to move has come.
        sound: its first sample may be played.
    """

    pixels: Float64
    motion: Float64
    sound: Float64


def answers(
    spoken: Clicks, said_at: Float64, pictures: tuple[Float64, Float64],
    motion: tuple[Float64, Float64], heard: Heard,
) -> Answers:  # fmt: skip
    """Find what every syllable caused.

    Args:
        spoken: the syllables.
        said_at: when each was spoken.
        pictures: when pictures came, and the lip gaps seen in them.
        motion: when pictures came, and the lip gaps commanded for them.
        heard: received sound.
    """
    rows = []
    for at, syllable in zip(said_at, spoken.syllables, strict=True):
        until = at + _PATIENCE_S
        seen = first_move(*pictures, at, until, OPEN_SEEN)
        told = first_move(*motion, at, until, OPEN_TOLD)
        rows.append((seen - at, told - at, _heard_at(heard, syllable, at, until) - at))
    return Answers(*np.array(rows, float).reshape(-1, 3).T)


def _heard_at(heard: Heard, syllable: np.ndarray[Any, Any], at: float, until: float) -> float:
    begin, end = heard.sample(at), heard.sample(until)
    place, score = match(syllable[:_COMPARED], heard.line[begin:end])
    if score < _ALIKE:
        return float("nan")
    # The microphone's encoder and the server's each delay the sound inside its packets.
    return heard.at(begin + place - 2 * OPUS_SAMPLES)


async def run(server: Server, view: MouthView, count: int, bar: tqdm[Any], seed: int = 1) -> Part:
    """Say ``count`` syllables."""
    spoken = clicks(count, seed)
    voice = Voice(spoken.samples)
    async with aiohttp.ClientSession() as http:
        peer = LoopbackPeer(http, server.url, voice, keep=False, look=view.look, tap=True)
        async with joined(peer):
            await pause(len(spoken.samples) / RATE, bar)
    said_at = np.array([voice.captured(sample) for sample in spoken.begins])
    faces = tqdm(peer.pictures, unit="picture", desc="mouths", leave=False)
    gaps = np.array([view.gap(face) for _, _, face in faces])
    came = arrival_by_slot(peer.streams["video"].arrivals, VIDEO_TICKS, last=True)
    seen = complete(peer.pictures, came)
    slots = sorted(came)
    told = held(commanded(peer.messages), slots)
    known = ~np.isnan(told)
    found = answers(
        spoken, said_at, (seen, gaps), (np.array([came[s] for s in slots])[known], told[known]),
        decode(peer.streams["audio"].arrivals),
    )  # fmt: skip
    part = Part()
    part.figures["clicks"] = count
    for name, values in (
        ("click_to_mouth_pixels", found.pixels),
        ("click_to_mouth_motion", found.motion),
        ("click_to_sound", found.sound),
    ):
        part.figures |= summary(name, values)
        part.figures[f"{name}_missed"] = int(np.isnan(values).sum())
        part.samples[f"{name}_ms"] = [round(v * 1000, 1) for v in values if np.isfinite(v)]
    return part
