"""Real faces as motion: a talking clip in, 58 numbers at 25 fps and what the landmarks say out."""

from training.tracking.clips import clips
from training.tracking.track import Tracked, track

__all__ = ["Tracked", "clips", "track"]
