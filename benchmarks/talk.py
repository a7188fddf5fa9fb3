"""``loopback``, part ``talk``: one session that talks for minutes. Slots, latency, skew."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import av
import numpy as np
from tqdm import tqdm

from benchmarks.analysis import decode, slope, summary
from benchmarks.calls import Part, joined, on_time, pause, spent
from benchmarks.mouth import MouthView
from benchmarks.peer import LoopbackPeer, Voice
from benchmarks.server import Server
from benchmarks.skew import (
    ages,
    arrival_skew,
    by_second,
    content_lags,
    reference_lag,
    report_skew,
    spread,
)
from benchmarks.sounds import talk
from engine.config import EngineConfig
from engine.face.rig import Rig
from engine.media import FPS, AudioChunk
from engine.pipeline import build, load_networks
from engine.render.avatar import Avatar

SETTLE_S = 6.0
"""Pre-roll, the encoder's first choice of bitrate, the delay."""
_LOOK_S, _LOOK_EVERY_S = 11.0, 30.0
"""Pictures are kept, to look at their mouths, for so long out of so long."""
_NOTHING = np.empty((0, 0), np.uint8)
SLOTS_ON_TIME = 0.995
ENCODER_P95_MS = 280.0
SKEW_P95_MS = 40.0


def lag_of_motion(view: MouthView) -> float:
    """How much later the mouth opens than the sample clip gets loud, in the motion itself."""
    config = EngineConfig()
    networks = load_networks(config)
    pipeline = build(config, networks, Avatar.from_portrait(view.portrait))
    sound = talk()
    rig = Rig.load()
    frames = list(pipeline.motion.push(AudioChunk(sound, 0, 48_000)))
    opening = {frame.pts: rig.lip_opening(frame.values) for frame in frames}
    networks.close()
    return reference_lag(opening, sound)


async def run(server: Server, view: MouthView, minutes: float, bar: tqdm[Any]) -> Part:
    """Talk for ``minutes``."""
    reference = await asyncio.to_thread(lag_of_motion, view)
    started = time.monotonic()

    def look(frame: av.VideoFrame) -> Any:
        inside = (time.monotonic() - started) % _LOOK_EVERY_S < _LOOK_S
        return view.look(frame) if inside else _NOTHING

    voice = Voice(talk(), loop=True)
    async with aiohttp.ClientSession() as http:
        peer = LoopbackPeer(http, server.url, voice, keep=False, look=look, tap=True)
        async with joined(peer):
            await pause(SETTLE_S)
            before, used, begin = server.scrape(), server.usage(), time.monotonic()
            await pause(minutes * 60, bar)
            after, uses, end = server.scrape(), server.usage(), time.monotonic()
    part = Part()
    counted = spent(before, after)
    due = counted["slots"] + counted["missed"]
    part.figures = {
        "minutes": minutes,
        "slots": due,
        "slots_on_time": round(on_time(counted), 5),
        **{f"slots_{name}": counted[name] for name in sorted(counted) if name != "slots"},
        "pictures_received": round(
            sum(begin < at < end for at, _, _ in peer.pictures) / ((end - begin) * FPS), 4
        ),
        "server_cores": round((uses.cpu_s - used.cpu_s) / (end - begin), 3),
        "server_rss_mb": round(uses.rss_mb, 1),
    }
    _judge(part, peer, view, voice, reference, begin)
    if part.figures["slots_on_time"] < SLOTS_ON_TIME:
        part.failures.append(f"{part.figures['slots_on_time']:.2%} of the slots were on time")
    return part


def _judge(
    part: Part, peer: LoopbackPeer, view: MouthView, voice: Voice, reference: float, begin: float
) -> None:
    sound, picture = peer.streams["audio"], peer.streams["video"]
    heard = decode(sound.arrivals)
    old = ages(heard, sound.arrivals, picture.arrivals, voice, talk(), peer.departures)
    settled = old.at > begin
    times, skews = arrival_skew(sound.arrivals, picture.arrivals)
    skews, times = skews[times > begin], times[times > begin]
    stats = [m for m in peer.of_type("stats") if m["at"] > begin]
    part.figures |= summary("audio_to_encoder", old.handed[settled])
    part.figures |= summary("audio_to_encoded", old.encoded[settled])
    if "audio_to_encoder_p95_ms" in part.figures:
        part.figures["encoder_p95_ms"] = part.figures["audio_to_encoder_p95_ms"]
    for name in ("encode_ms", "delay_ms"):
        values = [message[name] / 1000 for message in stats if name in message]
        part.figures |= summary(f"server_{name.removesuffix('_ms')}", values)
    part.figures |= summary("skew_signed", skews)
    part.figures |= summary("skew", np.abs(skews))
    minutes = (times - times[0]) / 60 if len(times) else times
    rising, low, high = slope(minutes, skews * 1000)
    part.figures |= {
        "skew_slope_ms_per_min": round(rising, 4),
        "skew_slope_low_ms_per_min": round(low, 4),
        "skew_slope_high_ms_per_min": round(high, 4),
    }
    part.figures |= summary("report_skew", report_skew(sound, picture))
    _content(part, peer, view, heard, reference)
    part.samples["audio_to_encoder_percentiles_ms"] = spread(old.handed[settled])
    part.samples["skew_percentiles_ms"] = spread(skews)
    part.samples["skew_at_s"], per_second = by_second(times, skews)
    part.samples["skew_by_second_ms"] = [round(v * 1000, 2) for v in per_second]
    part.samples["age_at_s"], per_second = by_second(old.at[settled], old.handed[settled])
    part.samples["age_by_second_ms"] = [round(v * 1000, 1) for v in per_second]
    part.samples["server_delay_ms"] = [message["delay_ms"] for message in stats]
    if part.figures.get("skew_p95_ms", 1e9) > SKEW_P95_MS:
        part.failures.append(f"skew p95 is above {SKEW_P95_MS:.0f} ms, or was not seen")
    if part.figures.get("encoder_p95_ms", 1e9) > ENCODER_P95_MS:
        part.failures.append(
            f"audio in to encoder p95 is above {ENCODER_P95_MS:.0f} ms, or was not seen"
        )


def _content(part: Part, peer: LoopbackPeer, view: MouthView, heard: Any, reference: float) -> None:
    """Skew of what is seen and heard, whatever timestamps and arrivals say."""
    kept = [(slot, face) for _, slot, face in peer.pictures if face.size]
    gaps = [view.gap(face) for _, face in tqdm(kept, unit="picture", desc="mouths", leave=False)]
    lags = content_lags(heard, [slot for slot, _ in kept], np.array(gaps))
    at = [middle / 60 for middle, _, _ in lags]
    skews = [late - reference for _, late, _ in lags]
    part.figures |= summary("content_skew_signed", skews)
    part.figures |= summary("content_skew", np.abs(skews))
    part.figures["content_skew_slope_ms_per_min"] = round(slope(at, np.array(skews) * 1000)[0], 3)
    part.figures["content_skew_windows"] = len(lags)
    part.figures["mouth_lag_of_motion_ms"] = round(reference * 1000, 1)
    part.samples["content_skew_ms"] = [round(late * 1000, 1) for late in skews]
    part.samples["content_skew_at_s"] = [middle for middle, _, _ in lags]
