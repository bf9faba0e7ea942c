"""Exchanges between simulated peers: seeded, without a coordinator, and never stopped by who is missing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from builders import header, plan

from fed_backend.errors import PayloadError, PlanError
from fed_backend.gossip.simulation import Exchanged, simulate_gossip
from fed_backend.methods import Update, check_methods
from fed_backend.methods.gcml import GCML
from fed_backend.payload import check, decode, encode
from fed_backend.plan import Plan
from fed_backend.simulation import simulate

PLAN = plan(method={"name": "gcml", "settings": {"share": 0.5}}, adapter={"w": [6]})


class Averager:
    """A peer that keeps the mean of its own model and the visitor's."""

    def __init__(self, name: str, value: float, examples: int = 1, refuses: bool = False, of: Plan = PLAN) -> None:
        self.name, self.examples, self._refuses, self._plan = name, examples, refuses, of
        self.tensors = {"w": np.full(of.adapter["w"], value, np.float32)}

    def lend(self, number: int) -> bytes:
        sent = header(self._plan, site=self.name, federation_round="gossip", round=number, examples=self.examples)
        return encode(sent, self.tensors)

    def visit(self, data: bytes) -> Mapping[str, Any]:
        if self._refuses:
            raise PayloadError("nobody comes in here")
        head, tensors = check(data, self._plan, kind="update")
        visitor, own = Update(head.site, tensors, 1), Update(self.name, self.tensors, 1)
        self.tensors = GCML(self._plan).candidates(own, visitor)["mean"]
        return {"chosen": "mean"}


def peers(count: int = 8) -> list[Averager]:
    return [Averager(f"site{number}", 1.0 + number) for number in range(count)]


def spread(sites: list[Averager]) -> float:
    return float(np.std([site.tensors["w"][0] for site in sites]))


def run(sites: list[Averager], exchanges: int = 30, **options: Any) -> list[Exchanged]:
    return list(simulate_gossip(PLAN, sites, exchanges, seed=4, **options))


def test_peers_come_to_agree_and_equal_seeds_give_equal_exchanges() -> None:
    sites, again = peers(), peers()
    begun = spread(sites)
    done, repeated = run(sites), run(again[::-1])
    assert spread(sites) < 0.2 * begun
    assert [e.transfers for e in done] == [e.transfers for e in repeated]
    assert all(np.array_equal(a.tensors["w"], b.tensors["w"]) for a, b in zip(sites, again, strict=True))
    sent = sum(len(e.transfers) for e in done)
    assert 0.35 < sent / (30 * 8) < 0.65, "half of the sites on average"
    assert all(e.size.keys() == {sender for sender, _ in e.transfers} for e in done)
    assert done[0].size.popitem()[1] == len(sites[0].lend(0)), "measured at the serialiser"


def test_whoever_dies_the_others_go_on() -> None:
    sites = peers()
    gone = {"site0", "site1", "site2"}
    done = run(sites, 60, living=lambda site, number: number < 5 or site not in gone)
    later = [pair for e in done[5:] for pair in e.transfers]
    assert later
    assert not gone & {site for pair in later for site in pair}
    assert spread(sites[3:]) < 0.05


def test_transfers_that_fail_are_dropped_and_counted() -> None:
    sites = [*peers(7), Averager("site7", 7.0, refuses=True)]
    rng = np.random.default_rng(0)
    done = run(sites, 60, arrives=lambda *_: bool(rng.random() > 0.3))
    dropped, arrived = sum(len(e.dropped) for e in done), sum(len(e.transfers) for e in done)
    assert 0.2 < dropped / (dropped + arrived) < 0.6
    assert not [pair for e in done for pair in e.transfers if pair[1] == "site7"]
    assert sites[7].tensors["w"][0] == 7.0
    assert spread(sites[:7]) < 0.3, "the others agree all the same"


def test_sites_with_more_data_send_more_and_one_site_alone_sends_nothing() -> None:
    sites = [Averager("large", 2, examples=30), *[Averager(f"small{n}", 1, examples=5) for n in range(3)]]
    done = run(sites, 80)
    sent = [pair[0] for e in done for pair in e.transfers]
    assert sent.count("large") > 2 * max(sent.count(f"small{n}") for n in range(3))
    assert not [pair for e in run([Averager("alone", 1.0)]) for pair in e.transfers]


class Counted(Averager):
    """Counts the rounds of local steps that it takes: with a visitor, or alone where nobody came."""

    rounds = 0

    def visit(self, data: bytes) -> Mapping[str, Any]:
        self.rounds += 1
        return super().visit(data)


class Member:
    """A site of a central federation that moves nothing; it takes one round of local steps each time."""

    def __init__(self, name: str) -> None:
        self.name, self.rounds = name, 0

    def train(self, data: bytes) -> bytes:
        self.rounds += 1
        got, tensors = decode(data)
        sent = header(CENTRAL, site=self.name, federation_round=got.federation_round, examples=1)
        changes = {"round": got.round, "parent_sha256": hashlib.sha256(data).hexdigest()}
        return encode(sent.model_copy(update=changes), tensors or {"w": np.ones(400, np.float32)})

    def offer(self, data: bytes) -> Mapping[str, Any]:
        return {}


CENTRAL = plan(adapter={"w": [400]})
GOSSIP = plan(method={"name": "gcml"}, adapter={"w": [400]})


def test_peers_send_a_quarter_of_what_fedavg_sends_at_equal_local_steps() -> None:
    """With the default ``share``; every byte counted once at each end that sends or receives it."""
    rounds = 40
    members = [Member(f"site{number}") for number in range(8)]
    central = list(simulate(CENTRAL, members, rounds))
    sent_centrally = sum(sum(r.bytes_up.values()) + sum(r.bytes_down.values()) for r in central)

    sites = [Counted(f"site{number}", 1.0 + number, of=GOSSIP) for number in range(8)]
    up = down = 0
    for done in simulate_gossip(GOSSIP, sites, rounds, seed=4):
        up += sum(done.size.values())
        down += sum(done.size[sender] for sender, _ in done.transfers)
        for site in sites:
            if site.name not in done.reports:
                site.rounds += 1
    assert {member.rounds for member in members} == {rounds}
    assert all(site.rounds >= rounds for site in sites), "no fewer local steps than under FedAvg"
    assert up + down <= 0.25 * sent_centrally
    assert up <= 0.26 * sum(sum(r.bytes_up.values()) for r in central), "of what sites send alone, by chance a bit more"


def test_a_plan_of_peers_lists_no_alternative() -> None:
    check_methods(PLAN)
    with pytest.raises(PlanError, match="has no hub"):
        check_methods(plan(method={"name": "gcml"}, alternatives=[{"name": "fedavg"}]))
