"""``loopback``, parts ``connect`` and ``overload``: coming, coming back, and being sent away."""

from __future__ import annotations

import time
from typing import Any

import aiohttp
from tqdm import tqdm

from benchmarks.analysis import summary
from benchmarks.calls import Part, joined, json_of, on_time, pause, spent
from benchmarks.peer import LoopbackPeer, Voice
from benchmarks.server import Server
from benchmarks.sounds import talk

_INSIDE_ON_TIME = 0.99
_OFFER_EVERY_S = 1.0
_STAY_S = 1.5


async def first_frames(server: Server, times: int, bar: tqdm[Any]) -> Part:
    """Time to first frame of new sessions, and of clients that come back by their token."""
    phases: dict[str, list[float]] = {"first_frame": [], "answer": [], "reconnect": []}
    resumed = 0
    async with aiohttp.ClientSession() as http:
        for _ in range(times):
            token = ""
            for kind in ("first_frame", "reconnect"):
                peer = LoopbackPeer(http, server.url, talk(), keep=False)
                begin = time.monotonic()
                extra = {"resume": token} if token else {}
                async with joined(peer, **extra):
                    phases[kind].append(peer.pictures[0][0] - begin)
                    if kind == "first_frame":
                        phases["answer"].append(peer.answered - begin)
                    resumed += bool(peer.answer.get("resumed"))
                    token = peer.answer["resume"]
                    await pause(_STAY_S, bar)
            await http.delete(f"{server.url}/sessions/{peer.id}")
    part = Part()
    part.figures = {"first_frames": times, "reconnects_resumed": resumed}
    for name, values in phases.items():
        part.figures |= summary(name, values)
        part.samples[f"{name}_ms"] = [round(value * 1000, 1) for value in values]
    if resumed != times:
        part.failures.append(f"{times - resumed} of {times} clients did not get their session back")
    return part


async def overload(server: Server, seconds: float, bar: tqdm[Any]) -> Part:
    """Fill the server, ask for more once a second, and see how those inside fare."""
    status: list[int] = []
    retry: list[float] = []
    async with aiohttp.ClientSession() as http:
        _, ready = await json_of(http, "GET", f"{server.url}/readyz")
        inside = [
            LoopbackPeer(http, server.url, Voice(talk(), loop=True), keep=False)
            for _ in range(ready["capacity"])
        ]
        outside = LoopbackPeer(http, server.url, talk(), keep=False)
        await outside.pc.setLocalDescription(await outside.pc.createOffer())
        offer = {"sdp": outside.pc.localDescription.sdp, "type": "offer"}
        try:
            for peer in inside:
                await peer.connect()
            await pause(5.0, bar)
            before = server.scrape()
            for _ in range(max(1, round(seconds / _OFFER_EVERY_S))):
                async with http.post(f"{server.url}/offer", json=offer) as response:
                    status.append(response.status)
                    retry.append(float(response.headers.get("Retry-After", "nan")))
                await pause(_OFFER_EVERY_S, bar)
            after = server.scrape()
        finally:
            for peer in [*inside, outside]:
                await peer.close()
                await http.delete(f"{server.url}/sessions/{peer.id}")
    refused = sum(code == 503 and after > 0 for code, after in zip(status, retry, strict=True))
    part = Part()
    part.figures = {
        "overload_capacity": ready["capacity"],
        "overload_offers": len(status),
        "overload_refused": refused,
        "overload_inside_on_time": round(on_time(spent(before, after)), 5),
    }
    if refused != len(status):
        part.failures.append(f"offers over capacity got {sorted(set(status))}")
    if part.figures["overload_inside_on_time"] < _INSIDE_ON_TIME:
        part.failures.append("those inside lost slots while others were refused")
    return part
