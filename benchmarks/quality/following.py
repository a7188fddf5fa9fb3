"""Does the face show what it is told? Commanded blendshapes against those read back from pictures.

A probe of about 110 motions is rendered and looked at by MediaPipe's landmark and blendshape
networks (``engine.face.analysis``). Its parts:

* ``rest``: all zero;
* ``sweep``: every shape alone (both sides together, ``mouthClose`` with the jaw) at half of its
  peak and at all of it;
* ``speech``: what the cMDT and ``Idle`` make of the project's own sample, half of it happy: natural
  combinations, with head motion and blinks;
* ``closed``: lips that must meet: alone, over an open jaw, pressed, with a smile, head turned.

One portrait: ``python -m benchmarks.quality.following PHOTO``; many: ``follow`` for each.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.audio.features import Features
from engine.audio.framer import Framer
from engine.audio.vad import SileroVad
from engine.config import MotionConfig
from engine.face.analysis import FaceAnalyser
from engine.face.portrait import Portrait, prepare_portrait
from engine.face.topology import LIP_PAIRS
from engine.media import FPS, Float32, MotionFrame, UInt8
from engine.motion.arkit import BLENDSHAPES, INDEX, MOTION_SIZE
from engine.motion.condition import EMOTIONS, Conditions, mix
from engine.motion.idle import Idle
from engine.motion.window import MotionWindow
from engine.render.avatar import Avatar
from engine.render.renderer import Renderer
from engine.runtime.base import Backend
from engine.runtime.load import load_network
from engine.stage import chain, run
from engine.transport.files import read_audio

SAMPLE = Path(__file__).resolve().parents[2] / "clients" / "web" / "sample.wav"
PEAK, BLINK_PEAK, JAW_PEAK, CLOSE_PEAK = 0.8, 1.0, 0.6, 0.3
"""Weights at the end of a sweep. A blink closes the eye; speech hardly opens the jaw beyond 0.4,
nor closes the lips over it beyond 0.3."""
SPEECH_SPREAD = 0.02
"""Standard deviation of a command below which its correlation says nothing."""
CENTRE_PAIRS = LIP_PAIRS[2:-2]
"""Inner lips of the middle: 13 and 14 with two neighbours on either side."""
_APART = ("jawOpen", "mouthClose", "tongueOut")
"""Swept in their own way, or not at all: the networks do not know the tongue."""
_EMOTIONS = ("", "happy=0.8")
_SPEECH_FRAMES, _SPEECH_BLINKS = 13, 3


@dataclass(frozen=True, eq=False)
class Probe:
    """What is commanded.

    Args:
        values: float32 [F,58], motion.
        part: F times ``rest``, ``sweep``, ``speech`` or ``closed``.
        swept: F tuples: the shapes that a ``sweep`` frame is about, else empty.
    """

    values: Float32
    part: tuple[str, ...]
    swept: tuple[tuple[str, ...], ...]

    def of(self, *parts: str) -> NDArray[np.intp]:
        """Indices of the frames of some parts."""
        return np.flatnonzero([part in parts for part in self.part])


@dataclass(frozen=True, eq=False)
class Seen:
    """What was read back.

    Args:
        scores: float32 [F,52].
        landmarks: float32 [F,478,2], pixels.
        bare: float32 [F], ``bare_height`` of the lips.
    """

    scores: Float32
    landmarks: Float32
    bare: Float32


@dataclass(frozen=True, slots=True)
class Shape:
    """How one shape is followed.

    Args:
        correlation: of command and score over rest, sweeps and speech: other shapes that are
            mistaken for this one lower it. NaN if the score never changes.
        speech: the same within the speech alone; NaN where hardly any is commanded there.
        slope: rise of the score per unit of command, from rest to the sweep's peak.
        crosstalk: largest rise of a score that was not commanded, at the sweep's peak.
        mistaken: whose rise.
    """

    correlation: float
    speech: float
    slope: float
    crosstalk: float
    mistaken: str


@dataclass(frozen=True, slots=True)
class Following:
    """What a portrait's face makes of its commands.

    Args:
        shapes: by name, all but ``tongueOut``.
        lip_gap_px: largest distance between the lips' middle (``CENTRE_PAIRS``) in the frames that
            command closed lips, pixels at 512 x 512.
        lip_gap_p50_px: median of the same.
        bare_px: largest ``bare_height`` in those frames.
        reprojection: ``HeadFit.reprojection_error``, inter-ocular units.
    """

    shapes: dict[str, Shape]
    lip_gap_px: float
    lip_gap_p50_px: float
    bare_px: float
    reprojection: float


def motion(**shapes: float) -> Float32:
    """A motion vector [58] from blendshapes by name."""
    values = np.zeros(MOTION_SIZE, np.float32)
    for name, weight in shapes.items():
        values[INDEX[name]] = weight
    return values


def sweeps() -> list[dict[str, float]]:
    """What is swept, at its peak: both sides of a pair; a glance aside takes both eyes."""
    alone = ("jawForward", "jawLeft", "jawRight", "mouthLeft", "mouthRight")
    found: list[dict[str, float]] = []
    for name in BLENDSHAPES:
        stem = name.removesuffix("Left")
        if name in alone or (stem == name and not name.endswith("Right") and name not in _APART):
            found.append({name: PEAK})
        elif stem != name and not stem.startswith(("eyeLookIn", "eyeLookOut")):
            peak = BLINK_PEAK if stem == "eyeBlink" else PEAK
            found.append({name: peak, f"{stem}Right": peak})
    glances = (("eyeLookOutLeft", "eyeLookInRight"), ("eyeLookInLeft", "eyeLookOutRight"))
    found += [dict.fromkeys(names, PEAK) for names in glances]
    return [*found, {"jawOpen": JAW_PEAK}, {"mouthClose": CLOSE_PEAK, "jawOpen": CLOSE_PEAK}]


def closed_motions() -> list[Float32]:
    """Motions [58] whose lips must meet."""
    found = [
        motion(),
        motion(jawOpen=0.15, mouthClose=0.15),
        motion(jawOpen=0.3, mouthClose=0.3),
        motion(mouthPressLeft=0.4, mouthPressRight=0.4, mouthRollLower=0.2, mouthRollUpper=0.1),
        motion(mouthSmileLeft=0.6, mouthSmileRight=0.6),
        motion(mouthPucker=0.5),
        motion(),
        motion(),
    ]
    found[-2][52], found[-1][52] = -0.2, 0.2
    return found


def speech_motions() -> list[Float32]:
    """What the cMDT makes of the sample, half of it happy: frames spread over it, and blinks."""
    sound = read_audio(SAMPLE)
    config = MotionConfig()
    network, vad = load_network(f"cmdt_k{config.steps}"), load_network("silero_vad", cpu=True)
    found: list[Float32] = []
    for emotion in _EMOTIONS:
        conditions = Conditions(emotion=mix(EMOTIONS, emotion, 0.0, 1.0))
        stages = chain(
            Framer(sound.rate),
            Features(SileroVad(vad)),
            MotionWindow(network.fork(), config, conditions),
            Idle(config.seed),
        )
        frames = [frame.values for frame in run(stages, [sound])]
        spread = np.linspace(FPS // 2, len(frames) - 1, _SPEECH_FRAMES).astype(int)
        lids = np.array([values[INDEX["eyeBlinkLeft"]] for values in frames])
        found += [frames[index] for index in (*spread, *np.argsort(-lids)[:_SPEECH_BLINKS])]
    return found


def make_probe(speech: Sequence[Float32]) -> Probe:
    """The whole sequence, the same for every portrait; ``speech`` from ``speech_motions``."""
    frames: list[tuple[Float32, str, tuple[str, ...]]] = [(motion(), "rest", ())]
    for peak in sweeps():
        names = ("mouthClose",) if "mouthClose" in peak else tuple(peak)
        for share in (0.5, 1.0):
            weights = {name: share * weight for name, weight in peak.items()}
            frames.append((motion(**weights), "sweep", names))
    frames += [(values, "speech", ()) for values in speech]
    frames += [(values, "closed", ()) for values in closed_motions()]
    values, part, swept = zip(*frames, strict=True)
    return Probe(np.stack(values), part, swept)


def look(
    portrait: Portrait, avatar: Avatar, network: Backend, analyser: FaceAnalyser, probe: Probe
) -> Seen:
    """Render the probe and read it back; each picture is searched where the photo's face is."""
    renderer = Renderer(network, avatar)
    frames = (MotionFrame(values, 0.0, pts) for pts, values in enumerate(probe.values))
    scores, landmarks, bare = [], [], []
    for frame in run(renderer, frames):
        seen = analyser.observe(frame.image, portrait.observation)
        # The head moves little between frames; a second look centres the crop on where it is now.
        seen = analyser.observe(frame.image, seen)
        scores.append(seen.blendshapes)
        landmarks.append(seen.landmarks[:, :2])
        bare.append(bare_height(frame.image, seen.landmarks[:, :2]))
    return Seen(np.stack(scores), np.stack(landmarks), np.array(bare, np.float32))


