"""Hub and couriers as real processes over real TLS: rounds, refusals, and what happens when something dies."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import start_payload
from running import RunningFederation, until
from site_peer import Peer

from fed_backend.flare.engine import client_command
from fed_backend.flare.kit import load_kit
from fed_backend.flare.tls_check import mutual_tls_required
from fed_backend.payload import decode
from fed_backend.simulation import simulate

pytestmark = pytest.mark.slow


def offered(federation: RunningFederation, site: str, run: str, round_: int) -> dict[str, np.ndarray]:
    return decode((federation.peer(site) / f"offer-{run}-{round_}.safetensors").read_bytes())[1]


def test_rounds_average_what_the_sites_sent(federation: RunningFederation) -> None:
    run, verdict = federation.ask("south", rounds=2)
    assert verdict["status"] == 202, verdict
    status = federation.ended("west", run)
    assert status["state"] == "finished", status
    assert status["started_by"] == "south"
    # Site k adds k and counts k examples: a round moves every weight by (1 + 4 + 9) / 6.
    for round_, expected in enumerate([14 / 6, 28 / 6]):
        for site in federation.sites:
            for tensor in offered(federation, site, run, round_).values():
                np.testing.assert_allclose(tensor, expected, atol=1e-6)
    last = status["history"][-1]
    assert {s: r["state"] for s, r in last["sites"].items()} == dict.fromkeys(federation.sites, "aggregated")
    assert last["bytes_up"] > 3 * 24 * 64 * 64 * 4
    assert last["bytes_down"] > last["bytes_up"]
    assert last["dice"]["north"] == pytest.approx(28 / 60)
    assert status["sites"]["north"]["promoted"] is True


def test_hub_and_couriers_tell_how_they_are(federation: RunningFederation) -> None:
    assert federation.told("hub", "/health") == (200, '{"status": "ok"}')
    assert federation.told("courier-north", "/health")[0] == 200

    def heard() -> str:
        status, figures = federation.told("hub", "/metrics")
        assert status == 200
        return figures if 'fedseg_member_connected{site="west"} 1.0' in figures else ""

    figures = until("the hub hears west", heard)  # a computer with too much to do may leave out some beats
    assert "fedseg_job_up 1.0" in figures
    assert 'fedseg_run_state{state="finished"} 1.0' in figures
    assert "fedseg_run_rounds_finished 2.0" in figures
    assert "process_resident_memory_bytes" in figures
    assert "fedseg_courier_ready 1.0" in federation.told("courier-south", "/metrics")[1]
    assert "token" not in figures
    assert federation.told("hub", "/federation.json")[0] == 404


def test_no_certificate_no_connection(federation: RunningFederation) -> None:
    assert mutual_tls_required(federation.kits / "sites" / "north") is True


def reached_without_certificate(port: int) -> bool:
    """Whether a port hears somebody on this computer who has no key of the federation, in plain TCP or in TLS."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    for wrap in (lambda plain: plain, anybody.wrap_socket):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
            try:
                with wrap(plain) as line:
                    line.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                    if line.recv(1):
                        return True
            except OSError:  # refused in the handshake, or cut off
                continue
    return False


@pytest.mark.parametrize("name", ["hub", "courier-north"])
def test_processes_of_one_member_listen_on_loopback_and_hear_nobody_without_a_certificate(
    federation: RunningFederation, name: str
) -> None:
    """FLARE's own processes, the hub's door among them; figures for monitoring are open on loopback on purpose."""
    log = (federation.folder / f"{name}.log").read_text()
    monitoring = int(re.findall(r"metrics: http://\S+:(\d+)/metrics", log)[-1])
    door = load_kit(federation.kits / "hub", "hub").port
    listening = {c.laddr for p in federation.tree(name) for c in p.net_connections("tcp") if c.status == "LISTEN"}
    ports = {address.port for address in listening}
    assert monitoring in ports
    assert ports - {monitoring, door}, "where FLARE's processes of one member meet"
    for address in listening:
        if address.port != door:
            assert ip_address(address.ip).is_loopback, address
        assert reached_without_certificate(address.port) == (address.port == monitoring), address


