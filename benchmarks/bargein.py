"""``loopback``, part ``bargein``: from an interrupt to silence and to a closed mouth."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
import numpy as np
from tqdm import tqdm

from benchmarks.analysis import (
    Float64,
    Heard,
    arrival_by_slot,
    closes,
    decode,
    last_audible,
    loudness,
    summary,
)
from benchmarks.calls import Part, joined, json_of, pause, until
from benchmarks.mouth import OPEN_SEEN, OPEN_TOLD, MouthView, commanded, complete, held
from benchmarks.peer import RATE, LoopbackPeer
from benchmarks.server import Server
from benchmarks.skew import VIDEO_TICKS
from benchmarks.sounds import breathless, wav
from engine.media import Float32

_UTTERANCE_S = 9.0
_REST_S = 1.0
"""After an interrupt the avatar is left alone for so long."""
_AUDIBLE_DB = 30.0
"""Sound this far below the speech's median counts as silence."""
AUDIO_P95_MS, MOUTH_P95_MS = 60.0, 200.0


@dataclass(frozen=True, slots=True)
class Interrupt:
    """One interrupt.

    Args:
        at: when the message was sent.
        until: when the avatar was told to speak again.
    """

    at: float
    until: float


def silenced(heard: Heard, interrupts: list[Interrupt], threshold: float) -> Float64:
    """Seconds from each interrupt to the end of the last audible sound received.

    Counted is what arrives: no jitter buffer. NaN where nothing was to be heard just before.
    """
    found = []
    for one in interrupts:
        before, begin, end = (heard.sample(moment) for moment in (one.at - 0.2, one.at, one.until))
        speaking = last_audible(heard.line[before:begin], threshold) is not None
        # A packet that came before the message may still be sounding.
        begin = max(0, begin - RATE // 50)
        last = last_audible(heard.line[begin:end], threshold)
        if not speaking:
            found.append(float("nan"))
        else:
            found.append(max(0.0, heard.at(begin + last - 1) - one.at) if last else 0.0)
    return np.array(found)


def shut(
    times: Float64, gaps: Float64, interrupts: list[Interrupt], least: float
) -> tuple[Float64, int]:
    """Seconds from each interrupt to a mouth that stays closed, and how many were open then.

    ``least`` beyond the gap at rest is open. Only mouths that were open in the last picture before
    count: others have nothing to close.
    """
    resting = [gaps[(times > one.until - 0.4) & (times <= one.until)] for one in interrupts]
    rest = float(np.median(np.concatenate(resting))) if resting else 0.0
    found = []
    for one in interrupts:
        before = gaps[times <= one.at]
        if len(before) and before[-1] > rest + least:
            found.append(closes(times, gaps, one.at, one.until, rest + least) - one.at)
    return np.array(found), len(found)


def threshold_of(speech: Float32) -> float:
    """Loudness of 1 ms that still counts as sound."""
    median = float(np.median(loudness(speech, RATE // 100)))
    return median * 10 ** (-_AUDIBLE_DB / 20)


async def run(server: Server, view: MouthView, count: int, bar: tqdm[Any], seed: int = 2) -> Part:
    """Interrupt ``count`` times while the avatar speaks as an agent."""
    speech = breathless(_UTTERANCE_S)
    body = wav(speech)
    rng = random.Random(seed)
    interrupts: list[Interrupt] = []
    async with aiohttp.ClientSession() as http:
        _, made = await json_of(http, "POST", f"{server.url}/sessions", json={"mode": "agent"})
        session = made["id"]
        peer = LoopbackPeer(http, server.url, None, keep=False, look=view.look, tap=True)
        async with joined(peer, session=session):
            await pause(1.0)
            for _ in range(count):
                await _speak(http, server, session, body, peer)
                await pause(rng.uniform(0.8, 2.8), bar)
                sent = time.monotonic()
                peer.tell(type="interrupt")
                await pause(_REST_S, bar)
                interrupts.append(Interrupt(sent, time.monotonic()))
        await http.delete(f"{server.url}/sessions/{session}")
    heard = decode(peer.streams["audio"].arrivals)
    quiet = silenced(heard, interrupts, threshold_of(speech))
    faces = tqdm(peer.pictures, unit="picture", desc="mouths", leave=False)
    gaps = np.array([view.gap(face) for _, _, face in faces])
    came = arrival_by_slot(peer.streams["video"].arrivals, VIDEO_TICKS, last=True)
    seen, _ = shut(complete(peer.pictures, came), gaps, interrupts, OPEN_SEEN)
    slots = sorted(came)
    told = held(commanded(peer.messages), slots)
    known = ~np.isnan(told)
    arrived = np.array([came[slot] for slot in slots])[known]
    moved, opened = shut(arrived, told[known], interrupts, OPEN_TOLD)
    return _part(count, quiet, seen, moved, opened, peer)


def _part(
    count: int, quiet: Float64, seen: Float64, moved: Float64, opened: int, peer: LoopbackPeer
) -> Part:
    part = Part()
    part.figures = {
        "interrupts": count,
        "interrupts_while_audible": int(np.isfinite(quiet).sum()),
        "interrupts_while_open": opened,
        "interrupts_told": len(peer.of_type("interrupted")),
        "barge_in_mouth_never_closed": int(np.isnan(seen).sum()),
    }
    for name, values in (
        ("barge_in_audio", quiet),
        ("barge_in_mouth", seen),
        ("barge_in_mouth_motion", moved),
    ):
        part.figures |= summary(name, values)
        part.samples[f"{name}_ms"] = [round(v * 1000, 1) for v in values if np.isfinite(v)]
    for name, limit in (("barge_in_audio", AUDIO_P95_MS), ("barge_in_mouth", MOUTH_P95_MS)):
        if part.figures.get(f"{name}_p95_ms", 1e9) > limit:
            part.failures.append(f"{name} p95 is above {limit:.0f} ms, or was not seen")
    if part.figures["barge_in_mouth_never_closed"]:
        part.failures.append("a mouth stayed open after an interrupt")
    return part


async def _speak(
    http: aiohttp.ClientSession, server: Server, session: str, body: bytes, peer: LoopbackPeer
) -> None:
    """Let the avatar begin an utterance and wait until it can be heard."""
    begun = len(peer.of_type("utterance_started"))
    status, answer = await json_of(
        http, "POST", f"{server.url}/sessions/{session}/speak",
        data=body, headers={"Content-Type": "audio/wav"},
    )  # fmt: skip
    if status != 202:
        raise ConnectionRefusedError(answer)
    await until(lambda: len(peer.of_type("utterance_started")) > begun, 5.0, "an utterance")
