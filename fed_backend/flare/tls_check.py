"""A look from outside: does the hub really refuse whoever has no certificate of the federation?

Three connections are tried: with a member's certificate, with none, and with a certificate that
nobody of the federation signed. The answer is yes only if the first is served and the others are
not. A server that is served by nothing, or unreachable, raises an error instead of looking safe.
"""

from __future__ import annotations

import datetime
import socket
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fed_backend.errors import FederationError
from fed_backend.flare.kit import load_kit

__all__ = ["mutual_tls_refused", "mutual_tls_required", "serves"]

_TIMEOUT_S = 5.0
# What every HTTP/2 client says first (RFC 9113, section 3.4), then an empty SETTINGS frame.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_SETTINGS_TYPE = 4


def mutual_tls_required(kit: Path) -> bool:
    """Whether the hub of a site's kit serves that site, and nobody without a certificate.

    Args:
        kit: a site's kit; its certificate is the one that must be served.

    Raises:
        ProvisionError: this is no site's kit.
        FederationError: the hub cannot be reached, or does not serve the site either.
    """
    loaded = load_kit(kit, "site")
    startup = loaded.folder / "startup"
    return mutual_tls_refused(
        loaded.host, loaded.port, startup / "rootCA.pem", startup / "client.crt", startup / "client.key"
    )


def mutual_tls_refused(host: str, port: int, root: Path, certificate: Path, key: Path) -> bool:
    """Whether a hub refuses connections without a certificate of its federation.

    Args:
        host: name in the hub's certificate.
        port: its TCP port.
        root: the federation's root certificate.
        certificate: a member's certificate.
        key: its private key.

    Returns:
        ``True`` if a connection with the member's certificate is served, and neither one without a
        certificate nor one with a foreign certificate is.

    Raises:
        FederationError: the hub cannot be reached, or does not serve the member either.
    """
    if not serves(host, port, root, certificate, key):
        raise FederationError(
            f"{host}:{port} does not serve a member's certificate", "check that a hub of this federation runs there"
        )
    if _served(host, port, _context(root)):
        return False
    with tempfile.TemporaryDirectory() as folder:
        foreign = _foreign_certificate(Path(folder))
        return not _served(host, port, _context(root, *foreign))


def serves(host: str, port: int, root: Path, certificate: Path, key: Path) -> bool:
    """Whether a hub accepts a member's certificate.

    Raises:
        FederationError: the hub cannot be reached, or another server answers there.
    """
    return _served(host, port, _context(root, certificate, key))


def _context(root: Path, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(root))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def _served(host: str, port: int, context: ssl.SSLContext) -> bool:
    """Whether the server answers as HTTP/2; in TLS 1.3 a refusal shows only on the first read."""
    try:
        plain = socket.create_connection((host, port), timeout=_TIMEOUT_S)
    except OSError as error:
        raise FederationError(f"{host}:{port} cannot be reached: {error.strerror or error}", "start the hub") from None
    with plain:
        try:
            with context.wrap_socket(plain, server_hostname=host) as secured:
                secured.sendall(_HELLO)
                answer = secured.recv(9)
        except ssl.SSLCertVerificationError:
            raise FederationError(f"{host}:{port} is not the hub of this federation", "check host and port") from None
        except TimeoutError:
            raise FederationError(f"{host}:{port} does not answer", "the hub may be overloaded: try again") from None
        except OSError:  # an alert or a reset: refused
            return False
    return len(answer) >= 4 and answer[3] == _SETTINGS_TYPE


def _foreign_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that signed itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stranger")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    crt_file, key_file = folder / "stranger.crt", folder / "stranger.key"
    crt_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return crt_file, key_file
