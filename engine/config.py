"""Configuration: frozen dataclasses, one TOML file, and ``--set section.key=value`` on top.

Unknown keys are errors that name the nearest known one. Secrets come from the environment only.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, cast

from engine.errors import ConfigError
from engine.media import FPS

T = TypeVar("T")
_UNREADABLE = (OSError, ValueError, RecursionError)
"""What tomllib raises: also for numbers of thousands of digits and brackets as deep."""
BACKENDS = ("auto", "tensorrt", "rtx", "torch", "openvino", "onnxruntime")
CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")
TOKEN_VARIABLE = "VIVACE_TOKEN"  # noqa: S105 - the variable's name, not a secret


TURN_USER, TURN_PASSWORD = "VIVACE_TURN_USER", "VIVACE_TURN_PASSWORD"


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ConfigError(sentence)


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioConfig:
    """What is done to sound before the motion network."""

    vad: str = "silero"
    """Voice activity detector: silero or webrtc."""
    inbox_ms: int = 400
    """Sound that may wait for the worker, in milliseconds; live input drops the oldest beyond."""

    def __post_init__(self) -> None:
        _require(self.vad in ("silero", "webrtc"), f"audio.vad is '{self.vad}'; silero or webrtc")
        _require(self.inbox_ms >= 80, f"audio.inbox_ms is {self.inbox_ms}; at least 80")


@dataclass(frozen=True, kw_only=True, slots=True)
class MotionConfig:
    """The sliding-window motion diffusion transformer."""

    steps: int = 2
    """Denoising steps per window: 1, 2 or 4, one distilled network each."""
    hop: int = 2
    """New frames per network call, 1 to 8."""
    lookahead: int = 2
    """Frames of sound heard beyond the hop, 0 to 6; hop + lookahead is at most 8."""
    guidance: float = 1.5
    """Audio guidance baked into the student, 1 to 2.5."""
    seed: int = 0
    """Seed of the noise, blinks and sway."""
    emotion: str = ""
    """Intensities 0 to 1: "happy=0.8", also sad, angry, surprised, calm; none is neutral."""
    style: str = ""
    """Manner, -2 to 2, 0 the middle: "smile=1, head=-0.5"; names in engine.motion.condition."""

    def __post_init__(self) -> None:
        _require(self.steps in (1, 2, 4), f"motion.steps is {self.steps}; 1, 2 or 4")
        _require(1 <= self.hop <= 8, f"motion.hop is {self.hop}; 1 to 8 frames")
        _require(
            0 <= self.lookahead <= 6 and self.hop + self.lookahead <= 8,
            f"motion.lookahead is {self.lookahead}; 0 to 6 frames, and at most 8 with the hop",
        )
        _require(1.0 <= self.guidance <= 2.5, f"motion.guidance is {self.guidance}; 1 to 2.5")

    @property
    def delay(self) -> Fraction:
        """Algorithmic delay in seconds: a frame waits for its hop to fill, and the look-ahead."""
        return Fraction(self.hop + self.lookahead, FPS)


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderConfig:
    """The picture."""

    network: str = "render_512"
    """Which renderer, by resolution."""
    portrait: str = ""
    """Instead of the default avatar: a built-in one by its name, or the path of a photo or of an
    avatar file (.npz)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProvenanceConfig:
    """How pictures say that they are generated (docs/provenance.md)."""

    visible: bool = True
    """Draw a small label into a corner. Who turns it off has to tell viewers in another way."""
    text: str = "AI"
    """The label, in any language: a few letters."""
    corner: str = "bottom-right"
    """Where: top-left, top-right, bottom-left or bottom-right."""
    opacity: float = 0.85
    """Of the label, 0.3 to 1."""
    font: str = ""
    """Path of a font file for the label; empty: the first at hand that has its letters."""
    watermark: bool = True
    """Add the invisible mark that ``python -m engine.verify`` finds."""
    number: int = 0
    """Written into the invisible mark, 0 to 1048575, to tell servers apart; 0 says nothing."""

    def __post_init__(self) -> None:
        text = self.text.strip()
        _require(
            not self.visible or (0 < len(text) <= 32 and text.isprintable()),
            f"provenance.text is '{self.text}'; 1 to 32 printable letters",
        )
        _require(
            self.corner in CORNERS,
            f"provenance.corner is '{self.corner}'; one of {', '.join(CORNERS)}",
        )
        _require(0.3 <= self.opacity <= 1, f"provenance.opacity is {self.opacity}; 0.3 to 1")
        _require(0 <= self.number < 2**20, f"provenance.number is {self.number}; 0 to 1048575")


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeConfig:
    """Which inference runtime."""

    backend: str = "auto"
    """auto, tensorrt, rtx, torch (these want an NVIDIA GPU), openvino or onnxruntime. auto takes
    the first in this order that can be used here; without a GPU that is openvino."""
    threads: int = 0
    """Inference threads per network. 0: one in the server, whose sessions, encoders and browser
    share the cores; else what the runtime chooses. On two cores a second thread shortens a picture
    by a quarter and costs half as much CPU time again."""
    precision: str = "auto"
    """auto (f16 on a GPU; on a CPU f32 for pictures and bf16 for others, where it computes in it),
    f32, bf16 or f16 (GPU only)."""
    batch: int = 0
    """Most sessions whose pictures are computed together. 0: 8 on a GPU; on a CPU sessions run
    side by side, a core each."""
    engines: str = ""
    """Folder of compiled TensorRT engines; empty: $VIVACE_ENGINES, else the user's cache."""
    build: bool = True
    """Compile missing TensorRT engines at start, which takes minutes, if the builders are here."""
    modules: str = "trt_builders.modules:make"
    """Where the torch backend gets its modules: package.module:function."""

    def __post_init__(self) -> None:
        _require(
            self.backend in BACKENDS,
            f"runtime.backend is '{self.backend}'; one of {', '.join(BACKENDS)}",
        )
        _require(self.threads >= 0, f"runtime.threads is {self.threads}; 0 or more")
        _require(
            self.precision in ("auto", "f32", "bf16", "f16"),
            f"runtime.precision is '{self.precision}'; auto, f32, bf16 or f16",
        )
        _require(0 <= self.batch <= 16, f"runtime.batch is {self.batch}; 0 to 16")
        _require(
            self.modules.count(":") == 1,
            f"runtime.modules is '{self.modules}'; package.module:function",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """The web server and its sessions."""

    host: str = "127.0.0.1"
    """Address to listen on. Anything beyond this machine needs a token (VIVACE_TOKEN)."""
    port: int = 8080
    """TCP port; 0 takes a free one."""
    sessions: int = 0
    """Sessions at once; further offers get 503. 0: what this machine carries, measured at start."""
    allow_open: bool = False
    """Listen beyond this machine without a token. Only behind a proxy that checks for you."""
    origins: tuple[str, ...] = ()
    """Further origins that may call the server from a browser page."""
    tls_cert: str = ""
    """PEM certificate; with tls_key, serves https, which microphones need off localhost."""
    tls_key: str = ""
    """PEM key."""
    ice_servers: tuple[str, ...] = ()
    """STUN or TURN URLs; none are asked by default. TURN's credentials: VIVACE_TURN_USER and
    VIVACE_TURN_PASSWORD in the environment."""
    udp_ports: str = ""
    """Ports of media, "40000-40100", for a firewall: two or more a session; empty: any."""
    upload_mb: int = 20
    """Largest photo accepted, in megabytes."""
    data: str = ""
    """Folder of uploaded avatars; empty: $VIVACE_DATA, else the user's data folder."""
    avatars: int = 64
    """Uploaded avatars kept; beyond, the one not used for longest is deleted."""
    avatars_mb: int = 2000
    """What they may take on disk together, in megabytes; one takes 12."""
    consent: str = "auto"
    """Whether a photo needs a statement of consent: required, asked (the page asks, the server
    takes it without), or auto: required where other machines can reach the server."""
    rate_uploads: int = 10
    """Photos that one address may send in a minute; 0: any number. Programs on this machine are
    never limited."""
    rate_sessions: int = 30
    """Sessions and connections that one address may begin in a minute; 0: any number."""
    rate_requests: int = 600
    """Other requests of one address in a minute; 0: any number."""
    behind_proxy: bool = False
    """A proxy of yours is in front: the last address in X-Forwarded-For is the client's."""
    tls_self_signed: bool = False
    """Make, keep and renew a certificate for this machine's names and addresses."""
    preroll_ms: int = 80
    """Media held ready before playout starts, in milliseconds."""
    lost_peer_s: float = 5.0
    """Seconds without a packet after which a peer counts as gone."""
    grace_s: float = 30.0
    """Seconds in which a client that was lost may come back to its session."""
    ttl_s: float = 0.0
    """Seconds after which any session ends, with a warning half a minute before; 0: never."""
    drain_s: float = 8.0
    """Seconds that sessions are given to end when the server is told to stop (SIGTERM)."""

    def __post_init__(self) -> None:
        _require(0 <= self.port <= 65535, f"server.port is {self.port}; 0 to 65535")
        _require(
            not self.udp_ports or bool(self.udp_port_range),
            f"server.udp_ports is '{self.udp_ports}'; FIRST-LAST, within 1024 to 65535",
        )
        _require(self.sessions >= 0, f"server.sessions is {self.sessions}; 0 or more")
        _require(
            not (self.tls_self_signed and self.tls_cert),
            "server.tls_self_signed and server.tls_cert exclude each other; give one",
        )
        for name in ("rate_uploads", "rate_sessions", "rate_requests"):
            rate = getattr(self, name)
            _require(rate >= 0, f"server.{name} is {rate}; 0 or more")
        for name in ("lost_peer_s", "grace_s", "ttl_s", "drain_s"):
            seconds = getattr(self, name)
            _require(seconds >= 0, f"server.{name} is {seconds}; 0 or more")
        # More than the playout's largest delay would fail every session.
        _require(0 <= self.preroll_ms <= 360, f"server.preroll_ms is {self.preroll_ms}; 0 to 360")
        _require(self.upload_mb >= 1, f"server.upload_mb is {self.upload_mb}; at least 1")
        _require(self.avatars >= 1, f"server.avatars is {self.avatars}; at least 1")
        _require(self.avatars_mb >= 20, f"server.avatars_mb is {self.avatars_mb}; at least 20")
        _require(
            self.consent in ("auto", "required", "asked"),
            f"server.consent is '{self.consent}'; auto, required or asked",
        )
        _require(
            bool(self.tls_cert) == bool(self.tls_key),
            "server.tls_cert and server.tls_key go together; give both or neither",
        )

    @property
    def udp_port_range(self) -> range:
        """Ports of media; empty for any."""
        found = re.fullmatch("([0-9]{1,5})-([0-9]{1,5})", self.udp_ports)
        if found is None:
            return range(0)
        ports = range(int(found[1]), int(found[2]) + 1)
        return ports if ports.start >= 1024 and ports.stop <= 65536 else range(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """Everything."""

    audio: AudioConfig = field(default_factory=AudioConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    render: RenderConfig = field(default_factory=RenderConfig)
    provenance: ProvenanceConfig = field(default_factory=ProvenanceConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    server: ServerConfig = field(default_factory=ServerConfig)


def token() -> str:
    """The bearer token from the environment, or an empty string."""
    return os.environ.get(TOKEN_VARIABLE, "")


def load_config(path: Path | None = None, settings: Sequence[str] = ()) -> EngineConfig:
    """Defaults, then the TOML file, then ``section.key=value`` settings.

    Raises:
        ConfigError: unreadable file, unknown key (with the nearest known one), impossible value.
    """
    document: dict[str, Any] = {}
    if path is not None:
        try:
            document = tomllib.loads(path.read_text())
        except _UNREADABLE as error:
            raise ConfigError(f"cannot read {path}: {error}") from error
    for setting in settings:
        key, equals, text = setting.partition("=")
        _require(bool(equals), f"'{setting}' is not of the form section.key=value")
        *sections, name = key.strip().split(".")
        place = document
        for section in sections:
            place = place.setdefault(section, {})
            _require(isinstance(place, dict), f"'{section}' in '{setting}' is not a section")
        place[name] = _value(text)
    # Checked once, as a whole: some settings are only right together.
    return _merge(EngineConfig(), document, "")


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text  # a bare word: --set audio.vad=webrtc


def _merge(config: T, document: Mapping[str, Any], prefix: str) -> T:
    known = [f.name for f in fields(cast("Any", config))]
    changes: dict[str, Any] = {}
    for key, value in document.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, 0.0)
            raise ConfigError(f"unknown setting '{prefix}{key}'; did you mean '{prefix}{near[0]}'?")
        current = getattr(config, key)
        if is_dataclass(current):
            if not isinstance(value, Mapping):
                raise ConfigError(f"'{prefix}{key}' is a section; set one of its keys")
            changes[key] = _merge(current, value, f"{prefix}{key}.")
        else:
            changes[key] = _coerce(f"{prefix}{key}", current, value)
    return cast("T", replace(cast("Any", config), **changes))


def _coerce(name: str, current: Any, value: Any) -> Any:
    if isinstance(current, float) and type(value) in (int, float):
        _require(abs(value) <= sys.float_info.max, f"'{name}' is not a number one can count to")
        return float(value)
    if isinstance(current, tuple) and isinstance(value, list | str):
        values = (value,) if isinstance(value, str) else tuple(value)
        _require(all(isinstance(item, str) for item in values), f"'{name}' is a list of texts")
        return values
    if type(value) is not type(current):
        raise ConfigError(
            f"'{name}' is {value!r}, expected a value like {current!r} ({type(current).__name__})"
        )
    return value
