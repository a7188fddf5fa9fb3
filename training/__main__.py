"""``python -m training COMMAND ...``: the command line of everything that is trained."""

from __future__ import annotations

import importlib
import sys

COMMANDS: dict[str, str] = {
    "motion": "training.motion.command:everything",
    "features": "training.motion.command:listen",
    "ear": "training.motion.command:train_ear",
    "teacher": "training.motion.command:teach",
    "rollout": "training.motion.command:roll",
    "distill": "training.motion.command:distill",
    "corpus": "training.corpus.command",
    "evaluate": "training.evaluation.command",
    "showcase": "training.evaluation.showcase",
    "card": "training.evaluation.card",
    "track": "training.tracking.command",
    "people": "training.tracking.people",
    "calibrate": "training.teacher.calibrate",
    "personal": "training.personal.command",
}
"""Command to the module, and the function if not ``main``, that takes its arguments and returns the
exit status; imported only when asked for."""


def main(argv: list[str]) -> int:
    """Run one command and return its exit status; an unknown one prints the list and returns 2."""
    if not argv or argv[0] not in COMMANDS:
        sys.stderr.write(f"usage: python -m training {{{','.join(sorted(COMMANDS))}}} [--help]\n")
        return 0 if argv[:1] in (["-h"], ["--help"]) else 2
    module, _, function = COMMANDS[argv[0]].partition(":")
    return int(getattr(importlib.import_module(module), function or "main")(argv[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
