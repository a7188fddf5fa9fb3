"""Publishes by FFmpeg's ``whip`` muxer: ``python -m tests.interop.publish URL MEDIA [CERT KEY]``.

A process of its own, as PyAV keeps the interpreter's lock while the muxer waits for the server.
MEDIA is ``sound`` or ``both``. Sends until standard input ends, then leaves.
"""

from __future__ import annotations

import sys
import threading
import time
from fractions import Fraction

import av
import numpy as np

from tests.fakes import speechlike

RATE = 48_000
PACKET = 960
SIDE = 320


def publish(url: str, media: str, options: dict[str, str], done: threading.Event) -> None:
    """Speech at its real pace, and a moving picture with it if wanted."""
    voice = (speechlike(8, RATE, seed=3) * 32767).astype(np.int16)
    with av.open(url, "w", format="whip", options=options) as out:
        # WHIP knows no video alone and no B frames; FFmpeg publishes H.264 and Opus only.
        video = None
        if media == "both":
            video = out.add_stream(
                "libx264", rate=25, options={"preset": "ultrafast", "tune": "zerolatency"}
            )
            video.width = video.height = SIDE
            video.pix_fmt = "yuv420p"
            video.profile = "Baseline"
        audio = out.add_stream("libopus", rate=RATE)
        audio.layout = "stereo"
        out.start_encoding()
        start, count = time.monotonic(), 0
        while not done.wait(max(0.0, start + count * 0.02 - time.monotonic())):
            at = count * PACKET % (len(voice) - PACKET)
            both = np.repeat(voice[at : at + PACKET], 2)[None]
            sound = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
            sound.sample_rate, sound.pts = RATE, count * PACKET
            sound.time_base = Fraction(1, RATE)
            out.mux(audio.encode(sound))
            if video is not None and count % 2 == 0:
                shown = np.full((SIDE, SIDE, 3), count % 256, np.uint8)
                picture = av.VideoFrame.from_ndarray(shown, format="rgb24")
                picture.pts, picture.time_base = count // 2, Fraction(1, 25)
                out.mux(video.encode(picture))
            count += 1


def main() -> None:
    """Publish as the command line says."""
    url, media, *certificate = sys.argv[1:]
    options = dict(zip(("cert_file", "key_file"), certificate, strict=False))
    done = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        done.set()

    threading.Thread(target=wait, daemon=True).start()
    av.logging.set_level(av.logging.VERBOSE)
    av.logging.restore_default_callback()
    publish(url, media, options, done)


if __name__ == "__main__":
    main()
