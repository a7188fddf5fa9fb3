"""The command line of ``python -m clients.mic``."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.config import TOKEN_VARIABLE

_EPILOG = f"""\
examples:
  python -m clients.mic                                speak; the avatar is computed in this process
  python -m clients.mic --portrait me.jpg --record out.mp4
  python -m clients.mic --list-devices
  python -m clients.mic --device "USB" --headless      no window: a level meter, a line a second
  python -m clients.mic --server http://127.0.0.1:8080 a running `python -m engine.serve` does it
  {TOKEN_VARIABLE}=secret python -m clients.mic --server https://avatar.example
  python -m clients.mic --virtual-camera --headless    a camera for video calls

Without --server the avatar lives in this process: no server, no network, no browser. The avatar's
voice is yours, a moment later; --play lets you hear it (use headphones: the microphone would hear
it too). Ctrl-C, or closing the window, ends it and finishes the recording.
docs/microphone.md: video calls, what to do when something does not work.
"""


def arguments() -> argparse.ArgumentParser:
    """The parser."""
    parser = argparse.ArgumentParser(
        prog="python -m clients.mic",
        description="Speak into a microphone and watch the avatar say it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _where(parser.add_argument_group("where the avatar is computed"))
    _in(parser.add_argument_group("microphone"))
    _out(parser.add_argument_group("picture and sound"))
    return parser


def _where(group: argparse._ArgumentGroup) -> None:
    place = group.add_mutually_exclusive_group()
    place.add_argument(
        "--local", action="store_true", help="in this process (the default: it needs nothing else)"
    )
    place.add_argument("--server", metavar="URL", help="on a server, such as http://127.0.0.1:8080")
    group.add_argument("--portrait", help="photo to animate instead of the default avatar (local)")
    group.add_argument("--config", type=Path, help="TOML file of the engine (local)")
    group.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="engine setting (local)"
    )
    group.add_argument("--avatar", metavar="ID", help="one of the server's avatars (server)")
    group.add_argument(
        "--token", help=f"bearer token of the server (better: the variable {TOKEN_VARIABLE})"
    )


def _in(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--list-devices", action="store_true", help="show the microphones, then end")
    group.add_argument(
        "--device", metavar="NAME|INDEX", help="number, name or part of a name (default: system's)"
    )


def _out(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--headless", action="store_true", help="no preview window")
    group.add_argument(
        "--record", type=Path, metavar="OUT.mp4", help="also write picture and sound"
    )
    sound = group.add_mutually_exclusive_group()
    sound.add_argument("--play", action="store_true", help="play the avatar's voice (headphones!)")
    sound.add_argument("--no-sound", action="store_true", help="stay silent (the default)")
    group.add_argument(
        "--virtual-camera", action="store_true", help="be a camera for other programs, 25 fps"
    )
    group.add_argument(
        "--seconds", type=float, metavar="N", help="end after N seconds (default: until Ctrl-C)"
    )
