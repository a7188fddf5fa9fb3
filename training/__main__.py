"""``python -m training COMMAND ...``: the command line of everything that is trained."""

from __future__ import annotations

import importlib
import sys

COMMANDS: dict[str, str] = {
    "motion": "training.motion.command",
    "corpus": "training.corpus.command",
}
"""Command to the module whose ``main(argv) -> int`` runs it; imported only when asked for."""


def main(argv: list[str]) -> int:
    """Run one command and return its exit status; an unknown one prints the list and returns 2."""
    if not argv or argv[0] not in COMMANDS:
        sys.stderr.write(f"usage: python -m training {{{','.join(sorted(COMMANDS))}}} [--help]\n")
        return 0 if argv[:1] in (["-h"], ["--help"]) else 2
    return int(importlib.import_module(COMMANDS[argv[0]]).main(argv[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
