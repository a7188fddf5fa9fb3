"""Puts microphone, avatar and sinks together, reports, and ends them in the right order."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from clients.mic.avatar import Audience, Avatar
from clients.mic.capture import Listener
from clients.mic.devices import find, listing, microphones, portaudio
from clients.mic.meter import bar
from clients.mic.options import arguments
from clients.mic.preview import Preview
from clients.mic.sinks import (
    Latest,
    Recorder,
    Sink,
    Speaker,
    Threaded,
    VirtualCamera,
    virtual_cameras,
)
from engine.clock import Clock, SystemClock
from engine.config import load_config, token
from engine.errors import EngineError

CAMERA_SIZE = (512, 512)
_REPORT_SECONDS = 1.0
_BLOCK_MS = 20


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = arguments()
    options = parser.parse_args(argv)
    _check(parser, options)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        if options.list_devices:
            sys.stdout.write(listing(microphones(portaudio())))
        else:
            _run(options)
    except EngineError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.server:
        for name in ("portrait", "config", "set"):
            if getattr(options, name):
                parser.error(f"--{name} is for the avatar in this process, not for --server")
        if not options.server.startswith(("http://", "https://")):
            parser.error(f"--server wants a URL, such as http://{options.server}")
    elif options.avatar or options.token:
        parser.error("--avatar and --token are for --server")
    if options.record is not None and options.record.suffix.lower() != ".mp4":
        parser.error(f"--record writes MP4; '{options.record.name}' should end in .mp4")


class Terminal:
    """Sentences for the user on standard error, status lines on standard output. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live = sys.stdout.isatty()
        self._width = 0

    def tell(self, sentence: str) -> None:
        """Write a sentence on a line of its own."""
        with self._lock:
            self._clear()
            sys.stderr.write(sentence + "\n")
            sys.stderr.flush()

    def status(self, line: str) -> None:
        """Write over the last status line; where there is no terminal, below it."""
        with self._lock:
            self._clear()
            sys.stdout.write(line if self._live else line + "\n")
            self._width = len(line)
            sys.stdout.flush()

    def _clear(self) -> None:
        if self._live and self._width:
            sys.stdout.write("\r" + " " * self._width + "\r")
            sys.stdout.flush()
            self._width = 0


@dataclass(slots=True)
class Outputs:
    """What was asked for, and the parts that are asked again later."""

    latest: Latest
    window: Preview | None
    recorder: Recorder | None
    camera: VirtualCamera | None
    sinks: list[Sink]
    threaded: list[Threaded]

    @property
    def dropped(self) -> int:
        """Pictures and sounds that a slow disk lost."""
        return sum(sink.dropped for sink in self.threaded)


def _outputs(
    options: argparse.Namespace, audio: Any, clock: Clock, tell: Callable[[str], None]
) -> Outputs:
    """Open everything that may be missing before the networks are loaded."""
    out = Outputs(Latest(), None, None, None, [], [])
    if not options.headless:
        out.window = Preview(out.latest)
        out.sinks.append(out.latest)
    if options.virtual_camera:
        out.camera = VirtualCamera(virtual_cameras(), CAMERA_SIZE, clock)
        tell(f"virtual camera: choose '{out.camera.name}' in the other program")
        out.sinks.append(out.camera)
    if options.play:
        out.sinks.append(Speaker(audio))
    if options.record is not None:
        out.recorder = Recorder(options.record)
        out.threaded.append(Threaded(out.recorder, tell))
        out.sinks.append(out.threaded[-1])
    return out


@contextmanager
def _avatar(
    options: argparse.Namespace, audience: Audience, clock: Clock, tell: Callable[[str], None]
) -> Iterator[Avatar]:
    if options.server:
        from clients.mic.remote import Server, ServerAvatar

        server = Server(options.server, options.token or token(), options.avatar)
        remote = ServerAvatar(server, audience, clock, tell)
        try:
            yield remote
        finally:
            remote.close()
        return
    from clients.mic.local import LocalAvatar
    from engine.app import Engine

    config = load_config(options.config, options.set)
    if options.portrait:
        config = replace(config, render=replace(config.render, portrait=options.portrait))
    engine = Engine(config)
    tell("loading the networks and preparing the avatar ...")
    try:
        engine.start()
        local = LocalAvatar(engine, audience, clock)
        try:
            yield local
        finally:
            local.close()
    finally:
        engine.close()


