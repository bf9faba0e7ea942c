"""Who a site's peers are: the list in its kit, the commands that keep it, and what is known of each peer."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from fed_backend.cli import fedseg
from fed_backend.errors import ProvisionError
from fed_backend.flare.kit import Kit
from fed_backend.gossip.peers import PEERS_FILE, Listen, Peer, PeerList, PeerWatch, load_peers, save_peers
from fed_backend.gossip.roster import Roster, backoff


@pytest.fixture
def kit(kits: dict[str, Kit]) -> Kit:
    """North's, without peers."""
    (kits["north"].folder / PEERS_FILE).unlink(missing_ok=True)
    return kits["north"]


def run(kit: Kit, *words: str) -> tuple[int, str]:
    command, *rest = words
    result = CliRunner().invoke(fedseg, ["peers", command, str(kit.folder), *rest])
    return result.exit_code, result.output


def test_an_administrator_keeps_the_list_with_commands(kit: Kit) -> None:
    assert load_peers(kit) == PeerList()
    assert run(kit, "list") == (0, "listens\tnot at all\n")
    assert run(kit, "listen", "--host", "0.0.0.0", "--port", "8770")[0] == 0
    assert run(kit, "add", "south", "peer.south.example", "8770")[0] == 0
    assert run(kit, "add", "west")[0] == 0
    assert run(kit, "add", "south", "10.1.2.3", "8771")[0] == 0, "a new address replaces the old one"
    expected = "listens\t0.0.0.0:8770\nsouth\t10.1.2.3:8771\nwest\tcalls, is not called\n"
    assert run(kit, "list") == (0, expected)
    assert run(kit, "relay", "on")[0] == 0
    assert run(kit, "list")[1].endswith("west\tthrough the hub\n")
    assert run(kit, "relay", "off")[0] == 0
    assert run(kit, "remove", "south")[0] == 0
    assert run(kit, "listen", "--off")[0] == 0
    assert load_peers(kit) == PeerList(peers=(Peer(name="west"),))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("add", "north", "h", "1"), "'north' is this site itself"),
        (("add", "../south"), "pattern"),
        (("add", "south", "host"), "both a host and a port"),
        (("add", "south", "ho st", "1"), "neither a host name nor an address"),
        (("add", "south", "h", "70000"), "less than or equal to 65535"),
        (("remove", "south"), "'south' is no peer"),
        (("listen", "--port", "-1"), "greater than or equal to 0"),
    ],
)
def test_what_cannot_be_listed_is_refused(kit: Kit, words: tuple[str, ...], told: str) -> None:
    code, output = run(kit, *words)
    assert code == 2
    assert told in output
    assert load_peers(kit) == PeerList()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"format": "fedseg-peers/2"}',
        '{"peers": [{"name": "a"}, {"name": "A"}]}',
        '{"peers": [{"name": "north"}]}',
    ],
)
def test_a_damaged_list_is_told_at_the_start_and_kept_out_later(kit: Kit, content: str) -> None:
    good = PeerList(listen=Listen(host="::1", port=0), peers=(Peer(name="south", host="h", port=1),))
    save_peers(kit, good)
    watch = PeerWatch(kit)
    (kit.folder / PEERS_FILE).write_text(content)
    assert watch.now() == good, "the last good list stays in force"
    assert PEERS_FILE in watch.wrong
    with pytest.raises(ProvisionError, match=PEERS_FILE):
        PeerWatch(kit)
    changed = good.model_copy(update={"peers": ()})
    save_peers(kit, changed)
    assert (watch.now(), watch.wrong) == (changed, "")


def test_a_list_that_cannot_be_read_is_as_a_damaged_one(kit: Kit) -> None:
    good = PeerList(peers=(Peer(name="south", host="h", port=1),))
    save_peers(kit, good)
    watch = PeerWatch(kit)
    path = kit.folder / PEERS_FILE
    path.unlink()
    path.mkdir()  # unreadable for root too
    assert watch.now() == good, "the last good list stays in force"
    assert f"{PEERS_FILE} in the kit of 'north' cannot be read" in watch.wrong
    code, output = run(kit, "list")
    assert (code, "cannot be read" in output) == (2, True)
    path.rmdir()
    save_peers(kit, good)
    assert (watch.now(), watch.wrong) == (good, "")


def test_a_list_in_order_again_is_read_though_its_stamp_is_that_of_the_damaged_one(kit: Kit) -> None:
    """As after a change of rights, or two writes within the clock's resolution."""
    save_peers(kit, PeerList(peers=(Peer(name="south"),)))
    path = kit.folder / PEERS_FILE
    content, watch = path.read_bytes(), PeerWatch(kit)
    path.write_bytes(b"x" * len(content))
    os.utime(path, ns=(0, 0))
    watch.now()
    assert watch.wrong
    path.write_bytes(content)
    os.utime(path, ns=(0, 0))
    watch.now()
    assert watch.wrong == ""


def test_a_silent_peer_is_left_alone_longer_and_longer_until_it_calls(tmp_path: Path) -> None:
    now = [0.0]
    roster = Roster(tmp_path / "seen.json", clock=lambda: now[0])
    waits = []
    for _ in range(12):
        roster.failed("south", "cannot be reached")
        begun = now[0]
        while not roster.worth_calling(["south"]):
            now[0] += 0.25
        waits.append(now[0] - begun)
    assert 1 <= waits[0] <= 3.25
    assert all(0.5 * 2 ** (n + 1) <= waits[n] <= 1.5 * 2 ** (n + 1) + 0.25 for n in range(8))
    assert max(waits) <= 900.25
    (shown,) = roster.report(["south"])
    assert (shown["state"], shown["detail"], shown["last_seen"]) == ("unreachable", "cannot be reached", None)
    roster.failed("south", "again")
    roster.seen("south", examples=5)
    assert roster.worth_calling(["south", "west"]) == ["south", "west"]
    assert roster.examples(["south", "west"]) == {"south": 5, "west": 0}


def test_back_off_spreads_and_has_a_limit() -> None:
    rng = random.Random(0)
    first = [backoff(1, rng) for _ in range(200)]
    assert min(first) < 1.2
    assert max(first) > 2.8
    assert max(backoff(n, rng) for n in range(1, 3000)) <= 900


def test_when_a_peer_was_last_seen_survives_a_restart_and_damage(tmp_path: Path) -> None:
    file = tmp_path / "seen.json"
    roster = Roster(file)
    roster.seen("south", "the peer holds plan abc")
    roster.count("south", sent=2, received=1)
    roster.store()
    (before,) = roster.report(["south"])
    assert (before["state"], before["sent"], before["received"]) == ("refused", 2, 1)
    (after,) = Roster(file).report(["south"])
    assert (after["last_seen"], after["state"]) == (before["last_seen"], "unknown")
    for damage in ("", "[1]", json.dumps({"south": None})):
        file.write_text(damage)
        assert Roster(file).report(["south"])[0]["state"] == "unknown"
