"""Configuration: defaults, TOML, --set, and sentences for what is wrong."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from engine.config import EngineConfig, load_config
from engine.errors import ConfigError


def test_defaults_are_the_talk_profile() -> None:
    config = EngineConfig()
    assert (config.motion.hop, config.motion.lookahead) == (2, 2)
    assert config.motion.delay <= Fraction(200, 1000)


def test_settings_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "vivace.toml"
    path.write_text('[motion]\nsteps = 4\nhop = 5\nlookahead = 3\n[audio]\nvad = "webrtc"\n')
    config = load_config(path, ["motion.steps=1", "server.port=0", "server.host=::1"])
    assert config.motion.steps == 1
    assert config.motion.hop == 5
    assert config.audio.vad == "webrtc"
    assert (config.server.host, config.server.port) == ("::1", 0)


def test_numbers_and_lists_are_coerced() -> None:
    config = load_config(None, ["motion.guidance=2", "server.origins=https://a.example"])
    assert config.motion.guidance == 2.0
    assert config.server.origins == ("https://a.example",)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("motion.step=2", r"unknown setting 'motion\.step'; did you mean 'motion\.steps'"),
        ("moton.steps=2", "did you mean 'motion'"),
        ("motion.steps=3", r"motion\.steps is 3; 1, 2 or 4"),
        ("motion.hop=8", "at most 8 with the hop"),
        ("motion=2", "'motion' is a section"),
        ("motion.steps.deep=2", "expected a value like 2"),
        ("motion.steps=two", "'motion.steps' is 'two', expected a value like 2"),
        ("steps", "not of the form section.key=value"),
        ("audio.vad=loud", "silero or webrtc"),
        ("runtime.backend=cuda", "one of auto, tensorrt, rtx, torch, openvino, onnxruntime"),
        ("server.tls_cert=a.pem", "go together"),
        ("server.port=70000", "0 to 65535"),
        ("server.grace_s=nan", "not a number"),
        ("server.grace_s=-1", "0 or more"),
        ("server.preroll_ms=5000", "0 to 360"),
        ("server.origins=[1]", "list of texts"),
    ],
)
def test_mistakes_are_said_in_words(setting: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(None, [setting])


def test_settings_are_checked_together() -> None:
    config = load_config(None, ["server.tls_cert=a.pem", "server.tls_key=b.pem"])
    assert config.server.tls_key == "b.pem"
    config = load_config(None, ["motion.hop=5", "motion.lookahead=3"])
    assert config.motion.delay == Fraction(8, 25)


def test_an_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[motion\n")
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(broken)
