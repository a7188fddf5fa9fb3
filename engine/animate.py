"""``python -m engine.animate``: a portrait and a sound file in, an MP4 (and motion) out.

The same stages as the live server, fed at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from engine.avatars import default_portrait, open_avatar
from engine.config import EngineConfig, load_config
from engine.errors import EngineError
from engine.face.analysis import FaceAnalyser
from engine.media import FPS, AudioChunk, MotionFrame, VideoFrame
from engine.pipeline import build, load_networks
from engine.portraits import find_portrait, own_portraits
from engine.transport.files import Mp4Writer, read_audio, write_motion, write_sheet

_SHEET_FRAMES = 48


def animate(
    portrait: Path | np.ndarray,
    audio: AudioChunk,
    config: EngineConfig | None = None,
    other: AudioChunk | None = None,
) -> Iterator[VideoFrame]:
    """Render a talking head, one frame per 40 ms of sound.

    Args:
        portrait: a photo's path, uint8 [H, W, 3] RGB, or an avatar file's path (.npz).
        audio: mono sound at any rate.
        config: defaults when None.
        other: what somebody says to the portrait meanwhile, mono at any rate; it listens.

    Raises:
        EngineError: when the photo, the sound or a network cannot be used.
    """
    config = config or EngineConfig()
    networks = load_networks(config)
    avatar, _ = open_avatar(portrait, FaceAnalyser())
    pipeline = build(config, networks, avatar, audio.rate)
    overheard = _pieces(other) if other is not None else iter(())
    for piece in _pieces(audio):
        for heard in islice(overheard, 1):
            pipeline.hear(heard)
        yield from pipeline.whole.push(piece)
    yield from pipeline.whole.flush()


def _pieces(audio: AudioChunk) -> Iterator[AudioChunk]:
    """A second at a time, so that pictures come out while the rest waits."""
    for start in range(0, len(audio.samples), audio.rate):
        part = audio.samples[start : start + audio.rate]
        yield AudioChunk(part, audio.pts + start, audio.rate)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m engine.animate",
        description="Make a portrait speak a sound file.",
        epilog="example: python -m engine.animate --portrait me.jpg --audio a.wav --out talk.mp4",
    )
    face = parser.add_mutually_exclusive_group()
    face.add_argument("--portrait", type=Path, help="photo with one face (default: the avatar)")
    face.add_argument(
        "--avatar",
        dest="portrait",
        type=Path,
        metavar="NAME|NPZ",
        help=f"or {', '.join(own_portraits())}, or an avatar of python -m training personal",
    )
    parser.add_argument("--audio", type=Path, required=True, help="wav, flac, mp3, ogg, mp4, ...")
    parser.add_argument("--other", type=Path, help="what is said to the portrait; it listens")
    parser.add_argument("--out", type=Path, required=True, help="MP4 to write (512x512, 25 fps)")
    parser.add_argument("--motion", type=Path, help="also write ARKit motion: .csv or .jsonl")
    parser.add_argument("--sheet", type=Path, help="also write a contact sheet: .png or .jpg")
    parser.add_argument("--config", type=Path, help="TOML file")
    parser.add_argument("--emotion", default="", help='e.g. "happy=0.8": also sad, angry, ...')
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. motion.steps=4"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _arguments().parse_args(argv)
    try:
        _run(options)
    except EngineError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    audio = read_audio(options.audio)
    total = -(-len(audio.samples) * FPS // audio.rate)
    every = max(1, total // _SHEET_FRAMES)
    motion: list[MotionFrame] = []
    sheet: list[VideoFrame] = []
    emotion = [f"motion.emotion={options.emotion}"] if options.emotion else []
    config = load_config(options.config, [*options.set, *emotion])
    other = read_audio(options.other) if options.other else None
    portrait = find_portrait(options.portrait) if options.portrait else default_portrait()
    frames = animate(portrait, audio, config, other)
    first = next(frames)  # every check of the inputs happens before a file is opened
    height, width = first.image.shape[:2]
    with (
        Mp4Writer(options.out, (width, height), audio.rate) as writer,
        tqdm(total=total, unit="frame", disable=options.quiet, desc=options.out.name) as bar,
    ):
        for frame in chain([first], frames):
            writer.write(frame)
            motion.append(frame.motion)
            if frame.pts % every == 0:
                sheet.append(frame)
            bar.update()
        writer.sound(audio.samples)
    if options.motion:
        write_motion(options.motion, motion)
    if options.sheet:
        write_sheet(options.sheet, sheet)


if __name__ == "__main__":
    sys.exit(main())
