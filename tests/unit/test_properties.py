"""Whatever strangers write: an answer, a sentence or a setting comes of it, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.config import EngineConfig, load_config
from engine.errors import ConfigError
from engine.playout import Playout
from engine.transport.control import Control
from engine.transport.live import MODES, Settings, read_changes
from engine.transport.sessions import read_settings

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(MODES)
)
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
KINDS = st.sampled_from(["ping", "subscribe", "interrupt", "configure", "dance"]) | JSON
FIELDS = st.sampled_from(
    ["t", "motion", "emotion", "style", "barge_in", "avatar", "mode", "session", "resume"]
)
BODIES = st.dictionaries(FIELDS | st.text(max_size=5), JSON, max_size=5)
MESSAGES = st.builds(lambda body, kind: {**body, "type": kind}, BODIES, KINDS)


class Channel:
    """Stands for a data channel: what is sent must be JSON as browsers read it."""

    readyState = "open"
    bufferedAmount = 0

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.receive: Callable[[str | bytes], None] = lambda _: None

    def on(self, kind: str, listener: Any) -> None:
        if kind == "message":
            self.receive = listener

    def send(self, text: str) -> None:
        self.sent.append(json.loads(text, parse_constant=pytest.fail))
        text.encode()


def answers(message: str | bytes) -> tuple[list[str], list[str]]:
    """Kinds of what was answered, and of what reached the session."""
    obeyed: list[str] = []

    def command(content: Mapping[str, Any]) -> bool:
        known = content["type"] in ("interrupt", "configure")
        if known:
            obeyed.append(content["type"])
        return known

    channel = Channel()
    control = Control(command)
    control.attach(channel)  # type: ignore[arg-type]
    channel.receive(message)
    assert control.heard == 1
    return [answer["type"] for answer in channel.sent], obeyed


@given(MESSAGES)
@example({"type": ["interrupt"]})
@example({"type": {"a": 1}})
@example({"type": "ping", "t": "\ud800"})
def test_every_message_is_answered_or_obeyed_once(message: dict[str, Any]) -> None:
    sent, obeyed = answers(json.dumps(message))
    kind = message["type"]
    if "error" in sent:
        # Not understood: an unknown kind, or what is no JSON (NaN), or too long.
        assert (sent, obeyed) == (["error"], [])
    elif kind == "ping":
        assert (sent, obeyed) == (["pong"], [])
    elif kind == "subscribe":
        assert (sent, obeyed) == ([], [])
    else:
        assert (sent, obeyed) == ([], [kind])


@given(JSON)
def test_json_that_is_no_message_is_refused(content: Any) -> None:
    if isinstance(content, dict):
        content = {key: value for key, value in content.items() if key != "type"}
    assert answers(json.dumps(content)) == (["error"], [])


@given(st.binary(max_size=200) | st.text(max_size=200))
@example(b"\xff\xfe{\x00}\x00")
@example("[" * 4000)
@example("9" * 4096)
@example('{"type": "ping", "t": ' + "9" * 4000 + "}")
def test_any_bytes_are_refused_or_answered(message: str | bytes) -> None:
    sent, obeyed = answers(message)
    assert len(sent) + len(obeyed) <= 1
    try:
        content = json.loads(message)
        kind = content["type"]
    except (ValueError, LookupError, TypeError, RecursionError):
        assert (sent, obeyed) == (["error"], [])
    else:
        assert sent or obeyed or kind == "subscribe"


@given(BODIES)
@example({"mode": []})
@example({"mode": {}, "avatar": ""})
def test_a_sessions_settings_are_read_or_refused_in_words(body: dict[str, Any]) -> None:
    try:
        settings = read_settings(body)
    except ConfigError as error:
        assert str(error)
        return
    assert isinstance(settings, Settings)
    assert settings.mode in MODES
    assert settings.mode == (body.get("mode") or MODES[0])
    assert settings.avatar == (body.get("avatar") or None)


@given(BODIES)
def test_changes_have_the_types_they_are_documented_with(body: dict[str, Any]) -> None:
    wanted = {"emotion": str, "style": str, "barge_in": bool}
    wrong = [
        name
        for name in wanted
        if body.get(name) is not None and type(body[name]) is not wanted[name]
    ]
    try:
        changes = read_changes(body)
    except ConfigError as error:
        assert any(f"'{name}'" in str(error) for name in wrong)
        return
    assert not wrong
    assert changes == {name: body[name] for name in wanted if body.get(name) is not None}


KEYS = st.sampled_from(
    [f"{section}.{name}"
     for section in EngineConfig.__dataclass_fields__
     for name in getattr(EngineConfig(), section).__dataclass_fields__]
)  # fmt: skip
VALUES = st.one_of(
    st.text(max_size=20),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["true", "false", "[]", '["a"]', "[1]", "{a=1}", "1e999", "nan", "1979-05-27"]),
)
SETTINGS = st.builds("{}={}".format, KEYS, VALUES) | st.text(max_size=30)


def load(path: Path | None, settings: list[str]) -> None:
    """A configuration with every value of its documented type, or a sentence."""
    try:
        config = load_config(path, settings)
    except ConfigError as error:
        assert str(error)
        return
    default = EngineConfig()
    for section in EngineConfig.__dataclass_fields__:
        for name in getattr(default, section).__dataclass_fields__:
            value = getattr(getattr(config, section), name)
            assert type(value) is type(getattr(getattr(default, section), name))
            assert not isinstance(value, tuple) or all(isinstance(item, str) for item in value)
            assert not isinstance(value, float) or isfinite(value), f"{section}.{name}"
    assert isinstance(config.server.udp_port_range, range)
    assert config.motion.delay > 0
    Playout(preroll=max(1, round(config.server.preroll_ms / 40)))  # as the engine makes them


@given(st.lists(SETTINGS, max_size=4))
@example(["server.grace_s=" + "9" * 400])
@example(["server.port=" + "9" * 5000])
@example(["server.udp_ports='" + "9" * 5000 + "-" + "9" * 5000 + "'"])
@example(["server.grace_s=nan"])
@example(["server.origins=[1]"])
@example(["motion.hop=" + "[" * 5000])
@example(["motion..hop=1"])
@example(["=1"])
def test_any_setting_is_taken_or_refused_in_words(settings: list[str]) -> None:
    load(None, settings)


@given(
    st.binary(max_size=100)
    | st.lists(st.builds("{} = {}".format, KEYS, VALUES), max_size=4)
    .map("\n".join)
    .map(lambda text: text.encode("utf-8", "surrogatepass"))
)
@example(b"a = " + b"[" * 5000)
@example(b"a = " + b"9" * 5000)
@example(b"\xef\xbb\xbf[motion]\nhop = 2")
@example(b"[server]\r\ngrace_s = " + b"9" * 400)
def test_any_file_is_taken_or_refused_in_words(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "vivace.toml"
        path.write_bytes(content)
        load(path, [])


def test_a_path_that_cannot_be_one() -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(Path("a\0b"))
