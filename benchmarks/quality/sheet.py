"""Pictures to look at: every portrait with eight visemes and expressions in three head poses.

``python -m benchmarks.quality.sheet DIR`` writes one sheet per portrait, pictures at full size;
``--own FILE`` one small sheet of those whom anybody may see. Sheets of shared portraits stay out of
the repository.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.quality.following import motion
from benchmarks.quality.portraits import Speaker, own, speakers
from engine.config import EngineConfig
from engine.face.analysis import FaceAnalyser
from engine.media import Float32, UInt8
from engine.motion.arkit import ROTATION
from engine.pipeline import load_networks


def _both(**shapes: float) -> dict[str, float]:
    return {f"{name}{side}": value for name, value in shapes.items() for side in ("Left", "Right")}


EXPRESSIONS: dict[str, Float32] = {
    "m": motion(jawOpen=0.1, mouthClose=0.1, **_both(mouthPress=0.3)),
    "aa": motion(jawOpen=0.5, **_both(mouthLowerDown=0.2)),
    "ee": motion(
        jawOpen=0.12, **_both(mouthStretch=0.4, mouthUpperUp=0.3, mouthLowerDown=0.4)
    ),
    "oo": motion(jawOpen=0.15, mouthPucker=0.7, mouthFunnel=0.3),
    "f": motion(jawOpen=0.08, mouthRollLower=0.5, **_both(mouthUpperUp=0.3)),
    "smile": motion(**_both(mouthSmile=0.8, cheekSquint=0.5, eyeSquint=0.3)),
    "blink": motion(**_both(eyeBlink=1.0)),
    "surprise": motion(
        jawOpen=0.25, browInnerUp=0.8, **_both(browOuterUp=0.7, eyeWide=0.6)
    ),
}  # fmt: skip
POSES = {"straight": (0.0, 0.0, 0.0), "right, down": (0.22, 0.1, 0.0),
         "left, tilted": (-0.22, -0.05, 0.1)}  # fmt: skip
"""yaw, pitch, roll in radians."""


def rows(speaker: Speaker, side: int) -> UInt8:
    """A row for each pose, a column for each expression: uint8 [3*side, 8*side, 3]."""
    out = []
    for pose in POSES.values():
        tiles = []
        for name, expression in EXPRESSIONS.items():
            values = expression.copy()
            values[ROTATION] = pose
            tiles.append(_tile(speaker.draw(values), side, name))
        out.append(np.hstack(tiles))
    return np.vstack(out)


def _tile(picture: UInt8, side: int, label: str) -> UInt8:
    tile = picture.copy()
    if side != len(picture):
        tile = np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    place, scale = (4, side - 6), side / 400
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(tile, label, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness)
    return tile


def write(path: Path, sheet: UInt8, quality: int = 90) -> None:
    """Write an RGB sheet as JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, quality]):
        raise OSError(f"cannot write {path}")


def main(argv: list[str] | None = None) -> None:
    """Write sheets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.sheet", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="one sheet per portrait goes here")
    parser.add_argument("--portraits", type=int, default=20)
    parser.add_argument("--own", type=Path, metavar="FILE", help="the small sheet")
    parser.add_argument("--side", type=int, default=160, help="of a picture in the small sheet")
    options = parser.parse_args(argv)
    networks, analyser = load_networks(EngineConfig()), FaceAnalyser()
    if options.own:
        shown = tqdm(speakers(len(own()), networks, analyser), total=len(own()), desc="own")
        write(options.own, np.vstack([rows(s, options.side) for s in shown]), 80)
    if options.folder:
        shown = speakers(options.portraits, networks, analyser)
        for speaker in tqdm(shown, total=options.portraits, desc="sheets"):
            write(options.folder / f"{speaker.name.replace('/', '_')}.jpg", rows(speaker, 512))


if __name__ == "__main__":
    main()
