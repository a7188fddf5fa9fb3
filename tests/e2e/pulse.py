"""A microphone without a sound card: a private PulseAudio whose null sink is what a program hears.

What is played into the sink comes out of a source that ALSA, and so PortAudio, knows as
``vivace_microphone`` and as the default device.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import require_program

NAME = "vivace_microphone"
_SCRIPT = """\
load-module module-native-protocol-unix
load-module module-null-sink sink_name=feed rate=48000 channels=1
load-module module-remap-source master=feed.monitor source_name=microphone
load-module module-null-sink sink_name=loudspeaker rate=48000 channels=1
set-default-source microphone
set-default-sink loudspeaker
"""
_ALSA = f"""\
pcm.{NAME} {{ type pulse device microphone hint {{ show on description "A test's microphone" }} }}
"""
_START_SECONDS = 15.0


class Pulse:
    """One PulseAudio server of our own.

    Args:
        folder: private; becomes home and runtime folder of what is started with ``environment``.
    """

    def __init__(self, folder: Path) -> None:
        self._program = require_program("pulseaudio")
        self._paplay, self._pactl = require_program("paplay"), require_program("pactl")
        self._folder = folder
        self._daemon: subprocess.Popen[bytes] | None = None
        (folder / "script.pa").write_text(_SCRIPT)
        (folder / ".asoundrc").write_text(_ALSA)
        (folder / "run").mkdir(mode=0o700)

    @property
    def environment(self) -> dict[str, str]:
        """For programs that shall hear and play here."""
        own = {"HOME": str(self._folder), "XDG_RUNTIME_DIR": str(self._folder / "run")}
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PULSE_")}
        return {**kept, **own}

    def start(self) -> None:
        """Bring the daemon up and wait until it answers."""
        self._daemon = subprocess.Popen(
            [self._program, "-n", "-F", str(self._folder / "script.pa"), "--daemonize=no",
             "--exit-idle-time=-1", "--log-target=stderr"],
            env=self.environment, stderr=(self._folder / "pulse.log").open("ab"),
        )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while self._ask("info").returncode:
            log = (self._folder / "pulse.log").read_text()
            assert self._daemon.poll() is None, log
            assert time.monotonic() < deadline, log
            time.sleep(0.1)

    def stop(self) -> None:
        """End the daemon, as when a device is pulled out."""
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait(10)
            self._daemon = None

    def play(self, sound: Path) -> subprocess.Popen[bytes]:
        """Speak a sound file into the microphone; returns at once."""
        return subprocess.Popen([self._paplay, "--device=feed", str(sound)], env=self.environment)

    def _ask(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [self._pactl, *words], env=self.environment, capture_output=True, check=False
        )


@contextmanager
def pulse() -> Iterator[Pulse]:
    """A running PulseAudio, gone afterwards."""
    # Socket paths are limited to about 100 characters: pytest's folders are too deep.
    with tempfile.TemporaryDirectory(prefix="pulse") as folder:
        daemon = Pulse(Path(folder))
        daemon.start()
        try:
            yield daemon
        finally:
            daemon.stop()
