"""Couriers of three sites as real processes over real TLS, without a hub: exchanges, and what dies on the way."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from gossip_site import GossipHandler, Visited
from line import put
from running import read_json, until
from running_peers import RunningPeers
from tls_site import OverTls

from fed_backend.gossip.client import PeerClient
from fed_backend.gossip.peers import Peer
from fed_backend.gossip.protocol import PeerRefused, PeerUnreachable
from fed_backend.payload import encode

pytestmark = pytest.mark.slow


class OverTlsToo(OverTls, RunningPeers):
    """Couriers without a hub, whose site servers speak HTTPS."""

    kind, handler = Visited, GossipHandler


def test_a_courier_without_a_hub_reaches_its_site_over_https(tmp_path: Path) -> None:
    running = OverTlsToo(tmp_path, ["north"])
    try:
        running.start_peer("north")
        running.start_courier("north")
        until("the site has answered", lambda: read_json(running.ready_file("north")))
    finally:
        running.stop_all()


def exchanged(peers: RunningPeers, site: str, number: int = 1) -> dict[str, Any]:
    """Ask a site for exchanges; the run as the site shows it at its end."""
    run, verdict = peers.ask(site, rounds=number)
    assert verdict["status"] == 202, verdict
    return peers.ended(site, run)


def receiver_of(entry: dict[str, Any]) -> str:
    (name,) = entry["sites"]
    return str(name)


def test_a_click_starts_exchanges_and_no_hub_is_contacted(peers: RunningPeers) -> None:
    before = {site: peers.site(site) for site in peers.sites}
    status = exchanged(peers, "north", 2)
    assert (status["state"], status["started_by"], status["method"]) == ("finished", "north", "gcml")
    assert len(status["history"]) == 2
    for entry in status["history"]:
        who = receiver_of(entry)
        assert who in ("south", "west")
        assert entry["sites"][who]["state"] == "aggregated"
        assert entry["sites"][who]["promoted"] is True
        assert entry["dice"] == {who: 0.5}
        assert entry["bytes_up"] > 12 * 64 * 64 * 4
    came = [v for site in peers.sites for v in peers.site(site)["visits"] if v not in before[site]["visits"]]
    assert [site for site, _ in came] == ["north", "north"]
    assert peers.site("north")["value"] == before["north"]["value"], "the sender's own model stays as it was"
    for peer in until("counts", lambda: [p for p in peers.site("north")["peers"] if p["sent"]]):
        assert peer["last_seen"]
    for site in peers.sites:
        assert len(peers.tree(f"courier-{site}")) == 1, "no FLARE client runs beside it"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", peers.kit("north").port), timeout=5)


def test_two_requests_at_once_and_a_stop(peers: RunningPeers) -> None:
    for site in peers.sites:
        (peers.peer(site) / "hold").touch()
    try:
        run, verdict = peers.ask("south", rounds=50)
        assert verdict["status"] == 202
        until("a peer learns", lambda: "training" in str(peers.status("south", run).get("sites")))
        _, second = peers.ask("south")
        assert second["status"] == 409
        assert f"run {run} of this site is under way" in second["detail"]
        _, foreign = peers.ask("south", "stop", run="nothing")
        assert foreign["status"] == 409
        _, stopped = peers.ask("south", "stop", run=run)
        assert stopped["status"] == 202
        assert peers.ended("south", run)["state"] == "stopped"
    finally:
        for site in peers.sites:
            (peers.peer(site) / "hold").unlink()


def test_whoever_dies_the_others_go_on_and_it_comes_back(peers: RunningPeers) -> None:
    peers.kill("courier-west")
    visits = len(peers.site("south")["visits"])
    status = exchanged(peers, "north", 2)
    assert status["state"] == "finished"
    assert len(peers.site("south")["visits"]) > visits, "a peer that was just lost is not called twice in a row"
    until("west is missed", lambda: "west" not in peers.sees("north"), 60)
    peers.kill("peer-south")  # the site server this time; its courier waits for it
    lost, verdict = peers.ask("north", rounds=2)  # one may be lost on west, which is still away
    assert verdict["status"] == 202
    peers.start_peer("south")
    assert peers.ended("north", lost)["state"] == "finished"
    peers.start_courier("west")
    until("west is back", lambda: peers.sees("west") == {"north", "south"}, 60)
    until("north hears it", lambda: "west" in peers.sees("north"), 60)
    assert exchanged(peers, "west")["state"] == "finished"


def test_a_receiver_killed_while_it_learns_lets_the_visit_in_once(peers: RunningPeers) -> None:
    for site in ("south", "west"):
        (peers.peer(site) / "hold").touch()
    run, _ = peers.ask("north")
    status = until("a peer learns", lambda: _training(peers, run))
    (victim,) = set(status["sites"]) - {"north"}
    number = peers.site("north")["lent"]
    os.kill(peers.processes[f"courier-{victim}"].pid, signal.SIGKILL)
    peers.processes[f"courier-{victim}"].wait()
    peers.start_courier(victim)
    for site in ("south", "west"):
        (peers.peer(site) / "hold").unlink()
    ended = peers.ended("north", run)
    assert ended["state"] == "finished", ended
    assert peers.site(victim)["visits"].count(["north", number]) == 1


def _training(peers: RunningPeers, run: str) -> dict[str, Any] | None:
    status = peers.status("north", run)
    return status if "training" in str(status.get("sites")) else None


def test_real_couriers_hear_members_that_are_their_peers_and_nobody_else(peers: RunningPeers, tmp_path: Path) -> None:
    """Another member's certificate, a claimed name, a foreign plan: refused, and nothing at the site has changed."""
    east = peers.join("east", tmp_path / "east")
    before = peers.site("south")
    south = Peer(name="south", host="127.0.0.1", port=peers.ports["south"])
    forged = _visit(peers, "north", 10**6)
    with pytest.raises(PeerRefused, match="'east' is no peer of this site"):
        PeerClient(east, south).send(10**6, forged)
    with pytest.raises(PeerRefused, match="has site 'north', and it came from 'west'"):
        PeerClient(peers.kit("west"), south).send(10**6, forged)
    with pytest.raises(PeerUnreachable, match="is not 'north' of this federation"):
        PeerClient(peers.kit("west"), Peer(name="north", host="127.0.0.1", port=peers.ports["south"])).hello()
    with socket.create_connection(("127.0.0.1", peers.ports["south"]), timeout=10) as plain:
        heard = b""
        with contextlib.suppress(OSError):
            plain.sendall(put(0, forged))
            heard = plain.recv(100)
        assert b"HTTP" not in heard, "nothing is served without TLS"
    after = peers.site("south")
    assert (after["visits"], after["value"]) == (before["visits"], before["value"])


def _visit(peers: RunningPeers, site: str, number: int) -> bytes:
    from builders import header

    plan = peers.plan
    sent = header(plan, site=site, federation_round="gossip", round=number)
    return encode(sent, {name: np.full(shape, 99, np.float32) for name, shape in plan.adapter.items()})


def test_a_courier_ends_cleanly_and_a_second_one_is_refused(peers: RunningPeers) -> None:
    second = peers.start(
        "second",
        *("-m", "fed_backend", "courier", "start", str(peers.kit("west").folder)),
        *("--site-url", peers.urls["west"], "--token-file", str(peers.peer("west") / "courier.token")),
    )
    assert second.wait(60) == 2
    assert "a courier from this kit is already running" in (peers.folder / "second.log").read_text()
    family = psutil.Process(peers.processes["courier-west"].pid)
    assert peers.terminate("courier-west") == 0
    assert not family.is_running()
    for site in peers.sites:
        log = (peers.kit(site).run / "courier.log").read_text()
        assert "token-of" not in log
        assert "Traceback" not in log, log
