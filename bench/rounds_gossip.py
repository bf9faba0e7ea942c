"""Exchanges between peers, direct and through a hub, beside a plain HTTPS PUT of the same bytes.

As a program (``python -m bench.rounds_gossip KIT``) it is the server of the plain PUT: Python's own, with the
TLS settings of a courier's gateway, which reads a body and throws it away.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

from bench.rounds_processes import ROOT, START_S, ended, names, plan_of, settle, write_tensors
from fed_backend.flare.kit import load_kit
from fed_backend.flare.provisioning import provision
from fed_backend.gossip.peers import Listen, Peer, PeerList, save_peers
from fed_backend.gossip.tls import client_session, server_context
from fed_backend.plan import Plan

from running import read_json, until  # isort: skip
from running_peers import RunningPeers  # isort: skip

CHUNK = 2**20


class Peers(RunningPeers):
    """Two couriers that exchange, with sites that learn in no time; through a hub if ``relayed``."""

    program = ROOT / "bench" / "rounds_site.py"

    def __init__(self, folder: Path, plan: Plan, relayed: bool) -> None:
        folder.mkdir(parents=True)
        self.folder, self.sites, self.plan, self.relayed = folder, names(2), plan, relayed
        self.kits = provision(plan, self.sites, folder / "federation")
        self.processes, self.urls, self.ports = {}, {}, {}
        write_tensors(plan, folder / "tensors")
        for site in self.sites:
            settle(self, site)
            other = next(name for name in self.sites if name != site)
            listen = None if relayed else Listen(host="127.0.0.1", port=0)
            listed = (Peer(name=other),) if relayed else ()
            save_peers(self.kit(site), PeerList(listen=listen, relay=relayed, peers=listed))

    def start(self, name: str, *command: str) -> Any:
        return super(RunningPeers, self).start(name, *command)

    def start_all(self) -> None:
        if not self.relayed:
            super().start_all()
            return
        for site in self.sites:
            self.start_peer(site)
            self.start_courier(site)
        self.start_hub()
        for site in self.sites:
            until(f"{site} is ready", lambda site=site: read_json(self.ready_file(site)), START_S)
        one, other = self.sites
        until("they see each other", lambda: self.sees(one) == {other}, START_S)

    def site(self, site: str) -> dict[str, Any]:
        return dict(self.call(site, "/bench/state"))

    def exchanges(self, count: int) -> tuple[list[float], list[float]]:
        """Milliseconds of each exchange, and of its transfer: from "sending" to the state that is told next."""
        run = uuid.uuid4().hex
        verdict = self.call(self.sites[0], "/federation/rounds", {"id": run, "action": "start", "rounds": count})
        assert verdict["accepted"], verdict
        status = ended(self, self.sites[0], run, 300)
        stages = self.site(self.sites[0])["stages"][run]
        pairs = itertools.pairwise(stages)
        sent = [1e3 * (after - at) for (at, stage), (after, _) in pairs if stage == "sending"]
        return [1e3 * entry["seconds"] for entry in status["history"]], sent


class _Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Silent."""

    def do_PUT(self) -> None:
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, CHUNK)))
        self.send_response(204)
        self.end_headers()


def serve(folder: Path) -> None:
    """Serve on a free port, which is printed."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    server.socket = server_context(load_kit(folder, "site")).wrap_socket(server.socket, server_side=True)
    print(server.server_port, flush=True)
    server.serve_forever()


def plain_puts(sender: Path, receiver: Path, body: bytes, count: int) -> list[float]:
    """Milliseconds of each PUT of ``body``, over a connection of its own like an exchange."""
    command = [sys.executable, "-m", "bench.rounds_gossip", str(receiver)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        url, kit = f"https://127.0.0.1:{int(server.stdout.readline())}/", load_kit(sender, "site")
        spent = []
        for _ in range(count):
            began = time.perf_counter()
            with client_session(kit, receiver.name) as session:
                assert session.put(url, data=body, timeout=60).status_code == 204
            spent.append(1e3 * (time.perf_counter() - began))
        return spent
    finally:
        server.kill()
        server.wait()


def exchange_cell(folder: Path, megabytes: float, relayed: bool, count: int) -> dict[str, float]:
    """Median milliseconds of an exchange and of a plain PUT, before and after each other."""
    method = {"name": "gcml", "settings": {"share": 1.0, "deadline_s": 120}}
    plan = plan_of(megabytes, 2, method=method, quorum=1, starters=[])
    peers = Peers(folder, plan, relayed)
    kits = [peers.kits / "sites" / site for site in peers.sites]
    body = (folder / "tensors").read_bytes()
    try:
        peers.start_all()
        peers.exchanges(1)
        puts = plain_puts(*kits, body, count)
        spent, sent = peers.exchanges(count)
        puts += plain_puts(*kits, body, count)
    finally:
        peers.stop_all()
    return {"exchange_ms": median(spent), "transfer_ms": median(sent), "plain_put_ms": median(puts)}


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
