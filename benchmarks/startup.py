"""Starting: the real server cold and warm, to ready and to the first picture; what is installed.

*Ready* is when ``/readyz`` says so (looked at every 0.2 s), counted from the process's first
instruction. *First picture* is when a peer on this machine, who asks as soon as the server is
ready, has decoded one. *Cold*: an empty data folder, and the install thrown out of the kernel's
cache as far as no running program maps it (``cold_cached`` is the share that stayed). *Warm*: again
at once. An avatar is used first when its photo was never seen, second by the next visitor, and once
more after a restart, when only its prepared file is left.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import numpy as np
import uvloop
from tqdm import tqdm

from benchmarks import report
from benchmarks.calls import json_of, until
from benchmarks.install import cached, everything, forget, import_seconds, pip_install, sizes
from benchmarks.peer import LoopbackPeer
from benchmarks.report import Result, machine
from benchmarks.server import Server
from benchmarks.sounds import talk

SETTINGS = ("server.sessions=2",)
_TIMES = 5
_IMPORTS = 3
_PATIENCE_S = 300.0
"""A busy machine takes long, and that is what is measured."""
_LARGEST = 8
"""Packages named in the figures; the rest is one figure."""
_CONSENT = "This is a test picture."


def run(quick: bool, command: str, install: bool = False) -> Result:
    """Measure.

    Args:
        quick: once instead of five times.
        command: how it was called.
        install: also install into a new environment, which wants a network and minutes.
    """
    times = 1 if quick else _TIMES
    before, paths = machine(), everything()
    samples: dict[str, list[float]] = {"cold_cached": []}
    total = 2 * times + 1 + (1 if quick else _IMPORTS) + install
    with tqdm(total=total, desc="startup", unit="step", file=sys.stderr) as bar:
        for _ in range(times):
            with tempfile.TemporaryDirectory() as folder:
                forget(paths)
                samples["cold_cached"].append(round(cached(paths), 4))
                note(samples, "cold", _start(folder))
                bar.update()
                note(samples, "warm", _start(folder))
                bar.update()
        with tempfile.TemporaryDirectory() as folder:
            for name, seconds in _avatars(folder).items():
                samples[name] = [seconds]
            bar.update()
        imports = []
        for _ in range(1 if quick else _IMPORTS):
            imports.append(import_seconds())
            bar.update()
        figures = {name: round(float(np.median(values)), 3) for name, values in samples.items()}
        for name in ("cold_ready_s", "warm_ready_s", "cold_first_frame_s", "warm_first_frame_s"):
            figures[name.removesuffix("_s") + "_worst_s"] = max(samples[name])
        figures |= named("import_{}_s", median(imports), 3) | named("install_{}_mb", sizes(), 1)
        if install:
            seconds, mb = pip_install()
            figures |= {"pip_install_s": round(seconds, 1), "environment_mb": round(mb, 1)}
            bar.update()
    notes = [
        f"median of {times} start(s); the peer shares the machine with the server",
        "environment_mb holds pip besides" if install else "installing was not timed",
    ]
    settings = {"settings": list(SETTINGS), "times": times}
    return Result("startup", command, settings, samples, figures, notes, machine=before)


def note(samples: dict[str, list[float]], kind: str, found: Mapping[str, float]) -> None:
    """Append what a start took to the series of its kind."""
    for name, value in found.items():
        samples.setdefault(f"{kind}_{name}", []).append(round(value, 3))


def median(runs: list[dict[str, float]]) -> dict[str, float]:
    """Of every package that all runs have seen."""
    common = set(runs[0]).intersection(*runs)
    return {name: float(np.median([run[name] for run in runs])) for name in common}


def named(form: str, values: Mapping[str, float], digits: int) -> dict[str, float]:
    """Figures of a breakdown: the sum, the largest parts by name, and the rest."""
    parts = sorted(values.items(), key=lambda item: -item[1])
    figures = {form.format("all"): sum(values.values())}
    figures |= {form.format(name.replace("-", "_")): value for name, value in parts[:_LARGEST]}
    if rest := parts[_LARGEST:]:
        figures[form.format("rest")] = sum(value for _, value in rest)
    return {name: round(value, digits) for name, value in figures.items()}


def _start(folder: str) -> dict[str, float]:
    """Start a server with this data folder and see its first picture."""
    with Server([*SETTINGS, f"server.data={folder}"], _PATIENCE_S) as server:
        picture = uvloop.run(_first_picture(server))
        return {"ready_s": server.start_s, "first_frame_s": server.start_s + picture}


async def _first_picture(server: Server, **extra: str) -> float:
    """Seconds from wanting to connect to a decoded picture."""
    async with aiohttp.ClientSession() as http:
        begin = time.monotonic()
        peer = LoopbackPeer(http, server.url, talk(), keep=False)
        try:
            await peer.connect(**extra)
            await until(peer.seen.is_set, _PATIENCE_S, "the first picture")
            return peer.pictures[0][0] - begin
        finally:
            await peer.close()


def _avatars(folder: str) -> dict[str, float]:
    """A photo that the server has never seen, used at once, again, and after a restart."""
    settings = [*SETTINGS, f"server.data={folder}"]
    with Server(settings, _PATIENCE_S) as server:
        name, took = uvloop.run(_upload(server))
        found = {"avatar_upload_s": took}
        found["avatar_first_use_s"] = uvloop.run(_first_picture(server, avatar=name))
        found["avatar_second_use_s"] = uvloop.run(_first_picture(server, avatar=name))
        for own in uvloop.run(_gallery(server, name))[:1]:
            found["gallery_first_use_s"] = uvloop.run(_first_picture(server, avatar=own))
            found["gallery_second_use_s"] = uvloop.run(_first_picture(server, avatar=own))
    with Server(settings, _PATIENCE_S) as server:
        found["avatar_after_restart_s"] = uvloop.run(_first_picture(server, avatar=name))
    return {name: round(value, 3) for name, value in found.items()}


async def _upload(server: Server) -> tuple[str, float]:
    """Id of the avatar made of NASA's portrait of Eileen Collins (public domain); seconds."""
    import cv2
    from skimage.data import astronaut

    photo = cv2.imencode(".jpg", astronaut()[..., ::-1])[1].tobytes()
    head = {"Content-Type": "image/jpeg", "X-Consent": _CONSENT}
    async with aiohttp.ClientSession() as http:
        begin = time.monotonic()
        status, made = await json_of(
            http, "POST", f"{server.url}/avatars", data=photo, headers=head
        )
        if status != 201:
            raise OSError(f"the photo was refused: {status} {made}")
        return made["id"], time.monotonic() - begin