def test_a_member_cannot_speak_in_anothers_name(federation: RunningFederation, tmp_path: Path) -> None:
    """A FLARE client with west's certificate says it is north, past our own checks of the kit."""
    liar = tmp_path / "liar"
    shutil.copytree(federation.kits / "sites" / "west", liar)
    for file in ("federation.json", "startup/fed_client.json"):
        shutil.copy(federation.kits / "sites" / "north" / file, liar / file)
    federation.start("liar", *client_command(load_kit(liar, "site"))[1:])
    log = federation.kits / "hub" / "log.txt"
    until(
        "the refusal",
        lambda: log.exists() and "authenticated as 'west' but claimed endpoint 'north'" in log.read_text(),
    )
    federation.terminate("liar")
    _, verdict = federation.ask("north", "stop", run="nothing")
    assert verdict["status"] == 409, "the real north is still served"


class InProcess:
    """What the site servers of the real federation do, in this process."""

    def __init__(self, federation: RunningFederation, name: str) -> None:
        self.name = name
        self._peer = Peer(federation.peer(name))
        self.offers: list[bytes] = []

    def train(self, data: bytes) -> bytes:
        return self._peer.train(data)

    def offer(self, data: bytes) -> dict[str, Any]:
        self.offers.append(data)
        return {}


@pytest.mark.parametrize(
    ("method", "tensors", "alike"),
    [("fedprox", 24, True), ("fedbn", 23, True), ("pfedsam", 4, True), ("fedsm", 14, False)],
)
def test_every_method_gives_the_tensors_of_the_simulation(
    federation: RunningFederation, method: str, tensors: int, alike: bool
) -> None:
    for site in federation.sites:
        federation.configure(site, noise=1.0)
    try:
        run, verdict = federation.ask("south", rounds=1, method=method)
        assert verdict["status"] == 202, verdict
        status = federation.ended("west", run)
        assert (status["state"], status["method"]) == ("finished", method), status
        sites = [InProcess(federation, name) for name in federation.sites]
        list(simulate(federation.plan, sites, 1, method=method, start=start_payload(federation.plan), run=run))
        for site in sites:
            assert site.offers == [(federation.peer(site.name) / f"offer-{run}-0.safetensors").read_bytes()]
        assert len(offered(federation, "west", run, 0)) == tensors
        assert len({site.offers[0] for site in sites}) == (1 if alike else 3)
    finally:
        for site in federation.sites:
            federation.configure(site, noise=0.0)


def test_the_simulation_gives_the_tensors_of_the_real_federation(federation: RunningFederation) -> None:
    """FedSCA: partial sharing, a mix for every site, and a memory of earlier rounds."""
    for site in federation.sites:
        federation.configure(site, noise=1.0)
    try:
        run, verdict = federation.ask("south", rounds=3, method="fedsca")
        assert verdict["status"] == 202, verdict
        status = federation.ended("west", run)
        assert (status["state"], status["method"]) == ("finished", "fedsca"), status
        sites = [InProcess(federation, name) for name in federation.sites]
        start = start_payload(federation.plan)
        rounds = list(simulate(federation.plan, sites, 3, method="fedsca", start=start, run=run, workers=2))
        for number, simulated in enumerate(rounds):
            for site in sites:
                real = (federation.peer(site.name) / f"offer-{run}-{number}.safetensors").read_bytes()
                assert site.offers[number] == real
            record = status["history"][number]
            assert sum(simulated.bytes_up.values()) == record["bytes_up"]
            assert sum(simulated.bytes_down.values()) <= record["bytes_down"], "a message may be repeated"
        assert len(offered(federation, "west", run, 2)) == 12, "half of the blocks"
        assert len({site.offers[-1] for site in sites}) == 3, "every site has a mix of its own"
    finally:
        for site in federation.sites:
            federation.configure(site, noise=0.0)


