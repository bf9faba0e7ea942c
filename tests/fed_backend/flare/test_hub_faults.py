"""A hub that dies at any moment resumes and gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders import plan
from in_process import NAMES, PLAN, Federation, Site, small_plan, updates

from fed_backend.errors import FederationError
from fed_backend.methods.mixing import weighted_mean, weights_of
from fed_backend.payload import decode

Make = Callable[..., Federation]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    sites = [Site(n, PLAN, examples=i + 1) for i, n in enumerate(NAMES)]
    federation = Federation(tmp_path_factory.mktemp("undisturbed"), sites, PLAN)
    federation.run(rounds=2)
    return federation


@pytest.mark.parametrize("steps", range(1, 12))
def test_a_hub_killed_at_any_moment_gives_the_same_bytes(make: Make, undisturbed: Federation, steps: int) -> None:
    federation = make(name="killed")
    federation.step()
    federation.ask("north", rounds=2)
    for _ in range(steps):
        federation.step()
    federation.start()
    status = federation.coordinator.status()
    if status and status["state"] in {"requested", "running"}:
        status = federation.finish()
    assert status is not None
    assert status["state"] == "finished"
    for name in NAMES:
        assert federation.sites[name].offers[-1] == undisturbed.sites[name].offers[-1]
        assert federation.sites[name].trainings == 2, "work done was not done again"
    assert [r["round"] for r in status["history"]] == [0, 1]


def test_updates_that_arrived_before_a_fault_of_the_hub_count(make: Make) -> None:
    federation = make(Site("north", PLAN), Site("south", PLAN), Site("west", PLAN, seconds=100))
    federation.step()
    federation.ask("north", rounds=1)
    for _ in range(8):
        federation.step()
    federation.start()
    west = federation.sites["west"]
    west.seconds, west._task = 1, None
    for name in ("north", "south"):
        federation.sites[name].online = False  # their couriers do not come back
    status = federation.finish()
    expected = weighted_mean(updates(federation, 0), weights_of([u.examples for u in updates(federation, 0)]))
    offered = decode(west.offers[0])[1]
    np.testing.assert_array_equal(offered["conv.weight"], expected["conv.weight"])
    assert status["state"] == "finished"
    record = status["history"][0]["sites"]["north"]
    assert (record["state"], record["reason"]) == ("aggregated", "its courier is not connected")


def test_a_round_that_kills_the_hub_again_and_again_fails(make: Make) -> None:
    federation = make(*[Site(n, PLAN, seconds=100) for n in NAMES])
    federation.step()
    federation.ask("north")
    for _ in range(3):
        federation.step()
        federation.step()
        federation.start()
    status = federation.finish()
    assert status["state"] == "failed"
    assert "interrupted 3 times" in status["reason"]


def test_a_drained_coordinator_lets_the_next_one_go_on(make: Make) -> None:
    federation = make()
    federation.step()
    federation.ask("north", rounds=2)
    federation.step()
    federation.coordinator.draining = True
    for _ in range(20):
        federation.step()
    assert federation.coordinator.drained
    assert federation.ask("south", run="run2").get("gone")
    assert len(federation.coordinator.status()["history"]) == 1  # type: ignore[index]
    federation.start()
    assert len(federation.finish()["history"]) == 2


def silence(federation: Federation, names: list[str], seconds: float) -> None:
    """Nothing is heard of these sites for a while."""
    for name in names:
        federation.sites[name].online = False
    for _ in range(int(seconds * 2)):
        federation.step()
    for name in names:
        federation.sites[name].online = True


@pytest.mark.parametrize("seconds", [5, 15, 40])
@pytest.mark.parametrize("names", [NAMES, NAMES[1:]], ids=["all", "most"])
def test_a_line_that_breaks_for_a_while_changes_nothing(
    make: Make, undisturbed: Federation, names: list[str], seconds: float
) -> None:
    """Where the hub's own line breaks, no site is heard: the round waits for them."""
    federation = make(name="line")
    federation.step()
    federation.ask("north", rounds=2)
    federation.step()
    silence(federation, names, seconds)
    status = federation.finish()
    assert status["state"] == "finished", status
    for name in NAMES:
        assert federation.sites[name].offers[-1] == undisturbed.sites[name].offers[-1]
        assert federation.sites[name].trainings == 2
        assert status["history"][0]["sites"][name]["state"] == "aggregated"


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_hub_that_was_suspended_blames_no_site(make: Make, undisturbed: Federation, steps: int) -> None:
    """Far beyond the plan's deadline; its clock went on."""
    federation = make(name="suspended")
    federation.step()
    federation.ask("north", rounds=2)
    for _ in range(steps):
        federation.step()
    federation.now += 500
    federation.coordinator.tick()
    status = federation.finish()
    assert status["state"] == "finished", status
    assert {entry["reason"] for entry in status["history"][0]["sites"].values()} == {"not worse"}
    assert federation.sites["west"].offers[-1] == undisturbed.sites["west"].offers[-1]


def test_a_site_that_is_heard_again_within_the_round_takes_part(make: Make) -> None:
    federation = make(Site("north", PLAN), Site("south", PLAN), Site("west", PLAN, seconds=40))
    federation.step()
    federation.ask("north", rounds=1)
    federation.step()
    silence(federation, ["south"], 15)
    assert federation.coordinator.status()["sites"]["south"]["state"] == "failed"  # type: ignore[index]
    record = federation.finish()["history"][0]["sites"]
    assert {name: entry["state"] for name, entry in record.items()} == dict.fromkeys(NAMES, "aggregated")


def test_a_round_that_waits_for_silent_sites_lets_the_job_be_renewed(make: Make, undisturbed: Federation) -> None:
    """FLARE gives a job no clients that come back: they wait for the next one."""
    federation = make(name="renewed")
    federation.step()
    federation.ask("north", rounds=2)
    federation.step()
    silence(federation, NAMES, 15)
    for name in NAMES:
        federation.sites[name].online = False
    federation.coordinator.draining = True
    federation.step()
    assert federation.coordinator.drained
    for name in NAMES:
        federation.sites[name].online = True
    federation.start()
    assert federation.finish()["state"] == "finished"
    assert federation.sites["west"].offers[-1] == undisturbed.sites["west"].offers[-1]


def test_a_checkpoint_of_another_plan_or_a_torn_one_is_refused(make: Make, tmp_path: Path) -> None:
    federation = make()
    federation.run()
    with pytest.raises(FederationError, match="another plan"):
        Federation(tmp_path / "hub", [Site("north", plan())], small_plan(name="another"))
    record = tmp_path / "hub" / "checkpoint.json"
    record.write_bytes(record.read_bytes()[:-20])
    with pytest.raises(FederationError, match="cannot be read"):
        federation.start()


def test_a_damaged_payload_of_a_checkpoint_is_noticed(make: Make, tmp_path: Path) -> None:
    federation = make()
    federation.run()
    (payload,) = (tmp_path / "hub" / "payloads").iterdir()
    data = bytearray(payload.read_bytes())
    data[-1] ^= 1
    payload.write_bytes(data)
    federation.start()
    federation.step()
    assert federation.ask("north", run="run2")["accepted"]
    status = federation.finish()
    assert status["state"] == "failed"
    assert "missing or damaged" in status["reason"]


def test_old_payloads_do_not_pile_up(make: Make, tmp_path: Path) -> None:
    federation = make()
    federation.run(rounds=5)
    assert len(list((tmp_path / "hub" / "payloads").iterdir())) == 1
