"""Sound devices through PortAudio, and sentences for what can be wrong with them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from engine.errors import EngineError

INSTALL = "pip install -e '.[mic]'"
_SHOW = "python -m clients.mic --list-devices shows what there is"


class MicrophoneError(EngineError):
    """A sound device cannot be used."""


@dataclass(frozen=True, slots=True)
class Device:
    """A microphone.

    Args:
        index: PortAudio's number.
        name: what the system calls it.
        channels: input channels.
        rate: its own sample rate in Hz.
        default: whether the system prefers it.
    """

    index: int
    name: str
    channels: int
    rate: int
    default: bool


def portaudio() -> Any:
    """The sounddevice module.

    Raises:
        MicrophoneError: without the package or the library it needs.
    """
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise MicrophoneError(
            f"the microphone needs the package sounddevice, which is not installed: {INSTALL}"
        ) from error
    except OSError as error:  # what sounddevice raises without the shared library
        raise MicrophoneError(
            "sounddevice finds no PortAudio library; install it "
            "(Debian, Ubuntu: sudo apt install libportaudio2; Fedora: sudo dnf install portaudio)"
        ) from error
    assert isinstance(sounddevice, ModuleType)
    return sounddevice


def microphones(audio: Any) -> list[Device]:
    """All devices with an input.

    Args:
        audio: the sounddevice module.
    """
    chosen = audio.default.device[0]
    if chosen < 0:  # nothing was set by hand: what PortAudio prefers
        with contextlib.suppress(audio.PortAudioError, ValueError):
            chosen = audio.query_devices(kind="input")["index"]
    return [
        _device(entry, entry["index"] == chosen)
        for entry in audio.query_devices()
        if entry["max_input_channels"] > 0
    ]


def find(audio: Any, wanted: str | None) -> Device:
    """The microphone of a name, part of a name or number; the default one without.

    Raises:
        MicrophoneError: when there is none, or several of that name.
    """
    present = microphones(audio)
    if not present:
        raise MicrophoneError(
            "this machine has no microphone that PortAudio can see; plug one in "
            "(on Linux without ALSA hardware: apt install libasound2-plugins, for PulseAudio)"
        )
    if wanted is None:
        return next((device for device in present if device.default), present[0])
    exact = [d for d in present if wanted in (d.name, str(d.index))]
    found = exact or [d for d in present if wanted.lower() in d.name.lower()]
    if not found:
        raise MicrophoneError(f"there is no microphone '{wanted}'; {_SHOW}")
    if len(found) > 1:
        names = ", ".join(f"{device.index}: {device.name}" for device in found)
        raise MicrophoneError(f"'{wanted}' fits several microphones; give a number of {names}")
    return found[0]


def refresh(audio: Any) -> None:
    """Let PortAudio look again what is plugged in: it does so only when it starts.

    Closes every open stream. sounddevice offers this under these names only.
    """
    with contextlib.suppress(audio.PortAudioError):
        audio._terminate()
        audio._initialize()


def listing(devices: list[Device]) -> str:
    """A line for each, the default marked."""
    if not devices:
        return "no microphone found\n"
    lines = [
        f"{'*' if d.default else ' '} {d.index:3}  {d.name}  ({d.channels} ch, {d.rate} Hz)"
        for d in devices
    ]
    return "\n".join(lines) + "\n* is the default; choose with --device NUMBER or part of a name\n"


def _device(entry: Any, default: bool) -> Device:
    return Device(
        entry["index"],
        entry["name"],
        entry["max_input_channels"],
        round(entry["default_samplerate"]),
        default,
    )
