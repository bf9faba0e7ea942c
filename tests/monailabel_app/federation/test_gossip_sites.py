"""Two real sites with learners, their couriers as real processes: the same tensors as the simulation of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sites import SiteOnDisk, unet_plan

from fed_backend.flare.kit import load_kit
from fed_backend.flare.processes import stop_tree
from fed_backend.flare.provisioning import provision
from fed_backend.gossip.peers import Listen, Peer, PeerList, save_peers
from fed_backend.gossip.simulation import simulate_gossip
from fed_backend.payload import Tensors, decode
from monailabel_app.federation.consent import Consent
from monailabel_app.federation.participant import Participant
from monailabel_app.learning.tasks import run_job
from monailabel_app.state.audit import verify
from monailabel_app.state.site import SiteState

pytestmark = pytest.mark.slow

PLAN = unet_plan("gcml", {"share": 1.0})
CASES = {"t1": "train", "t2": "train", "v1": "validation"}
NAMES = ("north", "south")
ROOT = Path(__file__).parents[3]


class Simulated:
    """A site on disk as its peers see it, with its learner in this process."""

    def __init__(self, site: SiteOnDisk) -> None:
        self.site, self.name, self.examples = site, site.name, 2
        self.participant = Participant(site.state, PLAN, site.name)

    def lend(self, number: int) -> bytes:
        return self.participant.lend(number)

    def visit(self, data: bytes) -> dict[str, Any]:
        learner = threading.Thread(target=self._learn_once)
        learner.start()
        try:
            return self.participant.visit(data, decode(data)[0].site)
        finally:
            learner.join(60)

    def _learn_once(self) -> None:
        jobs, pause = self.site.state.jobs, threading.Event()
        while (job := jobs.claim()) is None:
            pause.wait(0.02)
        jobs.finish(job.number, *run_job(self.site.bench, job))


class Running:
    """The same sites as processes, each with its courier."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.sites: dict[str, dict[str, Any]] = {}
        try:
            self._start_all(folder)
        except BaseException:
            self.stop()
            raise

    def _start_all(self, folder: Path) -> None:
        kits = provision(PLAN, NAMES, folder / "federation")
        self.kits = {name: load_kit(kits / "sites" / name, "site") for name in NAMES}
        for name in NAMES:
            save_peers(self.kits[name], PeerList(listen=Listen(host="127.0.0.1", port=0)))
            site = (*("site", "start", "--name", name, "--port", "0"), "--studies", str(folder / name / "studies"))
            plan, state = str(self.kits[name].folder / "plan.json"), str(folder / name / "state")
            self._start(name, *site, "--plan", plan, "--state", state)
        ports = {}
        for name in NAMES:
            self.sites[name] = self._ready(name)
            where = ("--site-url", self.sites[name]["url"], "--token-file", self.sites[name]["token_file"])
            self._start(f"courier-{name}", "courier", "start", str(self.kits[name].folder), *where)
        for name in NAMES:
            ports[name] = self._ready(f"courier-{name}")["port"]
        for name, other in (NAMES, NAMES[::-1]):
            peer = Peer(name=other, host="127.0.0.1", port=ports[other])
            listen = Listen(host="127.0.0.1", port=ports[name])
            save_peers(self.kits[name], PeerList(listen=listen, peers=(peer,)))

    def _start(self, name: str, *command: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        ready = ("--ready-file", str(self.folder / f"{name}.json"))
        with (self.folder / f"{name}.log").open("wb") as log:
            program = [sys.executable, "-m", "fed_backend", *command, *ready]
            self.processes.append(subprocess.Popen(program, env=environment, stdout=log, stderr=log, cwd=self.folder))

    def _ready(self, name: str) -> dict[str, Any]:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            try:
                return dict(json.loads((self.folder / f"{name}.json").read_text()))
            except (OSError, ValueError):
                time.sleep(0.05)
        raise AssertionError(f"{name} is not ready: {(self.folder / f'{name}.log').read_text()[-2000:]}")

    def call(self, site: str, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.sites[site]["url"] + path, data, headers)
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.loads(reply.read())

    def exchange(self, site: str) -> dict[str, Any]:
        """One exchange of a site, asked for as a person asks; the run at its end."""
        run = self.call(site, "/federation/rounds", {"method": "gcml", "rounds": 1})["id"]
        deadline = time.monotonic() + 150
        while (status := self.call(site, f"/federation/rounds/{run}"))["state"] in ("requested", "running"):
            assert time.monotonic() < deadline, status
            time.sleep(0.1)
        return dict(status)

    def stop(self) -> None:
        for process in reversed(self.processes):
            stop_tree(process.pid, grace_s=10)
            process.wait()


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Simulated]]:
    """The sites, of which :func:`running` serves copies."""
    folder = tmp_path_factory.mktemp("simulated")
    made = {name: SiteOnDisk(folder / name, name, PLAN, CASES) for name in NAMES}
    for site in made.values():
        site.allow_anything()
        site.bench.prepare()
        Consent(site.state.database).approve(PLAN, PLAN.sha256, "dr-lee")
    yield {name: Simulated(site) for name, site in made.items()}
    for site in made.values():
        site.state.close()