def test_second_request_is_told_who_runs(federation: RunningFederation) -> None:
    federation.configure("north", seconds=3)
    run, _ = federation.ask("south", rounds=1)
    try:
        until("training", lambda: federation.state("north")["training"])
        _, verdict = federation.ask("north", rounds=1)
        assert verdict["status"] == 409
        assert "'south'" in verdict["detail"]
        _, forbidden = federation.ask("west")
        assert forbidden["status"] == 403
        assert "'west'" in forbidden["detail"]
        status = until("training shown", lambda: _shown(federation, run, "north", "training"))
        assert status["sites"]["north"]["progress"] == 0.5
        _, stop = federation.ask("south", "stop", run=run)
        assert stop["status"] == 202
        status = federation.ended("west", run)
        assert (status["state"], status["reason"]) == ("stopped", "stopped by 'south'")
    finally:
        federation.configure("north", seconds=0)


def _shown(federation: RunningFederation, run: str, site: str, state: str) -> dict[str, object] | None:
    status = federation.status("west", run)
    return status if status and status["sites"][site]["state"] == state else None


def test_site_server_that_restarts_in_a_round_takes_part(federation: RunningFederation) -> None:
    federation.configure("west", seconds=4)
    run, _ = federation.ask("south", rounds=1)
    until("training", lambda: federation.state("west")["training"])
    federation.processes["peer-west"].kill()
    federation.processes["peer-west"].wait()
    federation.configure("west", seconds=0)
    federation.start_peer("west")
    status = federation.ended("south", run)
    assert status["state"] == "finished", status
    assert status["history"][0]["sites"]["west"]["state"] == "aggregated"


def test_killed_courier_leaves_the_rest_and_comes_back(federation: RunningFederation) -> None:
    federation.configure("west", seconds=20)
    run, _ = federation.ask("south", rounds=1)
    until("training", lambda: federation.state("west")["training"])
    federation.kill("courier-west")
    status = federation.ended("south", run)
    assert status["state"] == "finished", status
    record = status["history"][0]["sites"]
    assert record["west"]["state"] == "failed"
    assert "no sign of life" in record["west"]["reason"]
    # (1 * 1 + 2 * 2) / 3 on top of the last aggregate, from two sites.
    assert {s for s, r in record.items() if r["state"] == "aggregated"} == {"north", "south"}
    federation.configure("west", seconds=0)
    federation.start_courier("west")
    federation.wait_ready("west")
    run, verdict = federation.ask("north", rounds=1)
    assert verdict["status"] == 202, verdict
    status = federation.ended("west", run)
    assert status["history"][0]["sites"]["west"]["state"] == "aggregated", status


def test_killed_hub_job_resumes_the_round(federation: RunningFederation) -> None:
    federation.configure("west", seconds=5)
    run, _ = federation.ask("south", rounds=1)
    until("two updates", lambda: _shown(federation, run, "north", "sending"))
    before = federation.state("north")["trainings"]
    job = federation.job()
    os.kill(federation.job_process("hub").pid, signal.SIGKILL)
    status = federation.ended("west", run)
    assert status["state"] == "finished", status
    assert {r["state"] for r in status["history"][0]["sites"].values()} == {"aggregated"}
    assert federation.state("north")["trainings"] == before, "an update that had arrived was asked for again"
    assert federation.job() != job
    federation.configure("west", seconds=0)
    federation.wait_ready(*federation.sites)
    run, verdict = federation.ask("north", rounds=1)
    assert verdict["status"] == 202, verdict
    assert federation.ended("north", run)["state"] == "finished"


def test_killed_hub_comes_back_from_its_kit(federation: RunningFederation) -> None:
    federation.kill("hub")
    federation.start_hub()
    federation.wait_ready(*federation.sites)
    run, verdict = federation.ask("north", rounds=1)
    assert verdict["status"] == 202, verdict
    status = federation.ended("north", run)
    assert status["state"] == "finished", status


def test_everything_ends_with_its_supervisor(federation: RunningFederation) -> None:
    assert federation.terminate("courier-south") == 0
    assert federation.terminate("hub") == 0
    assert "Traceback" not in (federation.folder / "hub.log").read_text()
    secrets = [f"token-of-{site}" for site in federation.sites]
    for log in (path for path in federation.folder.rglob("*.log") if path.is_file()):
        assert not [secret for secret in secrets if secret in log.read_text()], log
