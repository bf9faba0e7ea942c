"""Both ends of a line between peers in one process: real certificates, a real gateway, and a line that can be cut."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from builders import header, plan, tensors

from fed_backend.flare.kit import Kit, load_kit
from fed_backend.flare.provisioning import build
from fed_backend.gossip.client import PeerClient
from fed_backend.gossip.gateway import Host
from fed_backend.gossip.inbox import Inbox
from fed_backend.gossip.peers import Peer
from fed_backend.gossip.protocol import SHA256, common_headers
from fed_backend.gossip.server import Gateway
from fed_backend.gossip.tls import server_context
from fed_backend.payload import check, encode
from fed_backend.plan import Plan

PLAN = plan(method={"name": "gcml"}, max_payload_bytes=200_000, adapter={"w": [40, 50], "v": [3]})


def make_kits(folder: Path, *names: str, of: Plan = PLAN) -> dict[str, Kit]:
    """Kits of a federation with an authority of its own."""
    folder.mkdir()
    ready = build(of, names, "localhost", 1, folder)
    return {name: load_kit(ready / "sites" / name, "site") for name in names}


def visit_of(site: str, number: int, *, seed: int = 0, of: Plan = PLAN, **changes: Any) -> bytes:
    """A payload that visits."""
    sent = header(of, site=site, federation_round="gossip", round=number, **changes)
    return encode(sent, tensors(seed, of))


class Receiver:
    """The gateway of one site; visits are checked as a site does, and noted.

    Args:
        kit: of the site.
        folder: for the inbox.
        listed: its peers.
        most: visits at once.
    """

    def __init__(self, kit: Kit, folder: Path, listed: set[str], most: int = 3) -> None:
        self.kit, self.listed, self.folder = kit, listed, folder
        self.delivered: list[tuple[str, str]] = []
        self.at_work, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.inbox = Inbox(folder, self._deliver, most)
        self.gateway = Gateway(
            kit, ("127.0.0.1", 0), Host(kit.name, kit.plan, self.inbox, lambda n: n in self.listed, examples=lambda: 7)
        )
        self.inbox.start()
        self.gateway.start()

    def _deliver(self, sender: str, file: Path) -> Mapping[str, Any]:
        self.at_work.set()
        self.go_on.wait(20)
        data = file.read_bytes()
        check(data, self.kit.plan, kind="update", site=sender, federation_round="gossip")
        self.delivered.append((sender, hashlib.sha256(data).hexdigest()))
        return {"chosen": "mean", "promoted": True, "visit": len(self.delivered)}

    @property
    def left(self) -> list[str]:
        """Files that lie in the inbox."""
        return [file.name for file in self.folder.iterdir()]

    def stop(self) -> None:
        self.go_on.set()
        self.gateway.stop()
        self.inbox.stop()

    @contextlib.contextmanager
    def client(self, kit: Kit, *, name: str = "", port: int = 0) -> Iterator[PeerClient]:
        """A client with the certificate of ``kit`` that calls this receiver, or says it calls ``name``."""
        client = PeerClient(kit, Peer(name=name or self.kit.name, host="127.0.0.1", port=port or self.gateway.port))
        try:
            yield client
        finally:
            client.close()

    def raw(self, certificate: Kit | None, root: Kit | None = None) -> ssl.SSLSocket:
        """A bare TLS connection with some certificate, or none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=str((root or self.kit).folder / "startup" / "rootCA.pem"))
        if certificate is not None:
            startup = certificate.folder / "startup"
            context.load_cert_chain(startup / "client.crt", startup / "client.key")
        plain = socket.create_connection(("127.0.0.1", self.gateway.port), timeout=10)
        return context.wrap_socket(plain, server_hostname=self.kit.name)


def put(number: int, data: bytes, of: Plan = PLAN, **headers: str) -> bytes:
    """The bytes of a whole ``PUT /visits/{number}``."""
    said = {
        "Host": "peer",
        "Content-Length": str(len(data)),
        SHA256: hashlib.sha256(data).hexdigest(),
        **common_headers(of.sha256),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in said.items() if value)
    return f"PUT /visits/{number} HTTP/1.1\r\n{lines}\r\n".encode() + data


def answer(secured: ssl.SSLSocket) -> tuple[int, dict[str, Any]]:
    """Status and JSON of a reply."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += secured.recv(65536) or b"HTTP/1.1 000\r\n\r\n"
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    while lengths and len(body) < int(lengths[0]):
        body += secured.recv(65536)
    return int(head.split()[1]), json.loads(body) if body.startswith(b"{") else {}


class SlowPeer:
    """A peer that never stands still, and never comes to an end.

    Args:
        kit: whose certificate it shows.
        slow: what it does a little of at a time: it takes a request, or answers it in head or body.
    """

    def __init__(self, kit: Kit, slow: Literal["takes", "head", "body"]) -> None:
        self.name, self._slow = kit.name, slow
        self._context = server_context(kit)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._server.accept()[0],), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as line:
            line.recv(16384)
            if self._slow == "body":
                lines = [f"{name}: {value}" for name, value in common_headers(PLAN.sha256).items()]
                line.sendall("\r\n".join(["HTTP/1.1 200 OK", "Content-Length: 100000", *lines, "", ""]).encode())
            elif self._slow == "head":
                line.sendall(b"HTTP/1.1 200 OK\r\nSlow: ")
            while True:
                time.sleep(0.005)
                if self._slow == "takes":
                    line.recv(16384)
                else:
                    line.sendall(b"x")


class CutLine:
    """A TCP line to a port that breaks after so many bytes from the caller, once for each number given.

    Args:
        port: where it leads.
        cuts: bytes after which the first, second, ... connection breaks; later ones do not.
    """

    def __init__(self, port: int, cuts: list[int]) -> None:
        self._to, self._cuts = port, list(cuts)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                self.connections += 1
                limit = self._cuts.pop(0) if self._cuts else 1 << 60
                far = socket.create_connection(("127.0.0.1", self._to))
                threading.Thread(target=self._copy, args=(near, far, limit), daemon=True).start()
                threading.Thread(target=self._copy, args=(far, near, 1 << 60), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket, limit: int) -> None:
        with contextlib.suppress(OSError):
            while limit > 0 and (data := source.recv(min(limit, 65536))):
                target.sendall(data)
                limit -= len(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def holding(kit: Kit, other: Plan) -> Kit:
    """The kit of a site that holds another plan."""
    return replace(kit, plan=other)
