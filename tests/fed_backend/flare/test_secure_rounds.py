"""Rounds whose hub sees sums alone: the coordinator's way through them, and over real processes with mutual TLS."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import NAMES, Federation, Site
from running import RunningFederation, until
from site_peer import Peer

from fed_backend.errors import FedSegError
from fed_backend.flare.messages import Message
from fed_backend.payload import decode, read_header
from fed_backend.secure.roster import Context
from fed_backend.secure.site import SecureSite
from fed_backend.secure.wire import STEPS
from fed_backend.simulation import simulate

sys.path.insert(0, str(Path(__file__).parents[1] / "secure"))

from members import Authority, secure_plan

FIVE = ["east", "north", "south", "valley", "west"]
PLAN = secure_plan(round_deadline_s=60.0)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority(FIVE)


class Member(Site):
    """A site whose courier masks; ``dies_at`` is the step at whose beginning it vanishes for good."""

    def __init__(self, name: str, authority: Authority, number: int, dies_at: str = "") -> None:
        super().__init__(name, PLAN, examples=number)
        self.identity, self.dies_at = authority.identities[name], dies_at
        self.attempt = 0
        self.left: list[str] = []
        self.secure = self.courier()

    def courier(self) -> SecureSite:
        def leaves(step: str, context: Context, others: Any, data: bytes) -> None:
            self.left.append(step)

        return SecureSite(self.identity, PLAN, leaves)

    def receive(self, message: Message, now: float) -> None:
        if message.topic == self.dies_at:
            self.online = False
            return
        if message.topic == "train":
            self.attempt = message.fields["attempt"]
        super().receive(message, now)

    def _result(self, task: str, topic: str, body: Any) -> Message:
        fields = {"task": task, "ok": True, "reason": "", "seconds": 0.0}
        data = body if isinstance(body, bytes) else body.read_bytes()
        try:
            if topic == "train":
                return Message("result", fields, self.secure.begin(data, self.update(data), self.attempt))
            if topic in STEPS:
                return Message("result", fields, self.secure.answer(topic, data))
        except FedSegError as error:
            return Message("result", {**fields, "ok": False, "reason": str(error)})
        return super()._result(task, topic, data)


@pytest.fixture
def federate(make: Callable[..., Federation], authority: Authority) -> Callable[..., Federation]:
    def build(*names: str, **dies_at: str) -> Federation:
        members = [Member(name, authority, n, dies_at.get(name, "")) for n, name in enumerate(names, start=1)]
        return make(*members, plan=PLAN, root=authority.root)

    return build


class Simulated:
    """The same training without couriers."""

    def __init__(self, member: Site) -> None:
        self.name, self._member = member.name, Site(member.name, PLAN, examples=member.examples)
        self.offers: list[bytes] = []

    def train(self, data: bytes) -> bytes:
        return self._member.update(data)

    def offer(self, data: bytes) -> dict[str, Any]:
        self.offers.append(data)
        return {}


def simulated(federation: Federation, sites: list[str], rounds: int = 1) -> list[bytes]:
    members = [Simulated(federation.sites[name]) for name in sites]
    list(simulate(PLAN, members, rounds, run="run1"))
    return members[0].offers


def test_rounds_give_the_bytes_of_the_simulation(federate: Callable[..., Federation]) -> None:
    federation = federate(*NAMES)
    status = federation.run(rounds=2)
    assert status["state"] == "finished", status
    expected = simulated(federation, NAMES, 2)
    for site in federation.sites.values():
        assert site.offers == expected
        assert site.left == ["keys", "shares", "mask", "agree", "reveal"] * 2
    updates = [decode(site.updates["run1", 0]) for site in federation.sites.values()]
    for name, mean in decode(expected[0])[1].items():
        exact = np.average(
            [t[name].astype(float) for _, t in updates], axis=0, weights=[h.examples for h, _ in updates]
        )
        np.testing.assert_allclose(mean, exact, atol=2**-24)
    assert read_header(expected[0]).examples == 6


def test_no_update_ever_lies_at_the_hub(federate: Callable[..., Federation]) -> None:
    federation = federate(*NAMES)
    federation.step()
    federation.ask("north", rounds=1)
    seen: set[bytes] = set()
    while not (federation.coordinator.status() or {}).get("history"):
        federation.step()
        seen |= {path.read_bytes() for path in (federation.folder / "payloads").iterdir()}
    for site in federation.sites.values():
        _, tensors = decode(site.updates["run1", 0])
        assert not [data for data in seen for tensor in tensors.values() if tensor.tobytes() in data]
        assert site.updates["run1", 0] not in seen
    assert len(seen) == 5, "what the round began with, three masked updates, the mean"


@pytest.mark.parametrize("step", ["shares", "mask"])
def test_a_site_that_vanishes_before_it_is_masked_is_left_out(federate: Callable[..., Federation], step: str) -> None:
    federation = federate(*FIVE, valley=step)
    status = federation.run()
    assert status["state"] == "finished", status
    records = status["history"][0]["sites"]
    assert {site for site, record in records.items() if record["state"] == "aggregated"} == {*FIVE} - {"valley"}
    assert "no sign of life" in records["valley"]["reason"]
    assert federation.sites["north"].offers == simulated(federation, [site for site in FIVE if site != "valley"])


@pytest.mark.parametrize("step", ["agree", "reveal"])
def test_a_site_that_vanishes_after_its_masked_update_counts(federate: Callable[..., Federation], step: str) -> None:
    federation = federate(*NAMES, west=step)
    status = federation.run()
    assert status["state"] == "finished", status
    assert status["history"][0]["sites"]["west"]["state"] == "aggregated"
    assert federation.sites["north"].offers == simulated(federation, NAMES)


def test_a_round_of_two_fails(federate: Callable[..., Federation]) -> None:
    federation = federate(*NAMES, west="mask")
    status = federation.run()
    assert status["state"] == "failed"
    assert "needs 3 updates and can get 2" in status["reason"]


@pytest.mark.parametrize("couriers_too", [True, False])
@pytest.mark.parametrize("after", ["keys", "mask", "agree"])
def test_a_hub_that_is_killed_begins_the_round_again_with_new_keys(
    federate: Callable[..., Federation], after: str, couriers_too: bool
) -> None:
    federation = federate(*NAMES)
    federation.step()
    federation.ask("north", rounds=1)
    while after not in federation.sites["west"].left:
        federation.step()
    federation.start()
    for site in federation.sites.values():
        if couriers_too:
            site.secure = site.courier()
    status = federation.finish()
    assert status["state"] == "finished", status
    assert [site.trainings for site in federation.sites.values()] == [1, 1, 1]
    assert federation.sites["west"].left.count("keys") == 2
    assert federation.sites["north"].offers == simulated(federation, NAMES)


def test_a_member_that_sends_noise_ends_the_round_and_spoils_nothing(federate: Callable[..., Federation]) -> None:
    federation = federate(*NAMES)
    federation.run()
    west = federation.sites["west"]
    honest = west.secure.answer

    def lie(step: str, body: bytes) -> bytes:
        answer = honest(step, body)
        return answer if step != "mask" else answer[:-8] + bytes(7) + b"\x7f"

    west.secure.answer = lie
    status = federation.run(run="run2")
    assert status["state"] == "failed"
    assert "a site sent something else" in status["reason"]
    west.secure.answer = honest
    assert federation.run(run="run3")["state"] == "finished"


def test_a_revoked_sites_masked_update_is_not_summed(federate: Callable[..., Federation]) -> None:
    federation = federate(*FIVE)
    federation.step()
    federation.ask("north", rounds=1)
    while "mask" not in federation.sites["east"].left:
        federation.step()
    federation.coordinator.admit([site for site in FIVE if site != "valley"])
    status = federation.finish()
    assert status["state"] == "finished", status
    assert status["history"][0]["sites"]["valley"]["reason"] == "it is no member any more"
    assert not federation.sites["valley"].offers


def test_a_hub_without_the_authoritys_certificate_runs_no_secure_round(make: Callable[..., Federation]) -> None:
    federation = make(plan=PLAN)
    assert "need the authority's certificate" in federation.run()["reason"]


# --- real processes ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFederation]:
    others = [{"name": "fedbn", "settings": {"local": "blocks.0.*"}}, {"name": "fedprox", "settings": {"mu": 0.01}}]
    found = RunningFederation(
        tmp_path_factory.mktemp("secure"),
        ["north", "south", "valley", "west"],
        secure={"fewest": 3},
        quorum=3,
        alternatives=others,
    )
    try:
        found.start_all()
        yield found
    finally:
        found.stop_all()


class InProcess:
    def __init__(self, running: RunningFederation, name: str) -> None:
        self.name, self._peer = name, Peer(running.peer(name))
        self.offers: list[bytes] = []

    def train(self, data: bytes) -> bytes:
        return self._peer.train(data)

    def offer(self, data: bytes) -> dict[str, Any]:
        self.offers.append(data)
        return {}


def real_offer(running: RunningFederation, site: str, run: str, round_: int) -> bytes:
    return (running.peer(site) / f"offer-{run}-{round_}.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fedavg", "fedbn", "fedprox"])
def test_real_rounds_give_the_bytes_of_the_simulation(running: RunningFederation, method: str) -> None:
    for site in running.sites:
        running.configure(site, noise=1.0)
    run, verdict = running.ask("south", rounds=2, method=method)
    assert verdict["status"] == 202, verdict
    status = running.ended("west", run)
    assert (status["state"], status["method"]) == ("finished", method), status
    assert {record["state"] for record in status["history"][1]["sites"].values()} == {"aggregated"}
    sites = [InProcess(running, name) for name in running.sites]
    list(simulate(running.plan, sites, 2, method=method, run=run))
    for site in sites:
        assert site.offers == [real_offer(running, site.name, run, number) for number in (0, 1)]
    left = [told for told in running.state("north")["left"] if told["run"] == run]
    assert [told["step"] for told in left] == ["keys", "shares", "mask", "agree", "reveal"] * 2
    assert left[2]["sites"] == "south,valley,west"
    tensors = 24 if method != "fedbn" else 23
    assert left[2]["bytes"] == pytest.approx(8 * tensors * 64 * 64, rel=0.01), "64 bit a number"


@pytest.mark.slow
def test_a_real_courier_that_dies_before_its_masked_update_left_is_made_up_for(running: RunningFederation) -> None:
    """After it shared its secrets: the others' shares take its pair masks off the sum."""
    running.configure("west", stall_mask=60)
    before = len(running.state("west")["left"])
    run, verdict = running.ask("south", rounds=1)
    assert verdict["status"] == 202, verdict
    until("west masks", lambda: "mask" in [told["step"] for told in running.state("west")["left"][before:]])
    running.kill("courier-west")
    status = running.ended("south", run, 90)
    assert status["state"] == "finished", status
    records = status["history"][0]["sites"]
    assert {s for s, r in records.items() if r["state"] == "aggregated"} == {"north", "south", "valley"}
    header, mean = decode(real_offer(running, "north", run, 0))
    assert (header.examples, header.metrics["sites"]) == (6, 3.0)
    assert np.isfinite(next(iter(mean.values()))).all()
    assert real_offer(running, "north", run, 0) == real_offer(running, "valley", run, 0)
    running.configure("west", stall_mask=0)
    running.start_courier("west")
    running.wait_ready("west")
    run, verdict = running.ask("north", rounds=1)
    assert verdict["status"] == 202, verdict
    status = running.ended("west", run)
    assert {record["state"] for record in status["history"][0]["sites"].values()} == {"aggregated"}, status
