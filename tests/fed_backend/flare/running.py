"""A federation as real processes: provisioned kits, hub, couriers, and a small site server for each."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil
from in_process import start_payload

from fed_backend.flare.authority import Authority
from fed_backend.flare.joining import accept, complete, request_file
from fed_backend.flare.processes import stop_tree
from fed_backend.flare.provisioning import provision
from fed_backend.methods.fedsm import fedsm_layout
from fed_backend.plan import Plan, parse_plan

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
T = TypeVar("T")

ADAPTER = {f"blocks.{i}.weight": [64, 64] for i in range(24)}
"""0.4 MB of float32."""


_BLOCKS = {name: ADAPTER[name] for name in list(ADAPTER)[:2]}
_LORA = {f"blocks.{i}.attn.qkv.lora_{half}": shape for i in (0, 1) for half, shape in (("A", (4, 64)), ("B", (96, 4)))}
_SELECTOR = {"conv.weight": (4, 1, 3, 3), "head.weight": (3, 4), "head.bias": (3,)}

OTHERS: list[dict[str, Any]] = [
    {"name": "fedsca", "settings": {"tau": 0.5}},
    {"name": "fedprox", "settings": {"mu": 0.01}},
    {"name": "fedbn", "settings": {"local": "blocks.0.*"}},
    {"name": "pfedsam", "settings": {"shared": "*.lora_A,*.lora_B"}, "adapter": _LORA},
    {"name": "fedsm", "settings": {"sites": "north,south,west"}, "adapter": fedsm_layout(_BLOCKS, _SELECTOR)},
]
"""Every method that a hub coordinates, beside FedAvg, for the sites north, south and west."""


def flare_plan(**changes: Any) -> Plan:
    data: dict[str, Any] = {
        "base_sha256": "cd" * 32,
        "adapter": ADAPTER,
        "labels": {"tumour": 1},
        "rounds": 2,
        "quorum": 2,
        "round_deadline_s": 60,
        "starters": ["north", "south"],
        "alternatives": [{"name": "fedsca", "settings": {"tau": 0.5}}],
    }
    return parse_plan({**data, **changes})


def until(what: str, condition: Callable[[], T], timeout_s: float = 60.0) -> T:
    """Poll until ``condition`` gives something true."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s:g} s: {what}")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


