"""``loopback``, parts ``loss`` and ``narrow``: bad networks between the server and the peer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import aiohttp
import numpy as np
from tqdm import tqdm

from benchmarks.analysis import Heard, decode, longest_gap, media_time
from benchmarks.calls import Part, joined, pause
from benchmarks.impairment import CLEAN, Impairment, impair
from benchmarks.peer import RATE, Arrival, LoopbackPeer, Voice
from benchmarks.server import Server
from benchmarks.sounds import talk
from engine.media import FPS

LOSSY = Impairment(loss=0.05, jitter_ms=50, delay_ms=10)
NARROW = Impairment(rate_kbps=300)
_SETTLE_S = 3.0
SHOWN = 0.95
FREEZE_S = 1.0
_LIVE_SHOWN = 0.5
"""Share of the pictures below which a stream over a narrow pipe is not called live."""


async def loss(server: Server, seconds: float, bar: tqdm[Any]) -> Part:
    """5 % loss and 50 ms of jitter, both ways."""
    async with aiohttp.ClientSession() as http:
        peer = _peer(http, server)
        async with joined(peer):
            await pause(_SETTLE_S)
            wires = impair(peer.pc, LOSSY)
            begin = time.monotonic()
            await pause(seconds, bar)
            end = time.monotonic()
    part = Part()
    shown = [at for at, _, _ in peer.pictures]
    part.figures = {
        "loss_datagrams_lost": round(wires.incoming.stats.lost / wires.incoming.stats.sent, 4),
        "loss_frames_shown": share(shown, begin, end),
        "loss_longest_freeze_s": round(longest_gap(shown, begin, end), 2),
        **sound_gaps(peer.streams["audio"].arrivals, begin, end, "loss"),
        **last_stats(peer, "loss"),
    }
    part.samples["loss_bitrate_kbps"] = bitrate(peer.streams["video"].arrivals, begin, end)
    part.samples["loss_frames_per_s"] = rate(shown, begin, end)
    if part.figures["loss_frames_shown"] < SHOWN:
        part.failures.append(f"5 % loss: less than {SHOWN:.0%} of the frames were shown")
    if part.figures["loss_longest_freeze_s"] > FREEZE_S:
        part.failures.append("5 % loss: the picture froze for more than a second")
    return part


async def narrow(server: Server, seconds: float, bar: tqdm[Any]) -> Part:
    """300 kbit/s for a while, then the limit is lifted."""
    async with aiohttp.ClientSession() as http:
        peer = _peer(http, server)
        async with joined(peer):
            await pause(2 * _SETTLE_S, bar)
            moments = [time.monotonic()]
            free = time.monotonic() - _SETTLE_S
            wires = impair(peer.pc, CLEAN, NARROW)
            await pause(seconds, bar)
            moments.append(time.monotonic())
            wires.change(CLEAN, CLEAN)
            await pause(seconds, bar)
            moments.append(time.monotonic())
    begin, lifted, end = moments
    shown = [at for at, _, _ in peer.pictures]
    arrivals = peer.streams["video"].arrivals
    part = Part()
    part.figures = {
        "narrow_frames_shown": share(shown, begin + _SETTLE_S, lifted),
        "narrow_longest_freeze_s": round(longest_gap(shown, begin, lifted), 2),
        "narrow_kbps_before": _mean(arrivals, free, begin),
        "narrow_kbps_limited": _mean(arrivals, begin + _SETTLE_S, lifted),
        "narrow_kbps_recovered": _mean(arrivals, end - 10, end),
        "narrow_frames_recovered": share(shown, end - 10, end),
        **sound_gaps(peer.streams["audio"].arrivals, begin, lifted, "narrow"),
    }
    part.samples["narrow_bitrate_kbps"] = bitrate(arrivals, begin - 2 * _SETTLE_S, end)
    part.samples["narrow_frames_per_s"] = rate(shown, begin - 2 * _SETTLE_S, end)
    part.figures["narrow_limited_from_s"] = 2 * _SETTLE_S
    part.figures["narrow_limited_to_s"] = round(lifted - begin + 2 * _SETTLE_S, 1)
    if part.figures["narrow_frames_shown"] < _LIVE_SHOWN:
        part.failures.append("300 kbit/s: the picture does not stay live")
    if part.figures["narrow_frames_recovered"] < SHOWN:
        part.failures.append("300 kbit/s: the picture does not recover when the limit is lifted")
    if part.figures["narrow_kbps_recovered"] < 1.2 * part.figures["narrow_kbps_limited"]:
        part.failures.append("300 kbit/s: the bitrate does not recover when the limit is lifted")
    return part


def _peer(http: aiohttp.ClientSession, server: Server) -> LoopbackPeer:
    voice = Voice(talk(), loop=True)
    return LoopbackPeer(http, server.url, voice, keep=False, tap=True, patient=True, motion=False)


def share(shown: Sequence[float], begin: float, end: float) -> float:
    """Pictures decoded, of those due. What comes in a burst after a freeze comes too late: in no
    second count more than were due in it."""
    seconds = max(1, round(end - begin))
    counts = np.histogram(shown, np.linspace(begin, end, seconds + 1))[0]
    due = (end - begin) / seconds * FPS
    return round(float(np.minimum(counts, due).sum() / (due * seconds)), 4)


def rate(shown: Sequence[float], begin: float, end: float) -> list[float]:
    """Pictures decoded in every second."""
    edges = np.arange(begin, end + 1)
    return [float(count) for count in np.histogram(shown, edges)[0]]


def bitrate(arrivals: Sequence[Arrival], begin: float, end: float) -> list[float]:
    """Payload received in every second, in kbit/s, without retransmissions."""
    edges = np.arange(begin, end + 1)
    at, size = [a.at for a in arrivals], [a.size * 8 / 1000 for a in arrivals]
    return [round(float(sum_), 1) for sum_ in np.histogram(at, edges, weights=size)[0]]


def _mean(arrivals: Sequence[Arrival], begin: float, end: float) -> float:
    size = sum(a.size for a in arrivals if begin < a.at < end)
    return round(size * 8 / 1000 / max(1e-9, end - begin), 1)


def sound_gaps(
    arrivals: Sequence[Arrival], begin: float, end: float, name: str
) -> dict[str, float]:
    """How continuous the sound is, before the receiver conceals anything.

    Packets that did not come are those the network lost. Holes in the timestamps of those that did
    come, beyond that, are the server's own. The longest hole is what a receiver must conceal.
    """
    inside = [a for a in arrivals if begin < a.at < end]
    heard: Heard = decode(inside)
    missing = np.isnan(heard.came)
    runs, run = [0], 0
    for lost in missing:
        run = run + 1 if lost else 0
        runs.append(run)
    stamps = media_time([a.timestamp for a in inside])
    numbers = np.array([a.number for a in inside], int)
    ordered = np.argsort(stamps, kind="stable")
    steps = np.diff(stamps[ordered]) // (RATE // 50)
    counted = (np.diff(numbers[ordered]) + (1 << 15)) % (1 << 16) - (1 << 15)
    own = int(np.sum(np.maximum(0, steps - counted)))
    return {
        f"{name}_sound_packets_missing": round(float(missing.mean()), 4) if len(missing) else 1.0,
        f"{name}_sound_longest_hole_ms": max(runs) * 20.0,
        f"{name}_sound_not_sent_packets": own,
        f"{name}_sound_longest_wait_ms": round(
            longest_gap([a.at for a in inside], begin, end) * 1000, 1
        ),
    }


def last_stats(peer: LoopbackPeer, name: str) -> dict[str, float]:
    """What the server says of the sound that reached it."""
    stats = peer.of_type("stats")
    ingest = stats[-1].get("ingest", {}) if stats else {}
    return {
        f"{name}_server_{key}": value
        for key, value in ingest.items()
        if key in ("lost_ms", "concealed_ms", "filled_ms", "dropped_ms", "received_ms")
    }
