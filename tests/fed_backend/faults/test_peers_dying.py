"""Peers go on exchanging among whoever is left: any sites may be killed, and the hub that passes messages on too."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import read_json, until
from running_peers import RunningPeers

from fed_backend.gossip.peers import Listen, Peer, PeerList, save_peers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SITES = ["north", "south", "west", "east"]


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPeers]:
    running = RunningPeers(tmp_path_factory.mktemp("dying"), SITES)
    try:
        running.start_all()
        yield running
    finally:
        running.stop_all()


@pytest.mark.parametrize("seed", [1, 2])
def test_whoever_is_killed_the_rest_exchanges(peers: RunningPeers, seed: int) -> None:
    """Half of the sites die in the middle of exchanges, courier and site server; then they come back."""
    rng = random.Random(seed)
    dying = rng.sample(SITES, 2)
    left = [site for site in SITES if site not in dying]
    runs = {}
    for site in left:
        runs[site], verdict = peers.ask(site, rounds=6)
        assert verdict["status"] == 202, verdict
    for site in dying:
        for name in rng.sample([f"courier-{site}", f"peer-{site}"], 2):
            peers.kill(name)
    for site in left:
        ended = peers.ended(site, runs[site], 200)
        assert ended["state"] == "finished", ended
    sender, receiver = left
    visits = len(peers.site(receiver)["visits"])
    run, _ = peers.ask(sender, rounds=2)
    assert peers.ended(sender, run, 200)["state"] == "finished"
    assert len(peers.site(receiver)["visits"]) > visits, "between the two that are left"
    for site in dying:
        peers.start_peer(site)
        peers.start_courier(site)
    until("all see each other", lambda: all(peers.sees(site) == {*SITES} - {site} for site in SITES), 200)
    for site in SITES:
        assert max(Counter(map(tuple, peers.site(site)["visits"])).values(), default=1) == 1


def test_a_hub_that_only_passes_on_may_be_killed(tmp_path: Path) -> None:
    """Peers with an address exchange while it is away, and through it again once it is back."""
    federation = RunningPeers(tmp_path, ["north", "south", "west"])
    try:
        for site in federation.sites:
            federation.start_peer(site)
        federation.start_hub()
        for site in federation.sites:
            others = tuple(Peer(name=other) for other in federation.sites if other != site)
            save_peers(
                federation.kit(site), PeerList(listen=Listen(host="127.0.0.1", port=0), relay=True, peers=others)
            )
            federation.start_courier(site)
        for site in federation.sites:
            ready = until(f"courier of {site}", lambda site=site: read_json(federation.ready_file(site)), 150)
            federation.ports[site] = ready["port"]
        for site, other in (("north", "south"), ("south", "north")):  # west is reached through the hub
            port = federation.ports[other]
            listed = (Peer(name=other, host="127.0.0.1", port=port), Peer(name="west"))
            listen = Listen(host="127.0.0.1", port=federation.ports[site])
            save_peers(federation.kit(site), PeerList(listen=listen, relay=True, peers=listed))
        until("north sees all", lambda: federation.sees("north") == {"south", "west"}, 150)
        federation.kill("hub")
        run, verdict = federation.ask("north", rounds=6)
        assert verdict["status"] == 202, verdict
        assert federation.ended("north", run, 240)["state"] == "finished"
        assert federation.site("south")["visits"]
        federation.start_hub()
        until("west is reached again", lambda: federation.sees("west") == {"north", "south"}, 240)
    finally:
        federation.stop_all()
