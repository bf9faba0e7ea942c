"""The check of mutual TLS must not be satisfied by a server that lets anybody in."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from builders import plan

from fed_backend.errors import FederationError
from fed_backend.flare.provisioning import provision
from fed_backend.flare.tls_check import mutual_tls_refused


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return provision(plan(), ["north"], tmp_path_factory.mktemp("kits") / "federation")


@contextmanager
def grpc_server(startup: Path, *, ask_for_certificate: bool) -> Iterator[int]:
    """A gRPC server with the hub's certificate, as FLARE's is."""
    pair = ((startup / "server.key").read_bytes(), (startup / "server.crt").read_bytes())
    root = (startup / "rootCA.pem").read_bytes()
    credentials = grpc.ssl_server_credentials([pair], root, require_client_auth=ask_for_certificate)
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


def probe(kits: Path, port: int, member: str = "sites/north") -> bool:
    startup = kits / member / "startup"
    return mutual_tls_refused("localhost", port, startup / "rootCA.pem", startup / "client.crt", startup / "client.key")


def test_a_server_that_wants_certificates_passes(kits: Path) -> None:
    with grpc_server(kits / "hub/startup", ask_for_certificate=True) as port:
        assert probe(kits, port) is True


def test_a_server_that_lets_anybody_in_does_not(kits: Path) -> None:
    with grpc_server(kits / "hub/startup", ask_for_certificate=False) as port:
        assert probe(kits, port) is False


def test_a_server_that_only_asks_politely_does_not(kits: Path) -> None:
    """It refuses foreign certificates, but serves whoever shows none."""
    startup = kits / "hub/startup"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(startup / "server.crt", startup / "server.key")
    context.load_verify_locations(startup / "rootCA.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_greet, args=(listener, context), daemon=True).start()
        assert probe(kits, listener.getsockname()[1]) is False


def _greet(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Answer every client that gets through TLS with an empty SETTINGS frame."""
    while True:
        try:
            connection, _ = listener.accept()
            with connection, context.wrap_socket(connection, server_side=True) as secured:
                secured.recv(100)
                secured.sendall(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        except ssl.SSLError:
            continue
        except OSError:
            return


def test_nothing_that_does_not_serve_the_member_passes(kits: Path, tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(FederationError, match="cannot be reached"):
            probe(kits, silent.getsockname()[1])
    other = provision(plan(), ["north"], tmp_path / "other")
    with (
        grpc_server(other / "hub/startup", ask_for_certificate=True) as port,
        pytest.raises(FederationError, match="not the hub of this federation"),
    ):
        probe(kits, port)
