"""A picture of all shipped avatars, each at rest and speaking.

``python -m training.avatars.gallery docs/images/avatars.jpg``, in the product's environment: the
engine draws it, Blender has no part in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from engine.avatars import DEFAULT_AVATAR, open_avatar
from engine.face.analysis import FaceAnalyser
from engine.media import Float32, MotionFrame, UInt8
from engine.motion.arkit import INDEX, MOTION_SIZE, ROTATION
from engine.portraits import own_portraits
from engine.render.renderer import Renderer
from engine.runtime.load import load_network

_REST: dict[str, float] = {}
_SPEAKING = {
    "jawOpen": 0.30,
    "mouthLowerDownLeft": 0.25,
    "mouthLowerDownRight": 0.25,
    "mouthUpperUpLeft": 0.15,
    "mouthUpperUpRight": 0.15,
    "mouthSmileLeft": 0.30,
    "mouthSmileRight": 0.30,
    "browInnerUp": 0.25,
    "browOuterUpLeft": 0.15,
    "browOuterUpRight": 0.15,
}
_TURN = (0.12, 0.03, 0.04)
"""Yaw, pitch and roll of who speaks, radians."""


def motion(shapes: dict[str, float], turn: tuple[float, float, float]) -> Float32:
    """Motion [58] of named blendshapes and a head pose."""
    values = np.zeros(MOTION_SIZE, np.float32)
    for name, value in shapes.items():
        values[INDEX[name]] = value
    values[ROTATION] = turn
    return values


def gallery(side: int) -> UInt8:
    """A column for each avatar, the default one first: uint8 [2*side, n*side, 3]."""
    analyser, network = FaceAnalyser(), load_network("render_512")
    files = own_portraits()
    columns = []
    for name in sorted(files, key=lambda name: (name != DEFAULT_AVATAR, name)):
        renderer = Renderer(network, open_avatar(files[name], analyser)[0])
        shown = [motion(_REST, (0.0, 0.0, 0.0)), motion(_SPEAKING, _TURN)]
        drawn = [next(iter(renderer.push(MotionFrame(v, 1.0, 0)))).image for v in shown]
        size = (side, side)
        columns.append(
            np.vstack([cv2.resize(d, size, interpolation=cv2.INTER_AREA) for d in drawn])
        )
    return np.asarray(np.hstack(columns), np.uint8)


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(prog="python -m training.avatars.gallery", description=__doc__)
    parser.add_argument("output", type=Path, help=".jpg")
    parser.add_argument("--side", type=int, default=256, help="of one picture, pixels")
    options = parser.parse_args()
    bgr = cv2.cvtColor(gallery(options.side), cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(options.output), bgr, [cv2.IMWRITE_JPEG_QUALITY, 88]):
        raise SystemExit(f"cannot write {options.output}")


if __name__ == "__main__":
    main()