async def _gallery(server: Server, uploaded: str) -> list[str]:
    """Avatars that come with the engine beside the default one."""
    async with aiohttp.ClientSession() as http:
        _, known = await json_of(http, "GET", f"{server.url}/avatars")
    return [row["id"] for row in known if row["id"] not in ("default", uploaded)]


def plot(result: Result, path: Path) -> None:
    """Starts, uses of an avatar, imports and sizes as bars."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(12, 7))
    figures = result.figures
    starts = [f"{kind}_{what}_s" for kind in ("cold", "warm") for what in ("ready", "first_frame")]
    groups = (
        ("start of the server", "s", starts),
        ("use of an avatar", "s", [n for n in figures if n.startswith(("avatar_", "gallery_"))]),
        ("imports, each package itself", "s", [n for n in figures if n.startswith("import_")]),
        ("size of the serving install", "MB", [n for n in figures if n.startswith("install_")]),
    )
    for axis, (title, unit, names) in zip(axes.flat, groups, strict=True):
        values = [figures[name] for name in names]
        labels = [name.rpartition("_")[0] for name in names]
        axis.bar_label(axis.barh(labels, values), fmt="%.3g", padding=2, fontsize=8)
        for row, name in enumerate(names):
            axis.plot(result.samples.get(name, []), [row] * len(result.samples.get(name, [])), "k.")
        axis.set(title=title, xlabel=unit)
        axis.margins(x=0.15)
        axis.invert_yaxis()
        axis.grid(axis="x", alpha=0.3)
    figure.suptitle(report.title(result))
    figure.tight_layout()
    figure.savefig(path, dpi=100)
