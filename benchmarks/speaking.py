"""First words: from handing an agent its speech to the first sound and picture of it at a peer.

Speech that a program has made is there at once, so it is posted whole to ``/speak``, and begins
with sound. The clock starts before the request is sent. It stops when the first audible millisecond
can be played (``first_sound``: its packet has arrived, plus its place inside), when the picture
that belongs to it has arrived (``first_frame``), and when the first picture has whose lips are
commanded to part (``first_mouth``, which waits for a sound that parts them). No jitter buffer, as
in ``loopback``: docs/latency.md.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import numpy as np
import uvloop
from tqdm import tqdm

from benchmarks.analysis import (
    Float64,
    Heard,
    arrival_by_slot,
    decode,
    first_move,
    loudness,
    summary,
)
from benchmarks.bargein import threshold_of
from benchmarks.calls import joined, json_of, pause, until
from benchmarks.mouth import OPEN_TOLD, commanded, held
from benchmarks.peer import RATE, LoopbackPeer
from benchmarks.report import Result, machine
from benchmarks.server import Server
from benchmarks.skew import VIDEO_TICKS
from benchmarks.sounds import breathless, wav
from engine.media import FPS

SETTINGS = ("server.sessions=1",)
_TIMES = 40
_UTTERANCE_S = 1.2
_PATIENCE_S, _READY_S = 30.0, 300.0
"""For an utterance to be over, and for the server: a busy machine takes long."""
_REST_S = (0.8, 1.3)
"""Between utterances: the mouth is shut, and the next one begins anywhere in a slot."""
_BLOCK = RATE // 1000
_SLOT = RATE // FPS
Spoken = Sequence[tuple[float, float]]
"""When each utterance was handed over, and when it was over."""


def first_audible(heard: Heard, after: float, before: float, threshold: float) -> int | None:
    """First sample, of what arrived between two moments, of a millisecond this loud."""
    begin, end = heard.sample(after), heard.sample(before)
    audible = np.flatnonzero(loudness(heard.line[begin:end], _BLOCK) >= threshold)
    return begin + int(audible[0]) * _BLOCK if len(audible) else None


def first_words(
    heard: Heard, came: Mapping[int, float], spoken: Spoken, threshold: float
) -> tuple[Float64, Float64]:
    """Seconds from each utterance to its first sound and to its picture, or the next; NaN for none.

    Args:
        heard: received sound; its first sample is the first of slot 0.
        came: when each slot's picture had arrived.
        spoken: the utterances.
        threshold: loudness that can be heard.
    """
    sounds, pictures = [], []
    for at, over in spoken:
        sample = first_audible(heard, at, over, threshold)
        sounds.append(float("nan") if sample is None else heard.at(sample) - at)
        slots = [] if sample is None else [s for s in came if s >= sample // _SLOT]
        seen = came[min(slots)] if slots else float("inf")
        pictures.append(seen - at if seen <= over else float("nan"))
    return np.array(sounds), np.array(pictures)


def run(quick: bool, command: str) -> Result:
    """Measure 40 utterances (5 when quick)."""
    times = 5 if quick else _TIMES
    before = machine()
    speech = breathless(_UTTERANCE_S)
    with (
        tempfile.TemporaryDirectory() as folder,
        Server([*SETTINGS, f"server.data={folder}"], _READY_S) as server,
        tqdm(total=times, desc="speaking", unit="utterance", file=sys.stderr) as bar,
    ):
        peer, spoken = uvloop.run(_speak(server, wav(speech), times, bar))
    heard = decode(peer.streams["audio"].arrivals)
    came = arrival_by_slot(peer.streams["video"].arrivals, VIDEO_TICKS, last=True)
    sounds, pictures = first_words(heard, came, spoken, threshold_of(speech))
    slots = sorted(came)
    told = held(commanded(peer.messages), slots)
    known = ~np.isnan(told)
    arrived = np.array([came[slot] for slot in slots])[known]
    mouths = [first_move(arrived, told[known], at, over, OPEN_TOLD) - at for at, over in spoken]
    figures: dict[str, float] = {"utterances": float(times)}
    samples = {}
    for name, values in (
        ("first_sound", sounds),
        ("first_frame", pictures),
        ("first_mouth", np.array(mouths)),
    ):
        figures |= summary(name, values)
        figures[f"{name}_missed"] = float(np.isnan(values).sum())
        samples[f"{name}_ms"] = [round(v * 1000, 1) for v in values if np.isfinite(v)]
    notes = ["one run; server and peer share the machine; speech is posted whole, as WAV at 48 kHz"]
    settings = {"settings": list(SETTINGS), "utterance_s": _UTTERANCE_S}
    failures = [
        f"{name} was not seen"
        for name in ("first_sound", "first_frame")
        if not samples[f"{name}_ms"]
    ]
    return Result("speaking", command, settings, samples, figures, notes, failures, machine=before)


async def _speak(
    server: Server, body: bytes, times: int, bar: tqdm[Any]
) -> tuple[LoopbackPeer, Spoken]:
    """Let an agent say the same again and again."""
    rng = random.Random(4)
    spoken = []
    async with aiohttp.ClientSession() as http:
        _, made = await json_of(http, "POST", f"{server.url}/sessions", json={"mode": "agent"})
        url = f"{server.url}/sessions/{made['id']}"
        peer = LoopbackPeer(http, server.url, None, keep=False, tap=True)
        async with joined(peer, session=made["id"]):
            await pause(2.0)
            for count in range(1, times + 1):
                at = time.monotonic()
                status, answer = await json_of(
                    http, "POST", f"{url}/speak", data=body, headers={"Content-Type": "audio/wav"}
                )
                if status != 202:
                    raise ConnectionRefusedError(answer)
                await until(
                    lambda count=count: len(peer.of_type("utterance_finished")) >= count,
                    _PATIENCE_S, "the end of an utterance",
                )  # fmt: skip
                await pause(rng.uniform(*_REST_S))
                spoken.append((at, time.monotonic()))
                bar.update()
        await http.delete(url)
    return peer, spoken
