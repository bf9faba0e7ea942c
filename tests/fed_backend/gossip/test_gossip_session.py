"""A site's exchanges, asked for and by themselves: site server, session and a peer's real gateway in one process."""

from __future__ import annotations

import contextlib
import errno
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from gossip_site import GossipHandler, Visited
from line import PLAN, Receiver, make_kits
from running import until

from fed_backend.flare.kit import Kit
from fed_backend.flare.site_client import SiteClient, token_reader
from fed_backend.gossip.client import PeerClient
from fed_backend.gossip.peers import Peer, PeerList, PeerWatch, load_peers, save_peers
from fed_backend.gossip.roster import Roster
from fed_backend.gossip.session import GossipSession
from fed_backend.plan import Plan, save_plan

BY_ITSELF = PLAN.model_copy(
    update={"method": PLAN.method.model_copy(update={"settings": {"share": 1.0, "interval_s": 0.05}})}
)


@pytest.fixture(scope="module", params=[PLAN, BY_ITSELF], ids=["asked", "by itself"])
def parts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kit]:
    return make_kits(tmp_path_factory.mktemp("kits") / "ours", "north", "south", of=request.param)


class North:
    """A site server and the session of its courier.

    Args:
        kit: of the site.
        folder: of the site server.
        served: the plan that the site server holds.

    Attributes:
        broken: whether the courier's own files fail it.
        failed: threads that have met that.
    """

    def __init__(self, kit: Kit, folder: Path, served: Plan, broken: bool = False) -> None:
        folder.mkdir(exist_ok=True)
        save_plan(served, folder / "plan.json")
        (folder / "courier.token").write_text("secret")
        (folder / "settings.json").write_text(json.dumps({"name": "north", "add": 1.0, "examples": 2}))
        self.site = Visited(folder)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), GossipHandler)
        self.server.peer = self.site  # type: ignore[attr-defined]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        url, token = f"http://127.0.0.1:{self.server.server_port}", token_reader(folder / "courier.token")
        self.kit, self.ready = kit, threading.Event()
        self.broken, self.failed = broken, set[str]()
        self.roster = Roster(folder / "seen.json")
        self.session = GossipSession(
            "north", kit.plan, SiteClient(url, token, 10**6), PeerWatch(kit), self.roster, self._dial,
            lambda peer: 3, self.ready.set, self._relay,
        )  # fmt: skip
        self.session.start()

    @contextlib.contextmanager
    def _dial(self, peer: Peer) -> Iterator[PeerClient]:
        self._fail()
        with closing(PeerClient(self.kit, peer)) as client:
            yield client

    def _relay(self) -> dict[str, int]:
        if threading.current_thread().name in ("greetings", "ticks"):
            self._fail()
        return {}

    def _fail(self) -> None:
        if self.broken:
            self.failed.add(threading.current_thread().name)
            raise OSError(errno.ENFILE, "Too many open files in system")

    def ask(self, run: str, action: str = "start", **fields: Any) -> dict[str, Any]:
        self.site.request({"id": run, "action": action, "method": "gcml", "rounds": 1, **fields})
        return dict(until("verdict", lambda: self.site.verdicts.get(run), 15))

    def stop(self) -> None:
        self.session.stop()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def south(parts: dict[str, Kit], tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(parts["south"], tmp_path / "inbox", {"north"})
    yield receiver
    receiver.stop()


@pytest.fixture
def north(parts: dict[str, Kit], south: Receiver, tmp_path: Path) -> Iterator[Callable[..., North]]:
    made: list[North] = []

    def start(listed: bool = True, served: Plan | None = None, broken: bool = False) -> North:
        peers = (Peer(name="south", host="127.0.0.1", port=south.gateway.port),) if listed else ()
        save_peers(parts["north"], PeerList(peers=peers))
        made.append(North(parts["north"], tmp_path / "site", served or parts["north"].plan, broken))
        return made[-1]

    yield start
    for one in made:
        one.stop()


def test_exchanges_come_by_themselves_only_if_the_plan_says_so(north: Callable[..., North], south: Receiver) -> None:
    site = north()
    assert site.ready.wait(10)
    if "interval_s" not in site.kit.plan.method.settings:
        until("some polls", lambda: site.site.peers, 10)
        assert (site.site.lent, site.site.statuses) == (-1, {})
        return
    until("three exchanges", lambda: len(south.delivered) >= 3, 20)
    site.session.stop()
    (shown,) = until("they are shown", lambda: list(site.site.statuses.values()), 10)
    assert (shown["state"], shown["started_by"]) == ("finished", "north")
    assert shown["history"][0]["sites"]["south"]["state"] == "aggregated"
    assert len({sha for _, sha in south.delivered}) == len(south.delivered), "every exchange has a number of its own"


def test_a_request_that_cannot_be_met_is_answered_at_once(north: Callable[..., North]) -> None:
    site = north(listed=False)
    refused = site.ask("run1")
    assert (refused["status"], refused["detail"]) == (409, "no peer's address is known to this courier")
    assert site.ask("run2", "stop")["status"] == 409
    assert site.site.lent == -1


def test_a_site_server_with_another_plan_is_told_so(north: Callable[..., North]) -> None:
    site = north(served=PLAN.model_copy(update={"rounds": 9}))
    refused = site.ask("run1")
    assert refused["status"] == 409
    assert "different plans" in refused["detail"]
    assert not site.ready.is_set()
    assert site.site.lent == -1


def test_what_the_peer_refuses_is_the_runs_reason(north: Callable[..., North], south: Receiver) -> None:
    south.listed = set()
    site = north()
    assert site.ask("run1", rounds=2)["status"] == 202
    ended = until("the end", lambda: (s := site.site.statuses.get("run1")) and s["state"] == "failed" and s, 20)
    assert "'north' is no peer of this site" in ended["reason"]
    assert [entry["sites"]["south"]["state"] for entry in ended["history"]] == ["failed", "failed"]


def test_loops_go_on_after_an_error_of_the_system(north: Callable[..., North], south: Receiver) -> None:
    site = north(broken=True)
    ticking = "interval_s" in site.kit.plan.method.settings
    until("all loops fail", lambda: site.failed >= {"greetings", *(["ticks"] if ticking else [])}, 15)
    site.broken = False
    until("the site is told of its peers", lambda: site.site.peers, 15)
    if ticking:
        until("an exchange", lambda: south.delivered, 15)


def test_a_run_that_an_error_of_the_system_breaks_says_so_and_the_next_one_begins(
    north: Callable[..., North], south: Receiver
) -> None:
    site = north(broken=True)
    if "interval_s" in site.kit.plan.method.settings:
        return
    assert site.ask("run1")["status"] == 202
    ended = until("the end", lambda: (s := site.site.statuses.get("run1")) and s["state"] == "failed" and s, 15)
    assert ended["reason"] == "the courier failed: OSError"
    site.broken = False
    assert site.ask("run2")["status"] == 202
    until("its exchange", lambda: south.delivered, 15)


def test_a_full_disk_ends_neither_the_greetings_nor_the_stop(
    north: Callable[..., North], parts: dict[str, Kit], tmp_path: Path
) -> None:
    (tmp_path / "site" / "seen.json").mkdir(parents=True)  # so that it cannot be written
    site = north()
    until("the site is told of its peers", lambda: site.site.peers, 15)
    listed = load_peers(parts["north"])
    save_peers(parts["north"], listed.model_copy(update={"peers": (*listed.peers, Peer(name="west"))}))
    until("of a new one too", lambda: any(peer["name"] == "west" for peer in site.site.peers), 15)
    site.session.stop()
