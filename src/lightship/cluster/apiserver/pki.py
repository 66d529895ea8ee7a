"""Our own certificate authority and the server's certificate, for loopback.

``app`` asks me for the files at start. ``cryptography`` is imported only when some are missing or about to expire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from lightship import errors
from lightship.lib import private
from lightship.lib.clock import Clock

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
         "kubernetes.default.svc.cluster.local")
ADDRESSES = ("127.0.0.1", "::1", "10.96.0.1")
"""Loopback, and where Pods with a network of their own find the API server."""
VALID_DAYS = 3650


@dataclass(frozen=True, kw_only=True)
class Pki:
    """Where the files lie; ``ca_pem`` is what goes into a kubeconfig."""

    ca_certificate: Path
    server_certificate: Path
    server_key: Path
    service_account_key: bytes
    """Signs what only we check."""
    service_account_signing: Path
    """Holds the key that signs the tokens of ServiceAccounts; made when the first is issued."""

    @property
    def ca_pem(self) -> str:
        return self.ca_certificate.read_text(encoding="ascii")


def ensure(directory: Path, clock: Clock, extra_names: Sequence[str] = ()) -> Pki:
    """The files under ``directory``, made where missing. Keys have mode 0600. Raises ``errors.StateError``."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        ca, ca_key = directory / "ca.crt", directory / "ca.key"
        server, server_key = directory / "server.crt", directory / "server.key"
        names = [*NAMES, *extra_names]
        if not all(path.exists() for path in (ca, ca_key)):
            _make_authority(directory, clock.now())
        if not all(path.exists() for path in (server, server_key)) or _made_for(directory) != _names_text(names):
            _make_server(directory, names)
        return Pki(ca_certificate=ca, server_certificate=server, server_key=server_key,
                   service_account_signing=directory / "sa-signing.key",
                   service_account_key=private.secret(directory / "sa.key").encode())
    except OSError as e:
        raise errors.StateError(f"could not prepare certificates in {directory}: {e}",
                                remedy="Check that you may write there") from e


def _names_text(names: Sequence[str]) -> str:
    return "\n".join((*names, *ADDRESSES))


def _made_for(directory: Path) -> str:
    """The names that the server's certificate was made for; empty where an earlier version made it."""
    path = directory / "server.names"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


def _make_authority(directory: Path, now: datetime) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private.write(directory / "ca.key", _pem(key))
    private.write(directory / "ca.crt", _ca_certificate(key, now).public_bytes(serialization.Encoding.PEM))
    (directory / "server.names").unlink(missing_ok=True)  # what it had signed is worth nothing now


def _make_server(directory: Path, names: Sequence[str]) -> None:
    """A certificate for the server of the authority that is there, which clients trust already."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    ca = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
    ca_key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), password=None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _server_certificate(key, ca, ca_key, names)
    (directory / "server.names").unlink(missing_ok=True)
    private.write(directory / "server.key", _pem(key))
    private.write(directory / "server.crt", certificate.public_bytes(serialization.Encoding.PEM))
    private.write(directory / "server.names", _names_text(names).encode())


def _ca_certificate(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lightship-ca")])
    usage = x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
                          key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
                          decipher_only=False)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=VALID_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True).add_extension(identifier, critical=False)
            .sign(key, hashes.SHA256()))


def _server_certificate(key: ec.EllipticCurvePrivateKey, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey,
                        names: Sequence[str]) -> x509.Certificate:
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    alternatives = x509.SubjectAlternativeName([*(x509.DNSName(name) for name in names),
                                                *(x509.IPAddress(ip_address(address)) for address in ADDRESSES)])
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return (x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lightship")])).issuer_name(ca.subject)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(ca.not_valid_before_utc).not_valid_after(ca.not_valid_after_utc)
            .add_extension(alternatives, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(authority, critical=False)
            .sign(ca_key, hashes.SHA256()))