def lip_gaps(landmarks: Float32) -> Float32:
    """Distances [F,5] of the inner lips' middle, pixels, of landmarks [F,478,2]."""
    upper, lower = (list(side) for side in zip(*CENTRE_PAIRS, strict=True))
    distance = np.linalg.norm(landmarks[:, upper] - landmarks[:, lower], axis=-1)
    return np.asarray(distance, np.float32)


def bare_height(picture: UInt8, landmarks: Float32) -> float:
    """How many pixels of the lips' middle column are teeth or the mouth's inside, by colour.

    Between the outer lips' edges (landmarks 0 and 17), a pixel counts that is much paler than lips
    (a tooth) or much darker (the inside). One or two are the shade that closed lips have.

    Args:
        picture: uint8 [512,512,3].
        landmarks: float32 [478,2], pixels.
    """
    top, bottom = landmarks[[0, 17]]
    count = max(2, round(float(np.linalg.norm(bottom - top))))
    line = top + (bottom - top) * np.linspace(0, 1, count)[:, None]
    across = np.arange(-2, 3)[:, None, None] * np.array([1.0, 0.0])
    x, y = np.moveaxis(np.clip(np.round(line + across), 0, len(picture) - 1).astype(int), -1, 0)
    colours = picture[y, x].astype(np.float32).mean(0)  # [count,3], five columns averaged
    light = colours.mean(1)
    redness = (colours[:, 0] - colours[:, 1]) / np.maximum(light, 1)
    lips = np.r_[1 : max(2, count // 5), min(count - 2, count - count // 5) : count - 1]
    usual, red = float(np.median(light[lips])), float(np.median(redness[lips]))
    pale = (light > 1.15 * usual) & (redness < 0.5 * red)
    dark = light < 0.5 * usual
    inner = slice(count // 5, count - count // 5)
    return float((pale | dark)[inner].sum())


def correlation(first: Float32, second: Float32, spread: float = 0.0) -> float:
    """Pearson's r; NaN if the first spreads no more than ``spread`` or the second not at all."""
    if first.std() <= spread or second.std() < 1e-6:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def compare(probe: Probe, scores: Float32) -> dict[str, Shape]:
    """Each shape's figures from scores [F,52]."""
    whole, spoken = probe.of("rest", "sweep", "speech"), probe.of("speech")
    rest = scores[probe.of("rest")].mean(0)
    found = {}
    for name, index in INDEX.items():
        if name == "tongueOut":
            continue
        told, read = probe.values[:, index], scores[:, index]
        peak = max(f for f, names in enumerate(probe.swept) if name in names)
        rise = scores[peak] - rest
        others = np.where(probe.values[peak, :52] > 0, -np.inf, rise)
        others[INDEX["tongueOut"]] = -np.inf
        worst = int(others.argmax())
        found[name] = Shape(
            correlation(told[whole], read[whole]),
            correlation(told[spoken], read[spoken], SPEECH_SPREAD),
            float(rise[index] / told[peak]),
            float(others[worst]),
            BLENDSHAPES[worst],
        )
    return found


def follow(
    portrait: Portrait, avatar: Avatar, network: Backend, analyser: FaceAnalyser, probe: Probe
) -> Following:
    """Measure one portrait (about 110 pictures).

    Args:
        portrait: prepared.
        avatar: of the portrait.
        network: ``render_512``.
        analyser: the judge.
        probe: from ``make_probe``.
    """
    seen = look(portrait, avatar, network, analyser, probe)
    closed = probe.of("closed")
    gaps = lip_gaps(seen.landmarks[closed])
    return Following(
        compare(probe, seen.scores),
        float(gaps.max()),
        float(np.median(gaps)),
        float(seen.bare[closed].max()),
        portrait.fit.reprojection_error,
    )


def main(argv: list[str] | None = None) -> None:
    """Measure the named photos; one line of JSON each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photo", type=Path, nargs="+")
    options = parser.parse_args(argv)
    analyser, network = FaceAnalyser(), load_network("render_512")
    probe = make_probe(speech_motions())
    for path in options.photo:
        portrait = prepare_portrait(path, analyser)
        found = follow(portrait, Avatar.from_portrait(portrait), network, analyser, probe)
        sys.stdout.write(json.dumps({"photo": path.name, **asdict(found)}) + "\n")


if __name__ == "__main__":
    main()
