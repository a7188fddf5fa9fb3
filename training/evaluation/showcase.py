"""``python -m training showcase``: the same sound, several performers, side by side.

Writes ``showcase.mp4`` (labelled, with the sound) and ``showcase.png`` (a contact sheet: a row for
each performer, a column for each moment, chosen where the mouth is widest or must be shut).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from engine.app import default_portrait
from engine.errors import EngineError
from engine.face.analysis import FaceAnalyser
from engine.face.portrait import prepare_portrait
from engine.media import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, MotionFrame, UInt8
from engine.media import VideoFrame as Picture
from engine.render.avatar import Avatar
from engine.render.renderer import Renderer
from engine.runtime.load import load_network
from engine.transport.files import Mp4Writer, read_audio
from training.corpus.speech import to_16k
from training.evaluation.performers import Performer, Take, networks, perform
from training.evaluation.sounds import CACHE, Sound
from training.motion.metrics import opening

SIDE = 288
"""Pixels of one face in the video."""
_LABEL = 26
_COLUMNS = 12
_CROP = (96, 416)
"""Rows and columns of the 512 x 512 picture that hold the face, for the contact sheet."""


def cast(weights: list[str], teacher: Path) -> list[Performer]:
    """Teacher, K = 4, K = 2, K = 1 and the loudness baseline: who exists of them."""
    who = [Performer("teacher", "teacher", str(teacher))] if teacher.is_file() else []
    return [*who, *networks(weights), Performer("loudness", "energy")]


def play(performers: Sequence[Performer], sound: Sound) -> dict[str, Take]:
    """What everybody makes of the sound; who cannot is left out with a word on stderr."""
    takes = {}
    for performer in tqdm(performers, "motion"):
        try:
            take = perform(performer, sound)
        except (EngineError, RuntimeError, OSError) as error:
            sys.stderr.write(f"{performer.name} left out: {error}\n")
            continue
        if take is not None:
            takes[performer.name] = take
    return takes


def moments(take: Take, count: int) -> list[int]:
    """Frames worth looking at, in order: half of them wide open, half of them locally shut."""
    gap = opening(take.shown)
    wide, shut = np.argsort(-gap), np.argsort(gap + 10.0 * (take.speech < 0.5))
    chosen = _apart(wide, count // 2, [])
    return sorted(_apart(shut, count, chosen))


def _apart(order: Iterable[int], count: int, chosen: list[int]) -> list[int]:
    """Add frames in order until there are ``count``, none within a quarter second of another."""
    for frame in order:
        if len(chosen) == count:
            break
        if all(abs(int(frame) - other) > FPS // 4 for other in chosen):
            chosen = [*chosen, int(frame)]
    return chosen


def tiles(
    renderer: Renderer, takes: dict[str, Take], frames: int
) -> Iterator[tuple[int, list[UInt8]]]:
    """Frame number and everybody's picture, uint8 [512,512,3] each."""
    for index in range(frames):
        row = []
        for take in takes.values():
            motion = MotionFrame(take.shown[index], float(take.speech[index]), index)
            row.append(next(iter(renderer.push(motion))).image)
        yield index, row


def labelled(pictures: Sequence[UInt8], names: Sequence[str]) -> UInt8:
    """Pictures side by side at ``SIDE`` pixels, a name above each."""
    out = []
    for picture, name in zip(pictures, names, strict=True):
        head = np.full((_LABEL, SIDE, 3), 24, np.uint8)
        cv2.putText(head, name, (8, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (255, 255, 255), 1,
                    cv2.LINE_AA)  # fmt: skip
        small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        out.append(np.vstack([head, small]))
    return np.asarray(np.hstack(out), np.uint8)


def sheet(rows: dict[str, list[UInt8]], times: Sequence[float]) -> UInt8:
    """Contact sheet: a row for each performer, a column for each moment."""
    low, high = _CROP
    lines = []
    for name, pictures in rows.items():
        cells = []
        for picture, time in zip(pictures, times, strict=True):
            face = np.ascontiguousarray(
                cv2.resize(picture[low:high, low:high], (160, 160), interpolation=cv2.INTER_AREA)
            )
            cv2.putText(face, f"{time:.2f}", (4, 154), cv2.FONT_HERSHEY_SIMPLEX, 0.4,
                        (255, 255, 255), 1, cv2.LINE_AA)  # fmt: skip
            cells.append(face)
        margin = np.full((160, 90, 3), 24, np.uint8)
        cv2.putText(margin, name, (6, 84), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1,
                    cv2.LINE_AA)  # fmt: skip
        lines.append(np.hstack([margin, *cells]))
    return np.asarray(np.vstack(lines), np.uint8)


def render(takes: dict[str, Take], sound: Sound, portrait: Path, out: Path) -> None:
    """Write the video and the contact sheet into a folder."""
    avatar = Avatar.from_portrait(prepare_portrait(portrait, FaceAnalyser()))
    renderer = Renderer(load_network("render_512"), avatar)
    names = list(takes)
    middle = names[min(2, len(names) - 1)]
    wanted = moments(takes[middle], _COLUMNS)
    rows: dict[str, list[UInt8]] = {name: [] for name in names}
    out.mkdir(parents=True, exist_ok=True)
    size = (SIDE * len(names), SIDE + _LABEL)
    with Mp4Writer(out / "showcase.mp4", size, SAMPLE_RATE) as writer:
        drawn = tiles(renderer, takes, sound.frames)
        for index, pictures in tqdm(drawn, "render", total=sound.frames, unit="frame"):
            motion = MotionFrame(takes[middle].shown[index], 0.0, index)
            writer.write(Picture(labelled(pictures, names), motion, index))
            if index in wanted:
                for name, picture in zip(names, pictures, strict=True):
                    rows[name].append(picture)
        writer.sound(sound.audio)
    image = cv2.cvtColor(sheet(rows, [frame / FPS for frame in wanted]), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(out / "showcase.png"), image)


def main(argv: list[str]) -> int:
    """Make the showcase; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training showcase",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--audio", type=Path, required=True, help="wav, flac, mp3, mp4, ...")
    parser.add_argument("--portrait", type=Path, help="photo (default: the shipped avatar)")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the sound (%(default)s)")
    parser.add_argument("--weights", nargs="+", default=["cmdt_k4", "cmdt_k2", "cmdt_k1"])
    parser.add_argument("--teacher", type=Path, default=CACHE.parent / "motion" / "teacher.pt")
    options = parser.parse_args(argv)
    try:
        file = read_audio(options.audio)
        samples = to_16k(file.samples, file.rate)
        frames = min(len(samples) // SAMPLES_PER_FRAME, round(options.seconds * FPS))
        sound = Sound(options.audio.stem, "speech", samples[: frames * SAMPLES_PER_FRAME])
        takes = play(cast(options.weights, options.teacher), sound)
        render(takes, sound, options.portrait or default_portrait(), options.out)
    except EngineError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{options.out}/showcase.mp4 and showcase.png\n")
    return 0
