"""``python -m engine.serve``: read the configuration, load, warm up, serve."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from engine.config import TURN_PASSWORD, EngineConfig, load_config, token
from engine.errors import EngineError
from engine.heap import keep_small
from engine.logs import FORMATS, configure
from engine.portraits import own_portraits

_LEVELS = ("debug", "info", "warning", "error")
_EPILOG = """\
examples:
  python -m engine.serve                                  default avatar, http://127.0.0.1:8080
  python -m engine.serve --portrait me.jpg --port 9000
  VIVACE_TOKEN=secret python -m engine.serve --host 0.0.0.0 --set server.sessions=4
  VIVACE_TOKEN=secret python -m engine.serve --host 0.0.0.0 --tls-self-signed   for the LAN

Every setting of the TOML file can be given with --set; docs/configuration.md lists them.
"""


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m engine.serve",
        description="Serve a talking avatar over WebRTC: open the printed URL and speak.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, help="TOML file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    face = parser.add_mutually_exclusive_group()
    face.add_argument("--portrait", help="photo to use instead of the default avatar")
    face.add_argument(
        "--avatar",
        dest="portrait",
        metavar="NAME|NPZ",
        help=f"or {', '.join(own_portraits())}, or an avatar of python -m training personal",
    )
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="TCP port (default 8080; 0 takes a free one)")
    parser.add_argument("--tls-cert", metavar="PEM", help="certificate; serves https")
    parser.add_argument("--tls-key", metavar="PEM", help="its private key")
    parser.add_argument(
        "--tls-self-signed",
        action="store_true",
        help="serve https with a certificate made for this machine's names and addresses",
    )
    parser.add_argument("--log-level", default="info", choices=_LEVELS)
    parser.add_argument("--log-format", default="text", choices=FORMATS)
    return parser


def read_options(argv: list[str] | None) -> tuple[EngineConfig, argparse.Namespace]:
    """Configuration from the command line, and the options that are none of its settings.

    Raises:
        ConfigError: unknown or impossible settings.
    """
    options = _arguments().parse_args(argv)
    settings = list(options.set)
    for key, value in (
        ("render.portrait", options.portrait),
        ("server.host", options.host),
        ("server.port", options.port),
        ("server.tls_cert", options.tls_cert),
        ("server.tls_key", options.tls_key),
        ("server.tls_self_signed", "true" if options.tls_self_signed else None),
    ):
        if value is not None:
            settings.append(f"{key}={value}")
    return load_config(options.config, settings), options


def main(argv: list[str] | None = None) -> int:
    """Run the server; returns the exit code."""
    try:
        config, options = read_options(argv)
        configure(
            options.log_level, options.log_format, [token(), os.environ.get(TURN_PASSWORD, "")]
        )
        keep_small()
        # Heavy imports come after the arguments, so that --help answers at once.
        from engine.transport.signaling import serve

        serve(config)
    except EngineError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
