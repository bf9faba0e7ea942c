"""The processes of ``make bench-rounds``: a federation of ours and a bare FLARE job, over mutual TLS on loopback."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from fed_backend.errors import FederationError
from fed_backend.flare.engine import Administration, client_command, place_storage, server_command
from fed_backend.flare.kit import Kit, load_kit
from fed_backend.flare.processes import Child
from fed_backend.flare.provisioning import provision
from fed_backend.plan import Plan, parse_plan

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "fed_backend" / part) for part in ("", "flare", "gossip")]

from running import RunningFederation, read_json, until  # noqa: E402

SIDE = {0.6: (36, 64), 60.0: (60, 500), 400.0: (400, 500)}
"""Payload in MB -> number of square tensors, and their side."""
START_S = 240.0


def plan_of(megabytes: float, sites: int, **changes: Any) -> Plan:
    """A plan whose payload has so many MB of float32."""
    count, side = SIDE[megabytes]
    data: dict[str, Any] = {
        "base_sha256": "cd" * 32,
        "adapter": {f"blocks.{i:03}.weight": [side, side] for i in range(count)},
        "labels": {"tumour": 1},
        "quorum": min(sites, 2),
        "round_deadline_s": 600,
        "starters": names(sites)[:1],
    }
    return parse_plan({**data, **changes})


def names(count: int) -> list[str]:
    return [f"site{number:02}" for number in range(count)]


def write_tensors(plan: Plan, path: Path) -> None:
    """Values of one update, small enough for any limit of a plan."""
    rng = np.random.default_rng(0)
    with open(path, "wb") as file:
        for name in sorted(plan.adapter):
            file.write((1e-3 * rng.standard_normal(plan.adapter[name], np.float32)).tobytes())


class Ours(RunningFederation):
    """Hub and couriers as hospitals run them, with sites that train in no time."""

    program = ROOT / "bench" / "rounds_site.py"

    def __init__(self, folder: Path, plan: Plan, sites: int) -> None:
        folder.mkdir(parents=True)
        self.folder, self.sites, self.plan = folder, names(sites), plan
        self.kits = provision(plan, self.sites, folder / "federation")
        self.processes, self.urls = {}, {}
        write_tensors(plan, folder / "tensors")
        for site in self.sites:
            settle(self, site)

    def start_all(self) -> None:
        """Couriers first, so that the hub's first job has them all."""
        for site in self.sites:
            self.start_peer(site)
            self.start_courier(site)
        self.start_hub()
        self.wait_ready(*self.sites)

    def wait_ready(self, *sites: str) -> None:
        def same() -> bool:
            jobs = {(read_json(self.ready_file(site)) or {}).get("job") for site in sites}
            hub = (read_json(self.folder / "hub.json") or {}).get("job")
            return hub is not None and jobs == {hub}

        until("hub and couriers in the same job", same, START_S)

    def click(self, rounds: int) -> tuple[str, float]:
        """Ask for rounds as an annotator does; the run, and seconds until the first site trains."""
        run, began = uuid.uuid4().hex, time.monotonic()
        verdict = self.call(self.sites[0], "/federation/rounds", {"id": run, "action": "start", "rounds": rounds})
        assert verdict["accepted"], verdict
        until("a training", lambda: self._trained(run), 120)
        return run, min(self._trained(run)) - began

    def _trained(self, run: str) -> list[float]:
        states = [self.call(site, "/bench/state") for site in self.sites]
        return [state["trained"][run] for state in states if run in state["trained"]]

    def end(self, run: str, timeout_s: float = 600.0) -> dict[str, Any]:
        """The run's last status."""
        return ended(self, self.sites[0], run, timeout_s)


def settle(federation: Any, site: str) -> None:
    """The folder of one site's server."""
    folder = federation.peer(site)
    folder.mkdir()
    shutil.copy(federation.kits / "sites" / site / "plan.json", folder)
    (folder / "courier.token").write_text(f"token-of-{site}")
    (folder / "settings.json").write_text(json.dumps({"name": site}))
    os.link(federation.folder / "tensors", folder / "tensors")


def ended(federation: Any, site: str, run: str, timeout_s: float) -> dict[str, Any]:
    """What ``site`` shows once a run has ended; it must have finished."""

    def check() -> dict[str, Any] | None:
        status = federation.call(site, "/bench/state")["statuses"].get(run) or {}
        return dict(status) if status.get("state") in ("finished", "failed", "stopped") else None

    status = until(f"the end of {run}", check, timeout_s)
    assert status["state"] == "finished", status
    return status


class Memory:
    """Most memory of a family of processes while a block runs, MB, sampled; above that of its beginning."""

    def __init__(self, processes: list[psutil.Process]) -> None:
        self._processes, self._stop = processes, threading.Event()
        self.idle = self.peak = self._sum()

    def _sum(self) -> float:
        found = 0
        for process in self._processes:
            try:
                found += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return found / 1e6

    def __enter__(self) -> Memory:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.peak = max(self.peak, self._sum())

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class Bare:
    """A FLARE job of the bench's own on FLARE's server and clients, from kits like ours."""

    def __init__(self, folder: Path, plan: Plan, sites: int, rounds: int) -> None:
        folder.mkdir(parents=True)
        self.folder, self.out = folder, folder / "rounds.json"
        self._sites, self._plan, self._rounds = names(sites), plan, rounds
        self._kits = provision(plan, self._sites, folder / "federation")
        self._children: list[Child] = []
        hub = self._kit("hub")
        for kit in (hub, *(self._kit(site) for site in self._sites)):
            allow(kit)
        place_storage(hub)

    def _kit(self, name: str) -> Kit:
        return load_kit(self._kits / ("hub" if name == "hub" else f"sites/{name}"), "hub" if name == "hub" else "site")

    def run(self) -> list[float]:
        """Seconds of each round."""
        hub = self._kit("hub")
        self._children.append(Child(server_command(hub), cwd=hub.folder, log=self.folder / "server.log"))
        for site in self._sites:
            kit = self._kit(site)
            self._children.append(Child(client_command(kit), cwd=kit.folder, log=self.folder / f"{site}.log"))
        admin = until("FLARE's server", lambda: self._login(hub), START_S)
        try:
            until("all clients", lambda: len(admin.overview().clients) == len(self._sites), START_S)
            admin.submit(self._job())
            return list(until("the bare job", lambda: read_json(self.out), 600))
        finally:
            admin.close()

    def _login(self, hub: Kit) -> Administration | None:
        try:
            return Administration(hub)
        except FederationError:
            return None

    def _job(self) -> Path:
        from bench.rounds_bare import write_job

        return write_job(self.folder / "job", self._plan, len(self._sites), self._rounds, self.out)

    def stop(self) -> None:
        for child in reversed(self._children):
            child.stop()


def allow(kit: Kit) -> None:
    """Let a job name the bench's own classes."""
    from bench.rounds_bare import CLASSES

    path = kit.folder / "local" / "resources.json"
    resources = json.loads(path.read_text())
    resources["class_allow_list"] += CLASSES
    path.write_text(json.dumps(resources))
