"""``python -m training personal VIDEO --out avatar --consent "..."``: an avatar of one person."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import cv2

from engine.errors import EngineError
from engine.store import AvatarStore, Consent, data_folder, make_private
from training.personal import report
from training.personal.adapt import Result, adapt
from training.personal.compare import DRIVES

_EPILOG = """\
example:
  python -m training personal me.mp4 --out me --consent "This is me, and I agree."
  python -m engine.animate --avatar me/avatar.npz --audio talk.wav --out talk.mp4
  python -m engine.serve --avatar me/avatar.npz
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training personal",
        description="Make a personal avatar from 20 to 120 seconds of one person talking.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("video", type=Path, metavar="VIDEO", help="mp4, mov, mkv, webm, mpg, ...")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="is created")
    parser.add_argument(
        "--consent",
        required=True,
        metavar="STATEMENT",
        help="that the person in the video agrees, in words; stored beside the avatar",
    )
    parser.add_argument("--subject", default="", help="who declares it")
    parser.add_argument("--name", default="", help="of the avatar")
    parser.add_argument(
        "--add",
        action="store_true",
        help="also put it among the server's uploaded avatars (offered after its next start)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def main(argv: list[str]) -> int:
    """Run the command; return the exit status."""
    args = _parser().parse_args(argv)
    statement = args.consent.strip()
    if not statement:
        sys.stderr.write(
            "error: --consent is empty; say in words that the person in the video agrees.\n"
        )
        return 1
    try:
        make_private(args.out)
        result = adapt(args.video, args.out / "tracking.npz", args.quiet)
        digest = hashlib.sha256(args.video.read_bytes()).hexdigest()
        consent = Consent(statement, args.subject.strip(), time.time(), digest)
        _write(result, consent, args.out)
        if args.add:
            _add(result, consent, args.name.strip())
    except EngineError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"error: {error.filename or args.out}: {error.strerror}\n")
        return 1
    sys.stdout.write(f"{args.out / 'avatar.npz'}\n{report.summary(result.facts)}\n")
    for drive in DRIVES:
        gains = result.facts["judged"]["gains"][drive]
        words = ", ".join(f"{name} {report.interval(value)}" for name, value in gains.items())
        sys.stdout.write(f"{drive}: {words}\n")
    return 0


def _write(result: Result, consent: Consent, out: Path) -> None:
    result.avatar.save(out / "avatar.npz")
    text = json.dumps(asdict(consent), indent=1, ensure_ascii=False)
    (out / "consent.json").write_text(text + "\n", encoding="utf-8")
    report.write(result, out / "report")


def _add(result: Result, consent: Consent, name: str) -> None:
    store = AvatarStore(data_folder() / "avatars", sys.maxsize, sys.maxsize, time.time)
    bgr = cv2.cvtColor(result.photo, cv2.COLOR_RGB2BGR)
    picture = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    store.add(store.identify(result.avatar.digest.encode()), result.avatar, picture, consent, name)
