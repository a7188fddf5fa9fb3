"""Certificates made for this machine: a client that trusts one gets in, others do not."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
import stat
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from engine.config import ServerConfig, load_config
from engine.errors import ConfigError
from engine.transport.tls import own_names, self_signed, tls_context

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
NAMES = ["127.0.0.1", "::1", "192.0.2.7", "localhost", "studio"]


def _sans(path: Path) -> set[str]:
    cert = x509.load_pem_x509_certificate(path.read_bytes())
    held = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(ip) for ip in held.get_values_for_type(x509.IPAddress)}
    return addresses | set(held.get_values_for_type(x509.DNSName))


def test_names_of_this_machine() -> None:
    names = own_names("::")
    assert {"localhost", "127.0.0.1", "::1", socket.gethostname()} <= set(names)
    assert "::" not in names
    assert "studio.example" in own_names("studio.example")


def test_it_holds_the_names_and_is_kept(tmp_path: Path) -> None:
    first = self_signed(tmp_path / "tls", NAMES, NOW)
    assert first.made
    assert _sans(first.cert) == set(NAMES)
    again = self_signed(tmp_path / "tls", NAMES[:3], NOW + datetime.timedelta(days=300))
    assert not again.made
    assert again.fingerprint == first.fingerprint
    assert len(first.fingerprint.split(":")) == 32
    cert = x509.load_pem_x509_certificate(first.cert.read_bytes())
    assert (cert.not_valid_after_utc - cert.not_valid_before_utc).days < 398


def test_the_key_is_for_its_owner_only(tmp_path: Path) -> None:
    made = self_signed(tmp_path / "tls", NAMES, NOW)
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    made.key.chmod(0o644)  # others may have read it meanwhile
    assert self_signed(tmp_path / "tls", NAMES, NOW).made
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600


@pytest.mark.parametrize("change", ["time", "early", "address", "key", "damaged", "no key"])
def test_it_is_renewed_when_it_no_longer_fits(tmp_path: Path, change: str) -> None:
    first = self_signed(tmp_path, NAMES, NOW)
    names, now = NAMES, NOW
    if change == "time":
        now += datetime.timedelta(days=340)
    elif change == "early":
        now -= datetime.timedelta(days=2)  # made while the clock was wrong
    elif change == "address":
        names = [*NAMES, "192.0.2.8"]
    elif change == "key":
        first.key.write_bytes(self_signed(tmp_path / "other", NAMES, NOW).key.read_bytes())
    elif change == "damaged":
        first.cert.write_bytes(first.cert.read_bytes()[:200])
    else:
        first.key.unlink()
    second = self_signed(tmp_path, names, now)
    assert second.made
    assert second.fingerprint != first.fingerprint
    assert _sans(second.cert) == set(names)


def test_where_it_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot keep a certificate"):
        self_signed(tmp_path / "file" / "tls", NAMES, NOW)


async def _hello(_request: web.Request) -> web.StreamResponse:
    return web.Response(text="hello")


def test_a_real_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = ServerConfig(tls_self_signed=True, data=str(tmp_path), port=0)
    with caplog.at_level("INFO"):
        context = tls_context(config)
    assert context is not None
    cert = tmp_path / "tls" / "self-signed.pem"
    der = ssl.PEM_cert_to_DER_cert(cert.read_text())
    fingerprint = x509.load_der_x509_certificate(der).fingerprint(hashes.SHA256()).hex(":").upper()
    assert fingerprint in caplog.text

    async def scenario() -> None:
        app = web.Application()
        app.router.add_get("/", _hello)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port = runner.addresses[0][1]
        trusting = ssl.create_default_context(cafile=str(cert))
        async with aiohttp.ClientSession() as http:
            for name in ("127.0.0.1", "localhost"):
                async with http.get(f"https://{name}:{port}/", ssl=trusting) as response:
                    assert await response.text() == "hello"
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await http.get(f"https://127.0.0.1:{port}/")
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await http.get(
                    f"https://127.0.0.1:{port}/", ssl=trusting, server_hostname="evil.example"
                )
        await runner.cleanup()

    asyncio.run(scenario())


def test_the_operators_own_certificate(tmp_path: Path) -> None:
    made = self_signed(tmp_path, NAMES, NOW)
    assert tls_context(ServerConfig()) is None
    assert tls_context(ServerConfig(tls_cert=str(made.cert), tls_key=str(made.key))) is not None
    with pytest.raises(ConfigError, match="cannot use the certificate"):
        tls_context(ServerConfig(tls_cert=str(made.key), tls_key=str(made.key)))


def test_one_certificate_or_the_other() -> None:
    settings = ["server.tls_self_signed=true", "server.tls_cert=a.pem", "server.tls_key=b.pem"]
    with pytest.raises(ConfigError, match="exclude each other"):
        load_config(None, settings)


def test_addresses_are_addresses(tmp_path: Path) -> None:
    made = self_signed(tmp_path, ["2001:db8::1"], NOW)
    cert = x509.load_pem_x509_certificate(made.cert.read_bytes())
    held = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(held) == [x509.IPAddress(ipaddress.ip_address("2001:db8::1"))]