@pytest.fixture(scope="module")
def running(simulated: dict[str, Simulated], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("running")
    for name, peer in simulated.items():
        source = peer.site.state.folder.parent
        shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns(".lock", "site.sqlite*"))
        peer.site.state.database.execute("VACUUM INTO ?", (str(folder / name / "state" / "site.sqlite"),))
    made = Running(folder)
    yield made
    made.stop()


def held(running: Running, name: str) -> Tensors:
    with SiteState(running.folder / name / "state", running.folder / name / "studies", own=False) as state:
        store = state.versions("unet")
        return store.load(store.champion())


def test_real_sites_exchange_as_the_simulation_says(simulated: dict[str, Simulated], running: Running) -> None:
    """One exchange of each site: the second lends what the first has taught it."""
    peers = list(simulated.values())
    before = {name: peer.site.champion() for name, peer in simulated.items()}
    for sender, receiver in (NAMES, NAMES[::-1]):
        (done,) = simulate_gossip(
            PLAN, peers, 1, seed=PLAN.training.seed, arrives=lambda s, r, n, sender=sender: s == sender
        )
        assert done.transfers == [(sender, receiver)]
        status = running.exchange(sender)
        assert status["state"] == "finished", status
        entry = status["history"][0]["sites"][receiver]
        assert (entry["state"], entry["promoted"]) == ("aggregated", True)
        assert entry["dice"] == pytest.approx(done.reports[receiver]["dice_challenger"])
    for name, peer in simulated.items():
        real, expected = held(running, name), peer.site.champion()
        assert any(not np.array_equal(expected[key], before[name][key]) for key in before[name]), "it did learn"
        for key, tensor in expected.items():
            np.testing.assert_array_equal(real[key], tensor, err_msg=f"{name}: {key}")


def test_what_moved_is_shown_and_audited_at_both_sites(running: Running) -> None:
    for name, other in (NAMES, NAMES[::-1]):
        seen = running.call(name, "/federation")
        assert [(p["name"], p["state"]) for p in seen["peers"]] == [(other, "reachable")]
        log = running.call(name, "/federation/audit")["entries"]
        notes = [(entry["event"], entry["note"]) for entry in log if entry["who"] == "courier"]
        assert ("sent", f"lend to {other}") in notes
        assert ("received", f"visit from {other}") in notes
        with SiteState(running.folder / name / "state", running.folder / name / "studies", own=False) as state:
            assert verify(state.audit.list()).entries == len(log)
    lent = [e for e in running.call("north", "/federation/audit")["entries"] if e["note"] == "lend to south"]
    came = [e for e in running.call("south", "/federation/audit")["entries"] if e["note"] == "visit from north"]
    assert lent[0]["sha256"] == came[0]["sha256"], "the same bytes, on both sides' record"


def test_a_paused_receiver_says_so_to_the_sender(running: Running) -> None:
    running.call("south", "/federation/pause", {"paused": True})
    try:
        status = running.exchange("north")
        assert status["state"] == "failed"
        assert "site 'south' is paused" in status["reason"]
    finally:
        running.call("south", "/federation/pause", {"paused": False})
