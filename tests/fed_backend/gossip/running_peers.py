"""A federation of peers as real processes: provisioned kits, couriers, and a small site server for each."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from running import RunningFederation, flare_plan, read_json, until

from fed_backend.flare.authority import Authority
from fed_backend.flare.joining import accept, complete, request_file
from fed_backend.flare.kit import Kit, load_kit
from fed_backend.flare.provisioning import provision
from fed_backend.gossip.peers import Listen, Peer, PeerList, load_peers, save_peers
from fed_backend.plan import Plan

HERE = Path(__file__).parent


def peer_plan(**changes: Any) -> Plan:
    """A plan of peers, 0.2 MB of tensors; every site sends in every exchange."""
    return flare_plan(
        **{
            "method": {"name": "gcml", "settings": {"share": 1.0, "deadline_s": 30}},
            "adapter": {f"blocks.{i}.weight": [64, 64] for i in range(12)},
            "quorum": 1,
            "starters": [],
            "alternatives": [],
            "max_payload_bytes": 1_000_000,
            **changes,
        }
    )


class RunningPeers(RunningFederation):
    """Starts, steers and ends the processes; there is no hub, and its port is never opened."""

    program = HERE / "gossip_site.py"

    def __init__(self, folder: Path, sites: list[str], **changes: Any) -> None:
        self.folder, self.sites, self.plan = folder, sites, peer_plan(**changes)
        self.kits = provision(self.plan, sites[:-1], folder / "federation", inviting=True)
        self._join(sites[-1])
        self.processes = {}
        self.urls = {}
        self.ports: dict[str, int] = {}
        for number, site in enumerate(sites, start=1):  # a payload of zeros is refused
            self.peer(site).mkdir()
            shutil.copy(self.kits / "sites" / site / "plan.json", self.peer(site))
            (self.peer(site) / "courier.token").write_text(f"token-of-{site}")
            self.configure(site, add=float(number), examples=1)
            save_peers(self.kit(site), PeerList(listen=Listen(host=self.host(site), port=0)))

    def host(self, site: str) -> str:
        """Where a site's gateway listens."""
        return "127.0.0.1"

    def kit(self, site: str) -> Kit:
        return load_kit(self.kits / "sites" / site, "site")

    def join(self, site: str, folder: Path) -> Kit:
        """Another kit of the same federation."""
        folder.mkdir(exist_ok=True)
        authority = Authority(self.kits)
        (folder / "invitation").write_bytes(authority.invite(site))
        kit = accept(folder / "invitation", folder / "kit")
        (folder / "certificate").write_bytes(authority.sign(request_file(kit)))
        complete(kit, folder / "certificate")
        return kit

    def start_all(self) -> None:
        for site in self.sites:
            self.start_peer(site)
            self.start_courier(site)
        for site in self.sites:
            ready = until(f"courier of {site}", lambda site=site: read_json(self.ready_file(site)))
            self.ports[site] = ready["port"]
        for site in self.sites:  # as the administrators tell each other once the couriers listen
            self.introduce(site, *(other for other in self.sites if other != site))
        until("all see each other", lambda: all(self.sees(site) == set(self.sites) - {site} for site in self.sites))

    def introduce(self, site: str, *others: str) -> None:
        """Tell a site's courier where the others listen."""
        kit = self.kit(site)
        port = self.ports.get(site, 0)
        listed = tuple(Peer(name=other, host=self.host(other), port=self.ports[other]) for other in others)
        save_peers(
            kit, load_peers(kit).model_copy(update={"peers": listed, "listen": Listen(host=self.host(site), port=port)})
        )

    def sees(self, site: str) -> set[str]:
        """The peers that a site shows as reachable."""
        return {str(peer["name"]) for peer in self.site(site)["peers"] if peer["state"] == "reachable"}

    def site(self, site: str) -> dict[str, Any]:
        """What a site holds."""
        return dict(self.call(site, "/test/site"))
