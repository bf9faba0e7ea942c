"""Rounds end well, or end with a plain reason: nothing hangs, and only those who may ask are heard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from in_process import NAMES, PLAN, Federation, Site, small_plan, updates

from fed_backend.flare.checkpoint import CheckpointStore
from fed_backend.flare.messages import Message
from fed_backend.methods.mixing import weighted_mean, weights_of
from fed_backend.payload import decode, read_header
from fed_backend.tensor_file import Data

Make = Callable[..., Federation]


def test_every_round_offers_the_average_and_the_next_starts_from_it(make: Make) -> None:
    federation = make()
    status = federation.run(rounds=3)
    assert (status["state"], status["started_by"], len(status["history"])) == ("finished", "north", 3)
    for round_ in range(3):
        sent = updates(federation, round_)
        expected = weighted_mean(sent, weights_of([u.examples for u in sent]))
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
        "note": "",
    }
    record = last["history"][0]
    assert set(record) == {"round", "seconds", "bytes_up", "bytes_down", "dice", "sites"}
    assert record["bytes_up"] == sum(len(s.updates["run1", 0]) for s in federation.sites.values())
    assert set(record["sites"]["west"]) == {"state", "reason", "bytes_up", "bytes_down", "seconds", "promoted", "note"}


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


def test_a_slow_disk_at_the_hub_is_no_silence_of_the_sites(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the hub stores a large update it hears nobody: longer than a site may be silent."""
    federation = make(*[Site(name, PLAN, seconds=10.0 * (4 - n)) for n, name in enumerate(NAMES, start=1)])
    put = CheckpointStore.put

    def slowly(store: CheckpointStore, data: Data, sha256: str = "") -> str:
        federation.now += 2 * federation.timing.alive_s
        return put(store, data, sha256)

    monkeypatch.setattr(CheckpointStore, "put", slowly)
    assert federation.run()["state"] == "finished"
    shown = [site["state"] for status in federation.sites["north"].statuses for site in status["sites"].values()]
    assert "aggregated" in shown
    assert "failed" not in shown


def test_every_round_counts_its_own_bytes(make: Make) -> None:
    federation = make()
    first, second = federation.run(rounds=2)["history"]
    for site in NAMES:
        sent = [len(federation.sites[site].updates["run1", number]) for number in (0, 1)]
        assert [first["sites"][site]["bytes_up"], second["sites"][site]["bytes_up"]] == sent
