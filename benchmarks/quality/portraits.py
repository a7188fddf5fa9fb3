"""Many portraits that speak: still the person, as sharp, steady, on a still background?

Motion comes from the real chain: the sample's sound through features, cMDT, ``Idle``, ``Settle``.
The renderer has no memory, so only the frames that are looked at are drawn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage import data

from benchmarks.quality.pictures import change, face_mask, outside, sharpness, warping_error
from benchmarks.stages import SAMPLE
from benchmarks.watermark import SHARED
from engine.config import EngineConfig
from engine.errors import PortraitError
from engine.face.analysis import FaceAnalyser
from engine.face.portrait import Portrait, prepare_portrait
from engine.media import Float32, MotionFrame, UInt8
from engine.pipeline import Networks, build
from engine.render.avatar import Avatar
from engine.render.renderer import Renderer
from engine.runtime.artifact import WEIGHTS
from engine.stage import run
from engine.transport.files import read_audio

STILL = 3
"""How many pairs of frames count as still: those with the least movement of any landmark."""
_SUFFIXES = (".jpg", ".jpeg", ".png")
_TAKEN = {"painting": 1, "generated": 3, "senate": 7}
"""Of each shared folder, every so many."""
_WARM_UP = 10  # frames: the first moves out of rest
Describe = Callable[[UInt8, Float32], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Speaker:
    """One portrait, ready to be drawn."""

    name: str
    portrait: Portrait
    avatar: Avatar
    renderer: Renderer

    def draw(self, values: Float32) -> UInt8:
        """The picture of a motion [58]."""
        return next(iter(self.renderer.push(MotionFrame(values, 0.0, 0)))).image


@dataclass(frozen=True, eq=False)
class Spoken:
    """One portrait's measures over speech with head motion.

    Args:
        identity: distance of every looked-at frame to the photo; empty without ``describe``.
        sharp: sharpness within the face relative to the photo's.
        flicker: warping error of successive frames within the face, levels.
        still: the same of the stillest pairs of the speech;
        still_px: the most that a landmark is commanded to move in each of those, pixels.
        background: difference to the photo beyond the person, levels; empty without any beyond.
        times: of drawing a frame, milliseconds;
        cpu: what all threads together computed meanwhile.
    """

    identity: list[float]
    sharp: list[float]
    flicker: list[float]
    still: list[float]
    still_px: list[float]
    background: list[float]
    times: list[float]
    cpu: list[float]


def own() -> list[tuple[str, Path | UInt8]]:
    """Whom anybody may see: the project's own avatars and the astronaut, by name."""
    shipped = sorted(p for p in (WEIGHTS / "avatars").iterdir() if p.suffix in _SUFFIXES)
    return [*((path.stem, path) for path in shipped), ("astronaut", data.astronaut())]


def sources() -> list[tuple[str, Path | UInt8]]:
    """``own`` and a spread of the shared portraits: paintings, generated people, photographs."""
    found = own()
    for kind, step in _TAKEN.items():
        folder = SHARED / "portrait" / kind
        photos = sorted(p for p in folder.glob("*") if p.suffix.lower() in _SUFFIXES)
        found += [(f"{kind}/{path.stem}", path) for path in photos[::step]]
    return found


def speakers(count: int, networks: Networks, analyser: FaceAnalyser) -> Iterator[Speaker]:
    """The first so many portraits that the engine accepts."""
    return islice(_usable(networks, analyser), count)


def _usable(networks: Networks, analyser: FaceAnalyser) -> Iterator[Speaker]:
    for name, source in sources():
        try:
            portrait = prepare_portrait(source, analyser)
        except PortraitError:
            continue  # the collection holds pictures that are to be refused
        avatar = Avatar.from_portrait(portrait)
        yield Speaker(name, portrait, avatar, Renderer(networks.render, avatar))


def speech(config: EngineConfig, networks: Networks, avatar: Avatar) -> Float32:
    """Motion [T,58] that the engine makes of the sample."""
    sound = read_audio(SAMPLE)
    motion = build(config, networks, avatar, sound.rate).motion
    return np.stack([frame.values for frame in run(motion, [sound])])


def measure(speaker: Speaker, motion: Float32, frames: int, describe: Describe | None) -> Spoken:
    """Measure pairs of successive frames, spread over the speech.

    Args:
        speaker: whom to draw.
        motion: [T,58], from ``speech``.
        frames: how many pairs.
        describe: a face descriptor, or None.
    """
    portrait, fit = speaker.portrait, speaker.portrait.fit
    photo, shape = portrait.image, portrait.image.shape[:2]
    landmarks = portrait.observation.landmarks[:, :2]
    sharp = sharpness(photo, face_mask(landmarks, shape))
    beyond = outside(portrait.matte)
    same = describe(photo, landmarks) if describe else None
    found = Spoken(*([] for _ in fields(Spoken)))
    tracks = np.stack([fit.project(values) for values in motion])
    for index in np.linspace(_WARM_UP, len(motion) - 2, frames).astype(int):
        begin = time.perf_counter(), time.process_time()
        first = speaker.draw(motion[index])
        found.times.append((time.perf_counter() - begin[0]) * 1000)
        found.cpu.append((time.process_time() - begin[1]) * 1000)
        second, points = speaker.draw(motion[index + 1]), tracks[index + 1]
        where = face_mask(points, shape)
        found.sharp.append(sharpness(second, where) / sharp)
        found.flicker.append(warping_error(first, second, where))
        if beyond.any():
            found.background.append(change(second, photo, beyond))
        if describe is not None and same is not None:
            found.identity.append(float(np.linalg.norm(describe(second, points) - same)))
    moves = np.abs(np.diff(tracks[_WARM_UP:], axis=0)).max((1, 2))
    for index in np.argsort(moves)[:STILL] + _WARM_UP:
        pair = [speaker.draw(values) for values in motion[index : index + 2]]
        found.still.append(warping_error(*pair, face_mask(tracks[index], shape)))
        found.still_px.append(float(moves[index - _WARM_UP]))
    return found