class RunningFederation:
    """Starts, steers and ends the processes; every one is started from ``folder``.

    Args:
        folder: of everything.
        sites: names of the members.
        plan: theirs; :func:`flare_plan` with ``changes`` by default.
        host: name under which the hub is reached.
    """

    program = HERE / "site_peer.py"
    """Plays the site servers."""

    def __init__(
        self, folder: Path, sites: list[str], *, plan: Plan | None = None, host: str = "localhost", **changes: Any
    ) -> None:
        self.folder = folder
        self.sites = sites
        self.plan = plan or flare_plan(**changes)
        start = start_payload(self.plan)
        self.kits = provision(self.plan, sites[:-1], folder / "federation", host, start=start, inviting=True)
        self._join(sites[-1])
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.urls: dict[str, str] = {}
        for number, site in enumerate(sites, start=1):
            self._settle(site, number)

    def _settle(self, site: str, number: int) -> None:
        self.peer(site).mkdir()
        shutil.copy(self.kits / "sites" / site / "plan.json", self.peer(site))
        (self.peer(site) / "courier.token").write_text(f"token-of-{site}")
        self.configure(site, add=float(number), examples=number)

    def add(self, site: str) -> None:
        """A new site joins while the federation runs."""
        self.sites.append(site)
        self._join(site)
        self._settle(site, len(self.sites))
        self.start_peer(site)
        self.start_courier(site)

    def told(self, name: str, address: str) -> tuple[int, str]:
        """Status and text of ``/metrics`` or ``/health`` of the hub or a courier."""
        found = re.findall(r"metrics: (http://\S+)/metrics", (self.folder / f"{name}.log").read_text())
        try:
            with urllib.request.urlopen(found[-1] + address, timeout=10) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def hub_log(self) -> str:
        """What the hub said to the person at its terminal."""
        return (self.folder / "hub.log").read_text()

    def _join(self, site: str) -> None:
        """The last site makes its key itself and joins by invitation, request and certificate."""
        authority, scratch = Authority(self.kits), self.folder / f"joining-{site}"
        scratch.mkdir()
        (scratch / "invitation").write_bytes(authority.invite(site))
        kit = accept(scratch / "invitation", self.kits / "sites" / site)
        (scratch / "certificate").write_bytes(authority.sign(request_file(kit)))
        complete(kit, scratch / "certificate")

    # --- processes -------------------------------------------------------------------------

    def peer(self, site: str) -> Path:
        return self.folder / f"peer-{site}"

    def token(self, site: str) -> Path:
        """The courier's token file of a site."""
        return self.peer(site) / "courier.token"

    def configure(self, site: str, **settings: Any) -> None:
        path = self.peer(site) / "settings.json"
        path.write_text(json.dumps({"name": site, **(read_json(path) or {}), **settings}))

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{name}.log").open("ab")
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}", "OMP_NUM_THREADS": "1"}
        program = [*self.before(name), sys.executable, *command]
        process = subprocess.Popen(program, cwd=self.folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        log.close()
        self.processes[name] = process
        return process

    def before(self, name: str) -> list[str]:
        """What the command line of a process begins with."""
        return []

    def start_peer(self, site: str) -> None:
        port = self.urls[site].rsplit(":", 1)[1] if site in self.urls else "0"
        ready = self.peer(site) / "peer.json"
        ready.unlink(missing_ok=True)
        self.start(f"peer-{site}", str(self.program), str(self.peer(site)), port)
        self.urls[site] = until(f"site server of {site}", lambda: read_json(ready))["url"]

    def start_hub(self) -> None:
        ready = self.folder / "hub.json"
        ready.unlink(missing_ok=True)
        command = ("-m", "fed_backend", "hub", "start", str(self.kits / "hub"))
        self.start("hub", *command, "--ready-file", str(ready), "--metrics-port", "0")

    def start_courier(self, site: str, kit: Path | None = None) -> None:
        ready = self.ready_file(site)
        ready.unlink(missing_ok=True)
        self.start(
            f"courier-{site}",
            *("-m", "fed_backend", "courier", "start", str(kit or self.kits / "sites" / site)),
            *("--site-url", self.urls[site], "--token-file", str(self.token(site))),
            *("--ready-file", str(ready), "--metrics-port", "0"),
        )

    def ready_file(self, site: str) -> Path:
        return self.folder / f"courier-{site}.json"

    def start_all(self) -> None:
        for site in self.sites:
            self.start_peer(site)
        self.start_hub()
        for site in self.sites:
            self.start_courier(site)
        self.wait_ready(*self.sites)

    def wait_ready(self, *sites: str) -> None:
        """Wait until hub and couriers say in their ready files that they are in the same job."""

        def same() -> bool:
            jobs = {(read_json(self.ready_file(site)) or {}).get("job") for site in sites}
            hub = (read_json(self.folder / "hub.json") or {}).get("job")
            return hub is not None and jobs <= {hub}

        until(f"hub and couriers of {sites} ready", same, 150)

    def tree(self, name: str) -> list[psutil.Process]:
        root = psutil.Process(self.processes[name].pid)
        return [root, *root.children(recursive=True)]

    def job(self) -> str:
        """The federation job that runs, as the hub's ready file names it."""
        return str(read_json(self.folder / "hub.json")["job"])

    def job_process(self, name: str) -> psutil.Process:
        """The process of that job under hub or courier."""

        def find() -> psutil.Process | None:
            return next((p for p in self.tree(name) if self.job() in p.cmdline()), None)

        return until(f"job process of {name}", find)

    def kill(self, name: str) -> None:
        """kill -9 of the supervisor alone: its children must follow by themselves."""
        family = self.tree(name)
        os.kill(self.processes[name].pid, signal.SIGKILL)
        self.processes[name].wait()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive, f"outlived {name}: {alive}"

    def freeze(self, name: str) -> None:
        """SIGSTOP of a supervisor and all its children: nothing answers, no connection is closed."""
        for process in self.tree(name):
            process.suspend()

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        for process in self.tree(name):
            process.resume()

    def terminate(self, name: str) -> int:
        """SIGTERM of the supervisor; its exit code, once it and all its children are gone."""
        family = self.tree(name)
        self.processes[name].terminate()
        code = self.processes[name].wait(20)
        _, alive = psutil.wait_procs(family, timeout=1)
        assert not alive, f"outlived {name}: {alive}"
        return code

    def stop_all(self) -> None:
        for name in reversed(list(self.processes)):
            stop_tree(self.processes[name].pid, grace_s=10)
            self.processes[name].wait()

    # --- what an annotator sees ------------------------------------------------------------

    def call(self, site: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.urls[site] + path, data), timeout=10) as reply:
            return json.loads(reply.read())

    def state(self, site: str) -> dict[str, Any]:
        try:
            return dict(self.call(site, "/test/state"))
        except OSError:
            return {"verdicts": {}, "statuses": {}, "trainings": 0, "training": False}

    def ask(
        self, site: str, action: str = "start", rounds: int | None = None, run: str = "", method: str | None = None
    ) -> tuple[str, Any]:
        """Ask for rounds at ``site``; the run's id and the hub's verdict."""
        run = run or uuid.uuid4().hex
        self.call(site, "/test/request", {"id": run, "action": action, "method": method, "rounds": rounds})
        return run, until("verdict", lambda: self.state(site)["verdicts"].get(run), 30)

    def checkpoint(self) -> dict[str, Any]:
        """What the hub would go on from."""
        return dict(read_json(self.kits / "hub" / "state" / "checkpoint.json") or {})

    def status(self, site: str, run: str) -> dict[str, Any]:
        return dict(self.state(site)["statuses"].get(run) or {})

    def ended(self, site: str, run: str, timeout_s: float = 60.0) -> dict[str, Any]:
        """The run's last status, as ``site`` shows it."""

        def check() -> dict[str, Any] | None:
            status = self.status(site, run)
            return status if status.get("state") in {"finished", "failed", "stopped"} else None

        return until(f"end of run {run} at {site}", check, timeout_s)
