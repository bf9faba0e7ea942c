"""Hosts in network namespaces whose lines are cut and healed, in a round and in an exchange between peers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lasting import LastingFederation, check_rounds, states
from netns import HUB, Net
from running import until
from running_peers import RunningPeers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CUT_S = 16.0


@pytest.fixture
def net() -> Iterator[Net]:
    try:
        made = Net("hub", "north", "south")
    except (OSError, subprocess.CalledProcessError) as error:
        words = getattr(error, "stderr", "") or str(error)
        pytest.skip(f"this machine allows no network namespaces (root and iproute2 are needed): {words.strip()}")
    yield made
    made.remove()


class Apart(LastingFederation):
    """Every member at a host of its own."""

    def __init__(self, folder: Path, net: Net, **changes: Any) -> None:
        self.net = net
        super().__init__(folder, ["north", "south"], host=HUB, quorum=2, **changes)

    def before(self, name: str) -> list[str]:
        return self.net.command(name.partition("-")[2] or name)

    def call(self, site: str, path: str, body: Any = None) -> Any:
        with self.net.at(site):
            return super().call(site, path, body)


def test_a_round_outlives_cut_lines(net: Net, tmp_path: Path) -> None:
    """A site's line falls silent, then the hub's cable is pulled: the round waits for its quorum, and gets it."""
    federation = Apart(tmp_path, net, round_deadline_s=240)
    try:
        federation.start_all()
        for host, pulled in (("south", False), ("hub", True)):
            federation.configure("south", seconds=4)
            run, verdict = federation.ask("north", rounds=2)
            assert verdict["status"] == 202, verdict
            until("south trains", lambda: federation.state("south")["training"])
            federation.configure("south", seconds=0)
            net.cut(host, pulled=pulled)
            time.sleep(CUT_S)
            assert federation.run_record()["state"] == "running"
            net.heal(host)
            record = federation.concluded(run, 200)
            assert record["state"] == "finished", record
            assert states(record) == [dict.fromkeys(["north", "south"], "aggregated")] * 2
            federation.wait_ready("north", "south")
        check_rounds(federation)
    finally:
        federation.stop_all()


class PeersApart(RunningPeers):
    """Every peer at a host of its own."""

    def __init__(self, folder: Path, net: Net) -> None:
        self.net = net
        method = {"name": "gcml", "settings": {"share": 1.0, "deadline_s": 240}}
        super().__init__(folder, ["north", "south"], method=method)

    def host(self, site: str) -> str:
        return self.net.address(site)

    def before(self, name: str) -> list[str]:
        return self.net.command(name.partition("-")[2])

    def call(self, site: str, path: str, body: Any = None) -> Any:
        with self.net.at(site):
            return super().call(site, path, body)


@pytest.mark.parametrize("pulled", [False, True], ids=["silent", "pulled"])
def test_an_exchange_outlives_a_cut_line(net: Net, tmp_path: Path, pulled: bool) -> None:
    """The line is away while the receiver learns, and longer than a call waits: the visit counts once."""
    peers = PeersApart(tmp_path, net)
    try:
        peers.start_all()
        (peers.peer("south") / "hold").touch()
        run, verdict = peers.ask("north", rounds=1)
        assert verdict["status"] == 202, verdict
        until("south learns", lambda: "training" in str(peers.status("north", run).get("sites")))
        net.cut("south", pulled=pulled)
        time.sleep(CUT_S)
        (peers.peer("south") / "hold").unlink()
        assert (during := peers.status("north", run))["state"] == "running", during
        net.heal("south")
        ended = peers.ended("north", run, 120)
        assert ended["state"] == "finished", ended
        assert peers.site("south")["visits"] == [["north", 0]]
    finally:
        peers.stop_all()
