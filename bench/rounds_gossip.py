"""Exchanges between peers, direct and through a hub, beside a plain HTTPS PUT of the same bytes.

As a program (``python -m bench.rounds_gossip KIT FILE``) it is the server of the plain PUT: uvicorn as it is, with the
TLS settings and socket of a courier's gateway, and a dozen lines that write a body to ``FILE``; ``PUT /durable`` also
with fsync.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import uvicorn

from bench.rounds_processes import ROOT, START_S, ended, names, plan_of, settle, write_tensors
from bench.rounds_site import head_of, update_of
from fed_backend.flare.kit import load_kit
from fed_backend.flare.provisioning import provision
from fed_backend.gossip.client import PeerClient
from fed_backend.gossip.peers import Listen, Peer, PeerList, save_peers
from fed_backend.gossip.relay_end import relay_ports
from fed_backend.gossip.server import listening
from fed_backend.gossip.tls import client_session, server_context
from fed_backend.plan import Plan

from running import read_json, until  # isort: skip
from running_peers import RunningPeers  # isort: skip

FIRST = 10**6
"""Numbers of the bench's own visits come after those of the couriers."""


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

    def exchanges(self, count: int) -> list[float]:
        """Milliseconds of each exchange that a courier makes, from lending the model to the known outcome."""
        run = uuid.uuid4().hex
        verdict = self.call(self.sites[0], "/federation/rounds", {"id": run, "action": "start", "rounds": count})
        assert verdict["accepted"], verdict
        status = ended(self, self.sites[0], run, 300)
        return [1e3 * entry["seconds"] for entry in status["history"]]


class Sink:
    """Writes the body of a PUT to a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with open(self._file, "wb") as file:
            more = True
            while more:
                message = await receive()
                file.write(message.get("body", b""))
                more = message.get("more_body", False)
            if scope["path"] == "/durable":
                file.flush()
                os.fsync(file.fileno())
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def serve(kit: Path, file: Path) -> None:
    """Serve on a free port, which is printed."""
    context = server_context(load_kit(kit, "site"))
    door = listening("127.0.0.1", 0)
    config = uvicorn.Config(Sink(file), lifespan="off", log_config=None, ssl_context_factory=lambda *_: context)
    print(door.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[door])


def plain_puts(sender: Path, receiver: Path, file: Path, way: str, count: int) -> list[float]:
    """Milliseconds of each PUT of a file's bytes, over a connection of its own like an exchange."""
    stored = file.with_suffix(".put")
    command = [sys.executable, "-m", "bench.rounds_gossip", str(receiver), str(stored)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        url, kit = f"https://127.0.0.1:{int(server.stdout.readline())}/{way}", load_kit(sender, "site")

        def put() -> None:
            with client_session(kit, receiver.name, lambda: False) as session:
                assert session.put(url, data=file.read_bytes(), timeout=60).status_code == 204

        put()  # the first one imports
        spent = [milliseconds(put) for _ in range(count)]
        assert stored.read_bytes() == file.read_bytes()
        return spent
    finally:
        server.kill()
        server.wait()
        stored.unlink(missing_ok=True)


def transfers(peers: Peers, file: Path, count: int) -> list[float]:
    """Milliseconds from a visit in a file at the sender to its being stored and accepted at the receiver."""
    one, other = peers.sites
    kit = peers.kit(one)
    port = relay_ports(kit)[other] if peers.relayed else peers.ports[other]
    values = (peers.folder / "tensors").read_bytes()
    spent = []
    for number in range(FIRST, FIRST + count + 1):
        file.write_bytes(head_of(update_of(peers.plan, one, "gossip", number), peers.plan.adapter) + values)

        def send(number: int = number) -> None:
            with closing(PeerClient(kit, Peer(name=other, host="127.0.0.1", port=port))) as line:
                assert line.send(number, file.read_bytes()).state in ("waiting", "learning", "done")

        spent.append(milliseconds(send))
        with closing(PeerClient(kit, Peer(name=other, host="127.0.0.1", port=port))) as line:
            state = until("the end of the visit", lambda line=line, number=number: line.state(number, 10))
        assert state.over, state
    return spent[1:]


def milliseconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - began)


def exchange_cell(folder: Path, megabytes: float, relayed: bool, count: int) -> dict[str, float]:
    """Median milliseconds of exchanges and of plain PUTs, before and after each other."""
    method = {"name": "gcml", "settings": {"share": 1.0, "deadline_s": 120}}
    plan = plan_of(megabytes, 2, method=method, quorum=1, starters=[])
    peers = Peers(folder, plan, relayed)
    kits = [peers.kits / "sites" / site for site in peers.sites]
    file = folder / "visit"
    try:
        peers.start_all()
        peers.exchanges(1)
        whole = peers.exchanges(count)
        shutil.copyfile(folder / "tensors", file)
        puts = {way: plain_puts(*kits, file, way, count) for way in ("plain", "durable")}
        spent = transfers(peers, file, count)
        for way, before in puts.items():
            before += plain_puts(*kits, file, way, count)
    finally:
        peers.stop_all()
    return {
        "exchange_ms": median(spent),
        "whole_ms": median(whole),
        **{f"{way}_put_ms": median(figures) for way, figures in puts.items()},
    }


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
