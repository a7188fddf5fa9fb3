"""The serve command: what stops it before it serves."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from engine.serve import main
from tests.conftest import ROOT


def test_it_does_not_open_to_the_network_without_a_token(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIVACE_TOKEN", raising=False)
    assert main(["--host", "::", "--port", "0"]) == 1
    assert "VIVACE_TOKEN" in capsys.readouterr().err


def test_a_taken_port_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: cannot listen on 127.0.0.1:{port}")
    assert error.count("\n") == 1


def test_a_bad_certificate_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pem, config = tmp_path / "own.pem", tmp_path / "vivace.toml"
    pem.write_text("no certificate")
    config.write_text(f'[server]\ntls_cert = "{pem}"\ntls_key = "{pem}"\n')
    assert main(["--port", "0", "--config", str(config)]) == 1
    assert f"cannot use the certificate {pem}" in capsys.readouterr().err


@pytest.mark.slow
def test_a_missing_portrait_ends_the_program() -> None:
    command = [sys.executable, "-m", "engine.serve", "--port", "0", "--portrait", "/none.jpg"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "error: there is no portrait at /none.jpg" in done.stderr
