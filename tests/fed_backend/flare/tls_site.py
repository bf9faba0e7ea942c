"""A site server that speaks HTTPS, and the certificates it may show."""

from __future__ import annotations

import ipaddress
import ssl
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from running import RunningFederation
from site_peer import Handler, Peer


class Issuer:
    """A hospital's authority.

    Args:
        folder: for what it writes; its own certificate is ``authority.pem``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = _name("the hospital's authority")
        own = x509.BasicConstraints(ca=True, path_length=None)
        self.file = self._write("authority", self._name, self._key.public_key(), own, 30)

    def issue(self, name: str, host: str = "127.0.0.1", days: int = 30) -> Path:
        """A server's certificate; its key is beside it."""
        key = ec.generate_private_key(ec.SECP256R1())
        hosts = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        certificate = self._write(name, _name("site"), key.public_key(), hosts, days)
        coding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        certificate.with_suffix(".key").write_bytes(key.private_bytes(*coding))
        return certificate

    def _write(
        self, name: str, subject: x509.Name, key: ec.EllipticCurvePublicKey, says: x509.ExtensionType, days: int
    ) -> Path:
        now, file = datetime.now(UTC), self.folder / f"{name}.pem"
        builder = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=60)).not_valid_after(now + timedelta(days=days))
        signed = builder.add_extension(says, critical=False).sign(self._key, hashes.SHA256())
        file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return file


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def serve(peer: Peer, certificate: Path | None, handler: type[Handler] = Handler) -> ThreadingHTTPServer:
    """Serve a site in a thread, over HTTPS if it has a certificate."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.peer = peer  # type: ignore[attr-defined]
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


class OverTls(RunningFederation):
    """Site servers speak HTTPS, in this process; couriers are told whom to trust."""

    kind: type[Peer] = Peer
    handler: type[Handler] = Handler

    def start_peer(self, site: str) -> None:
        issuer = Issuer(self.folder)
        server = serve(self.kind(self.peer(site)), issuer.issue("site"), self.handler)
        self.urls[site] = f"https://127.0.0.1:{server.server_port}"

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        trusted = ("--site-ca", str(self.folder / "authority.pem")) if name.startswith("courier") else ()
        return super().start(name, *command, *trusted)