def _run(options: argparse.Namespace) -> None:
    clock, terminal = SystemClock(), Terminal()
    audio = portaudio()
    find(audio, options.device)  # before anything that takes time
    with ExitStack() as stack, _signals() as stop:
        outputs = _outputs(options, audio, clock, terminal.tell)
        audience = Audience(outputs.sinks)
        stack.callback(audience.close)
        avatar = stack.enter_context(_avatar(options, audience, clock, terminal.tell))
        listener = Listener(
            audio, options.device, clock, avatar.say, terminal.tell, alone=not options.play
        )
        stack.callback(listener.close)
        device = listener.device
        terminal.tell(f"listening to '{device.name}' ({device.rate} Hz); Ctrl-C ends")
        report = Report(clock, avatar, listener, audience, outputs, terminal)
        avatar.start()
        listener.start()
        _wait(options.seconds, stop, report, outputs.window)
    terminal.tell(report.summary(options))
    if report.error is not None:
        if isinstance(report.error, EngineError):
            raise report.error
        raise EngineError(f"something broke: {report.error!r}") from report.error


class Report:
    """What is written once a second, and at the end."""

    def __init__(
        self,
        clock: Clock,
        avatar: Avatar,
        listener: Listener,
        audience: Audience,
        outputs: Outputs,
        terminal: Terminal,
    ) -> None:
        self._clock = clock
        self._avatar = avatar
        self._listener = listener
        self._audience = audience
        self._outputs = outputs
        self._terminal = terminal
        self._start = self._next = clock.now()
        self._latencies: list[float] = []

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self._clock.now() - self._start

    @property
    def error(self) -> Exception | None:
        """Why it cannot go on."""
        return self._avatar.error or self._listener.error

    @property
    def dropped_ms(self) -> float:
        """Sound lost between the microphone and the avatar."""
        return self._avatar.figures().lost_ms + self._listener.dropped * _BLOCK_MS

    def line(self) -> str | None:
        """A new status line once a second, written to the terminal too; else None."""
        now = self._clock.now()
        if now < self._next:
            return None
        self._next = max(self._next + _REPORT_SECONDS, now)
        level, figures = self._listener.level(), self._avatar.figures()
        latency = "    -"
        if figures.latency is not None:
            self._latencies.append(figures.latency + self._listener.latency)
            latency = f"{self._latencies[-1] * 1000:5.0f}"
        parts = [
            f"[{bar(level)}] {level:4.0f} dBFS",
            f"{self._audience.shown.read(now):4.1f} fps",
            f"latency {latency} ms",
            f"dropped {self.dropped_ms:.0f} ms",
        ]
        if self._outputs.recorder is not None:
            parts.append(f"recorded {self._outputs.recorder.seconds:.0f} s")
        if figures.note:
            parts.append(figures.note)
        line = " | ".join(parts)
        self._terminal.status(line)
        return line

    def summary(self, options: argparse.Namespace) -> str:
        """The last words."""
        parts = [f"{self.seconds:.1f} s", f"{self._audience.shown.total} pictures"]
        parts.append(f"{self.dropped_ms:.0f} ms of sound dropped")
        if self._latencies:
            middle = sorted(self._latencies)[len(self._latencies) // 2]
            parts.append(f"latency {middle * 1000:.0f} ms (median)")
        if self._outputs.camera is not None:
            parts.append(f"{self._outputs.camera.sent} pictures to the camera")
        text = ", ".join(parts)
        recorder = self._outputs.recorder
        if recorder is not None and recorder.pictures:
            text += f"\nrecorded {recorder.seconds:.1f} s to {options.record}"
            if self._outputs.dropped:
                text += f"; the disk was too slow for {self._outputs.dropped} pictures and sounds"
        elif recorder is not None:
            text += "\nnothing was recorded: no picture came"
        return text


def _wait(
    seconds: float | None, stop: threading.Event, report: Report, window: Preview | None
) -> None:
    def over() -> bool:
        done = seconds is not None and report.seconds >= seconds
        return done or stop.is_set() or report.error is not None

    if window is not None:
        window.run(over, report.line)
        return
    while not over():
        report.line()
        stop.wait(0.1)


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second Ctrl-C ends at once."""
    stop = threading.Event()

    def ask(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
