"""HTTPS: the operator's certificate, or one made for this machine and kept.

Browsers give the microphone to ``https`` pages only (and to localhost). Within a home or an office
nobody signs certificates for ``192.168.…``, so the server can sign its own: connections are
encrypted, and the browser warns once because it cannot know who made the certificate. The printed
fingerprint is what to compare.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import logging
import socket
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path

import ifaddr
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from engine.config import ServerConfig
from engine.errors import ConfigError, StorageError
from engine.store import data_folder, make_private, write_private

log = logging.getLogger(__name__)

_DAYS = 365
"""Browsers refuse certificates of more than 398 days (CA/Browser Forum, ballot SC31)."""
_RENEW = datetime.timedelta(days=30)
_CERT, _KEY = "self-signed.pem", "self-signed.key"


@dataclass(frozen=True, slots=True)
class SelfSigned:
    """A certificate made here.

    Args:
        cert: PEM file.
        key: PEM file, readable by its owner only.
        fingerprint: SHA-256 of the certificate, as browsers show it.
        made: whether it is new.
    """

    cert: Path
    key: Path
    fingerprint: str
    made: bool


def tls_context(config: ServerConfig) -> ssl.SSLContext | None:
    """The server's TLS, or None for plain HTTP.

    Raises:
        ConfigError: the certificate or its key cannot be read, or not be made and kept.
    """
    cert, key = config.tls_cert, config.tls_key
    if config.tls_self_signed:
        own = self_signed(data_folder(config.data) / "tls", own_names(config.host))
        log.info(
            "certificate %s, SHA-256 %s. The browser will warn that it does not know who signed "
            "it: compare the fingerprint and go on.",
            own.cert,
            own.fingerprint,
        )
        cert, key = str(own.cert), str(own.key)
    if not cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except OSError as error:  # ssl.SSLError is one too
        reason = error.strerror or error
        raise ConfigError(f"cannot use the certificate {cert}: {reason}") from error
    return context


def own_names(host: str) -> list[str]:
    """What this machine is called by those who open its page: names and addresses, sorted.

    Args:
        host: what the server listens on; a certain address is a name of its own.
    """
    machine = socket.gethostname()
    names = {"localhost", "127.0.0.1", "::1", host, machine}
    if "." not in machine:
        names.add(f"{machine}.local")  # what multicast DNS calls it
    for adapter in ifaddr.get_adapters():
        for found in adapter.ips:
            if isinstance(found.ip, str):
                names.add(found.ip)
            elif not ipaddress.ip_address(found.ip[0]).is_link_local:  # those need a zone
                names.add(found.ip[0])
    return sorted(name for name in names if name and not _is_unspecified(name))


def self_signed(folder: Path, names: list[str], now: datetime.datetime | None = None) -> SelfSigned:
    """The certificate kept in a folder, made anew when it ends soon or names are missing in it.

    Args:
        folder: for certificate and key; created for its owner only.
        names: host names and addresses that it must hold.
        now: with time zone; the present without.

    Raises:
        ConfigError: it cannot be written.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    cert, key = folder / _CERT, folder / _KEY
    kept = _kept(cert, key)
    if kept is not None and _is_good(kept, names, now):
        return SelfSigned(cert, key, _fingerprint(kept), made=False)
    private = ec.generate_private_key(ec.SECP256R1())
    made = _sign(private, names, now)
    plain = serialization.NoEncryption()
    kind = serialization.PrivateFormat.PKCS8
    pem = serialization.Encoding.PEM
    try:
        make_private(folder)
        # The old pair goes first: a crash in between leaves none, which is made anew.
        cert.unlink(missing_ok=True)
        key.unlink(missing_ok=True)
        write_private(key, private.private_bytes(pem, kind, plain))
        write_private(cert, made.public_bytes(pem))
    except (OSError, StorageError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"cannot keep a certificate in {folder}: {why}") from error
    return SelfSigned(cert, key, _fingerprint(made), made=True)


def _kept(cert: Path, key: Path) -> x509.Certificate | None:
    """The certificate on disk if key and certificate are there and belong together."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        if sys.platform != "win32" and key.stat().st_mode & 0o077:
            return None  # somebody else could have read it
        found = x509.load_pem_x509_certificate(cert.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        if found.public_key() == private.public_key():
            return found
    return None


def _is_good(cert: x509.Certificate, names: list[str], now: datetime.datetime) -> bool:
    try:
        held = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    in_time = cert.not_valid_before_utc <= now < cert.not_valid_after_utc - _RENEW
    return in_time and set(map(_general, names)) <= set(held)


def _sign(
    private: ec.EllipticCurvePrivateKey, names: list[str], now: datetime.datetime
) -> x509.Certificate:
    """An end certificate that is its own issuer (RFC 5280), for servers only."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Vivace on this machine")])
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=False, crl_sign=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    identifier = x509.SubjectKeyIdentifier.from_public_key(private.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # clocks differ a little
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(server, critical=False)
        .add_extension(identifier, critical=False)
    )
    return builder.sign(private, hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode() if not name.isascii() else name)


def _is_unspecified(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return False


def _fingerprint(cert: x509.Certificate) -> str:
    return ":".join(f"{byte:02X}" for byte in cert.fingerprint(hashes.SHA256()))
