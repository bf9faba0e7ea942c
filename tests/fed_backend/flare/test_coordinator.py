"""Rounds end well, or end with a plain reason: nothing hangs, nothing half-checked is averaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import plan
from in_process import Federation, Site, small_plan

from fed_backend.errors import FederationError
from fed_backend.flare.messages import Message
from fed_backend.methods import Update
from fed_backend.methods.fedavg import weighted_mean, weights_of
from fed_backend.payload import Tensors, decode, read_header

PLAN = small_plan()
NAMES = ["north", "south", "west"]
Make = Callable[..., Federation]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def build(*sites: Site, name: str = "hub", plan: Any = PLAN, **timing: Any) -> Federation:
        members = list(sites) or [Site(n, plan, examples=i + 1) for i, n in enumerate(NAMES)]
        return Federation(tmp_path / name, members, plan, **timing)

    return build


def with_spoiled(spoil: Callable[[Tensors], Tensors], plan: Any = PLAN) -> list[Site]:
    return [Site("north", plan), Site("south", plan, spoil=spoil), Site("west", plan)]


def updates(federation: Federation, round_: int, run: str = "run1") -> list[Update]:
    found = []
    for site in federation.sites.values():
        header, tensors = decode(site.updates[run, round_])
        found.append(Update(site.name, tensors, header.examples))
    return found


def test_every_round_offers_the_average_and_the_next_starts_from_it(make: Make) -> None:
    federation = make()
    status = federation.run(rounds=3)
    assert (status["state"], status["started_by"], len(status["history"])) == ("finished", "north", 3)
    for round_ in range(3):
        sent = updates(federation, round_)
        expected = weighted_mean(sent, weights_of(sent))
        for site in federation.sites.values():
            offered = decode(site.offers[round_])[1]
            for name, tensor in offered.items():
                np.testing.assert_array_equal(tensor, expected[name])
    again = federation.run(run="run2")
    assert again["state"] == "finished"
    assert federation.sites["north"].trainings == 4


def test_the_first_round_starts_from_each_sites_base_adapter(make: Make) -> None:
    federation = make()
    seen: list[Message] = []
    federation.drop = lambda _site, message: bool(seen.append(message))
    federation.run(rounds=2)
    first, second = (next(m for m in seen if m.fields.get("task") == f"run1/{r}/train") for r in (0, 1))
    assert read_header(first.body).metrics == {"initial": 1.0}
    assert decode(first.body)[1] == {}
    assert decode(second.body)[1].keys() == PLAN.adapter.keys()


def test_status_is_what_a_site_shows(make: Make) -> None:
    federation = make(Site("north", PLAN), Site("south", PLAN), Site("west", PLAN, seconds=3))
    federation.run()
    shown = federation.sites["west"].statuses
    states = [status["sites"]["south"]["state"] for status in shown]
    assert [s for i, s in enumerate(states) if i == 0 or s != states[i - 1]] == [
        "waiting",
        "training",
        "sending",
        "aggregated",
    ]
    last = shown[-1]
    assert set(last) == {"id", "state", "started_by", "method", "rounds", "round", "reason", "sites", "history"}
    assert last["sites"]["south"] == {
        "state": "aggregated",
        "progress": 1.0,
        "reason": "not worse",
        "dice": 0.5,
        "promoted": True,
    }
    record = last["history"][0]
    assert set(record) == {"round", "seconds", "bytes_up", "bytes_down", "dice", "sites"}
    assert record["bytes_up"] == sum(len(s.updates["run1", 0]) for s in federation.sites.values())
    assert set(record["sites"]["west"]) == {"state", "reason", "bytes_up", "bytes_down", "seconds", "promoted"}


@pytest.mark.parametrize("order", [NAMES, NAMES[::-1], ["south", "west", "north"]])
def test_the_order_of_sites_does_not_change_a_byte(make: Make, order: list[str]) -> None:
    def result(names: list[str], where: str) -> bytes:
        # Another order of arrival, too: the first-named site is the slowest.
        sites = [Site(n, PLAN, seconds=3.0 - names.index(n)) for n in names]
        federation = make(*sites, name=where)
        federation.run(rounds=2)
        return federation.sites["north"].offers[-1]

    assert result(order, "permuted") == result(NAMES, "sorted")


def test_a_missing_site_is_named_and_the_rest_goes_on(make: Make) -> None:
    federation = make()
    federation.sites["west"].online = False
    status = federation.run(rounds=2)
    assert status["state"] == "finished"
    assert status["history"][0]["sites"]["west"]["reason"] == "its courier is not connected"
    assert federation.sites["north"].trainings == 2
    federation.sites["west"].online = True
    status = federation.run(run="run2")
    assert status["history"][0]["sites"]["west"]["state"] == "aggregated"
    assert decode(federation.sites["west"].offers[0])[1].keys() == PLAN.adapter.keys()


def test_a_site_that_dies_in_training_is_named(make: Make) -> None:
    federation = make(Site("north", PLAN), Site("south", PLAN), Site("west", PLAN, seconds=40))
    federation.step()
    federation.ask("north", rounds=1)
    for _ in range(6):
        federation.step()
    federation.sites["west"].online = False
    begun = federation.now
    status = federation.finish()
    assert status["state"] == "finished"
    assert "no sign of life" in status["history"][0]["sites"]["west"]["reason"]
    assert federation.now - begun < 20, "the hub's own patience, not the deadline"


def test_too_few_updates_fail_the_run_and_say_who_is_missing(make: Make) -> None:
    federation = make()
    federation.sites["south"].online = federation.sites["west"].online = False
    status = federation.run()
    assert status["state"] == "failed"
    assert "needs 2 updates" in status["reason"]
    assert "south: its courier is not connected" in status["reason"]
    assert not federation.sites["north"].offers


def test_a_training_past_the_deadline_is_left_behind(make: Make) -> None:
    federation = make(Site("north", PLAN), Site("south", PLAN), Site("west", PLAN, seconds=1e6))
    begun = federation.now
    status = federation.run()
    assert federation.now - begun < PLAN.round_deadline_s + 5
    assert status["state"] == "finished"
    assert "deadline of 60 s" in status["history"][0]["sites"]["west"]["reason"]


def _poison(value: float) -> Callable[[Tensors], Tensors]:
    def spoil(tensors: Tensors) -> Tensors:
        tensors["conv.weight"][0, 0] = value
        return tensors

    return spoil


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_poison(float("nan")), "'conv.weight' from 'south' holds NaN"),
        (_poison(float("-inf")), "'conv.weight' from 'south' holds NaN or infinity"),
        (_poison(1e9), "norm"),
        (lambda t: {n: v for n, v in t.items() if n != "conv.weight"}, "lacks tensor 'conv.weight'"),
        (lambda t: {**t, "image": np.zeros((9, 9), np.float32)}, "'image', which may not travel"),
        (lambda t: {**t, "conv.weight": np.zeros((3, 2), np.float32)}, "shape (3, 2)"),
    ],
)
def test_an_update_that_does_not_fit_is_refused_by_name(make: Make, spoil: Any, reason: str) -> None:
    federation = make(*with_spoiled(spoil))
    status = federation.run()
    record = status["history"][0]["sites"]["south"]
    assert record["state"] == "failed"
    assert reason in record["reason"]
    sent = [u for u in updates(federation, 0) if u.site != "south"]
    expected = weighted_mean(sent, weights_of(sent))
    offered = decode(federation.sites["north"].offers[0])[1]
    np.testing.assert_array_equal(offered["conv.weight"], expected["conv.weight"])
    assert not federation.sites["south"].offers


def test_an_update_in_anothers_name_is_refused(make: Make) -> None:
    federation = make(Site("north", PLAN), Site("south", PLAN, claims="north"), Site("west", PLAN))
    status = federation.run()
    assert "sender" in status["history"][0]["sites"]["south"]["reason"]


def test_an_update_of_another_round_is_refused(make: Make) -> None:
    federation = make()
    federation.run()
    west = federation.sites["west"]
    west.updates["run2", 0] = west.updates["run1", 0]
    status = federation.run(run="run2")
    assert "federation round 'run1', expected 'run2'" in status["history"][0]["sites"]["west"]["reason"]


def test_an_update_that_did_not_start_from_this_round_is_refused(make: Make) -> None:
    federation = make()
    west = federation.sites["west"]
    federation.drop = lambda site, message: (
        site == "west" and message.topic == "train" and not west.updates and not west.update(b_other(message))
    )
    status = federation.run()
    assert "not from this round's" in status["history"][0]["sites"]["west"]["reason"]


def b_other(message: Message) -> bytes:
    """The same request with other bytes: another number of examples in its header."""
    from fed_backend.payload import encode

    header, tensors = decode(message.body)
    return encode(header.model_copy(update={"examples": 99}), tensors)


def test_a_site_may_say_why_it_cannot(make: Make) -> None:
    federation = make()
    federation.sites["west"].refuses = "site 'west' is paused"
    status = federation.run()
    assert status["history"][0]["sites"]["west"]["reason"] == "site 'west' is paused"
    assert status["state"] == "finished"


def test_a_courier_with_another_plan_takes_no_part(make: Make) -> None:
    other = small_plan(name="another")
    federation = make(Site("north", PLAN), Site("south", PLAN), Site("west", other))
    status = federation.run()
    assert "another plan" in status["history"][0]["sites"]["west"]["reason"]


def test_lost_messages_are_repeated(make: Make) -> None:
    federation = make()
    lost: set[str] = set()

    def first_time(site: str, message: Message) -> bool:
        key = f"{site}{message.topic}{message.fields.get('task')}"
        new = key not in lost and message.topic != "status"
        lost.add(key)
        return new

    federation.drop = first_time
    status = federation.run(rounds=2)
    assert status["state"] == "finished"
    assert {s["state"] for s in status["history"][1]["sites"].values()} == {"aggregated"}
    assert {site.trainings for site in federation.sites.values()} == {2}


# --- who may ask ---------------------------------------------------------------------------


def test_while_a_run_is_active_the_second_one_is_told_who_started_it(make: Make) -> None:
    federation = make()
    federation.step()
    assert federation.ask("north", rounds=2)["status"] == 202
    federation.step()
    verdict = federation.ask("south", run="run2")
    assert (verdict["status"], verdict["accepted"]) == (409, False)
    assert "'north'" in verdict["detail"]
    assert verdict["hint"]
    assert federation.ask("north", rounds=2)["status"] == 202, "the same request again: its answer was lost"
    assert federation.ask("south", run="run1")["status"] == 409, "another site's run"
    federation.finish()
    assert federation.ask("south", run="run2")["status"] == 202


def test_a_stopped_run_stops_everywhere(make: Make) -> None:
    federation = make(*[Site(n, PLAN, seconds=100) for n in NAMES])
    federation.step()
    federation.ask("north")
    for _ in range(4):
        federation.step()
    assert federation.ask("south", action="stop")["status"] == 202
    status = federation.finish()
    assert (status["state"], status["reason"]) == ("stopped", "stopped by 'south'")
    assert federation.sites["west"].statuses[-1]["state"] == "stopped"
    assert federation.ask("south", action="stop")["status"] == 409
    federation.step()
    assert all(site._task is None for site in federation.sites.values())


@pytest.mark.parametrize(
    ("fields", "status", "word"),
    [
        ({"rounds": 0}, 422, "rounds"),
        ({"rounds": 10**6}, 422, "rounds"),
        ({"rounds": "many"}, 422, "rounds"),
        ({"method": "fedsm"}, 409, "fedavg"),
        ({"action": "explode"}, 422, "explode"),
        ({"run": "../../etc"}, 422, "id"),
        ({"run": ""}, 422, "id"),
        ({"action": "stop"}, 409, "not running"),
    ],
)
def test_bad_requests_are_refused(make: Make, fields: dict[str, Any], status: int, word: str) -> None:
    federation = make()
    federation.step()
    verdict = federation.ask("north", **fields)
    assert verdict["status"] == status
    assert word in verdict["detail"]
    assert federation.coordinator.status() is None


def test_only_starters_start_and_only_members_speak(make: Make) -> None:
    restricted = small_plan(starters=["north"])
    federation = make(*[Site(n, restricted) for n in NAMES], plan=restricted)
    verdict = federation.ask("south")
    assert verdict["status"] == 403
    assert "'south'" in verdict["detail"]
    assert federation.coordinator.receive("stranger", Message("beat"))["ok"] is False
    assert federation.ask("stranger").get("accepted") is None


# --- faults of the hub ---------------------------------------------------------------------


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
    expected = weighted_mean(updates(federation, 0), weights_of(updates(federation, 0)))
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
